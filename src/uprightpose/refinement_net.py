"""The refinement network of Sec. 3.3: large convolutions and a learnable sigmoid."""

import math
from collections.abc import Sequence
from typing import Literal, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.errors import InputError
from uprightpose.large_conv import MEMORY, LargeConv2d, Method
from uprightpose.score_maps import full_precision

Init = Literal["he", "var0.001", "std0.001"]
"""How large kernels start: He, or the two readings of the paper's "variance 0.001"."""

Pairs = Literal["shared", "per map"]
"""The learnable sigmoid's w and b: one pair for a network, or one for each map (SPEC 1.6)."""

KERNELS = (9, 15, 15)
"""Sec. 3.3: 9 x 9, 15 x 15, 15 x 15, then 1 x 1."""

POSITIVE_RATE = 0.01
"""Share of cells within a joint's disk; its log-odds is the output bias (SPEC 1.9)."""


class Shape(TypedDict, total=False):
    """What every refiner passes on to its networks.

    Attributes:
        width: channels between the layers, the paper's 128.
        kernels: sides of the large kernels.
        large_layers: 3 adds a layer with the last of ``kernels`` (the "+11M" of Table 1).
        pairs: see :data:`Pairs`.
        init: see :data:`Init`.
        method: how large kernels convolve, see :data:`~uprightpose.large_conv.Method`.
        memory: bytes that each of them may use for it.
    """

    width: int
    kernels: Sequence[int]
    large_layers: int
    pairs: Pairs
    init: Init
    method: Method
    memory: int


class RefinementNet(nn.Module):
    """Four convolutions, 9x9 - 15x15 - 15x15 - 1x1, and a learnable sigmoid (Sec. 3.3).

    Args:
        inputs: channels in.
        outputs: channels out.
        width: channels between, the paper's 128.
        kernels: sides of the large kernels.
        large_layers: 2 for the text's network; 3 adds a layer with the last of ``kernels``,
            which gives the 11 million parameters of Table 1 (SPEC 1.9).
        pairs: see :data:`Pairs`.
        init: see :data:`Init`; ``"he"`` also shrinks the last layer by 10.
        kept: for each output the input channel that holds the same map. If given, the
            network's output is added to that map's logit, so that what was right stays
            (not in the paper; SPEC 5.4).
        method: how the large kernels convolve, see :class:`~uprightpose.large_conv.LargeConv2d`.
        memory: bytes that each of them may use for it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 128,
        *,
        kernels: Sequence[int] = KERNELS,
        large_layers: int = 2,
        pairs: Pairs = "shared",
        init: Init = "he",
        kept: Sequence[int] | None = None,
        method: Method = "auto",
        memory: int = MEMORY,
    ) -> None:
        """Build and initialize the layers."""
        super().__init__()
        if any(side % 2 == 0 for side in kernels):
            raise InputError(f"kernels: expected odd sides, found {list(kernels)}")
        if large_layers not in (2, 3):
            raise InputError(f"large_layers: expected 2 or 3, found {large_layers}")
        if kept is not None and len(kept) != outputs:
            raise ValueError(f"expected {outputs} kept channels, found {len(kept)}")
        sides = [*kernels, *[kernels[-1]] * (large_layers - 2)]
        widths = [inputs, *[width] * len(sides)]
        layers: list[nn.Module] = []
        for before, after, side in zip(widths, widths[1:], sides, strict=False):
            conv = LargeConv2d(before, after, side, padding="same", method=method, memory=memory)
            layers += [conv, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, outputs, 1))
        pair = () if pairs == "shared" else (outputs, 1, 1)
        self.slope = nn.Parameter(torch.ones(pair))
        self.offset = nn.Parameter(torch.zeros(pair))
        self.kept = None if kept is None else list(kept)
        self._initialize(init)

    def forward(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Return logits ``w z + b``; their sigmoid is the paper's mapping ``1/(1+exp(-(wz+b)))``.

        Args:
            maps: scores in [0, 1], in a normalized frame.
        """
        logits = self.slope * full_precision(self.layers(maps)) + self.offset
        if self.kept is None:
            return logits
        return logits + torch.logit(full_precision(maps[:, self.kept]), eps=1e-4)

    def _initialize(self, init: Init) -> None:
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        for conv in convolutions:
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            if init == "he":
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            else:
                nn.init.normal_(conv.weight, std={"var0.001": 0.001**0.5, "std0.001": 0.001}[init])
        last = convolutions[-1]
        assert last.bias is not None
        if init == "he":
            last.weight.data *= 0.1
            if self.kept is None:
                nn.init.constant_(last.bias, math.log(POSITIVE_RATE / (1 - POSITIVE_RATE)))


def count_convolutions(module: nn.Module) -> int:
    """Return the parameters of all convolutions; a sigmoid's w and b are not among them.

    The paper's counts (SPEC 1.9, 8.4) are of convolutions.

    Example:
        >>> with torch.device("meta"):
        ...     count_convolutions(RefinementNet(15, 15))
        7530639
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return sum(value.numel() for layer in layers for value in layer.parameters())
