"""The compact detector: any timm trunk, levels from coarse to fine."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from uprightpose.data.images import crop_image, read_image
from uprightpose.data.lsp import read_lsp
from uprightpose.detectors.compact import MEAN, STD, CompactDetector, load_folded
from uprightpose.errors import InputError
from uprightpose.frames import crop_matrix, whole_image_box
from uprightpose.weights import read_folded


class TestCompactDetector:
    """'A detector returns a list of maps, coarse to fine'; 'intermediate supervision'."""

    @pytest.mark.parametrize("trunk", ["resnet18", "resnet10t", "mobilenetv3_small_050"])
    def test_levels_are_maps_at_strides_8_and_4(self, trunk):
        detector = CompactDetector(15, trunk, width=6)
        levels = detector(255 * torch.rand(2, 3, 48, 80))
        assert [level.shape for level in levels] == [(2, 15, 6, 10), (2, 15, 12, 20)]
        assert detector.stride == 4

    def test_it_starts_at_the_positive_rates(self):
        detector = CompactDetector(5, "mobilenetv3_small_050", width=4)
        coarse, fine = detector(255 * torch.rand(2, 3, 32, 48))
        for level, rate in ((coarse, 0.02), (fine, 0.01)):
            assert (level[:, :-1].sigmoid().mean() - rate).abs() < rate / 2
            assert (level[:, -1].sigmoid().mean() - (1 - rate)).abs() < rate / 2

    def test_every_level_and_weight_can_learn(self):
        detector = CompactDetector(4, "mobilenetv3_small_050", width=4)
        coarse, fine = detector(255 * torch.rand(3, 3, 64, 96))
        (coarse.square().sum() + fine.square().sum()).backward()
        for name, value in detector.named_parameters():
            if not name.startswith("trunk"):
                assert value.grad is not None, name
                assert value.grad.any(), name

    def test_pixels_are_normalized_as_the_trunk_was_trained(self):
        detector = CompactDetector(4, "mobilenetv3_small_050", width=4).eval()
        seen = []
        detector.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        detector(torch.tensor(MEAN).mul(255).view(1, 3, 1, 1).expand(1, 3, 32, 32))
        white = torch.full((1, 3, 32, 32), 255.0)
        detector(white)
        assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-5, rtol=0)
        assert_close(seen[1][0, :, 0, 0], (1 - torch.tensor(MEAN)) / torch.tensor(STD))

    @pytest.mark.parametrize(
        "trunk", ["resnet19", "", "vit_tiny_patch16_224", "convnext_atto_typo", "../resnet18"]
    )
    def test_unknown_trunks_and_those_without_the_strides(self, trunk):
        with pytest.raises(InputError, match="timm"):
            CompactDetector(15, trunk)


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
    for name, module in CompactDetector(15).trunk.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            shape = tuple(module.weight.shape)
            scale = (1.5 / np.prod(shape[1:])) ** 0.5
            arrays[f"{name}.weight"] = random.normal(0, scale, shape).astype(np.float32)
            arrays[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(np.float32)
    return arrays


class TestLoadFolded:
    """'To fine-tune with live batch norm, keep the function' (the shared data's README)."""

    def test_the_function_stays(self, folded):
        trunk = CompactDetector(15).trunk
        load_folded(trunk, folded, torch.randn(2, 3, 48, 64))
        trunk.eval()
        others = torch.randn(2, 3, 64, 48)  # also on pictures that gave no statistics
        with torch.no_grad():
            for found, expected in zip(trunk(others), plain_resnet(others, folded), strict=True):
                assert_close(found, expected, atol=1e-4, rtol=1e-3)

    def test_the_norms_live_and_change_nothing_on_the_same_pictures(self, folded):
        images = torch.randn(3, 3, 48, 64)
        trunk = CompactDetector(15).trunk.train()
        load_folded(trunk, folded, images)
        assert trunk.training
        with torch.no_grad():
            for found, expected in zip(trunk(images), plain_resnet(images, folded), strict=True):
                assert_close(found, expected, atol=1e-3, rtol=1e-2)

    def test_no_hook_stays(self, folded):
        trunk = CompactDetector(15).trunk
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
        trunk = CompactDetector(15).trunk.eval()
        images = torch.randn(1, 3, 32, 32)
        before = [value.clone() for value in trunk(images)]
        with pytest.raises(InputError, match=name):
            load_folded(trunk, arrays, images)
        for found, expected in zip(trunk(images), before, strict=True):
            assert torch.equal(found, expected)

    def test_other_trunks_are_refused(self):
        trunk = CompactDetector(15, "resnet10t").trunk
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
        trunk = CompactDetector(15).trunk.eval()
        load_folded(trunk, arrays, images[:3])
        with torch.no_grad():
            for found, expected in zip(trunk(images), plain_resnet(images, arrays), strict=True):
                assert expected.abs().max() > 1
                assert (found - expected).abs().max() < 3e-5
