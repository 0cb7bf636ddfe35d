"""The ResNet detector: dilated trunk, two heads at stride 8, one sigmoid map per joint."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from uprightpose.detectors.resnet import ResNetDetector
from uprightpose.errors import InputError

LOSSES = ("block3", "block4")


class TestResNetDetector:
    """'ResNet-152 trunk, block 4 dilated, up x2 to stride 8, plus 1x1 scores of block 2.'"""

    @pytest.mark.parametrize("trunk", ["test_resnet", "resnet18", "test_convnext"])
    def test_both_heads_are_maps_at_stride_8(self, trunk):
        detector = ResNetDetector(13, trunk)
        levels = detector(255 * torch.rand(2, 3, 48, 80))
        assert list(levels) == list(LOSSES)  # the last goes on
        assert [tuple(level.shape) for level in levels.values()] == [(2, 13, 6, 10)] * 2
        assert (detector.stride, detector.mapping) == (8, "sigmoid")
        assert detector.phases == (LOSSES,)

    @pytest.mark.parametrize(
        ("trunk", "blocks", "trunk_parameters"),
        [
            ("resnet18", (128, 256, 512), 11_176_512),
            ("resnet50", (512, 1024, 2048), 23_508_032),
            ("resnet101", (512, 1024, 2048), 42_500_160),
            ("resnet152", (512, 1024, 2048), 58_143_808),
        ],
    )
    def test_depths_and_parameters(self, trunk, blocks, trunk_parameters):
        """'Depth 18/50/101/152 configurable.' torchvision's counts, less their last layer."""
        with torch.device("meta"):
            detector = ResNetDetector(14, trunk)
        block2, block3, block4 = blocks
        heads = 14 * block2 + (16 * 14 * block3 + 14) + (16 * 14 * block4 + 14)
        assert sum(p.numel() for p in detector.parameters()) == trunk_parameters + heads

    def test_the_last_block_is_dilated(self):
        _, block3, block4 = (
            {part.dilation for part in block.modules() if isinstance(part, nn.Conv2d)}
            for block in list(ResNetDetector(3, "test_resnet").trunk.children())[-3:]
        )
        assert block3 == {(1, 1)}
        assert (2, 2) in block4

    @pytest.mark.parametrize("name", ["score2", "score4"])
    def test_the_last_maps_are_a_sum_of_two_blocks(self, name):
        detector = ResNetDetector(3, "test_resnet").eval()
        images = 255 * torch.rand(1, 3, 32, 48)
        whole = detector(images)
        nn.init.zeros_(getattr(detector, name).weight)
        without = detector(images)
        assert torch.equal(whole["block3"], without["block3"])
        assert not torch.allclose(whole["block4"], without["block4"])
        assert without["block4"].std() > 1e-3  # the other block is still there

    def test_the_intermediate_loss_reaches_block_3_and_no_further(self):
        """'An intermediate head on block 3 with its own loss.'"""
        detector = ResNetDetector(3, "test_resnet")
        detector(255 * torch.rand(2, 3, 48, 64))["block3"].square().sum().backward()
        blocks = dict(detector.trunk.named_children())
        assert all(value.grad is not None for value in blocks["layer3"].parameters())
        assert all(value.grad is None for value in blocks["layer4"].parameters())
        assert detector.score4.weight.grad is None

    def test_a_coarse_cell_lies_in_the_middle_of_its_four_fine_ones(self):
        """'Map cell (i, j) of stride s is the image point x = s(j + 0.5) - 0.5.'"""
        detector = ResNetDetector(1, "test_resnet")
        nn.init.ones_(detector.score4.weight)
        block4 = torch.zeros(1, detector.score4.in_channels, 5, 6)
        block4[:, :, 2, 3] = 1
        lit = (detector.score4(block4) > 0)[0, 0].nonzero().float()
        assert_close(lit.mean(dim=0), torch.tensor([2.0, 3.0]) * 2 + 0.5)

    def test_it_starts_at_the_positive_rate(self):
        detector = ResNetDetector(5, "test_resnet")
        for level in detector(255 * torch.rand(2, 3, 64, 96)).values():
            assert 0.005 < level.sigmoid().mean() < 0.02

    def test_pixels_are_normalized_as_the_trunk_was_trained(self):
        detector = ResNetDetector(2, "test_resnet").eval()  # timm: mean and deviation 0.5
        seen = []
        detector.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        detector(torch.full((1, 3, 32, 32), 255.0))
        assert_close(seen[0], torch.ones(1, 3, 32, 32))
        assert "mean" not in detector.state_dict()

    def test_it_learns_two_figures(self, figures):
        images, disks = figures(8)
        detector = ResNetDetector(disks.shape[1], "test_resnet")
        start, end = descend(detector, images, disks)
        assert end < start / 2

    @pytest.mark.parametrize("trunk", ["vgg11", "densenet121", "resnet19", "vit_tiny_patch16_224"])
    def test_trunks_that_cannot_be_dilated(self, trunk):
        with torch.device("meta"), pytest.raises(InputError, match="8, 16, 16, its last block dil"):
            ResNetDetector(14, trunk)

    def test_sides_that_do_not_halve(self):
        with pytest.raises(ValueError, match="multiples of 16"):
            ResNetDetector(4, "test_resnet")(torch.zeros(1, 3, 40, 48))


def descend(detector, images, disks):
    """Return the loss before and after a few steps."""
    optimizer = torch.optim.Adam(detector.parameters(), 0.01)
    losses = []
    for _ in range(8):
        levels = detector(images)
        loss = sum(
            nn.functional.binary_cross_entropy_with_logits(level, disks)
            for level in levels.values()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]
