"""'Jointly with rotation as a similarity transform' (SPEC 6.6): people come at one size."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uprightpose.errors import InputError
from uprightpose.frames import middle
from uprightpose.normalize import (
    SCALES,
    Rotation,
    body_scale,
    rotate_joints,
    rotate_maps,
)
from uprightpose.refine import BodyRefiner
from uprightpose.score_maps import decode, encode_gaussians, with_background
from uprightpose.skeletons import LSP

ANGLES = st.floats(-math.pi, math.pi)
SIZES = st.floats(0.5, 2)
PERSON = torch.tensor(
    [[16, 31], [17, 26], [17, 21], [22, 21], [23, 26], [21, 31], [12, 17], [14, 14], [16, 11],
     [23, 11], [26, 14], [28, 11], [19, 10], [20, 6]]
).double()[None]  # fmt: skip


def similarity(turn: float, scale: float, center=(9.0, 4.0), target=(3.0, 7.0)) -> Rotation:
    places = (torch.tensor([place], dtype=torch.float64) for place in (center, target))
    about, goal = places
    angle, size = (torch.tensor([value], dtype=torch.float64) for value in (turn, scale))
    return Rotation(about, angle, goal, size)


class TestJoints:
    """``x' = s R (x - c) + t``."""

    @given(turn=ANGLES, scale=SIZES)
    def test_lengths_are_scaled_and_angles_turned(self, turn, scale):
        joints = 30 * torch.rand(1, 2, 2, dtype=torch.float64)
        before, after = (one[0, 1] - one[0, 0] for one in (joints, self.moved(joints, turn, scale)))
        assert_close(after.norm(), scale * before.norm())
        cross = before[0] * after[1] - before[1] * after[0]
        assert_close(
            torch.atan2(cross, before @ after).sin(), torch.tensor(math.sin(turn)).double()
        )

    def moved(self, joints: torch.Tensor, turn: float, scale: float) -> torch.Tensor:
        return rotate_joints(joints, similarity(turn, scale))

    @given(turn=ANGLES, scale=SIZES)
    def test_round_trip(self, turn, scale):
        joints = 30 * torch.rand(1, 5, 2, dtype=torch.float64)
        there = similarity(turn, scale)
        for one, other in ((there, there.inverse()), (there.inverse(), there)):
            assert_close(rotate_joints(rotate_joints(joints, one), other), joints)
        assert_close(rotate_joints(joints, there.then(there.inverse())), joints)

    @given(first=SIZES, second=st.none() | SIZES, turn=ANGLES)
    def test_one_after_another_is_one(self, first, second, turn):
        joints = 30 * torch.rand(1, 5, 2, dtype=torch.float64)
        plain = Rotation.about(torch.ones(1, 2).double(), torch.tensor([turn]).double())
        other = plain if second is None else similarity(-turn, second, (1.0, 2.0))
        for a, b in ((similarity(0.4, first), other), (other, similarity(0.4, first))):
            assert_close(
                rotate_joints(joints, a.then(b)), rotate_joints(rotate_joints(joints, a), b)
            )

    def test_placed_and_scaled_keep_the_rest(self):
        joints = 30 * torch.rand(1, 5, 2, dtype=torch.float64)
        there = similarity(0.3, 1.6)
        shift = torch.tensor([2.0, -1.0], dtype=torch.float64)
        placed = there.placed((3.0 + 2.0, 7.0 - 1.0))
        assert_close(rotate_joints(joints, placed), rotate_joints(joints, there) + shift)
        again = similarity(0.3, 0.8).scaled(torch.tensor([2.0]).double())
        assert_close(rotate_joints(joints, again), rotate_joints(joints, there))

    def test_batches_join_and_exchange_each_with_its_own(self):
        joints = 30 * torch.rand(2, 5, 2, dtype=torch.float64)
        plain = Rotation.about(torch.ones(1, 2).double(), torch.tensor([0.7]).double())
        scaled = similarity(0.3, 1.6)
        both = Rotation.joined([plain, scaled])
        one, other = rotate_joints(joints[:1], plain), rotate_joints(joints[1:], scaled)
        assert_close(rotate_joints(joints, both), torch.cat([one, other]))
        chosen = torch.tensor([False, True])
        found = Rotation.joined([plain, plain]).exchanged(chosen, Rotation.joined([scaled, scaled]))
        assert_close(rotate_joints(joints, found), torch.cat([one, other]))
        assert Rotation.joined([plain, plain]).scale is None


class TestMaps:
    """'Points move as maps do.'"""

    @given(turn=ANGLES, scale=SIZES, x=st.floats(12, 19), y=st.floats(9, 14))
    def test_a_bump_follows_its_joint(self, turn, scale, x, y):
        joints = torch.tensor([[[x, y]]])
        there = similarity(turn, scale, (15.0, 11.0), (20.0, 17.0))
        there = Rotation(*(v.float() for v in (there.center, there.angle, there.target)))
        there = there.scaled(torch.tensor([scale]))
        moved = rotate_maps(encode_gaussians(joints, (24, 32), 1.5), there, (36, 42))
        goal = rotate_joints(joints, there)
        assert (decode(moved).joints - goal).abs().max() < 0.15
        drawn = encode_gaussians(goal, (36, 42), 1.5 * scale)
        assert (moved - drawn).abs().max() < 0.12  # a Gaussian grows with its picture

    def test_no_scale_and_scale_one_are_the_same_bits(self):
        maps = torch.rand(2, 3, 11, 14)
        plain = Rotation(8 * torch.rand(2, 2), torch.randn(2), 8 * torch.rand(2, 2))
        ones = plain.scaled(torch.ones(2))
        assert ones.scale is not None
        for background in (False, True):
            one, other = (
                rotate_maps(maps, turn, (9, 17), background=background) for turn in (plain, ones)
            )
            assert torch.equal(one, other)

    def test_outside_is_background(self):
        maps = with_background(torch.rand(1, 2, 8, 10))
        small = Rotation.none(maps).scaled(torch.tensor([0.5])).placed((20.0, 20.0))
        found = rotate_maps(maps, small, (40, 44), background=True)
        assert (found[:, -1, :10, :10] == 1).all()
        assert (found[:, :-1, :10, :10] == 0).all()


class TestBodyScale:
    """'A robust size (mean of bone lengths over their medians)'."""

    BONES = ((0, 1), (1, 2), (2, 3))

    @given(size=st.floats(0.55, 1.9))
    def test_everybody_comes_at_one_size(self, size):
        joints = 30 * torch.rand(1, 4, 2, dtype=torch.float64)
        lengths = [(joints[0, a] - joints[0, b]).norm().item() for a, b in self.BONES]
        found = body_scale(size * joints, torch.rand(1, 4).double() + 0.1, self.BONES, lengths)
        assert_close(found * size, torch.ones(1).double())

    def test_it_is_the_mean_over_bones(self):
        joints = torch.tensor([[[0.0, 0], [2, 0], [2, 6]]])
        found = body_scale(joints, torch.ones(1, 3), self.BONES[:2], [2.0, 4.0])
        assert_close(found, torch.tensor([1 / 1.25]))

    def test_bones_that_are_hardly_seen_hardly_count(self):
        joints = torch.tensor([[[0.0, 0], [2, 0], [2, 60]]])
        seen = torch.tensor([[0.9, 0.9, 1e-4]])
        assert body_scale(joints, seen, self.BONES[:2], [2.0, 4.0]).item() == pytest.approx(
            1, abs=0.01
        )

    @pytest.mark.parametrize(("length", "scale"), [(0.01, SCALES[1]), (90.0, SCALES[0])])
    def test_nobody_is_scaled_beyond_reason(self, length, scale):
        joints = torch.tensor([[[0.0, 0], [length, 0]]])
        assert body_scale(joints, torch.ones(1, 2), self.BONES[:1], [5.0]).item() == scale

    @pytest.mark.parametrize("score", [0.0, 0.049])
    def test_who_is_not_seen_stays(self, score):
        joints = torch.tensor([[[0.0, 0], [9.0, 0]], [[3.0, 3], [3.0, 3]]])
        scores = torch.tensor([[score, score], [1, 1]])
        assert body_scale(joints, scores, self.BONES[:1], [5.0]).tolist() == [1, 1]


class TestBodyRefiner:
    LENGTHS = tuple(float((PERSON[0, a] - PERSON[0, b]).norm()) for a, b in LSP.edges)

    def refiner(self, **options) -> BodyRefiner:
        return BodyRefiner(LSP, width=2, kernels=(3,), bone_lengths=self.LENGTHS, **options)

    @pytest.mark.parametrize("given_turn", [False, True])
    def test_large_and_small_people_look_alike_in_the_frame(self, given_turn):
        center = PERSON[:, list(LSP.torso)].mean(dim=1, keepdim=True)
        seen = []
        for scale in (0.8, 1.0, 1.25):
            joints = ((PERSON - center) * scale + 26).float()
            maps = with_background(encode_gaussians(joints, (52, 54), 1.5))
            turn = Rotation.about(torch.full((1, 2), 26.0), torch.zeros(1)) if given_turn else None
            turned, rotation = self.refiner().upright(maps, turn)
            found = rotate_joints(joints, rotation)
            assert (decode(turned[:, :14]).joints - found).abs().max() < 0.3
            assert (
                found[:, list(LSP.torso)].mean(dim=1)
                - torch.tensor(middle((turned.shape[-2], turned.shape[-1])))
            ).abs().max() < 0.3
            seen.append(found)
        assert (seen[0] - seen[1]).abs().max() < 0.4
        assert (seen[2] - seen[1]).abs().max() < 0.4

    def test_refined_joints_come_back_to_where_they_are(self):
        joints = ((PERSON - PERSON.mean(dim=1, keepdim=True)) * 0.7 + 20).float()
        maps = with_background(encode_gaussians(joints, (40, 44), 1.5))
        refiner = self.refiner(residual=True)
        with torch.no_grad():
            for value in refiner.net.layers.parameters():
                value.mul_(1e-3)
        assert (refiner.refine(maps).decode().joints - joints).abs().max() < 0.5

    def test_stored_weights_are_the_same(self):
        plain = BodyRefiner(LSP, width=2, kernels=(3,))
        assert plain.state_dict().keys() == self.refiner().state_dict().keys()

    @pytest.mark.parametrize(
        "lengths", [[1.0] * 3, [1.0] * (len(LSP.edges) - 1) + [0.0], [math.nan] * len(LSP.edges)]
    )
    def test_lengths_are_one_above_0_for_each_edge(self, lengths):
        with pytest.raises(InputError, match=f"expected {len(LSP.edges)} bone_lengths above 0"):
            BodyRefiner(LSP, width=2, kernels=(3,), bone_lengths=lengths)
