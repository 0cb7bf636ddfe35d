"""Trunks: timm's features at given strides, folded weights, where scores start."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from uprightpose.data.images import crop_image, read_image
from uprightpose.data.lsp import read_lsp
from uprightpose.detectors.trunks import (
    MEAN,
    STD,
    build_trunk,
    check_sides,
    fetch,
    load_folded,
    pixel_statistics,
    start_from_rate,
)
from uprightpose.errors import InputError
from uprightpose.frames import crop_matrix, whole_image_box
from uprightpose.weights import read_folded

SMALL = (4, 8, 16)


class TestBuildTrunk:
    """'Any timm trunk with features at the strides'; 'block 4 dilated (stride 16)'."""

    @pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "mobilenetv3_small_050"])
    @pytest.mark.parametrize("strides", [(4, 8, 16), (8, 16, 32), (4, 8, 32), (8, 16, 16)])
    def test_features_have_the_strides_and_channels(self, name, strides):
        trunk = build_trunk(name, strides)
        features = trunk(torch.rand(2, 3, 64, 128))
        channels = trunk.feature_info.channels()
        for stride, count, feature in zip(strides, channels, features, strict=True):
            assert feature.shape == (2, count, 64 // stride, 128 // stride)

    def test_a_repeated_stride_is_a_dilated_last_block(self):
        *_, coarse, dilated = build_trunk("test_resnet", (8, 16, 16)).children()
        assert all(conv.dilation == (1, 1) for conv in convolutions(coarse))
        assert any(conv.dilation == (2, 2) for conv in convolutions(dilated))

    def test_layers_beyond_the_last_stride_are_cut_off(self):
        assert "layer4" not in dict(build_trunk("test_resnet", (4, 8, 16)).named_children())

    @pytest.mark.parametrize(
        ("name", "strides"),
        [
            ("resnet19", SMALL),
            ("", SMALL),
            ("../resnet18", SMALL),
            ("vit_tiny_patch16_224", (8, 16, 32)),
            ("test_convnext", (2, 4, 8)),  # its first stride is 4
            ("vgg11", (8, 16, 16)),  # timm asserts
            ("densenet121", (8, 16, 16)),  # knows no such option
        ],
    )
    def test_what_timm_does_not_give(self, name, strides):
        with torch.device("meta"), pytest.raises(InputError, match=r"timm.*strides"):
            build_trunk(name, strides)

    def test_the_message_says_what_strides_there_are(self):
        with pytest.raises(InputError, match=r"strides 2, 4, 8 .* at strides 4, 8, 16, 32"):
            build_trunk("test_convnext", (2, 4, 8))

    def test_pretrained_weights_are_asked_for(self, monkeypatch):
        create, asked = timm.create_model, []

        def offline(name, pretrained=False, **options):
            asked.append((name, pretrained, options.get("out_indices")))
            return create(name, pretrained=False, **options)

        monkeypatch.setattr(timm, "create_model", offline)
        build_trunk("test_resnet", SMALL, pretrained=True)
        assert asked[-1] == ("test_resnet", True, (1, 2, 3))
        assert not any(pretrained for _, pretrained, _ in asked[:-1])

    def test_no_network(self, monkeypatch):
        def offline(*_, **__):
            raise ConnectionError("no route")

        monkeypatch.setattr(timm, "create_model", offline)
        with pytest.raises(InputError, match="network"):
            fetch("resnet18")


class TestPixelStatistics:
    """'Each detector normalizes with the statistics that its trunk was trained with.'"""

    def test_timm_knows(self):
        mean, std = pixel_statistics(build_trunk("test_resnet", SMALL))
        assert_close(mean, torch.full((1, 3, 1, 1), 127.5))
        assert_close(std, torch.full((1, 3, 1, 1), 127.5))

    @pytest.mark.parametrize("trunk", [None, nn.Identity()])
    def test_otherwise_imagenet(self, trunk):
        mean, std = pixel_statistics(trunk)
        assert_close(mean.flatten() / 255, torch.tensor(MEAN))
        assert_close(std.flatten() / 255, torch.tensor(STD))


def convolutions(module):
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 32), (40, 40)])
def test_sides_that_do_not_halve(height, width):
    with pytest.raises(ValueError, match=f"multiples of 32 pixels, found {height} x {width}"):
        check_sides(torch.zeros(1, 3, height, width), 32)
    check_sides(torch.zeros(1, 3, 32, 96), 32)


@pytest.mark.parametrize("layer", [nn.Conv2d(7, 3, 1), nn.ConvTranspose2d(7, 3, 4, 2, 1)])
@pytest.mark.parametrize("background", [True, False])
def test_scores_start_from_the_rate(layer, background):
    start_from_rate(layer, 0.03, background=background)
    rates = layer(torch.zeros(1, 7, 4, 6)).sigmoid()
    assert_close(rates[:, :2], torch.full_like(rates[:, :2], 0.03))
    last = 0.97 if background else 0.03
    assert_close(rates[:, 2], torch.full_like(rates[:, 2], last))
    assert 0 < layer.weight.std() < 0.02


def plain_resnet(images, arrays):
    """Evaluate a folded ResNet-18 up to layer3: features at strides 4, 8 and 16."""

    def conv(x, name, stride=1):
        weight = torch.from_numpy(arrays[f"{name}.weight"])
        bias = torch.from_numpy(arrays[f"{name}.bias"])
        return functional.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    x = functional.max_pool2d(conv(images, "conv1", 2).relu(), 3, 2, 1)
    features = []
    for layer in (1, 2, 3):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            inner = conv(conv(x, f"{name}.conv1", stride).relu(), f"{name}.conv2")
            if f"{name}.downsample.0.weight" in arrays:
                x = conv(x, f"{name}.downsample.0", stride)
            x = (x + inner).relu()
        features.append(x)
    return features


@pytest.fixture(scope="module")
def folded():
    """Random folded weights of a ResNet-18."""
    random = np.random.default_rng(0)
    arrays = {}
    for name, module in build_trunk("resnet18", SMALL).named_modules():
        if isinstance(module, torch.nn.Conv2d):
            shape = tuple(module.weight.shape)
            scale = (1.5 / np.prod(shape[1:])) ** 0.5
            arrays[f"{name}.weight"] = random.normal(0, scale, shape).astype(np.float32)
            arrays[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(np.float32)
    return arrays


class TestLoadFolded:
    """'To fine-tune with live batch norm, keep the function' (the shared data's README)."""

    def test_the_function_stays(self, folded):
        trunk = build_trunk("resnet18", SMALL)
        load_folded(trunk, folded, torch.randn(2, 3, 48, 64))
        trunk.eval()
        others = torch.randn(2, 3, 64, 48)  # also on pictures that gave no statistics
        with torch.no_grad():
            for found, expected in zip(trunk(others), plain_resnet(others, folded), strict=True):
                assert_close(found, expected, atol=1e-4, rtol=1e-3)

    def test_the_norms_live_and_change_nothing_on_the_same_pictures(self, folded):
        images = torch.randn(3, 3, 48, 64)
        trunk = build_trunk("resnet18", SMALL).train()
        load_folded(trunk, folded, images)
        assert trunk.training
        with torch.no_grad():
            for found, expected in zip(trunk(images), plain_resnet(images, folded), strict=True):
                assert_close(found, expected, atol=1e-3, rtol=1e-2)

    def test_no_hook_stays(self, folded):
        trunk = build_trunk("resnet18", SMALL)
        load_folded(trunk, folded, torch.randn(1, 3, 32, 32))
        before = {name: value.clone() for name, value in trunk.state_dict().items()}
        with torch.no_grad():
            trunk.eval()(torch.randn(1, 3, 32, 32))
        assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())

    @pytest.mark.parametrize("broken", ["missing", "bias", "shape"])
    def test_weights_that_do_not_fit_change_nothing(self, folded, broken):
        name = "layer3.1.conv2"
        arrays = dict(folded)
        if broken == "missing":
            del arrays[f"{name}.weight"]
        elif broken == "bias":
            del arrays[f"{name}.bias"]
        else:
            arrays[f"{name}.weight"] = arrays[f"{name}.weight"][:, :, :1]
        trunk = build_trunk("resnet18", SMALL).eval()
        images = torch.randn(1, 3, 32, 32)
        before = [value.clone() for value in trunk(images)]
        with pytest.raises(InputError, match=name):
            load_folded(trunk, arrays, images)
        for found, expected in zip(trunk(images), before, strict=True):
            assert torch.equal(found, expected)

    @pytest.mark.parametrize("strides", [(8, 16, 32), (8, 16, 16)])
    def test_children_unknown_to_the_arrays_stay_as_they_are(self, folded, strides):
        """'The shared folder ends at layer3.'"""
        trunk = build_trunk("resnet18", strides)
        before = {name: value.clone() for name, value in trunk.layer4.state_dict().items()}
        load_folded(trunk, folded, torch.randn(2, 3, 64, 96))
        after = trunk.layer4.state_dict()
        assert all(torch.equal(before[name], value) for name, value in after.items())
        others = torch.randn(2, 3, 96, 64)
        with torch.no_grad():
            block2, block3, block4 = trunk.eval()(others)
            _, *expected = plain_resnet(others, folded)
            for found, wanted in zip((block2, block3), expected, strict=True):
                assert_close(found, wanted, atol=1e-4, rtol=1e-3)
            assert_close(block4, trunk.layer4(block3))

    @pytest.mark.parametrize("broken", ["missing", "shape"])
    def test_a_child_that_is_known_must_fit(self, folded, broken):
        trunk = build_trunk("resnet18", (8, 16, 16))
        conv = trunk.layer4[0].conv1.weight.detach().numpy()
        weight = conv[:, :, :1] if broken == "shape" else conv
        arrays = {**folded, "layer4.0.conv1.weight": weight}
        if broken == "shape":
            arrays["layer4.0.conv1.bias"] = np.zeros(len(conv), np.float32)
        with pytest.raises(InputError, match=r"layer4\.0\.conv1"):
            load_folded(trunk, arrays, torch.randn(1, 3, 32, 32))

    def test_a_dilated_block_keeps_its_function(self):
        """'It must also work for trunks with a dilated last block.'"""
        plain, trunk = (build_trunk("resnet18", (8, 16, 16)).eval() for _ in range(2))
        norms = [part for part in plain.modules() if isinstance(part, nn.BatchNorm2d)]
        arrays = {}
        for name, conv in plain.named_modules():
            if isinstance(conv, nn.Conv2d):
                arrays[f"{name}.weight"] = conv.weight.detach().numpy()
                arrays[f"{name}.bias"] = np.zeros(len(conv.weight), np.float32)
        for norm in norms:  # a folded network has none
            nn.init.ones_(norm.weight)
            norm.eps = 0.0
        load_folded(trunk, arrays, torch.randn(2, 3, 64, 96))
        images = torch.randn(2, 3, 96, 64)
        with torch.no_grad():
            for found, expected in zip(trunk(images), plain(images), strict=True):
                assert_close(found, expected, atol=1e-4, rtol=1e-3)

    def test_arrays_of_something_else(self):
        trunk = build_trunk("test_resnet", SMALL)
        with pytest.raises(InputError, match=r"conv1\.weight.*found head"):
            load_folded(trunk, {"head.weight": np.zeros(3)}, torch.randn(1, 3, 32, 32))

    def test_other_trunks_are_refused(self):
        trunk = build_trunk("resnet10t", SMALL)
        arrays = {}
        for name, module in trunk.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                arrays[f"{name}.weight"] = module.weight.detach().numpy()
                arrays[f"{name}.bias"] = np.zeros(len(module.weight), np.float32)
        with pytest.raises(InputError, match="ResNet"):
            load_folded(trunk, arrays, torch.randn(1, 3, 32, 32))

    def test_real_weights(self, data_root):
        """'Checked: outputs change by 4e-6'."""
        arrays = read_folded(data_root / "resnet18")
        pictures = [read_image(sample.image) for sample in read_lsp(data_root / "lsp")[:6]]
        crops = [crop_image(p, crop_matrix(whole_image_box(p.shape[:2]), 96), 96) for p in pictures]
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
        images = (images - mean) / std
        trunk = build_trunk("resnet18", SMALL).eval()
        load_folded(trunk, arrays, images[:3])
        with torch.no_grad():
            for found, expected in zip(trunk(images), plain_resnet(images, arrays), strict=True):
                assert expected.abs().max() > 1
                assert (found - expected).abs().max() < 3e-5
