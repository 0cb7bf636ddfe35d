"""A compact detector: any timm trunk up to stride 16 and a small upsampling head."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.errors import InputError

STRIDES = (16, 8, 4)
"""Of the trunk's features that the head reads, coarse to fine."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of RGB / 255, as the trunks of timm and torchvision were trained."""


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
    """

    stride = 4
    """Of the last, finest maps."""

    trunk: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, trunk: str = "resnet18", width: int = 64, *, pretrained: bool = False
    ) -> None:
        """Build the trunk up to stride 16 and the head."""
        super().__init__()
        features = _build_trunk(trunk, pretrained)
        self.trunk = features
        coarse, mid, fine = reversed(features.feature_info.channels())
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
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c _ _"]]:
        """Return logits at strides 8 and 4.

        Args:
            images: RGB, 0 to 255; sides are multiples of 16.
        """
        fine, mid, coarse = self.trunk((images - self.mean) / self.std)
        at8 = torch.relu(self.norm8(self.up8(coarse) + self.side8(mid)))
        at4 = torch.relu(self.norm4(self.up4(at8) + self.side4(fine)))
        at4 = torch.relu(self.norm(self.mix4(at4)))
        return [self.score8(at8), self.score4(at4)]


def start_from_rate(score: nn.Conv2d, rate: float) -> None:
    """Make a score layer start near the log-odds of ``rate``; the last map is background."""
    nn.init.normal_(score.weight, std=0.01)
    assert score.bias is not None
    nn.init.constant_(score.bias, float(np.log(rate / (1 - rate))))
    with torch.no_grad():
        score.bias[-1] = -score.bias[-1]


def load_folded(
    trunk: nn.Module, arrays: Mapping[str, np.ndarray], images: Float[Tensor, "b 3 h w"]
) -> None:
    """Give a ResNet trunk weights whose batch norm was folded, and keep its norms alive.

    Runs ``images`` through; each norm takes the statistics of its convolution's own output
    as running mean and variance, their root as weight and their mean plus the folded bias
    as bias: the function stays, and training can go on with live statistics.

    Args:
        trunk: names as in torchvision; layers that it lacks are ignored.
        arrays: ``"layer1.0.conv1.weight"``, ``"layer1.0.conv1.bias"`` and so on.
        images: normalized pictures for the statistics.

    Raises:
        InputError: if a convolution of the trunk has no weights or another shape.
    """
    modules = dict(trunk.named_modules())
    settled = []
    for name, conv in modules.items():
        if not isinstance(conv, nn.Conv2d):
            continue
        weight, bias = arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias")
        if weight is None or bias is None or weight.shape != tuple(conv.weight.shape):
            raise InputError(
                f"trunk weights: expected {name}.weight of {tuple(conv.weight.shape)} and its "
                f"bias, found {None if weight is None else weight.shape}"
            )
        norm = modules.get(_norm_of(name))
        if not isinstance(norm, nn.BatchNorm2d):
            raise InputError(f"trunk weights: expected a ResNet, found no batch norm after {name}")
        settled.append((conv, torch.from_numpy(weight), norm, torch.from_numpy(bias)))
    hooks = []
    for conv, weights, norm, shift in settled:  # all fit: only now change anything
        conv.weight.data.copy_(weights)
        hooks.append(norm.register_forward_pre_hook(_settle(shift)))
    training = trunk.training
    trunk.eval()
    with torch.no_grad():
        trunk(images)
    trunk.train(training)
    for hook in hooks:
        hook.remove()


def _norm_of(conv: str) -> str:
    """Return the batch norm that follows a ResNet's convolution."""
    if conv.endswith("downsample.0"):
        return conv.removesuffix("0") + "1"
    head, _, last = conv.rpartition(".")
    return f"{head}.{last.replace('conv', 'bn')}".lstrip(".")


def _settle(bias: Tensor):  # type: ignore[no-untyped-def]  # torch's hook type
    def hook(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(mean + bias)

    return hook


def _build_trunk(name: str, pretrained: bool) -> Any:  # timm's own class
    """Return timm's features at strides 4, 8 and 16, last layers cut off."""
    try:
        probe: Any = timm.create_model(name, features_only=True, pretrained=False)
        strides = probe.feature_info.reduction()
        places = tuple(strides.index(stride) for stride in reversed(STRIDES))
        trunk: Any = timm.create_model(name, features_only=True, out_indices=places)
    except (RuntimeError, AttributeError, ValueError) as error:
        raise InputError(
            f"trunk {name!r}: expected a timm model with features at strides 4, 8, 16 "
            f"(timm.list_models() names them): {error}"
        ) from error
    if not pretrained:
        return trunk
    try:
        return timm.create_model(name, features_only=True, pretrained=True, out_indices=places)
    except Exception as error:  # whatever the hub's client raises without a network
        raise InputError(
            f"trunk {name!r}: timm's weights cannot be fetched; connect to the network once, or "
            "set trunk_weights to none or to a folder of folded convolutions"
        ) from error
