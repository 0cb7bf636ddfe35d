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
from uprightpose.score_maps import (
    encode_disks,
    encode_gaussians,
    encode_labels,
    with_background,
)
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


def framed(scores: torch.Tensor, joints=(12,), rotation=None, mapping="sigmoid") -> FramedMaps:
    return FramedMaps(scores, rotation or Rotation.none(scores), joints, mapping)


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
        found = framed_loss(maps, everyone(person()), STRIDE, LSP, "gaussians", sigma=2.0)
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


class TestSoftmax:
    """'FCN softmax is single-label: in overlaps the nearest joint wins' (SPEC 1.15)."""

    ORDER = tuple(range(14))

    def spread(self) -> torch.Tensor:
        """Joints in cells: neck and head two cells apart, the others on the left."""
        joints = torch.zeros(1, 14, 2) + torch.tensor([1.0, 1.0])
        joints[0, 9], joints[0, 2] = torch.tensor([2.0, 1.0]), torch.tensor([8.0, 9.0])
        joints[0, 12], joints[0, 13] = torch.tensor([9.0, 4.0]), torch.tensor([11.0, 4.0])
        return joints

    def loss(self, scores: torch.Tensor, goal: Truth, target="disks") -> torch.Tensor:
        maps = framed(scores, self.ORDER, mapping="softmax")
        return framed_loss(maps, goal, STRIDE, LSP, target)

    def label_of(self, cell: tuple[int, int], goal: Truth) -> int | None:
        """Return the class that a cell is taught, by the loss's gradient; None for none."""
        scores = torch.zeros(1, 15, *SIZE, requires_grad=True)
        self.loss(scores, goal).backward()
        gradient = scores.grad[0, :, cell[1], cell[0]]
        assert (gradient < 0).sum() == (1 if gradient.any() else 0)
        return int(gradient.argmin()) if gradient.any() else None

    def test_equal_scores_cost_the_logarithm_of_the_classes(self):
        found = self.loss(torch.zeros(1, 15, *SIZE), everyone(self.spread()))
        assert found.item() == pytest.approx(math.log(15))

    def test_by_hand(self):
        """Mean over cells: 1 for the true class of every cell costs log(1 + 14/e)."""
        labels = encode_labels(self.spread(), SIZE, torch.tensor([1.5]))
        scores = torch.nn.functional.one_hot(labels, 15).permute(0, 3, 1, 2).float()
        goal = everyone(self.spread())
        assert self.loss(scores, goal).item() == pytest.approx(math.log(1 + 14 / math.e))
        assert self.loss(scores, goal, "gaussians") == self.loss(scores, goal)  # always disks

    @pytest.mark.parametrize(
        ("cell", "label"),
        [((9, 4), 12), ((8, 3), 12), ((11, 4), 13), ((12, 5), 13), ((9, 6), 14), ((13, 9), 14)],
    )
    def test_disks_of_one_and_a_half_cells(self, cell, label):
        assert self.label_of(cell, everyone(self.spread())) == label

    @pytest.mark.parametrize(("nearer", "label"), [(0.25, 12), (-0.25, 13)])
    def test_in_overlaps_the_nearest_joint_wins(self, nearer, label):
        joints = self.spread()
        joints[0, 12:, 0] += nearer  # the cell between: 10
        assert self.label_of((10, 4), everyone(joints)) == label

    @pytest.mark.parametrize(
        ("occluded", "alone", "shared"), [("drawn", 13, 12), ("background", 14, 12),
                                          ("ignored", None, 12)]
    )  # fmt: skip
    def test_occluded_joints(self, occluded, alone, shared):
        """'Occluded joints are background for the detector; option ignore'."""
        state = torch.full((1, 14), int(State.VISIBLE), dtype=torch.uint8)
        state[0, 13] = State.OCCLUDED
        goal = truth(pixels(self.spread()), state, occluded)
        assert self.label_of((12, 4), goal) == alone
        assert self.label_of((10, 4), goal) == shared  # within both disks; a tie goes to 12
        assert self.label_of((9, 4), goal) == 12
        assert self.label_of((5, 4), goal) == 14

    def test_only_what_counts_is_averaged(self):
        state = torch.full((1, 14), int(State.VISIBLE), dtype=torch.uint8)
        state[0, 13] = State.OCCLUDED
        goal = truth(pixels(self.spread()), state, "ignored")
        assert self.loss(torch.zeros(1, 15, *SIZE), goal).item() == pytest.approx(math.log(15))

    def test_nothing_is_known(self):
        """A disk that covers every cell and is ignored: no loss, not NaN."""
        joints = 100 * (person() - 6) + 6  # a reference length that reaches beyond the maps
        joints[0, 12] = torch.tensor([6.0, 4.0])
        state = torch.full((1, 14), int(State.OCCLUDED), dtype=torch.uint8)
        goal = truth(pixels(joints), state, "ignored")
        scores = torch.zeros(1, 15, *SIZE, requires_grad=True)
        found = self.loss(scores, goal)
        found.backward()
        assert found.item() == 0
        assert not scores.grad.any()

    def test_absent_joints_are_background(self):
        """'A softmax cannot leave out one class, so their pixels stay background'."""
        joints = self.spread()
        joints[0, 13] = math.nan
        for occluded in ("drawn", "background", "ignored"):
            state = torch.full((1, 14), int(State.VISIBLE), dtype=torch.uint8)
            state[0, 13] = State.ABSENT
            assert self.label_of((12, 4), truth(pixels(joints), state, occluded)) == 14

    def test_joints_outside_are_nowhere(self):
        joints = self.spread()
        joints[0, 13] = torch.tensor([13.6, 4.0])
        assert self.label_of((13, 4), everyone(joints)) == 14


class TestSquared:
    """'Hourglass: MSE on 2-D Gaussians of peak 1'; 'nothing' maps its scores (SPEC 1.5, 1.6)."""

    def loss(self, scores: torch.Tensor, mapping: str, **options) -> float:
        maps = framed(scores, mapping=mapping)
        goal = options.pop("goal", None) or everyone(person())
        return framed_loss(maps, goal, STRIDE, LSP, "gaussians", loss="squared", **options).item()

    def test_of_the_scores_as_they_are(self):
        """Also beyond [0, 1], where what they map to stands still."""
        goal = encode_gaussians(person()[:, 12:13], SIZE)
        for level in (0.3, -2.0, 3.0):
            expected = (level - goal).square().mean().item()
            found = self.loss(torch.full((1, 1, *SIZE), level), "clip")
            assert found == pytest.approx(expected), level

    def test_of_the_mapped_scores(self):
        """'p = 1/(1+exp(-(w x + b)))': refinement behind an hourglass."""
        goal = encode_gaussians(person()[:, 12:13], SIZE, 1.5)
        for level in (0.3, -2.0):
            expected = (1 / (1 + math.exp(-level)) - goal).square().mean().item()
            found = self.loss(torch.full((1, 1, *SIZE), level), "sigmoid", sigma=1.5)
            assert found == pytest.approx(expected), level

    def test_clipped_scores_still_learn(self):
        scores = torch.full((1, 1, *SIZE), -2.0, requires_grad=True)
        maps = framed(scores, mapping="clip")
        framed_loss(maps, everyone(person()), STRIDE, LSP, "gaussians", loss="squared").backward()
        assert (scores.grad < 0).all()

    @pytest.mark.parametrize("mapping", ["clip", "sigmoid"])
    def test_unlabeled_joints_have_weight_zero(self, mapping):
        """'In sigmoid and MSE losses their whole map gets weight 0'."""
        joints = person()
        joints[:, 12] = math.nan
        assert self.loss(torch.randn(1, 1, *SIZE), mapping, goal=everyone(joints)) == 0


class TestOccluded:
    """'Occluded joints are background for the detector [option ignore]'; refinement learns
    'visible and occluded' ones (SPEC 1.15)."""

    @pytest.mark.parametrize("mapping", ["sigmoid", "clip"])
    @pytest.mark.parametrize("occluded", ["drawn", "background", "ignored"])
    def test_of_maps_per_joint(self, mapping, occluded):
        state = torch.full((1, 14), int(State.VISIBLE), dtype=torch.uint8)
        state[0, 12] = State.OCCLUDED
        scores = torch.randn(1, 1, *SIZE)
        drawn = encode_gaussians(person()[:, 12:13], SIZE)
        target = {"drawn": drawn, "background": 0 * drawn, "ignored": drawn}[occluded]
        values = scores.sigmoid() if mapping == "sigmoid" else scores
        expected = 0 if occluded == "ignored" else (values - target).square().mean().item()
        goal = truth(pixels(person()), state, occluded)
        maps = framed(scores, mapping=mapping)
        found = framed_loss(maps, goal, STRIDE, LSP, "gaussians", loss="squared")
        assert found.item() == pytest.approx(expected)


class TestTypes:
    """'A person of type t supervises only its K maps as positives; the other 2K targets are
    zero; background shared' (SPEC 1.14)."""

    ORDER = tuple(range(14)) * 3

    def goals(self, types: list[int], background: bool = True) -> torch.Tensor:
        """Return the targets that zero logits are pulled to, by the gradient; NaN for none."""
        joints = person().repeat(len(types), 1, 1)
        joints[:, 13] = math.nan
        goal = everyone(joints)._replace(types=torch.tensor(types))
        channels = 42 + background
        scores = torch.zeros(len(types), channels, *SIZE, requires_grad=True)
        framed_loss(framed(scores, self.ORDER), goal, STRIDE, LSP, "disks").backward()
        target = 0.5 - scores.grad * CELLS * len(types)  # sigmoid(0) - target
        target[(scores.grad == 0).all(dim=3).all(dim=2)] = math.nan
        return target.round(decimals=4)

    @pytest.mark.parametrize("background", [True, False])
    def test_only_the_own_set_has_positives(self, background):
        types = [2, 0, 1]
        for own, target in zip(types, self.goals(types, background), strict=True):
            disks = encode_disks(person()[0:1], SIZE, torch.tensor([1.5]))[0]
            for kind in range(3):
                found = target[14 * kind : 14 * kind + 13]
                assert_close(found, disks[:13] if kind == own else torch.zeros_like(found))
            if background:
                assert_close(target[42], 1 - disks[:13].amax(dim=0))

    def test_absent_joints_are_masked_in_every_set(self):
        target = self.goals([1, 1])
        assert target[:, [13, 27, 41]].isnan().all()
        assert not target[:, :13].isnan().any()

    def test_one_set_serves_every_type(self):
        """Each type of the multi-branch baseline has a network of its own."""
        goal = everyone(person())
        scores = torch.randn(1, 15, *SIZE)
        plain = loss(framed(scores, tuple(range(14))), goal)
        for kind in range(3):
            typed = goal._replace(types=torch.tensor([kind]))
            assert loss(framed(scores, tuple(range(14))), typed) == plain


class TestTruth:
    """'Detector supervised on visible joints only; refinement on visible and occluded'."""

    STATE = torch.tensor([[State.ABSENT, State.OCCLUDED, State.VISIBLE]], dtype=torch.uint8)

    @pytest.mark.parametrize(
        ("occluded", "drawn", "counted"),
        [
            ("background", [False, False, True], [False, True, True]),
            ("ignored", [False, False, True], [False, False, True]),
            ("drawn", [False, True, True], [False, True, True]),
        ],
    )
    def test_who_is_drawn_and_who_counts(self, occluded, drawn, counted):
        joints, types = torch.rand(1, 3, 2), torch.tensor([1])
        found = truth(joints, self.STATE, occluded, types)
        assert (found.drawn.tolist(), found.counted.tolist()) == ([drawn], [counted])
        assert torch.equal(found.joints, joints)
        assert found.types is types
        assert truth(joints, self.STATE, occluded).types is None
