"""Targets are drawn in the frame of the maps; who counts and who is a positive."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uprightpose.data.sample import State
from uprightpose.losses import Truth, framed_loss, truth
from uprightpose.normalize import Rotation, rotate_joints
from uprightpose.refine import FramedMaps
from uprightpose.score_maps import encode_disks, encode_gaussians, with_background
from uprightpose.skeletons import LSP

SIZE = (10, 14)
CELLS = SIZE[0] * SIZE[1]
STRIDE = 4
BOTH = pytest.mark.parametrize("target", ["disks", "gaussians"])


def pixels(cells: torch.Tensor) -> torch.Tensor:
    return STRIDE * (cells + 0.5) - 0.5


def person() -> torch.Tensor:
    """Joints in cells; left shoulder to right hip are 10 cells: disks of radius 1.5."""
    joints = torch.zeros(1, 14, 2) + torch.tensor([6.0, 4.0])
    joints[0, 9] = torch.tensor([2.0, 1.0])
    joints[0, 2] = torch.tensor([8.0, 9.0])
    return joints


def framed(scores: torch.Tensor, joints=(12,), rotation=None) -> FramedMaps:
    return FramedMaps(scores, rotation or Rotation.none(scores), joints)


def everyone(joints: torch.Tensor) -> Truth:
    everything = torch.ones(joints.shape[:2], dtype=torch.bool)
    return Truth(pixels(joints), everything, everything)


def loss(maps: FramedMaps, goal: Truth, target="disks") -> float:
    return framed_loss(maps, goal, STRIDE, LSP, target).item()


class TestFramedLoss:
    """'Refinement loss: sigmoid cross-entropy on the mapped scores'; 'mean over cells, sum over
    maps, mean over batch' (SPEC 1.15)."""

    def test_by_hand(self):
        """A disk of radius 1.5 on a cell covers 9 cells; every logit is 1."""
        yes, no = math.log1p(math.exp(-1)), math.log1p(math.e)
        expected = (9 * yes + (CELLS - 9) * no) / CELLS
        assert loss(framed(torch.ones(1, 1, *SIZE)), everyone(person())) == pytest.approx(expected)

    def test_background_by_hand(self):
        yes, no = math.log1p(math.exp(-1)), math.log1p(math.e)
        expected = (9 * yes + (CELLS - 9) * no + 9 * no + (CELLS - 9) * yes) / CELLS
        found = loss(framed(torch.ones(1, 2, *SIZE)), everyone(person()))
        assert found == pytest.approx(expected)

    def test_gaussians_by_hand(self):
        goal = encode_gaussians(person()[:, 12:13], SIZE)
        expected = (math.log1p(math.e) - goal).mean().item()  # log(1 + e^z) - goal z
        found = loss(framed(torch.ones(1, 1, *SIZE)), everyone(person()), "gaussians")
        assert found == pytest.approx(expected)

    def test_gaussians_of_another_width(self):
        goal = encode_gaussians(person()[:, 12:13], SIZE, 2.0)
        expected = (math.log1p(math.e) - goal).mean()
        maps = framed(torch.ones(1, 1, *SIZE))
        found = framed_loss(maps, everyone(person()), STRIDE, LSP, "gaussians", 2.0)
        assert_close(found, expected)

    @BOTH
    def test_right_maps_cost_least(self, target):
        joints = person()
        right = encode_disks(joints, SIZE, torch.tensor([1.5]))
        if target == "gaussians":
            right = encode_gaussians(joints, SIZE)
        right = with_background(right)
        best = loss(framed(right.logit(eps=1e-6), tuple(range(14))), everyone(joints), target)
        for wrong in (right.roll(1, 2), right.roll(1, 3), right.roll(1, 1), 1 - right):
            maps = framed(wrong.logit(eps=1e-6), tuple(range(14)))
            assert loss(maps, everyone(joints), target) > best + 0.01

    def test_maps_are_summed_and_people_averaged(self):
        joints = torch.cat([person(), person() + 1, person() - 1])
        scores = torch.randn(3, 14, *SIZE)
        order = tuple(range(14))
        whole = loss(framed(scores, order), everyone(joints))
        parts = [
            loss(framed(scores[i : i + 1, k : k + 1], (k,)), everyone(joints[i : i + 1]))
            for i in range(3)
            for k in range(14)
        ]
        assert whole == pytest.approx(sum(parts) / 3, rel=1e-5)

    @BOTH
    def test_channels_follow_the_parts_joints(self, target):
        scores = torch.randn(1, 3, *SIZE)
        mixed = loss(framed(scores, (9, 2, 12)), everyone(person()), target)
        turned = loss(framed(scores[:, [2, 0, 1]], (12, 9, 2)), everyone(person()), target)
        assert mixed == pytest.approx(turned)

    @BOTH
    def test_unlabeled_joints_have_weight_zero(self, target):
        """'Joints without any annotation: their whole map gets weight 0'."""
        joints = person()
        joints[:, 12] = math.nan
        scores = torch.randn(1, 2, *SIZE, requires_grad=True)
        value = framed_loss(
            FramedMaps(scores, Rotation.none(scores), (12, 13)),
            everyone(joints),
            STRIDE,
            LSP,
            target,
        )
        value.backward()
        assert value.isfinite()
        assert not scores.grad[:, 0].any()
        assert scores.grad[:, 1].any()

    @BOTH
    def test_nobody_is_labeled(self, target):
        joints = torch.full((1, 14, 2), math.nan)
        scores = torch.zeros(1, 15, *SIZE)
        found = loss(framed(scores, tuple(range(14))), everyone(joints), target)
        assert found == pytest.approx(math.log(2))  # the background remains

    @pytest.mark.parametrize(
        ("cell", "counts"),
        [
            ((-0.4, 3.0), True),
            ((-0.6, 3.0), False),
            ((13.4, 3.0), True),
            ((13.6, 3.0), False),
            ((3.0, -0.6), False),
            ((3.0, 9.4), True),
            ((3.0, 9.6), False),
        ],
    )
    def test_joints_that_leave_the_canvas_are_masked(self, cell, counts):
        joints = person()
        joints[0, 12] = torch.tensor(cell)
        found = loss(framed(torch.zeros(1, 1, *SIZE)), everyone(joints))
        assert found == pytest.approx(math.log(2) if counts else 0)

    @pytest.mark.parametrize("background", [True, False])
    def test_hidden_joints_are_background(self, background):
        """'Occluded joints are background for the detector'."""
        joints = person()
        hidden = everyone(joints)._replace(drawn=torch.arange(14)[None] != 12)
        scores = torch.ones(1, 1 + background, *SIZE)
        yes, no = math.log1p(math.exp(-1)), math.log1p(math.e)
        assert loss(framed(scores), hidden) == pytest.approx(no + background * yes)

    @BOTH
    @given(turn=st.floats(-3.2, 3.2), target_x=st.floats(0, 13), target_y=st.floats(0, 9))
    def test_targets_are_drawn_in_the_frame(self, target, turn, target_x, target_y):
        """'Drawn in that frame from the transformed joints, not resampled'."""
        joints = person()
        there = Rotation(
            torch.tensor([[5.0, 4.0]]),
            torch.tensor([turn]),
            torch.tensor([[target_x, target_y]]),
        )
        moved = rotate_joints(joints, there)
        scores = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(0))
        here = loss(framed(scores, (12, 9, 2)), everyone(moved), target)
        assert loss(framed(scores, (12, 9, 2), there), everyone(joints), target) == pytest.approx(
            here, abs=0.05
        )


class TestTruth:
    """'Detector supervised on visible joints only; refinement on visible and occluded'."""

    STATE = torch.tensor([[State.ABSENT, State.OCCLUDED, State.VISIBLE]], dtype=torch.uint8)

    @pytest.mark.parametrize(
        ("visible_only", "drawn"), [(True, [False, False, True]), (False, [False, True, True])]
    )
    def test_who_is_drawn(self, visible_only, drawn):
        joints = torch.rand(1, 3, 2)
        found = truth(joints, self.STATE, visible_only=visible_only)
        assert found.drawn.tolist() == [drawn]
        assert torch.equal(found.joints, joints)
