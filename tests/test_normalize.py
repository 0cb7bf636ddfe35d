"""Turns of joints and score maps: exact for joints, within a tenth of a cell for maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch.testing import assert_close

from uprightpose.normalize import (
    MIN_LENGTH,
    MIN_SCORE,
    Rotation,
    body_rotation,
    limb_rotation,
    rotate_joints,
    rotate_maps,
)
from uprightpose.score_maps import decode, encode_gaussians
from uprightpose.skeletons import COCO, LSP, Limb

ANGLES = st.floats(-math.pi, math.pi)
PLACES = st.tuples(st.floats(-40, 40), st.floats(-40, 40))
TORSO, NECK = (0, 1, 2, 3), (4,)
STANDING = torch.tensor([[[8.0, 5], [4, 5], [7, 11], [5, 11], [6, 3]]])
LIMB = Limb("left arm", root=2, middle=0, end=1)


def rotation(angle: float, center, target=None, dtype=torch.float64) -> Rotation:
    place = torch.tensor([center], dtype=dtype)
    goal = None if target is None else torch.tensor([target], dtype=dtype)
    return Rotation.about(place, torch.tensor([angle], dtype=dtype), goal)


def random_poses(count: int, dtype=torch.float64) -> torch.Tensor:
    return 40 * torch.rand(count, 5, 2, dtype=dtype)


def wrapped(angle: torch.Tensor) -> torch.Tensor:
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def mirrored(joints: torch.Tensor, width: float = 40) -> torch.Tensor:
    return torch.stack([width - joints[..., 0], joints[..., 1]], dim=-1)


class TestBodyRotation:
    """'...so that the line from the center to the neck joint is upright' (Sec. 3.2)."""

    @given(turn=ANGLES)
    def test_neck_ends_straight_above_center(self, turn):
        tilted = rotate_joints(STANDING, rotation(turn, (9.0, 2.0), dtype=torch.float32))
        upright = body_rotation(tilted, TORSO, NECK)
        neck = rotate_joints(tilted, upright)[:, 4]
        assert_close(neck[:, 0], upright.center[:, 0], atol=1e-4, rtol=0)
        assert (neck[:, 1] < upright.center[:, 1]).all()  # y points down

    def test_length_is_kept_and_the_angle_is_the_papers_up_to_its_sign(self):
        """'R(theta) v = |v| e_up, |theta| = arccos' (SPEC 1.8)."""
        joints = random_poses(200)
        v = joints[:, 4] - joints[:, :4].mean(dim=1)
        found = body_rotation(joints, TORSO, NECK)
        turned = rotate_joints(joints, found)[:, 4] - found.target
        assert_close(turned, v.norm(dim=1)[:, None] * torch.tensor([[0.0, -1.0]]).double())
        assert_close(found.angle.abs(), torch.arccos(-v[:, 1] / v.norm(dim=1)))
        assert torch.equal(found.angle.sign(), -v[:, 0].sign())

    def test_mirrored_pose_turns_the_other_way(self):
        joints = random_poses(50)
        angle = body_rotation(joints, TORSO, NECK).angle
        assert_close(body_rotation(mirrored(joints), TORSO, NECK).angle, -angle)

    @given(turn=ANGLES, center=PLACES)
    def test_turning_the_input_turns_the_angle_back(self, turn, center):
        joints = random_poses(5)
        turned = rotate_joints(joints, rotation(turn, center))
        before = body_rotation(joints, TORSO, NECK)
        after = body_rotation(turned, TORSO, NECK)
        assert_close(wrapped(after.angle + turn - before.angle), torch.zeros(5).double())
        centers = rotate_joints(before.center[:, None], rotation(turn, center))[:, 0]
        assert_close(after.center, centers)

    def test_it_turns_in_place(self):
        found = body_rotation(random_poses(3), TORSO, NECK)
        assert torch.equal(found.center, found.target)

    def test_several_necks_are_averaged(self):
        """COCO has no neck: the shoulders' middle stands for it."""
        joints = torch.full((1, 17, 2), math.nan)
        joints[0, list(COCO.torso)] = torch.tensor([[9.0, 4], [9, 8], [2, 5], [2, 7]])
        found = body_rotation(joints, COCO.torso, COCO.neck)
        assert_close(found.angle, torch.tensor([-math.pi / 2]))

    @pytest.mark.parametrize("joint", range(5))
    def test_missing_joints_turn_nothing(self, joint):
        joints = torch.cat([STANDING, STANDING.flip(2)])
        joints[0, joint] = math.nan
        for otherwise, center in ((None, None), ((7.0, 3.0), [7.0, 3.0])):
            found = body_rotation(joints, TORSO, NECK, otherwise=otherwise)
            assert found.angle[0] == 0
            assert found.angle[1] != 0
            assert found.center.isfinite().all()
            if center:
                assert found.center[0].tolist() == center
                assert found.center[1].tolist() != center

    @pytest.mark.parametrize("joint", range(5))
    def test_weak_maps_support_no_angle(self, joint):
        """'any of the five torso maps with peak < 0.05: identity rotation' (SPEC 1.8)."""
        lying = STANDING.flip(2).repeat(2, 1, 1)
        scores = torch.full((2, 5), 0.9)
        scores[0, joint], scores[1, joint] = MIN_SCORE - 0.01, MIN_SCORE + 0.01
        found = body_rotation(lying, TORSO, NECK, scores)
        assert found.angle[0] == 0
        assert found.angle[1].abs() > 1

    def test_weak_limbs_do_not_matter(self):
        joints = torch.cat([STANDING.flip(2), torch.zeros(1, 2, 2)], dim=1)
        scores = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.9, 0.0, math.nan]])
        assert body_rotation(joints, TORSO, NECK, scores).angle.abs() > 1

    @pytest.mark.parametrize(("length", "turns"), [(0.0, False), (0.49, False), (0.51, True)])
    def test_short_axis_has_no_direction(self, length, turns):
        joints = torch.tensor([[[4.0, 4], [8, 4], [4, 8], [8, 8], [6 + length, 6]]])
        assert (MIN_LENGTH, bool(body_rotation(joints, TORSO, NECK).angle)) == (0.5, turns)

    def test_coincident_joints(self):
        found = body_rotation(torch.full((2, 5, 2), 3.0), TORSO, NECK)
        assert torch.equal(found.angle, torch.zeros(2))
        assert torch.equal(found.center, torch.full((2, 2), 3.0))

    def test_never_nan(self):
        joints = random_poses(500)
        joints[torch.rand(500, 5) < 0.2] = math.nan
        joints[:20] = math.nan
        for otherwise in (None, (1.0, 2.0)):
            found = body_rotation(joints, TORSO, NECK, torch.rand(500, 5), otherwise)
            assert found.angle.isfinite().all()
            assert found.center.isfinite().all()
            assert found.target.isfinite().all()

    @pytest.mark.parametrize("torso", [(0, 1, 2), (0, 1, 2, 3, 4)])
    def test_torso_is_four_joints(self, torso):
        with pytest.raises(ValueError, match="four torso joints"):
            body_rotation(STANDING, torso, NECK)


class TestLimbRotation:
    """'Rotate about the root so that root->middle points down' (SPEC 1.8)."""

    @given(turn=ANGLES, center=PLACES)
    def test_middle_hangs_straight_below_the_root(self, turn, center):
        joints = rotate_joints(random_poses(4), rotation(turn, center))
        found = limb_rotation(joints, LIMB)
        hanging = rotate_joints(joints, found)
        length = (joints[:, 0] - joints[:, 2]).norm(dim=1)
        assert_close(hanging[:, 2], joints[:, 2])
        assert_close(hanging[:, 0] - hanging[:, 2], length[:, None] * torch.tensor([[0.0, 1]]))

    def test_mirrored_limb_turns_the_other_way(self):
        joints = random_poses(50)
        angle = limb_rotation(joints, LIMB).angle
        assert_close(limb_rotation(mirrored(joints), LIMB).angle, -angle)

    def test_the_end_does_not_matter(self):
        joints = random_poses(3)
        joints[:, LIMB.end] = math.nan
        assert limb_rotation(joints, LIMB).angle.all()

    @pytest.mark.parametrize(("length", "turns"), [(0.0, False), (0.49, False), (0.51, True)])
    def test_short_limb_has_no_direction(self, length, turns):
        joints = torch.tensor([[[5 + length, 7.0], [0, 0], [5, 7]]])
        assert bool(limb_rotation(joints, LIMB).angle) == turns

    def test_missing_root_takes_the_other_center(self):
        joints = random_poses(2)
        joints[0, LIMB.root] = math.nan
        joints[1, LIMB.middle] = math.nan
        found = limb_rotation(joints, LIMB, otherwise=(5.0, 6.0))
        assert found.angle.tolist() == [0, 0]
        assert found.center[0].tolist() == [5, 6]
        assert torch.equal(found.center[1], joints[1, LIMB.root])

    def test_never_nan(self):
        joints = random_poses(500)
        joints[torch.rand(500, 5) < 0.3] = math.nan
        found = limb_rotation(joints, LIMB)
        assert found.angle.isfinite().all()
        assert found.center.isfinite().all()


class TestRotation:
    """'x' = R(theta)(x-c)+c' (Eq. 1), 'inverse normalizations rotate back' (SPEC 1.12)."""

    @given(turn=ANGLES, center=PLACES, target=PLACES)
    def test_round_trip_of_joints(self, turn, center, target):
        joints = random_poses(1)
        there = rotation(turn, center, target)
        back = rotate_joints(rotate_joints(joints, there), there.inverse())
        assert (back - joints).abs().max() < 1e-9

    @given(first=ANGLES, second=ANGLES, center=PLACES, target=PLACES, about=PLACES)
    def test_one_turn_after_another_is_one_turn(self, first, second, center, target, about):
        joints = random_poses(1)
        body, limb = rotation(first, center, target), rotation(second, about, (3.0, 5.0))
        both = rotate_joints(joints, body.then(limb))
        assert (both - rotate_joints(rotate_joints(joints, body), limb)).abs().max() < 1e-9

    def test_a_quarter_turn_is_clockwise_as_displayed(self):
        found = rotate_joints(torch.tensor([[[3.0, 1.0]]]), rotation(math.pi / 2, (1.0, 1.0)))
        assert_close(found, torch.tensor([[[1.0, 3.0]]]).double())  # right goes down

    def test_placed_keeps_the_turn(self):
        turn = body_rotation(random_poses(3), TORSO, NECK)
        placed = turn.placed((5.0, 9.0))
        moved = rotate_joints(turn.center[:, None], placed)
        assert_close(moved, torch.tensor([5.0, 9.0]).double().expand(3, 1, 2))
        assert torch.equal(placed.angle, turn.angle)

    def test_none_moves_nothing(self):
        joints = random_poses(3)
        assert torch.equal(rotate_joints(joints, Rotation.none(joints)), joints)

    def test_nan_joints_stay_nan_and_alone(self):
        joints = random_poses(1)
        joints[0, 2] = math.nan
        moved = rotate_joints(joints, rotation(1.0, (2.0, 3.0)))
        assert moved.isnan().any(dim=2).tolist() == [[False, False, True, False, False]]


class TestRotateMaps:
    """'Rotating the score maps': maps turn with their joints, by one bilinear resampling."""

    @given(
        turn=ANGLES,
        x=st.floats(4, 27),
        y=st.floats(4, 19),
        center=st.tuples(st.floats(0, 31), st.floats(0, 23)),
        canvas=st.sampled_from([(24, 32), (30, 40), (36, 48), (18, 33)]),
        part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    )
    def test_a_bump_follows_its_joint(self, turn, x, y, center, canvas, part):
        joints = torch.tensor([[[x, y]]])
        height, width = canvas
        goal = [5 + part[0] * (width - 11), 5 + part[1] * (height - 11)]
        in_place = rotation(turn, center, dtype=torch.float32)
        shift = torch.tensor([goal]) - rotate_joints(joints, in_place)[:, 0]
        there = Rotation.about(in_place.center, in_place.angle, in_place.center + shift)
        maps = encode_gaussians(joints, (24, 32))
        turned = rotate_maps(maps, there, canvas)
        assert turned.shape == (1, 1, height, width)
        found = decode(turned).joints
        assert (found - rotate_joints(joints, there)).abs().max() < 0.1
        # ... and back, by the inverse
        back = decode(rotate_maps(turned, there.inverse(), (24, 32))).joints
        assert (back - joints).abs().max() < 0.1

    @pytest.mark.parametrize("size", [(24, 32), (7, 4), (5, 5)])
    def test_a_quarter_turn_is_rot90(self, size):
        height, width = size
        maps = torch.rand(2, 3, height, width)
        quarter = Rotation.about(
            torch.tensor([[(width - 1) / 2, (height - 1) / 2]] * 2),
            torch.full((2,), math.pi / 2),
            torch.tensor([[(height - 1) / 2, (width - 1) / 2]] * 2),
        )
        turned = rotate_maps(maps, quarter, (width, height))
        assert_close(turned, torch.rot90(maps, -1, (2, 3)), atol=1e-5, rtol=0)  # clockwise

    @pytest.mark.parametrize("background", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    @pytest.mark.parametrize("size", [(6, 9), (8, 16), (1, 3), (54, 66), (97, 131)])
    def test_identity_returns_the_same_bits(self, background, dtype, size):
        maps = torch.rand(2, 3, *size).to(dtype)
        for turn in (
            Rotation.none(maps),
            Rotation.about(torch.tensor([[2.3, 1.7], [8.1, -3.3]]), torch.zeros(2)),
        ):
            assert torch.equal(rotate_maps(maps, turn, background=background), maps)

    def test_whole_cells_shift_without_change(self):
        maps = torch.rand(1, 2, 5, 6)
        shift = Rotation.about(torch.zeros(1, 2), torch.zeros(1), torch.tensor([[3.0, 1.0]]))
        moved = rotate_maps(maps, shift, (7, 11))
        assert torch.equal(moved[:, :, 1:6, 3:9], maps)
        assert moved.sum().isclose(maps.sum())

    def test_outside_is_background(self):
        """'Outside the input: 0 for joints, 1 for background' (SPEC 1.8)."""
        maps = torch.full((2, 3, 4, 6), 0.5)
        away = Rotation.about(torch.zeros(2, 2), torch.ones(2), torch.full((2, 2), 500.0))
        outside = rotate_maps(maps, away, (5, 8), background=True)
        assert torch.equal(outside[:, :2], torch.zeros(2, 2, 5, 8))
        assert torch.equal(outside[:, 2], torch.ones(2, 5, 8))
        assert not rotate_maps(maps, away, (5, 8)).any()

    @given(turn=ANGLES, center=PLACES, target=PLACES)
    def test_a_covering_background_covers_all(self, turn, center, target):
        maps = torch.cat([torch.zeros(1, 2, 5, 7), torch.ones(1, 1, 5, 7)], dim=1)
        there = rotation(turn, center, target, dtype=torch.float32)
        turned = rotate_maps(maps, there, (6, 9), background=True)
        assert_close(turned[:, 2], torch.ones(1, 6, 9))

    @given(turn=ANGLES, center=PLACES, target=PLACES)
    def test_scipy_agrees(self, turn, center, target):
        maps = torch.rand(1, 2, 8, 11, dtype=torch.float64)
        there = rotation(turn, center, target)
        found = rotate_maps(maps, there, (9, 7), background=True)[0]
        y, x = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
        cells = torch.stack([x, y], dim=-1).double().view(1, -1, 2)
        source = rotate_joints(cells, there.inverse())[0].numpy()
        for channel, outside in enumerate((0.0, 1.0)):
            expected = map_coordinates(
                maps[0, channel].numpy(),
                [source[:, 1], source[:, 0]],
                order=1,
                mode="grid-constant",
                cval=outside,
            )
            np.testing.assert_allclose(found[channel].flatten(), expected, atol=1e-9)

    @given(turn=ANGLES)
    def test_a_gaussian_is_the_gaussian_of_the_turned_joint(self, turn):
        sigma = 2.5
        joints = torch.tensor([[[18.2, 13.6]]])
        there = rotation(turn, (15.0, 12.0), (20.0, 15.0), dtype=torch.float32)
        turned = rotate_maps(encode_gaussians(joints, (24, 32), sigma), there, (30, 40))
        expected = encode_gaussians(rotate_joints(joints, there), (30, 40), sigma)
        # bilinear error is at most h^2 / 8 (|f_xx| + |f_yy|) = 1 / (4 sigma^2)
        assert (turned - expected).abs().max() < 1 / (4 * sigma**2)
        assert abs(turned.sum() / expected.sum() - 1) < 0.01
        assert turned.max() > 0.93

    def test_each_picture_turns_by_its_own(self):
        maps = torch.rand(3, 2, 6, 8)
        turn = Rotation.about(8 * torch.rand(3, 2), torch.tensor([0.3, -1.0, 2.5]))
        together = rotate_maps(maps, turn)
        for i in range(3):
            alone = Rotation.about(turn.center[i : i + 1], turn.angle[i : i + 1])
            assert_close(rotate_maps(maps[i : i + 1], alone), together[i : i + 1])

    def test_several_batches_turn_as_one(self):
        maps = torch.rand(4, 2, 6, 8)
        turns = [
            Rotation(8 * torch.rand(n, 2), torch.randn(n), 8 * torch.rand(n, 2)) for n in (1, 3)
        ]
        together = rotate_maps(maps, Rotation.joined(turns), (5, 9))
        alone = [rotate_maps(maps[:1], turns[0], (5, 9)), rotate_maps(maps[1:], turns[1], (5, 9))]
        assert_close(together, torch.cat(alone))

    def test_maps_of_any_layout(self):
        maps, turn = torch.rand(2, 5, 6, 9), rotation(0.7, (3.0, 2.0), dtype=torch.float32)
        turn = Rotation.joined([turn, turn.inverse()])
        expected = rotate_maps(maps, turn, (7, 8), background=True)
        last = maps.contiguous(memory_format=torch.channels_last)
        spread = torch.rand(2, 10, 6, 9)[:, ::2].copy_(maps)
        for one in (last, spread):
            assert_close(rotate_maps(one, turn, (7, 8), background=True), expected)

    def test_under_autocast_places_stay_exact(self):
        maps, turn = torch.rand(1, 3, 12, 17), rotation(0.7, (3.0, 2.0), dtype=torch.float32)
        expected = rotate_maps(maps, turn, (13, 9), background=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(rotate_maps(maps, turn, (13, 9), background=True), expected)

    def test_no_picture_at_all(self):
        maps = torch.rand(0, 3, 4, 5)
        assert rotate_maps(maps, Rotation.none(maps), (6, 7)).shape == (0, 3, 6, 7)

    def test_half_precision_maps_keep_exact_places(self):
        """A detector under autocast gives bfloat16 maps; their places stay float32."""
        maps = torch.rand(1, 2, 12, 16).bfloat16()
        there = rotation(0.7, (7.3, 5.1), dtype=torch.float32)
        turned = rotate_maps(maps, there)
        assert turned.dtype == torch.bfloat16
        assert_close(turned.float(), rotate_maps(maps.float(), there), atol=0.02, rtol=0)

    @given(turn=ANGLES)
    def test_gradient_of_the_values(self, turn):
        maps = torch.rand(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
        angle = torch.tensor([turn, -0.4], dtype=torch.float64)
        there = Rotation.about(torch.tensor([[1.3, 0.8], [2.0, 1.1]]).double(), angle)
        assert torch.autograd.gradcheck(
            lambda m: rotate_maps(m, there, (4, 5), background=True), maps, fast_mode=True
        )

    def test_angle_and_center_are_constants(self):
        """'It does not flow through theta, c, phi, root (argmax)' (SPEC 1.13)."""
        maps = torch.rand(1, 2, 6, 8, requires_grad=True)
        angle = torch.tensor([0.3], requires_grad=True)
        center = torch.tensor([[3.0, 2.0]], requires_grad=True)
        target = torch.tensor([[4.0, 2.5]], requires_grad=True)
        rotate_maps(maps, Rotation(center, angle, target)).sum().backward()
        assert maps.grad is not None
        assert angle.grad is None
        assert center.grad is None
        assert target.grad is None

    def test_joints_that_need_gradients_give_constant_turns(self):
        joints = random_poses(2).requires_grad_()
        assert not body_rotation(joints, TORSO, NECK).angle.requires_grad
        assert not limb_rotation(joints, LIMB).angle.requires_grad

    def test_the_callers_maps_are_left_alone(self):
        maps = torch.rand(1, 2, 6, 8)
        before = maps.clone()
        rotate_maps(maps, rotation(0.3, (2.0, 2.0), dtype=torch.float32), background=True)
        assert torch.equal(maps, before)


class TestSpread:
    """'The spread of wrists about shoulders shrinks' when limbs hang (paper, Fig. 4)."""

    def test_elbows_come_together(self):
        joints = torch.full((200, 14, 2), 10.0)
        limb = LSP.limbs[0]
        angle = 2 * math.pi * torch.rand(200)
        joints[:, limb.middle] += 5 * torch.stack([angle.sin(), angle.cos()], dim=1)
        found = rotate_joints(joints, limb_rotation(joints, limb))[:, limb.middle]
        assert joints[:, limb.middle].std(dim=0).min() > 2
        assert found.std(dim=0).max() < 1e-4
