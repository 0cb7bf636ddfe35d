"""The paper's second detector: a deep ResNet at stride 8, one sigmoid map per joint (SPEC 1.4)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.detectors.trunks import build_trunk, check_sides, pixel_statistics, start_from_rate

STRIDES = (8, 16, 16)
"""Of blocks 2, 3 and 4; the last one is dilated."""

POSITIVE_RATE = 0.01
"""Share of cells within a joint's disk; its log-odds is where the scores start."""


class ResNetDetector(nn.Module):
    """Images -> score maps (as logits) of the joints at stride 8, after DeeperCut.

    Block 4 of the trunk is dilated instead of strided. A transposed convolution turns its
    features at stride 16 into scores at stride 8, and 1x1 scores of block 2 are added; block
    3 has a head of its own for intermediate supervision. There is no location refinement and
    no auxiliary task. The transposed convolutions are 4x4, not DeeperCut's
    3x3, so that a coarse cell lies in the middle of its four fine ones (SPEC 1.1). Frozen
    batch norm is the trainer's business.

    Args:
        channels: maps per head: joints, without background.
        trunk: name of a timm model whose last block can be dilated: ``"resnet18"``, 50, 101,
            152.
        pretrained: start from timm's weights (needs the network once).

    Raises:
        InputError: if timm has no such trunk, it lacks stride 8 or cannot be dilated.

    Example:
        >>> import torch
        >>> maps = ResNetDetector(14, "test_resnet")(torch.zeros(2, 3, 32, 48))
        >>> {name: tuple(scores.shape) for name, scores in maps.items()}
        {'block3': (2, 14, 4, 6), 'block4': (2, 14, 4, 6)}
    """

    stride = 8
    """Of all maps."""

    mapping: Literal["softmax", "sigmoid", "clip"] = "sigmoid"
    """Scores -> [0, 1]."""

    phases: tuple[tuple[str, ...], ...] = (("block3", "block4"),)
    """Losses that are active one after the other: here all at once."""

    trunk: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, trunk: str = "resnet152", *, pretrained: bool = False
    ) -> None:
        """Build the dilated trunk and the heads."""
        super().__init__()
        features = build_trunk(trunk, STRIDES, pretrained=pretrained)
        self.trunk = features
        block2, block3, block4 = features.feature_info.channels()
        self.score2 = nn.Conv2d(block2, channels, 1, bias=False)  # the sum has one bias
        self.score3 = nn.ConvTranspose2d(block3, channels, 4, stride=2, padding=1)
        self.score4 = nn.ConvTranspose2d(block4, channels, 4, stride=2, padding=1)
        nn.init.normal_(self.score2.weight, std=0.01)
        for score in (self.score3, self.score4):
            start_from_rate(score, POSITIVE_RATE, background=False)
        mean, std = pixel_statistics(features)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c _ _"]]:
        """Return logits of blocks 3 and 4 at stride 8, by the name of their loss.

        Args:
            images: RGB, 0 to 255; sides are multiples of 16.
        """
        check_sides(images, STRIDES[-1])
        block2, block3, block4 = self.trunk((images - self.mean) / self.std)
        return {
            "block3": self.score3(block3),
            "block4": self.score4(block4) + self.score2(block2),
        }
