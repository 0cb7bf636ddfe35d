"""The FCN: three scales, deconvolution heads, fusion; the seven variants of Table 11."""

from itertools import pairwise

import numpy as np
import pytest
import timm
import torch
from timm.models.vgg import ConvMlp
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional
from torch.testing import assert_close

from uprightpose.detectors import fcn
from uprightpose.detectors.fcn import (
    FCN,
    PHASES,
    Deconvolution,
    Heads,
    averaging,
    copy_fully_connected,
    upsample,
)
from uprightpose.errors import InputError
from uprightpose.frames import map_to_image

STRIDE = {"32s": 32, "16s": 16, "8s": 8}
SEEN = {
    "32s": ["LD1"],
    "16s": ["LD2"],
    "8s": ["LD3"],
    "16s-extra": ["LD1", "LD2"],
    "8s-extra": ["LD1", "LD2", "LD3"],
    "16s-fusion": ["LD1", "LD2", "LF1"],
    "8s-fusion": ["LD1", "LD2", "LD3", "LF1", "LF2"],
}


def tiny(variant="8s-fusion", loss_stride=1, channels=4):
    """Return an FCN on a small trunk whose scores are not zero."""
    detector = FCN(
        channels, "test_resnet", 8, variant=variant, loss_stride=loss_stride, fc6_kernel=3
    )
    for score in detector.scores:
        nn.init.normal_(score.weight, std=0.5)
        nn.init.normal_(score.bias)
    return detector.eval()


class TestVariants:
    """'Table 11: FCN 32s, 16s, 8s; Extra = added supervision; Fusion = and fusion.'"""

    @pytest.mark.parametrize("variant", PHASES)
    @pytest.mark.parametrize("loss_stride", [1, 8])
    def test_names_and_shapes(self, variant, loss_stride):
        detector = tiny(variant, loss_stride)
        levels = detector(255 * torch.rand(2, 3, 64, 96))
        extra = ["maps"] if loss_stride == 1 else []
        assert list(levels) == SEEN[variant] + extra
        for name, level in levels.items():
            seen_at = 8 if name == "maps" else loss_stride
            assert level.shape == (2, 4, 64 // seen_at, 96 // seen_at)
        assert list(levels.values())[-1].shape == (2, 4, 8, 12)  # 'so that stages chain'
        assert (detector.stride, detector.mapping) == (8, "softmax")

    @pytest.mark.parametrize("variant", PHASES)
    def test_phases_add_losses_scale_by_scale(self, variant):
        """'L_D1, then L_D1+L_D2+L_F1, then L_D1+L_D2+L_D3+L_F1+L_F2.'"""
        phases = tiny(variant).phases
        assert list(phases[-1]) == SEEN[variant]
        for before, after in pairwise(phases):
            assert set(before) < set(after)
            assert sum(name.startswith("LD") for name in set(after) - set(before)) == 1
        plain = "-" not in variant
        assert len(phases) == (1 if plain else {"16s": 2, "8s": 3}[variant.split("-")[0]])
        full = (("LD1",), ("LD1", "LD2", "LF1"), ("LD1", "LD2", "LD3", "LF1", "LF2"))
        assert PHASES["8s-fusion"] == full

    @pytest.mark.parametrize("variant", PHASES)
    @pytest.mark.parametrize("loss_stride", [1, 8])
    def test_every_layer_is_needed_by_some_loss(self, variant, loss_stride):
        detector = tiny(variant, loss_stride)
        levels = detector(255 * torch.rand(2, 3, 64, 96))
        sum(levels[name].square().sum() for name in detector.phases[-1]).backward()
        for name, value in detector.named_parameters():
            assert value.grad is not None, name

    @pytest.mark.parametrize("variant", PHASES)
    def test_a_phase_leaves_the_layers_of_later_ones_alone(self, variant):
        detector = tiny(variant)
        levels = detector(255 * torch.rand(1, 3, 64, 96))
        sum(levels[name].square().sum() for name in detector.phases[0]).backward()
        first = {"LD1": 1, "LD2": 2, "LD3": 3}[detector.phases[0][0]]
        learns = [score.weight.grad is not None for score in detector.scores]
        assert learns == [True] * first + [False] * (len(learns) - first)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"variant": "4s"}, "32s, 16s, 8s"),
            ({"loss_stride": 4}, "1 or 8"),
            ({"fc6_kernel": 4}, "odd"),
        ],
    )
    def test_settings_that_do_not_exist(self, change, match):
        with pytest.raises(InputError, match=match):
            # as a user meets it: tests alone check that a Literal is one
            FCN.__init__.__wrapped__(FCN.__new__(FCN), 4, "test_resnet", 8, **change)


class TestParameters:
    """'134.33 M; VGG trunk 14 714 688, fc6 102 764 544, fc7 16 781 312, scores 73 005.'"""

    @pytest.mark.parametrize(
        ("variant", "loss_stride", "count"),
        [
            ("8s", 8, 134_333_549),
            ("8s", 1, 134_333_549 + 15 * 16**2),
            ("32s", 8, 134_333_549 - 15 * (512 + 256) - 30),
            ("8s-extra", 8, 134_333_549),
            ("16s-fusion", 8, 134_333_549 - 15 * 257 + (30 * 15 + 15)),
            ("8s-fusion", 8, 134_334_704),
            ("8s-fusion", 1, 134_334_704 + 15 * (64**2 + 32**2 + 16**2)),
        ],
    )
    def test_with_15_classes(self, variant, loss_stride, count):
        with torch.device("meta"):
            detector = FCN(15, variant=variant, loss_stride=loss_stride)
        assert sum(p.numel() for p in detector.parameters()) == count

    def test_part_by_part(self):
        with torch.device("meta"):
            detector = FCN(15, variant="8s", loss_stride=8)
        parts = {
            name: sum(p.numel() for p in part.parameters())
            for name, part in detector.named_children()
        }
        assert parts["trunk"] == 14_714_688
        assert (parts["fc6"], parts["fc7"], parts["scores"]) == (102_764_544, 16_781_312, 73_005)


class TestTrunkOfAVgg:
    """'P3, P4, P5 = VGG pools (stride 8, 16, 32).'"""

    def test_the_scores_read_the_pools(self):
        detector = FCN(3, "vgg11", 8, fc6_kernel=3, variant="8s").eval()
        read = []
        for layer in (detector.fc6, *list(detector.scores)[1:]):
            layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        images = 255 * torch.rand(1, 3, 32, 64)
        with torch.no_grad():
            detector(images)
            x, pools = (images - detector.mean) / detector.std, []
            for layer in detector.trunk.children():
                x = layer(x)
                if isinstance(layer, nn.MaxPool2d):
                    pools.append(x)
        assert len(pools) == 5
        for found, expected in zip(read, (pools[4], pools[3], pools[2]), strict=True):
            assert torch.equal(found, expected)

    def test_fully_connected_layers_become_convolutions(self):
        """'fc6 as 7x7 conv 512->4096, fc7 as 1x1 conv'; timm's are convolutions already."""
        classifier = nn.Module()
        classifier.pre_logits = ConvMlp(6, 10, kernel_size=7)
        fc6, fc7 = nn.Conv2d(6, 10, 7, padding=3), nn.Conv2d(10, 10, 1)
        copy_fully_connected(classifier, fc6, fc7)
        features = torch.randn(2, 6, 7, 7)
        center = fc7(fc6(features).relu()).relu()[:, :, 3:4, 3:4]
        assert_close(center, classifier.pre_logits.eval()(features))

    @pytest.mark.parametrize(("width", "kernel"), [(8, 7), (10, 3)])
    def test_other_shapes_stay_as_they_are(self, width, kernel):
        classifier = nn.Module()
        classifier.pre_logits = ConvMlp(6, 10, kernel_size=7)
        fc6, fc7 = nn.Conv2d(6, width, kernel), nn.Conv2d(width, width, 1)
        before = [fc6.weight.clone(), fc7.weight.clone()]
        copy_fully_connected(classifier, fc6, fc7)
        assert torch.equal(before[0], fc6.weight)
        assert torch.equal(before[1], fc7.weight)

    @pytest.mark.parametrize(("trunk", "copied"), [("vgg11", True), ("test_resnet", False)])
    def test_pretrained_asks_for_them(self, monkeypatch, trunk, copied):
        create, calls = timm.create_model, []
        monkeypatch.setattr(
            timm, "create_model", lambda name, **rest: create(name, **rest | {"pretrained": False})
        )
        monkeypatch.setattr(fcn, "copy_fully_connected", lambda *given: calls.append(given))
        with torch.device("meta"):
            detector = FCN(3, trunk, 8, fc6_kernel=3, pretrained=True)
        assert len(calls) == copied
        if copied:
            assert calls[0][1:] == (detector.fc6, detector.fc7)
            assert isinstance(calls[0][0].pre_logits.fc1, nn.Conv2d)


class TestUpsampling:
    """'Map cell (i, j) of stride s is the image point x = s(j + 0.5) - 0.5.'"""

    CELL = (2, 1)

    @pytest.mark.parametrize("loss_stride", [1, 8])
    def test_a_bump_at_stride_32_lands_where_frames_say(self, loss_stride):
        detector = FCN(2, "test_resnet", 4, fc6_kernel=3, loss_stride=loss_stride).eval()
        x, y = self.CELL
        bump = torch.zeros(1, 2, 4, 5)
        bump[:, :, y, x] = 1
        detector.scores[0].register_forward_hook(lambda *_: bump)
        levels = detector(torch.zeros(1, 3, 128, 160))  # the finer scores start at zero
        assert len(levels) == (6 if loss_stride == 1 else 5)
        for name, level in levels.items():
            stride = 8 if name == "maps" else loss_stride
            expected = map_to_image(np.array(self.CELL, float), 32)
            assert_close(map_to_image(centroid(level[0, 1]), stride), expected, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
    def test_deconvolution_starts_as_interpolation(self, stride):
        """'Deconvolution kernels: initialised bilinear'; here up to the border."""
        maps = torch.randn(2, 3, 4, 5)
        found = Deconvolution(3, stride)(maps)
        expected = functional.interpolate(maps, scale_factor=stride, mode="bilinear")
        assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert_close(upsample(maps, stride), expected)

    def test_it_is_caffes_deconvolution_away_from_the_border(self):
        """'kernel 2s, stride s'; the x2 one is 4x4."""
        maps = torch.randn(1, 3, 6, 7)
        for stride in (2, 8):
            deconvolution = Deconvolution(3, stride)
            assert deconvolution.weight.shape == (3, 1, 2 * stride, 2 * stride)
            caffe = functional.conv_transpose2d(
                maps, deconvolution.weight, stride=stride, padding=stride // 2, groups=3
            )
            inside = (..., slice(stride, -stride), slice(stride, -stride))
            assert_close(deconvolution(maps)[inside], caffe[inside])

    def test_channels_do_not_mix(self):
        maps = torch.zeros(1, 3, 4, 5)
        maps[:, 1] = 1
        found = Deconvolution(3, 4)(maps)
        assert found[:, 1].min() > 0.99
        assert not found[:, [0, 2]].any()

    def test_each_head_adds_its_own_scale(self):
        """'A16 = up2(A32) + score(P4); A8 = up2(A16) + score(P3).'"""
        detector = tiny("8s-extra", 8)
        scores = []
        for score in detector.scores:
            score.register_forward_hook(lambda *given: scores.append(given[-1]))
        levels = detector(255 * torch.rand(1, 3, 64, 96))
        a32, p4, p3 = scores
        a16 = upsample(a32, 2) + p4
        assert_close(levels["LD1"], upsample(a32, 4))
        assert_close(levels["LD2"], upsample(a16, 2))
        assert_close(levels["LD3"], upsample(a16, 2) + p3)


def centroid(level):
    weights = level.detach().double().numpy()
    rows, columns = np.indices(weights.shape)
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


class TestFusion:
    """'F1 = conv1x1([S32, S16]), F2 = conv1x1([S32, S16, S8]).'"""

    @pytest.mark.parametrize("loss_stride", [1, 8])
    def test_it_starts_as_the_average(self, loss_stride):
        levels = tiny(loss_stride=loss_stride)(255 * torch.rand(2, 3, 64, 96))
        one, two, three = (levels[name] for name in ("LD1", "LD2", "LD3"))
        assert_close(levels["LF1"], (one + two) / 2)
        assert_close(levels["LF2"], (one + two + three) / 3)
        assert not torch.allclose(one, three)

    @pytest.mark.parametrize("variant", PHASES)
    def test_maps_are_the_same_at_both_loss_strides(self, variant):
        """'The same 1x1 weights are used on the stride-8 grid.'"""
        full, small = tiny(variant, 1), tiny(variant, 8)
        for fuse in full.heads.fusions.values():
            nn.init.normal_(fuse.weight)
            nn.init.normal_(fuse.bias)
        assert not small.load_state_dict(full.state_dict(), strict=False).missing_keys
        images = 255 * torch.rand(1, 3, 64, 96)
        assert_close(full(images)["maps"], list(small(images).values())[-1])

    def test_fusing_commutes_with_resampling(self):
        """'The 1x1 fusion commutes with resampling: fuse on the stride-8 grid.'"""
        fuse, scales = averaging(3, 2), torch.randn(1, 6, 4, 5)
        nn.init.normal_(fuse.weight)
        nn.init.normal_(fuse.bias)
        assert_close(fuse(upsample(scales, 8)), upsample(fuse(scales), 8), atol=1e-5, rtol=1e-5)


class TestGradients:
    """'Double precision central differences on every layer, relative error below 1e-6.'"""

    @pytest.mark.parametrize("loss_stride", [1, 8])
    @pytest.mark.parametrize("variant", ["16s-fusion", "8s-fusion"])
    def test_heads(self, variant, loss_stride):
        heads = Heads(2, PHASES[variant][-1], loss_stride).double()
        weights = {name: value.detach() for name, value in heads.named_parameters()}
        scales = [
            torch.randn(1, 2, 1 << place, 2 << place, dtype=torch.float64)
            for place in range(3 if variant.startswith("8s") else 2)
        ]
        inputs = [*weights.values(), *scales]

        def run(*values):
            named = dict(zip(weights, values[: len(weights)], strict=True))
            outputs = torch.func.functional_call(heads, named, (list(values[len(weights) :]),))
            return tuple(outputs.values())

        for value in inputs:
            value.requires_grad_()
        assert gradcheck(run, inputs, rtol=1e-6, atol=1e-8, fast_mode=True)

    def test_fixed_upsampling(self):
        maps = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda x: upsample(x, 2), maps, rtol=1e-6, atol=1e-8)

    def test_deconvolution(self):
        layer = Deconvolution(2, 2).double()
        maps = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
        nn.init.normal_(layer.weight)

        def run(maps, weight):
            return torch.func.functional_call(layer, {"weight": weight}, (maps,))

        assert gradcheck(run, (maps, layer.weight), rtol=1e-6, atol=1e-8)

    def test_fusion(self):
        fuse = averaging(2, 3).double()
        scales = torch.randn(1, 6, 2, 3, dtype=torch.float64, requires_grad=True)
        inputs = (scales, fuse.weight, fuse.bias)
        assert gradcheck(functional.conv2d, inputs, rtol=1e-6, atol=1e-8)


class TestStartAndLearning:
    def test_scores_start_at_zero_and_dropout_only_trains(self):
        detector = FCN(3, "test_resnet", 8, fc6_kernel=3)
        images = 255 * torch.rand(1, 3, 32, 64)
        assert not any(level.any() for level in detector(images).values())
        seen = []
        detector.scores[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for _ in range(2):
            detector.train()(images)
        for _ in range(2):
            detector.eval()(images)
        assert not torch.equal(seen[0], seen[1])
        assert torch.equal(seen[2], seen[3])

    def test_relu_and_dropout_of_one_half_follow_fc6_and_fc7(self):
        detector = FCN(3, "test_resnet", 64, fc6_kernel=3, variant="32s", loss_stride=8)
        seen = []
        for layer in (detector.fc6, detector.fc7, detector.scores[0]):
            layer.register_forward_hook(lambda _, inputs, output: seen.extend((*inputs, output)))
        detector.train()(255 * torch.rand(2, 3, 64, 96))
        _, *passed, _ = seen
        for before, after in (passed[:2], passed[2:]):
            kept = after != 0
            assert 0.4 < kept[before > 0].float().mean() < 0.6
            assert not kept[before <= 0].any()
            assert_close(after[kept], 2 * before[kept])

    def test_pixels_are_normalized_as_the_trunk_was_trained(self):
        detector = tiny()  # timm: mean and deviation 0.5
        seen = []
        detector.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        detector(torch.full((1, 3, 32, 32), 255.0))
        assert_close(seen[0], torch.ones(1, 3, 32, 32))
        assert not {"mean", "std"} & set(detector.state_dict())

    def test_it_learns_two_figures_phase_by_phase(self, figures):
        images, disks = figures(8)
        classes = torch.cat([0.5 + 0 * disks[:, :1], disks], dim=1).argmax(dim=1)  # 0: none
        detector = FCN(1 + disks.shape[1], "test_resnet", 16, fc6_kernel=3, loss_stride=8)
        optimizer = torch.optim.Adam(detector.parameters(), 0.003)
        ends = []
        for phase in detector.phases:
            for _ in range(6):
                levels = detector(images)
                losses = [functional.cross_entropy(levels[name], classes) for name in phase]
                optimizer.zero_grad()
                sum(losses).backward()
                optimizer.step()
            ends.append(losses[-1].item())
        assert ends[-1] < np.log(5) / 4  # chance at the start
        assert ends[-1] < ends[0]

    @pytest.mark.parametrize("trunk", ["vgg10", "vit_tiny_patch16_224", ""])
    def test_unknown_trunks_and_those_without_the_strides(self, trunk):
        with torch.device("meta"), pytest.raises(InputError, match="timm"):
            FCN(15, trunk, 8)

    @pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (340, 340)])
    def test_sides_that_do_not_halve(self, height, width):
        with pytest.raises(ValueError, match=f"multiples of 32 .* found {height} x {width}"):
            tiny()(torch.zeros(1, 3, height, width))
