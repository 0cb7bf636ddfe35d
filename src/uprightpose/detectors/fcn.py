"""The paper's first detector: a fully convolutional VGG-16, supervised and fused (SPEC 1.3)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from uprightpose.detectors.trunks import build_trunk, check_sides, fetch, pixel_statistics
from uprightpose.errors import InputError
from uprightpose.settings import Variant

PHASES: dict[Variant, tuple[tuple[str, ...], ...]] = {
    "32s": (("LD1",),),
    "16s": (("LD2",),),
    "8s": (("LD3",),),
    "16s-extra": (("LD1",), ("LD1", "LD2")),
    "8s-extra": (("LD1",), ("LD1", "LD2"), ("LD1", "LD2", "LD3")),
    "16s-fusion": (("LD1",), ("LD1", "LD2", "LF1")),
    "8s-fusion": (
        ("LD1",),
        ("LD1", "LD2", "LF1"),
        ("LD1", "LD2", "LD3", "LF1", "LF2"),
    ),
}
"""The losses that are minimized together, one phase after the other (Sec. 3.4, SPEC 1.16)."""

HEADS = {"LD1": 32, "LD2": 16, "LD3": 8}
"""Strides of the scores that each loss L_D sees."""

FUSED = {"LF1": 2, "LF2": 3}
"""How many heads, from the coarsest, each loss L_F sees joined."""

MAPS = "maps"
"""Name of what goes on to the refinement where no loss sees it."""


class FCN(nn.Module):
    """Images -> score maps (as logits) of joints and background, after Long et al.

    With ``P3, P4, P5`` the trunk's pools at strides 8, 16, 32::

        A32 = score(fc7(fc6(P5)));  A16 = up2(A32) + score(P4);  A8 = up2(A16) + score(P3)

    and :class:`Heads` makes of them what the losses see. The score layers start at zero, as
    in Long et al.: a finer scale starts as the coarser one, upsampled. The x2 upsampling is
    fixed and bilinear: Long's 4x4 deconvolution, save that the border repeats the outermost
    cell (his padding by 100 pixels kept the border out of sight).

    Args:
        channels: maps per head: joints and background.
        trunk: name of a timm model with features at strides 8, 16 and 32.
        width: channels of fc6 and fc7.
        variant: a row of Table 11; only the layers that it needs exist.
        loss_stride: resolution of the losses: 1, the image's (SPEC 1.3), or 8.
        fc6_kernel: side of fc6, odd.
        pretrained: start from timm's weights (needs the network once); a VGG's fully
            connected layers too, if fc6 and fc7 have their shapes.

    Raises:
        InputError: if timm has no such trunk or it lacks one of the strides, or if there is
            no such variant, loss stride or kernel.

    Example:
        >>> detector = FCN(15, "test_resnet", 16, loss_stride=8, fc6_kernel=3)
        >>> maps = detector(torch.zeros(2, 3, 32, 64))
        >>> list(maps), tuple(maps["LF2"].shape)
        (['LD1', 'LD2', 'LD3', 'LF1', 'LF2'], (2, 15, 4, 8))
    """

    stride = 8
    """Of the last maps."""

    mapping: Literal["softmax", "sigmoid", "clip"] = "softmax"
    """Scores -> [0, 1], over joints and background."""

    phases: tuple[tuple[str, ...], ...]
    """Losses that are active one after the other (:data:`PHASES`)."""

    trunk: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        trunk: str = "vgg16",
        width: int = 4096,
        *,
        variant: Variant = "8s-fusion",
        loss_stride: Literal[1, 8] = 1,
        fc6_kernel: int = 7,
        pretrained: bool = False,
    ) -> None:
        """Build the trunk, fc6, fc7, the score layers and the heads."""
        super().__init__()
        _check(variant, loss_stride, fc6_kernel)
        self.phases = PHASES[variant]
        # timm gives a VGG's features before each pool, so that P3 and P4 are pooled here
        self.pool = 2 if trunk.startswith("vgg") else 1
        strides = (8 // self.pool, 16 // self.pool, 32)
        features = build_trunk(trunk, strides, pretrained=pretrained)
        self.trunk = features
        p3, p4, p5 = features.feature_info.channels()
        self.fc6 = nn.Conv2d(p5, width, fc6_kernel, padding=fc6_kernel // 2)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.dropout = nn.Dropout(0.5)
        scales = [stride for stride in HEADS.values() if stride >= int(variant.split("s")[0])]
        sides = [nn.Conv2d(inside, channels, 1) for inside in (width, p4, p3)]
        self.scores = nn.ModuleList(sides[: len(scales)])
        self.heads = Heads(channels, self.phases[-1], loss_stride)
        self._initialize()
        if pretrained and self.pool > 1:
            copy_fully_connected(fetch(trunk), self.fc6, self.fc7)
        mean, std = pixel_statistics(features)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c _ _"]]:
        """Return logits by the name of their loss; the last ones are at stride 8.

        Args:
            images: RGB, 0 to 255; sides are multiples of 32.
        """
        check_sides(images, max(HEADS.values()))
        p3, p4, p5 = self.trunk((images - self.mean) / self.std)
        if self.pool > 1:
            p3, p4 = functional.max_pool2d(p3, self.pool), functional.max_pool2d(p4, self.pool)
        fc6 = self.dropout(torch.relu(self.fc6(p5)))
        fc7 = self.dropout(torch.relu(self.fc7(fc6)))
        scales: list[Tensor] = []
        for score, features in zip(self.scores, (fc7, p4, p3), strict=False):
            here = score(features)
            scales.append(here + upsample(scales[-1], 2) if scales else here)
        return self.heads(scales)  # type: ignore[no-any-return]

    def _initialize(self) -> None:
        for conv in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        for value in self.scores.parameters():
            nn.init.zeros_(value)


class Heads(nn.Module):
    """Scores at strides 32, 16, 8 -> what the losses see, and the maps that go on.

    With ``loss_stride`` 1 learnable deconvolutions bring each supervised scale to the image's
    resolution, and 1x1 convolutions join them there; the last entry, :data:`MAPS`, is made by
    the same 1x1 weights from the scales on the grid of stride 8, and no loss sees it. With
    ``loss_stride`` 8 the losses see the grid of stride 8.

    Args:
        channels: maps per scale.
        losses: names in the order of the outputs.
        loss_stride: 1 or 8.
    """

    def __init__(self, channels: int, losses: Sequence[str], loss_stride: int) -> None:
        """Build the deconvolutions and the fusions that the losses need."""
        super().__init__()
        self.losses = tuple(losses)
        self.deconvolutions = nn.ModuleDict()
        if loss_stride == 1:
            for name in (name for name in losses if name in HEADS):
                self.deconvolutions[name] = Deconvolution(channels, HEADS[name])
        self.fusions = nn.ModuleDict()
        for name in (name for name in losses if name in FUSED):
            self.fusions[name] = averaging(channels, FUSED[name])

    def forward(self, scales: list[Tensor]) -> dict[str, Tensor]:
        """Return maps by the name of their loss.

        Args:
            scales: ``(b, c, h, w)`` logits at strides 32, 16, 8 or the first of them.
        """
        named = dict(zip(HEADS, scales, strict=False))
        grid = {name: upsample(maps, HEADS[name] // FCN.stride) for name, maps in named.items()}
        on_grid = self._supervised(grid)
        if not self.deconvolutions:
            return on_grid
        fine = {name: deconv(named[name]) for name, deconv in self.deconvolutions.items()}
        return {**self._supervised(fine), MAPS: on_grid[self.losses[-1]]}

    def _supervised(self, heads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what each loss sees, from the heads at one resolution."""
        joined = {
            name: fuse(torch.cat(list(heads.values())[: FUSED[name]], dim=1))
            for name, fuse in self.fusions.items()
        }
        return {name: (heads | joined)[name] for name in self.losses}


class Deconvolution(nn.Module):
    """Learnable upsampling, channel by channel; starts bilinear (kernel 2s, stride s).

    Beyond the border the outermost cell is repeated, so that it starts as exactly
    :func:`upsample`, everywhere.
    """

    def __init__(self, channels: int, stride: int) -> None:
        """Start from the bilinear kernel; ``stride`` is even."""
        super().__init__()
        self.stride = stride
        kernel = bilinear_kernel(stride).expand(channels, 1, -1, -1)
        self.weight = nn.Parameter(kernel.clone())

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        """Return maps ``stride`` times as large."""
        wide = functional.pad(maps, (1, 1, 1, 1), mode="replicate")
        cut = self.stride + self.stride // 2
        return functional.conv_transpose2d(
            wide, self.weight, stride=self.stride, padding=cut, groups=len(self.weight)
        )


def bilinear_kernel(stride: int) -> Float[Tensor, "k k"]:
    """Return the weights of bilinear upsampling, ``(2 stride, 2 stride)``.

    Example:
        >>> bilinear_kernel(2)[1]
        tensor([0.1875, 0.5625, 0.5625, 0.1875])
    """
    slope = 1 - (torch.arange(2 * stride) + 0.5 - stride).abs() / stride
    return slope[:, None] * slope


def upsample(maps: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c _ _"]:
    """Upsample bilinearly, cell centers where :mod:`uprightpose.frames` has them."""
    if factor == 1:
        return maps
    return functional.interpolate(maps, scale_factor=factor, mode="bilinear")


def averaging(channels: int, heads: int) -> nn.Conv2d:
    """Return the 1x1 fusion of some heads; it starts as their average, channel by channel."""
    fuse = nn.Conv2d(heads * channels, channels, 1)
    with torch.no_grad():
        fuse.weight.copy_(torch.eye(channels).repeat(1, heads)[:, :, None, None] / heads)
        nn.init.zeros_(fuse.bias)  # type: ignore[arg-type]
    return fuse


def copy_fully_connected(classifier: Any, fc6: nn.Conv2d, fc7: nn.Conv2d) -> None:
    """Copy the layers before a VGG's classifier; those of another shape stay as they are."""
    layers = classifier.pre_logits
    pairs = ((layers.fc1, fc6), (layers.fc2, fc7))
    if all(source.weight.shape == target.weight.shape for source, target in pairs):
        for source, target in pairs:
            target.load_state_dict(source.state_dict())


def _check(variant: str, loss_stride: int, fc6_kernel: int) -> None:
    if variant not in PHASES:
        raise InputError(f"FCN: expected a variant of {', '.join(PHASES)}, found {variant!r}")
    if loss_stride not in (1, FCN.stride):
        raise InputError(f"FCN: expected loss_stride 1 or {FCN.stride}, found {loss_stride}")
    if fc6_kernel % 2 == 0:
        raise InputError(f"FCN: expected an odd fc6_kernel, found {fc6_kernel}")
