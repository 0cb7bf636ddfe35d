"""Table 1's baselines: one network with maps per pose type, and one network per pose type."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from uprightpose import baselines
from uprightpose.baselines import BranchedRefiner, TypeSupervisedRefiner, nearest_center
from uprightpose.framed import merge_joints
from uprightpose.pose_types import nearest_type, standardize
from uprightpose.refine import BodyRefiner, count_convolutions
from uprightpose.refinement_net import RefinementNet
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.skeletons import COCO, FLIC, LSP, MPII

SMALL = {"width": 3, "kernels": (3,)}
BOTH = pytest.mark.parametrize("kind", [TypeSupervisedRefiner, BranchedRefiner])
EVERY = pytest.mark.parametrize("skeleton", [LSP, FLIC, MPII, COCO], ids=lambda s: s.name)


def centers(skeleton=LSP, count=3) -> np.ndarray:
    random = np.random.default_rng(7)
    return standardize(random.normal(size=(count, len(skeleton.joints), 2)), skeleton)


def people(types: list[int], size=(30, 34)) -> torch.Tensor:
    """Score maps of people whose poses are the types' centers, of several sizes."""
    poses = torch.from_numpy(centers()).float()[types]
    scale = torch.linspace(3, 5, len(types))[:, None, None]
    return with_background(encode_gaussians(poses * scale + torch.tensor([16.0, 15]), size))


class Refine(nn.Module):
    """Calls ``refine`` with the types."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, maps: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        return self.net.refine(maps, types).maps


class TestBoth:
    """The interface of BodyRefiner: score maps in, score maps out."""

    @BOTH
    @EVERY
    @pytest.mark.parametrize("background", [True, False])
    @pytest.mark.parametrize("residual", [True, False])
    @pytest.mark.parametrize("training", [True, False])
    def test_they_stand_in_for_body_refinement(
        self, kind, skeleton, background, residual, training
    ):
        options = {"background": background, "residual": residual, **SMALL}
        net = kind(skeleton, centers(skeleton), **options).train(training)
        count = len(skeleton.joints)
        maps = torch.rand(2, count + background, 7, 9)
        types = torch.tensor([2, 0])
        framed, refined = net.refine(maps, types), net(maps)
        assert refined.shape == maps.shape
        assert 0 <= refined.min() <= refined.max() <= 1
        assert framed.shown == tuple(range(count))
        assert framed.scores.shape[1] == len(framed.joints) + background
        assert framed.scores.shape[-2:] == (7, 9)
        assert not framed.rotation.angle.any()
        assert merge_joints([framed], count).joints.shape == (2, count, 2)
        alike = BodyRefiner(skeleton, **options).refine(maps, types)
        assert alike.shown == framed.shown

    @BOTH
    def test_every_network_takes_the_shape(self, kind):
        shape = {"width": 2, "kernels": (5, 3), "large_layers": 3, "pairs": "per map"}
        net = kind(LSP, centers(), init="std0.001", **shape)
        for one in net.modules():
            if isinstance(one, RefinementNet):
                assert [layer.kernel_size[0] for layer in one.layers[::2]] == [5, 3, 3, 1]
                assert one.slope.shape == (one.layers[-1].out_channels, 1, 1)
                assert one.layers[0].weight.std() < 2e-3

    @BOTH
    def test_nothing_is_normalized(self, kind):
        """'Global refinement without normalization': a shifted picture gives shifted maps."""
        net = kind(LSP, centers(), **SMALL).eval()
        maps = people([1, 2])
        moved = torch.roll(maps, (2, 3), (2, 3))
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
        assert_close(torch.roll(net(maps), (2, 3), (2, 3))[inner], net(moved)[inner])

    @BOTH
    def test_centers_are_stored_with_the_weights(self, kind):
        net = kind(LSP, centers(), **SMALL)
        other = kind(LSP, torch.zeros(3, 14, 2), **SMALL)
        other.load_state_dict(net.state_dict())
        assert_close(other.centers, torch.from_numpy(centers()).float())
        assert "centers" not in dict(net.named_parameters())
        joints = torch.randn(20, 14, 2)
        assert torch.equal(other.assign(joints), net.assign(joints))

    @BOTH
    def test_foreign_maps_are_refused(self, kind):
        net = kind(LSP, centers(), **SMALL)
        with pytest.raises(ValueError, match=r"expected 15 score maps.*found 14"):
            net(torch.rand(2, 14, 8, 9))
        with pytest.raises(ValueError, match=r"expected 15 score maps.*found 16"):
            net.refine(torch.rand(2, 16, 8, 9))

    @BOTH
    def test_residual_that_learned_nothing_keeps_the_maps(self, kind):
        net = kind(LSP, centers(), residual=True, **SMALL)
        for one in net.modules():
            if isinstance(one, RefinementNet):
                one.layers[-1].weight.data.zero_()
        maps = people([0, 1, 2]).clamp(0.05, 0.95)
        assert_close(net(maps), maps)

    @BOTH
    def test_gradient(self, kind):
        """'Relative error < 1e-6' (SPEC 5.1)."""
        net = Refine(kind(FLIC, centers(FLIC), width=2, kernels=(3,))).double()
        for name, value in net.named_parameters():
            if name.endswith("bias"):
                value.data += 0.1 + 0.1 * torch.rand_like(value)  # no cell at a ReLU's edge
        maps = (torch.rand(2, 11, 4, 5).double() * 0.8 + 0.1).requires_grad_()
        names, values = zip(*net.named_parameters(), strict=True)

        def call(maps, *values):
            state = dict(zip(names, values, strict=True))
            return torch.func.functional_call(net, state, (maps, torch.tensor([2, 0])))

        strict = {"atol": 1e-8, "rtol": 1e-6, "fast_mode": True}
        assert torch.autograd.gradcheck(call, (maps, *values), **strict)


class TestNearestCenter:
    """The same types in tensors as in arrays: 'train by true type, test by nearest cluster'."""

    @EVERY
    def test_agrees_with_pose_types(self, skeleton):
        random = np.random.default_rng(3)
        middle = centers(skeleton, 4).astype(np.float32)
        joints = random.normal(size=(300, len(skeleton.joints), 2)) * 20 + 50
        joints[random.random(joints.shape[:2]) < 0.3] = np.nan
        joints[:3] = np.nan
        joints[3, 1:] = np.nan
        joints[4:40, list(skeleton.torso)] = np.nan
        types = nearest_type(joints, middle.astype(float), skeleton=skeleton)
        found = nearest_center(torch.from_numpy(joints), torch.from_numpy(middle), skeleton.torso)
        assert found.tolist() == types.tolist()
        assert len(set(types)) == 4

    @BOTH
    def test_it_assigns(self, kind):
        net = kind(LSP, centers(), **SMALL)
        joints = torch.from_numpy(centers()[[2, 0, 1, 1]]).float() * 17 + 40
        joints[1, [0, 5, 9]] = torch.nan
        assert net.assign(joints).tolist() == [2, 0, 1, 1]
        assert not net.assign(torch.full((2, 14, 2), torch.nan)).any()


class TestTypeSupervision:
    """'Global refinement without normalization, 3K+1 outputs'; 'test: per joint the maximum over
    the three sets' (SPEC 1.14)."""

    def test_count(self):
        with torch.device("meta"):
            net = TypeSupervisedRefiner(LSP, torch.empty(3, 14, 2))
        assert count_convolutions(net) == 7_530_639 + 2 * 14 * (128 + 1)
        assert net.net.layers[-1].out_channels == 3 * 14 + 1

    def test_in_training_all_sets(self):
        net = TypeSupervisedRefiner(LSP, centers(), **SMALL)
        maps = torch.rand(2, 15, 7, 9)
        framed = net.refine(maps)
        assert framed.joints == tuple(range(14)) * 3
        assert torch.equal(framed.scores, net.net(maps))

    def test_in_a_test_the_maximum(self):
        net = TypeSupervisedRefiner(LSP, centers(), **SMALL).eval()
        maps = torch.rand(2, 15, 7, 9)
        scores = net.net(maps)
        framed = net.refine(maps)
        assert framed.joints == tuple(range(14))
        for joint in range(14):
            highest = scores[:, [joint, 14 + joint, 28 + joint]].amax(dim=1)
            assert torch.equal(framed.scores[:, joint], highest)
        assert torch.equal(framed.scores[:, 14], scores[:, 42])
        assert torch.equal(net(maps), framed.maps)

    def test_joints_are_the_same_in_training(self):
        """A joint is decoded from the set whose peak is highest, either way."""
        net = TypeSupervisedRefiner(LSP, centers(), residual=True, **SMALL)
        net.net.layers[-1].weight.data.zero_()
        net.net.layers[-1].bias.data[:42] = torch.tensor([-1.0, 0.5, -2.0]).repeat_interleave(14)
        maps = people([0, 1, 2])
        training, test = (
            merge_joints([net.refine(maps)], 14),
            merge_joints([net.eval().refine(maps)], 14),
        )
        assert_close(training.joints, test.joints)
        assert_close(training.scores, test.scores)

    def test_types_change_nothing(self):
        net, maps = TypeSupervisedRefiner(LSP, centers(), **SMALL), people([0, 1])
        first, second = (net.refine(maps, torch.tensor(t)).scores for t in ([0, 0], [2, 1]))
        assert torch.equal(first, second)

    def test_other_numbers_of_types(self):
        net = TypeSupervisedRefiner(LSP, centers(count=2), **SMALL)
        assert net.refine(torch.rand(1, 15, 7, 9)).scores.shape[1] == 2 * 14 + 1


class TestBranches:
    """'Three refinement networks, one per type; training routes by true type, test by a type
    predicted from the nearest cluster of the detector's pose' (SPEC 1.14)."""

    def test_count(self):
        with torch.device("meta"):
            net = BranchedRefiner(LSP, torch.empty(3, 14, 2))
        assert count_convolutions(net) == 22_591_917

    def own(self, net: BranchedRefiner, maps: torch.Tensor, types: list[int]) -> torch.Tensor:
        rows = [net.nets[kind](one[None])[0] for one, kind in zip(maps, types, strict=True)]
        return torch.stack(rows)

    @pytest.mark.parametrize("types", [[2, 0, 1, 0, 2], [1, 1, 1, 1, 1], [2, 2, 0, 0, 2]])
    def test_training_routes_by_the_true_type(self, types):
        net, maps = BranchedRefiner(LSP, centers(), **SMALL), torch.rand(5, 15, 7, 9)
        framed = net.refine(maps, torch.tensor(types))
        assert_close(framed.scores, self.own(net, maps, types))
        assert framed.joints == tuple(range(14))

    def test_a_branch_learns_from_its_people_alone(self):
        net, maps = BranchedRefiner(LSP, centers(), **SMALL), torch.rand(3, 15, 7, 9)
        net.refine(maps, torch.tensor([2, 0, 2])).maps.sum().backward()
        for kind, one in enumerate(net.nets):
            for value in one.parameters():
                assert (value.grad is not None and value.grad.any().item()) == (kind != 1)

    @pytest.mark.parametrize("training", [True, False])
    def test_without_types_the_decoded_pose_chooses(self, training):
        net = BranchedRefiner(LSP, centers(), **SMALL).train(training)
        types = [1, 0, 2, 2]
        maps = people(types)
        assert_close(net.refine(maps).scores, self.own(net, maps, types))
        assert_close(net(maps), self.own(net, maps, types).sigmoid())

    def test_no_truth_leaks_into_a_test(self):
        net, maps = BranchedRefiner(LSP, centers(), **SMALL).eval(), people([1, 0, 2])
        wrong = torch.tensor([2, 2, 0])
        assert torch.equal(net.refine(maps, wrong).scores, net.refine(maps).scores)
        assert not torch.equal(net.train().refine(maps, wrong).scores, net.refine(maps).scores)

    def test_the_background_is_no_joint_of_the_pose(self, monkeypatch):
        net, maps = BranchedRefiner(LSP, centers(), **SMALL).eval(), people([1, 0])
        read = []
        true = baselines.decode
        monkeypatch.setattr(baselines, "decode", lambda maps: read.append(maps) or true(maps))
        net(maps)
        assert torch.equal(read[0], maps[:, :14])

    def test_branches_start_differently(self):
        net = BranchedRefiner(LSP, centers(), **SMALL)
        assert not torch.equal(net.nets[0].layers[0].weight, net.nets[1].layers[0].weight)
