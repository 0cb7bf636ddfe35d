"""The compact detector: any timm trunk, levels from coarse to fine."""

import pytest
import torch
from torch.testing import assert_close

from uprightpose.detectors.compact import CompactDetector
from uprightpose.detectors.trunks import MEAN, STD
from uprightpose.errors import InputError


class TestCompactDetector:
    """'A detector returns a list of maps, coarse to fine'; 'intermediate supervision'."""

    @pytest.mark.parametrize("trunk", ["resnet18", "resnet10t", "mobilenetv3_small_050"])
    def test_levels_are_maps_at_strides_8_and_4(self, trunk):
        detector = CompactDetector(15, trunk, width=6)
        levels = detector(255 * torch.rand(2, 3, 48, 80))
        shapes = {name: tuple(level.shape) for name, level in levels.items()}
        assert shapes == {"stride8": (2, 15, 6, 10), "stride4": (2, 15, 12, 20)}
        assert list(levels) == ["stride8", "stride4"]  # the last goes on
        assert detector.phases == (("stride8", "stride4"),)
        assert detector.mapping == "sigmoid"
        assert detector.stride == 4

    def test_it_starts_at_the_positive_rates(self):
        detector = CompactDetector(5, "mobilenetv3_small_050", width=4)
        coarse, fine = detector(255 * torch.rand(2, 3, 32, 48)).values()
        for level, rate in ((coarse, 0.02), (fine, 0.01)):
            assert (level[:, :-1].sigmoid().mean() - rate).abs() < rate / 2
            assert (level[:, -1].sigmoid().mean() - (1 - rate)).abs() < rate / 2

    def test_every_level_and_weight_can_learn(self):
        detector = CompactDetector(4, "mobilenetv3_small_050", width=4)
        coarse, fine = detector(255 * torch.rand(3, 3, 64, 96)).values()
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

    def test_sides_that_do_not_halve(self):
        with pytest.raises(ValueError, match="multiples of 16"):
            CompactDetector(4, "test_resnet", width=4)(torch.zeros(1, 3, 40, 48))

    @pytest.mark.parametrize(
        "trunk", ["resnet19", "", "vit_tiny_patch16_224", "convnext_atto_typo", "../resnet18"]
    )
    def test_unknown_trunks_and_those_without_the_strides(self, trunk):
        with pytest.raises(InputError, match="timm"):
            CompactDetector(15, trunk)
