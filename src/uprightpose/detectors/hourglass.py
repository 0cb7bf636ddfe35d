"""The paper's third detector: the stacked hourglass of Newell et al. (SPEC 1.5)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from uprightpose.detectors.trunks import check_sides, pixel_statistics
from uprightpose.errors import InputError

DEPTH = 4
"""How often an hourglass halves its maps: from 64 cells to 4."""

MOST_STACKS = 8


class Hourglass(nn.Module):
    """Images -> score maps of the joints at stride 4, once per stack; all are supervised.

    A stem leads to stride 4. Each stack is an hourglass, one residual, a 1x1 layer and 1x1
    scores; its features and its scores are added, by 1x1 convolutions, to what the next
    stack reads. One residual per position (Newell et al., Secs. 3.1-3.3). The maps are
    meant for squared errors on Gaussians of peak 1. There is no pretrained trunk.

    Args:
        channels: maps per stack: joints, without background.
        stacks: 1 to 8.
        width: channels of the features, a multiple of 4.

    Raises:
        InputError: if there are too few or too many stacks or 4 does not divide the width.

    Example:
        >>> maps = Hourglass(16, stacks=2, width=8)(torch.zeros(1, 3, 64, 128))
        >>> {name: tuple(scores.shape) for name, scores in maps.items()}
        {'stack1': (1, 16, 16, 32), 'stack2': (1, 16, 16, 32)}
    """

    stride = 4
    """Of all maps."""

    mapping: Literal["softmax", "sigmoid", "clip"] = "clip"
    """Scores -> [0, 1]."""

    phases: tuple[tuple[str, ...], ...]
    """Losses that are active one after the other: here all at once."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, stacks: int = 8, width: int = 256) -> None:
        """Build the stem and the stacks."""
        super().__init__()
        if not 1 <= stacks <= MOST_STACKS:
            raise InputError(f"hourglass: expected 1 to {MOST_STACKS} stacks, found {stacks}")
        if width <= 0 or width % 4:
            raise InputError(f"hourglass: expected a width that 4 divides, found {width}")
        self.phases = (tuple(f"stack{number + 1}" for number in range(stacks)),)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 4, 7, stride=2, padding=3),
            nn.BatchNorm2d(width // 4),
            nn.ReLU(),
            Residual(width // 4, width // 2),
            nn.MaxPool2d(2),
            Residual(width // 2, width // 2),
            Residual(width // 2, width),
        )
        self.stacks = nn.ModuleList(_stack(width) for _ in range(stacks))
        self.scores = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in range(stacks))
        self.features_back = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.scores_back = nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in range(stacks - 1))
        mean, std = pixel_statistics()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c _ _"]]:
        """Return scores of every stack at stride 4, by the name of their loss.

        Args:
            images: RGB, 0 to 255; sides are multiples of 64, so that the maps' are of 16.
        """
        check_sides(images, self.stride * 2**DEPTH)
        inputs = self.stem((images - self.mean) / self.std)
        outputs: dict[str, Tensor] = {}
        for place, (stack, score) in enumerate(zip(self.stacks, self.scores, strict=True)):
            features = stack(inputs)
            maps = score(features)
            outputs[self.phases[0][place]] = maps
            if place < len(self.features_back):
                back = self.features_back[place](features) + self.scores_back[place](maps)
                inputs = inputs + back
        return outputs


class Residual(nn.Module):
    """Bottleneck with the norms before the convolutions: 1x1, 3x3, 1x1 (Newell, Fig. 4 left)."""

    def __init__(self, before: int, after: int) -> None:
        """Build the three convolutions and, where the channels differ, a 1x1 on the side."""
        super().__init__()
        inside = after // 2
        self.layers = nn.Sequential(
            *(nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, inside, 1)),
            *(nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, inside, 3, padding=1)),
            *(nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, after, 1)),
        )
        self.side = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, features: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Return the features plus what the layers make of them."""
        return torch.add(self.side(features), self.layers(features))


class Level(nn.Module):
    """One level of an hourglass: halve, go deeper, double, and add what stayed at this size."""

    def __init__(self, width: int, depth: int) -> None:
        """Build this level and the ``depth - 1`` below."""
        super().__init__()
        self.stay = Residual(width, width)
        self.down = Residual(width, width)
        self.below = Level(width, depth - 1) if depth > 1 else Residual(width, width)
        self.up = Residual(width, width)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return features of the same size."""
        below = self.up(self.below(self.down(functional.max_pool2d(features, 2))))
        return torch.add(self.stay(features), functional.interpolate(below, scale_factor=2))


def _stack(width: int) -> nn.Sequential:
    """Return one stack up to its scores."""
    return nn.Sequential(
        Level(width, DEPTH),
        Residual(width, width),
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
