"""The whole chain: maps of every stage, and gradients along the way back."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from uprightpose.baselines import BranchedRefiner, TypeSupervisedRefiner
from uprightpose.losses import framed_loss, truth
from uprightpose.model import STAGES, PoseNet, decode_stage
from uprightpose.pose_types import pose_clusters
from uprightpose.refine import BodyRefiner, LimbRefiner
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.skeletons import LSP

PERSON = torch.tensor(
    [[16, 31], [17, 26], [17, 21], [22, 21], [23, 26], [21, 31], [12, 17], [14, 14], [16, 11],
     [23, 11], [26, 14], [28, 11], [19, 10], [20, 6]]
).float()[None]  # fmt: skip
LYING = PERSON.flip(2)  # head to the left


SCORES = {"sigmoid": lambda maps: maps.logit(eps=1e-3), "clip": lambda maps: 0.1 + 0.8 * maps,
          "softmax": lambda maps: maps.clamp(min=1e-3).log()}  # fmt: skip
"""Maps in [0, 1] -> scores that map to (nearly) these."""


class TwoLevels(nn.Module):
    """A detector of two levels that adds what it learns to maps that are given."""

    stride = 4
    phases = (("coarse", "fine"),)

    def __init__(self, maps: Tensor, mapping: str = "sigmoid") -> None:
        super().__init__()
        self.mapping = mapping
        self.known = SCORES[mapping](maps)
        self.score = nn.Conv2d(3, maps.shape[1], 4, stride=4)
        nn.init.normal_(self.score.weight, std=1e-5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        fine = self.score(images) + self.known
        return {"coarse": nn.functional.avg_pool2d(fine, 2), "fine": fine}


def network(joints: Tensor, **options: object) -> PoseNet:
    maps = with_background(encode_gaussians(joints, (36, 40), 1.5))
    shape = {"width": 2, "kernels": (3,), **options}
    return PoseNet(LSP, TwoLevels(maps), BodyRefiner(LSP, **shape), LimbRefiner(LSP, **shape))


def images(count: int = 1) -> Tensor:
    return 255 * torch.rand(count, 3, 144, 160)


class TestPoseNet:
    """Detector, body refinement, limb refinement, one after another (paper, Fig. 2)."""

    def test_maps_of_every_stage(self):
        outputs = network(PERSON)(images(2))
        assert {name: level.shape for name, level in outputs.levels.items()} == {
            "coarse": (2, 15, 18, 20),
            "fine": (2, 15, 36, 40),
        }
        assert torch.equal(outputs.detector.scores, outputs.levels["fine"])
        assert not outputs.detector.rotation.angle.any()
        assert outputs.body.scores.shape == (2, 15, 54, 60)
        assert [part.joints for part in outputs.limbs] == [
            LSP.rest,
            *(limb.joints for limb in LSP.limbs),
        ]
        assert [part.scores.shape[1] for part in outputs.limbs] == [2, 3, 3, 3, 3]

    @pytest.mark.parametrize("last", STAGES)
    def test_later_stages_may_stay_away(self, last):
        outputs = network(PERSON)(images(), last=last)
        counts = [len(outputs.parts(stage)) for stage in STAGES]
        assert counts == [1, 1, 5][: STAGES.index(last) + 1] + [0] * (2 - STAGES.index(last))
        for stage, count in zip(STAGES, counts, strict=True):
            assert (decode_stage(outputs, stage) is None) == (count == 0)

    def test_stages_that_were_not_built(self):
        whole = network(PERSON)
        detector = PoseNet(LSP, whole.detector)(images())
        assert (detector.body, detector.limbs) == (None, ())
        body = PoseNet(LSP, whole.detector, whole.body)(images())
        assert body.body is not None
        assert body.limbs == ()
        with pytest.raises(ValueError, match="BodyRefiner"):
            PoseNet(LSP, whole.detector, None, whole.limbs)

    def test_unknown_stage(self):
        with pytest.raises(ValueError, match="detector, body, limbs, found 'torso'"):
            network(PERSON)(images(), last="torso")

    @pytest.mark.parametrize("joints", [PERSON, LYING], ids=["standing", "lying"])
    @pytest.mark.parametrize("normalize", [True, False])
    def test_every_stage_answers_in_the_images_cells(self, joints, normalize):
        size = (40, 36) if joints is LYING else (36, 40)
        maps = with_background(encode_gaussians(joints, size, 1.5))
        shape = {"width": 2, "kernels": (3,), "residual": True, "normalize": normalize}
        limbs = LimbRefiner(LSP, upright=normalize, **shape)
        net = PoseNet(LSP, TwoLevels(maps), BodyRefiner(LSP, **shape), limbs)
        for part in (net.body.net, net.limbs.rest_net, *net.limbs.limb_nets):
            part.layers[-1].weight.data.zero_()
        outputs = net(torch.zeros(1, 3, size[0] * 4, size[1] * 4))
        for stage in STAGES:
            found = decode_stage(outputs, stage)
            assert (found.joints - joints).abs().max() < 0.25, stage
            assert found.scores.min() > 0.5

    def test_stride_is_the_detectors(self):
        assert network(PERSON).stride == 4

    def test_detecting_and_refining_are_two_steps(self):
        net, pictures = network(PERSON), images(2)
        whole, halves = net(pictures, "body"), net.refine(net.detect(pictures), "body")
        assert torch.equal(whole.body.scores, halves.body.scores)
        assert halves.limbs == ()

    def test_mirrored(self):
        """'flip test' (SPEC 6.8): a person and its mirror image give mirrored maps."""
        net, pictures = network(PERSON), images(2)
        plain = net.detect(pictures)
        net.mirrored = True
        levels = net.detect(pictures)
        back = [*LSP.mirror, 14]  # the background stays
        for name, level in net.detect(pictures.flip(-1)).items():
            assert_close(level.flip(-1)[:, back], levels[name])
            assert (levels[name] - plain[name]).abs().max() > 0.1

    def test_mirrored_is_the_mean_of_both(self):
        """Scores that are right of the picture, absent in its mirror image, count half."""
        net, pictures = network(PERSON), images()
        for parameter in net.detector.score.parameters():
            parameter.data.zero_()
        net.mirrored = True
        scores, known = net.detect(pictures)["fine"], net.detector.known
        wrist, background = LSP.joints.index("right_wrist"), 14
        other = LSP.joints.index("left_wrist")
        assert_close(scores[:, wrist], (known[:, wrist] + known[:, other].flip(-1)) / 2)
        ground = known[:, background]
        assert_close(scores[:, background], (ground + ground.flip(-1)) / 2)

    def test_scores_are_single_precision(self):
        """Angles are read from them, also where the detector runs in half the bits."""
        net = network(PERSON)
        net.detector.known = net.detector.known.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert net.detector(images())["fine"].dtype == torch.bfloat16
            levels = net.detect(images())
        assert {level.dtype for level in levels.values()} == {torch.float32}


class TestMapping:
    """'FCN: softmax over K+1; the sigmoid-like operation or no operation, depending on the loss
    design of the detector' (SPEC 1.6)."""

    @pytest.mark.parametrize("mapping", ["sigmoid", "softmax", "clip"])
    def test_the_detectors_own(self, mapping):
        maps = with_background(encode_gaussians(PERSON, (36, 40), 1.5))
        net = PoseNet(LSP, TwoLevels(maps, mapping))
        net.detector.score.weight.data *= 1e4
        found = net(images()).detector
        scores = found.scores
        assert scores.std() > 0.1
        expected = {
            "sigmoid": 1 / (1 + torch.exp(-scores)),
            "softmax": 1 / (scores[:, None] - scores[:, :, None]).exp().sum(dim=2),
            "clip": scores.clamp(0, 1),
        }[mapping]
        assert_close(net.image_maps(found), expected)

    @pytest.mark.parametrize("mapping", ["sigmoid", "clip"])
    def test_background_is_added_where_the_detector_has_none(self, mapping):
        """'K maps ...; background channel for the refinement = 1 - max over joints'
        (SPEC 1.4, 1.5)."""
        net = PoseNet(LSP, TwoLevels(encode_gaussians(PERSON, (36, 40), 1.5), mapping),
                      BodyRefiner(LSP, width=2, kernels=(3,)))  # fmt: skip
        outputs = net(images())
        maps = net.image_maps(outputs.detector)
        assert outputs.detector.scores.shape[1] == 14
        assert torch.equal(maps[:, :14], outputs.detector.maps)
        assert_close(maps[:, 14], 1 - outputs.detector.maps.amax(dim=1))
        assert outputs.body.scores.shape[1] == 15
        assert torch.equal(outputs.body.scores, net.body.refine(maps).scores)

    def test_a_background_that_is_there_stays(self):
        net = network(PERSON)
        found = net(images()).detector
        assert torch.equal(net.image_maps(found), found.maps)


class TestBaselines:
    """'Training routes by true type, test by a predicted type' (SPEC 1.14)."""

    @pytest.mark.parametrize("kind", [TypeSupervisedRefiner, BranchedRefiner])
    def test_true_types_matter_in_training_alone(self, kind):
        centers = pose_clusters(np.random.default_rng(0).normal(size=(20, 14, 2)))
        maps = with_background(encode_gaussians(PERSON, (36, 40), 1.5))
        net = PoseNet(LSP, TwoLevels(maps), kind(LSP, centers, width=2, kernels=(3,)))
        levels = net.detect(images())

        def scores(kind: int) -> Tensor:
            return net.refine(levels, "body", torch.tensor([kind])).body.scores

        assert torch.equal(scores(0), scores(1)) == (kind is TypeSupervisedRefiner)
        assert scores(0).shape[1] == (43 if kind is TypeSupervisedRefiner else 15)
        net.eval()
        assert torch.equal(scores(0), scores(1))
        found = net.refine(levels)
        assert found.body.joints == tuple(range(14))
        assert decode_stage(found, "body").joints.shape == (1, 14, 2)


class TestGradientsAcrossStages:
    """'Errors are back-propagated along the transform path' (Sec. 3.2; SPEC 1.13)."""

    @pytest.mark.parametrize("joints", [PERSON, LYING], ids=["standing", "lying"])
    @pytest.mark.parametrize(
        ("mapping", "background"),
        [("sigmoid", True), ("sigmoid", False), ("softmax", True), ("clip", False)],
    )
    def test_the_detector_learns_from_the_limbs_loss_alone(self, joints, mapping, background):
        size = (40, 36) if joints is LYING else (36, 40)
        maps = encode_gaussians(joints, size, 1.5)
        maps = with_background(maps) if background else maps
        shape = {"width": 2, "kernels": (3,)}
        detector = TwoLevels(maps, mapping)
        net = PoseNet(LSP, detector, BodyRefiner(LSP, **shape), LimbRefiner(LSP, **shape))
        outputs = net(255 * torch.rand(1, 3, size[0] * 4, size[1] * 4))
        if joints is LYING:
            assert outputs.body.rotation.angle.abs() > 1
        goal = truth(4 * joints + 1.5, torch.full((1, 14), 2).byte(), "drawn")
        sum(framed_loss(part, goal, 4, LSP, "disks") for part in outputs.limbs).backward()
        for part in (net.detector, net.body, net.limbs):
            for name, value in part.named_parameters():
                assert value.grad is not None, name
                assert value.grad.any(), name

    def test_the_body_learns_nothing_from_the_detectors_loss(self):
        net = network(PERSON)
        net(images()).levels["fine"].square().sum().backward()
        assert all(value.grad is None for value in net.body.parameters())


def test_pictures_do_not_see_each_other():
    net = network(torch.cat([PERSON, PERSON + 1, PERSON - 2]))
    batch = images(3)
    together = net(batch)
    alone = network(PERSON - 2)
    alone.load_state_dict(net.state_dict())
    for stage in STAGES:
        found = decode_stage(together, stage).joints[2:]
        assert_close(found, decode_stage(alone(batch[2:]), stage).joints, atol=1e-3, rtol=0)
