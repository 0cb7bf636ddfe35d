"""A compact detector: any timm trunk up to stride 16 and a small upsampling head."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.detectors.trunks import build_trunk, check_sides, pixel_statistics, start_from_rate

STRIDES = (4, 8, 16)
"""Of the trunk's features that the head reads."""


class CompactDetector(nn.Module):
    """Images -> score maps (as logits) at strides 8 and 4, coarse to fine; all are supervised.

    The trunk's features at stride 16 are upsampled twice; those at strides 8 and 4 are
    added on the way. Each level has its own 1x1 score layer (SPEC 1.4: intermediate
    supervision). ``ResNet-18`` ends at ``layer3``.

    Args:
        channels: maps per level: joints and background.
        trunk: name of a timm model with features at strides 4, 8 and 16.
        width: channels of the head at stride 4; twice as many at stride 8.
        pretrained: start from timm's weights (needs the network once).

    Raises:
        InputError: if timm has no such trunk or it lacks one of the strides.

    Example:
        >>> maps = CompactDetector(15, "test_resnet", 8)(torch.zeros(2, 3, 32, 48))
        >>> {name: tuple(scores.shape) for name, scores in maps.items()}
        {'stride8': (2, 15, 4, 6), 'stride4': (2, 15, 8, 12)}
    """

    stride = 4
    """Of the last, finest maps."""

    mapping: Literal["softmax", "sigmoid", "clip"] = "sigmoid"
    """Scores -> [0, 1]."""

    phases: tuple[tuple[str, ...], ...] = (("stride8", "stride4"),)
    """Losses that are active one after the other: here all at once."""

    trunk: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, trunk: str = "resnet18", width: int = 64, *, pretrained: bool = False
    ) -> None:
        """Build the trunk up to stride 16 and the head."""
        super().__init__()
        features = build_trunk(trunk, STRIDES, pretrained=pretrained)
        self.trunk = features
        fine, mid, coarse = features.feature_info.channels()
        self.up8 = nn.ConvTranspose2d(coarse, 2 * width, 4, stride=2, padding=1, bias=False)
        self.side8 = nn.Conv2d(mid, 2 * width, 1, bias=False)
        self.norm8 = nn.BatchNorm2d(2 * width)
        self.up4 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.side4 = nn.Conv2d(fine, width, 1, bias=False)
        self.norm4 = nn.BatchNorm2d(width)
        self.mix4 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.score8 = nn.Conv2d(2 * width, channels, 1)
        self.score4 = nn.Conv2d(width, channels, 1)
        for score, rate in ((self.score8, 0.02), (self.score4, 0.01)):
            start_from_rate(score, rate)
        mean, std = pixel_statistics(features)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c _ _"]]:
        """Return logits at strides 8 and 4, by the name of their loss.

        Args:
            images: RGB, 0 to 255; sides are multiples of 16.
        """
        check_sides(images, STRIDES[-1])
        fine, mid, coarse = self.trunk((images - self.mean) / self.std)
        at8 = torch.relu(self.norm8(self.up8(coarse) + self.side8(mid)))
        at4 = torch.relu(self.norm4(self.up4(at8) + self.side4(fine)))
        at4 = torch.relu(self.norm(self.mix4(at4)))
        return {"stride8": self.score8(at8), "stride4": self.score4(at4)}
