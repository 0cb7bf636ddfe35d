"""What the detectors share: timm trunks with features at given strides, and how they start."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.errors import InputError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of RGB / 255 on ImageNet; for a trunk whose own statistics timm does not know."""

REFUSALS = (RuntimeError, AttributeError, ValueError, TypeError, AssertionError)
"""What timm raises at a name or an option that it does not take."""


def build_trunk(name: str, strides: Sequence[int], *, pretrained: bool = False) -> Any:
    """Build timm's model up to the last of these strides: images -> one feature map each.

    A stride named twice asks for a last block that is dilated instead of strided
    (SPEC 1.4): ``(8, 16, 16)`` gives blocks 2, 3 and 4 of a ResNet, all of them.

    Args:
        name: timm's.
        strides: ascending.
        pretrained: start from timm's weights (needs the network once).

    Returns:
        timm's own class; ``feature_info.channels()`` are those of its features.

    Raises:
        InputError: if timm has no such model, it lacks a stride or cannot be dilated, or
            its weights cannot be fetched.

    Example:
        >>> build_trunk("resnet18", (8, 16, 16)).feature_info.channels()
        [128, 256, 512]
    """
    dilated = len(set(strides)) < len(strides)
    options: dict[str, Any] = {"output_stride": strides[-1]} if dilated else {}
    try:
        probe: Any = timm.create_model(name, features_only=True, **options)
        options["out_indices"] = _places(probe.feature_info.reduction(), strides)
        if not pretrained:
            return timm.create_model(name, features_only=True, **options)
    except REFUSALS as error:
        raise InputError(
            f"trunk {name!r}: expected a timm model with features at strides "
            f"{', '.join(map(str, strides))}{', its last block dilated' if dilated else ''} "
            f"(timm.list_models() names them): {error or type(error).__name__}"
        ) from error
    return fetch(name, features_only=True, **options)


def fetch(name: str, **options: Any) -> Any:
    """Return timm's model with its weights.

    Raises:
        InputError: if they cannot be fetched.
    """
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # whatever the hub's client raises without a network
        raise InputError(
            f"trunk {name!r}: timm's weights cannot be fetched; connect to the network once, or "
            "set trunk_weights to none or to a folder of folded convolutions"
        ) from error


def _places(found: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Return where the strides are; a repeated one is the last of its kind."""
    if any(found.count(stride) < strides.count(stride) for stride in strides):
        raise ValueError(f"its features are at strides {', '.join(map(str, found))}")
    last = len(found) - 1 - found[::-1].index(strides[-1])
    return (*(found.index(stride) for stride in strides[:-1]), last)


def pixel_statistics(
    trunk: nn.Module | None = None,
) -> tuple[Float[Tensor, "1 3 1 1"], Float[Tensor, "1 3 1 1"]]:
    """Return mean and deviation of RGB in 0..255 that a trunk was trained with.

    Example:
        >>> pixel_statistics()[0].flatten()
        tensor([123.6750, 116.2800, 103.5300])
    """
    known: Mapping[str, Any] = getattr(trunk, "pretrained_cfg", None) or {}
    mean, std = known.get("mean", MEAN), known.get("std", STD)
    return 255 * torch.tensor(mean).view(1, 3, 1, 1), 255 * torch.tensor(std).view(1, 3, 1, 1)


def check_sides(images: Float[Tensor, "b 3 h w"], multiple: int) -> None:
    """Raise ValueError unless both sides are multiples of what the detector halves away."""
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"expected images whose sides are multiples of {multiple} pixels, "
            f"found {height} x {width} (h x w); choose another crop size"
        )


def start_from_rate(
    score: nn.Conv2d | nn.ConvTranspose2d, rate: float, *, background: bool = True
) -> None:
    """Make a score layer start near the log-odds of ``rate``; the last map may be background."""
    nn.init.normal_(score.weight, std=0.01)
    assert score.bias is not None
    nn.init.constant_(score.bias, math.log(rate / (1 - rate)))
    if background:
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
        trunk: names as in torchvision; layers that it lacks are ignored. Children of which
            the arrays know nothing (say ``layer4``) stay as they are.
        arrays: ``"layer1.0.conv1.weight"``, ``"layer1.0.conv1.bias"`` and so on.
        images: normalized pictures for the statistics.

    Raises:
        InputError: if a convolution has no weights or another shape, in a child of which the
            arrays know something; or if they know nothing of the whole trunk.
    """
    settled = _fit(trunk, arrays)
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


def _fit(
    trunk: nn.Module, arrays: Mapping[str, np.ndarray]
) -> list[tuple[nn.Conv2d, Tensor, nn.BatchNorm2d, Tensor]]:
    """Return each convolution with its new weights, its norm and the folded bias."""
    modules = dict(trunk.named_modules())
    known = {name.partition(".")[0] for name in arrays}
    fits = []
    for name, conv in modules.items():
        if not isinstance(conv, nn.Conv2d) or name.partition(".")[0] not in known:
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
        fits.append((conv, torch.from_numpy(weight), norm, torch.from_numpy(bias)))
    if not fits:
        raise InputError(
            "trunk weights: expected convolutions of a ResNet, such as conv1.weight; "
            f"found {', '.join(sorted(known)) or 'nothing'}"
        )
    return fits


def _norm_of(conv: str) -> str:
    """Return the batch norm that follows a ResNet's convolution."""
    if conv.endswith("downsample.0"):
        return conv.removesuffix("0") + "1"
    head, _, last = conv.rpartition(".")
    return f"{head}.{last.replace('conv', 'bn')}".lstrip(".")


def _settle(bias: Tensor) -> Callable[[nn.BatchNorm2d, tuple[Tensor, ...]], None]:
    def hook(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(mean + bias)

    return hook
