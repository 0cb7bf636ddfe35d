"""'Soft-argmax of the blurred maps gives p; theta = atan2(...)'; 'let it flow' (SPEC 6.4)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uprightpose.errors import InputError
from uprightpose.framed import FramedMaps
from uprightpose.losses import Truth, framed_loss
from uprightpose.normalize import MIN_LENGTH, Rotation, limb_angle, limb_rotation, rotate_maps
from uprightpose.refine import LimbRefiner
from uprightpose.score_maps import decode, encode_gaussians, soft_positions, with_background
from uprightpose.skeletons import LSP, Limb

ANGLES = st.floats(-math.pi, math.pi)
LIMB = Limb("left arm", root=2, middle=0, end=1)
PLACES = st.tuples(st.floats(6, 25), st.floats(6, 17))


class TestSoftPositions:
    @given(place=PLACES, height=st.floats(0.1, 1))
    def test_a_bump_is_where_it_is_whatever_its_height(self, place, height):
        maps = height * encode_gaussians(torch.tensor([[place]]), (24, 32), 1.5)
        assert (soft_positions(maps) - torch.tensor([[place]])).abs().max() < 0.01

    def test_the_sharper_the_nearer_to_the_highest_peak(self):
        both = encode_gaussians(torch.tensor([[[6.0, 8], [24.0, 15]]]), (24, 32), 1.5)
        maps = both[:, :1] + 0.6 * both[:, 1:]
        errors = [
            (soft_positions(maps, sharpness=power) - decode(maps).joints).norm().item()
            for power in (1.0, 2.0, 4.0, 16.0)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.1

    @pytest.mark.parametrize("sigma", [0.0, 1.0])
    def test_gradient(self, sigma):
        maps = (0.1 + torch.rand(2, 3, 4, 5, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(lambda m: soft_positions(m, sigma=sigma), maps)

    def test_empty_maps_give_numbers(self):
        maps = torch.zeros(1, 2, 5, 7, requires_grad=True)
        found = soft_positions(maps)
        assert_close(found, torch.tensor([3.0, 2.0]).expand(1, 2, 2))
        found.sum().backward()
        assert maps.grad is not None
        assert maps.grad.isfinite().all()


class TestLimbAngle:
    """'theta = atan2(...) has gradient d theta = (v x dv)/|v|^2'; 'detach near |v| = 0'."""

    def test_gradient(self):
        joints = (20 * torch.rand(4, 5, 2, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(lambda j: limb_angle(j, LIMB), joints)

    def test_it_is_the_angle_of_the_turn(self):
        joints = 20 * torch.rand(4, 5, 2)
        assert torch.equal(limb_angle(joints, LIMB), limb_rotation(joints, LIMB).angle)

    @pytest.mark.parametrize("length", [0.0, 1e-6, MIN_LENGTH * 0.99])
    def test_nothing_flows_where_there_is_no_direction(self, length):
        joints = torch.ones(1, 5, 2)
        joints[0, LIMB.middle, 0] += length
        joints.requires_grad_()
        angle = limb_angle(joints, LIMB)
        angle.sum().backward()
        assert angle.item() == 0
        assert joints.grad is not None
        assert (joints.grad == 0).all()

    def test_missing_joints_leave_the_others_gradients_alone(self):
        joints = 20 * torch.rand(2, 5, 2)
        joints[0, LIMB.middle] = math.nan
        joints.requires_grad_()
        angle = limb_angle(joints, LIMB)
        angle.sum().backward()
        assert angle[0] == 0
        assert joints.grad is not None
        assert joints.grad[1].isfinite().all()
        assert (joints.grad[1, LIMB.middle] != 0).any()


class TestRotateMaps:
    @pytest.mark.parametrize("background", [False, True])
    @pytest.mark.parametrize("scaled", [False, True])
    def test_gradient_of_the_angle(self, background, scaled):
        maps = torch.rand(2, 3, 5, 7, dtype=torch.float64)
        center = torch.tensor([[3.13, 2.21], [2.71, 1.87]]).double()
        target = torch.tensor([[3.57, 2.93], [3.31, 2.19]]).double()
        scale = torch.tensor([1.37, 0.83]).double() if scaled else None

        def turned(angle: torch.Tensor) -> torch.Tensor:
            there = Rotation(center, angle, target, scale)
            return rotate_maps(maps, there, (6, 8), background=background, flow=True)

        angle = torch.tensor([0.37, -2.11], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(turned, angle)

    def test_only_on_request_and_the_same_bits(self):
        maps, center = torch.rand(1, 2, 6, 8), torch.tensor([[3.0, 2.0]])
        angle = torch.tensor([0.3], requires_grad=True)
        plain = rotate_maps(maps, Rotation.about(center, angle))
        flowing = rotate_maps(maps, Rotation.about(center, angle), flow=True)
        assert not plain.requires_grad
        assert flowing.requires_grad
        assert torch.equal(plain, flowing)


def limbs(**options) -> LimbRefiner:
    torch.manual_seed(0)
    return LimbRefiner(LSP, width=2, kernels=(3,), limb_canvas=1.0, **options)


class TestLimbRefiner:
    JOINTS = 6 + 14 * torch.rand(1, 14, 2, generator=torch.Generator().manual_seed(3))

    def maps(self) -> torch.Tensor:
        return with_background(encode_gaussians(self.JOINTS, (26, 28), 1.5))

    def test_soft_angles_are_about_the_hard_ones_where_one_peak_is(self):
        hard, soft = (one.read_turns(self.maps()) for one in (limbs(), limbs(soft=8.0)))
        for one, other in zip(hard, soft, strict=True):
            assert torch.equal(one.center, other.center)
            assert not torch.equal(one.angle, other.angle)
            assert (one.angle - other.angle).sin().abs() < 0.1

    @pytest.mark.parametrize("flow", [False, True])
    def test_gradients_reach_a_middle_joints_map_through_the_angle(self, flow):
        """Of the shoulder's score in the limb's frame: the elbow's own map is another channel."""
        maps = self.maps().requires_grad_()
        limb = LSP.limbs[0]
        refiner = limbs(soft=4.0, flow=flow)
        turned, _ = refiner._hanging(maps, None, (26, 28))
        shoulder = turned[0][:, 0]
        weights = torch.arange(shoulder[0].numel()).view_as(shoulder[0]).float()
        (shoulder * weights).sum().backward()
        assert maps.grad is not None
        assert maps.grad[:, limb.root].abs().sum() > 0
        assert (maps.grad[:, limb.middle].abs().sum() > 0).item() == flow

    @pytest.mark.parametrize("flow", [False, True])
    def test_frames_are_constants_without_flow(self, flow):
        """Else targets, which are drawn in them, would pass gradients on by another way."""
        maps = self.maps().requires_grad_()
        parts = limbs(soft=4.0, flow=flow).refine(maps, Rotation.none(maps), (26, 28))
        assert [part.rotation.angle.requires_grad for part in parts[1:]] == [flow] * 4

    def test_flow_changes_no_value(self):
        maps = self.maps()
        still, flowing = (limbs(soft=4.0, flow=flow)(maps) for flow in (False, True))
        assert torch.equal(still, flowing)

    def test_flow_needs_soft(self):
        with pytest.raises(InputError, match="flow: expected soft"):
            limbs(flow=True)


def test_absent_joints_leave_a_frames_gradient_a_number():
    """Targets move with a frame that is learned; NaN times 0 must not reach its angle."""
    angle = torch.tensor([0.3], requires_grad=True)
    joints = 8 * torch.rand(1, 14, 2)
    joints[0, 3], joints[0, 5, 1] = math.nan, math.nan
    known = joints.isfinite().all(dim=2)
    rotation = Rotation.about(torch.full((1, 2), 4.0), angle)
    framed = FramedMaps(torch.randn(1, 14, 10, 12), rotation, tuple(range(14)))
    loss = framed_loss(framed, Truth(joints, known, known), 1.0, LSP, "gaussians")
    loss.backward()
    assert angle.grad is not None
    assert angle.grad.isfinite().all()
    assert angle.grad.abs() > 0
