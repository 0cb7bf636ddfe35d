"""Settings of a network and its weights, as one safetensors file (half precision)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from uprightpose.angle_net import AngleNet
from uprightpose.baselines import BranchedRefiner, TypeSupervisedRefiner
from uprightpose.data.writing import write_whole
from uprightpose.detectors.compact import CompactDetector
from uprightpose.detectors.fcn import FCN
from uprightpose.detectors.hourglass import Hourglass
from uprightpose.detectors.resnet import ResNetDetector
from uprightpose.errors import InputError
from uprightpose.model import STAGES, PoseNet
from uprightpose.pose_types import TYPES
from uprightpose.refine import BodyRefiner, Init, LimbRefiner
from uprightpose.settings import Settings
from uprightpose.shipped_models import FORMAT
from uprightpose.skeletons import SKELETONS, Skeleton

ANGLE_FORMAT = "uprightpose-angle-1"
"""Names the settings of an :class:`~uprightpose.angle_net.AngleNet` in its file."""

_CHOICES = {
    "last": STAGES,
    **{
        name: get_args(hint)
        for name, hint in get_type_hints(Settings).items()
        if get_origin(hint) is Literal
    },
}
"""The settings that are one of a few words or numbers, and these."""


def build(
    settings: Settings,
    *,
    pretrained: bool = False,
    init: Init = "he",
    centers: Float[np.ndarray, "t k 2"] | None = None,
) -> PoseNet:
    """Build the network.

    Args:
        settings: what to build.
        pretrained: start the trunk from timm's weights.
        init: how refinement starts.
        centers: pose types of the baselines; weights that are loaded bring their own.
    """
    skeleton = SKELETONS[settings.skeleton]
    network: dict[str, Any] = {
        "width": settings.refine_width,
        "kernels": settings.kernels,
        "large_layers": settings.large_layers,
        "pairs": settings.pairs,
        "residual": settings.residual,
        "init": init,
    }
    frame: dict[str, Any] = {
        "canvas": settings.canvas,
        "in_place": settings.in_place,
        "blur": settings.blur,
        "subcell": settings.subcell,
    }
    body: torch.nn.Module | None = None
    limbs: LimbRefiner | None = None
    if settings.last != "detector":
        if settings.baseline == "none":
            body = BodyRefiner(skeleton, normalize=settings.normalize, **frame, **network)
        else:
            kind = {"type-supervision": TypeSupervisedRefiner, "multi-branch": BranchedRefiner}
            blank = np.zeros((TYPES, len(skeleton.joints), 2))
            given = blank if centers is None else centers
            body = kind[settings.baseline](skeleton, given, **network)
    if settings.last == "limbs":
        limbs = LimbRefiner(
            skeleton,
            limb_canvas=settings.limb_canvas,
            upright=settings.normalize,
            normalize=settings.normalize_limbs,
            semi_global=settings.semi_global,
            limb_inputs=settings.limb_inputs,
            merge=settings.merge,
            share_sides=settings.share_sides,
            **frame,
            **network,
        )
    return PoseNet(skeleton, build_detector(settings, pretrained=pretrained), body, limbs)


def build_detector(settings: Settings, *, pretrained: bool = False) -> torch.nn.Module:
    """Build the detector alone; ``pretrained`` starts its trunk from timm's weights."""
    joints = len(SKELETONS[settings.skeleton].joints)
    trunk, width = settings.trunk, settings.width
    match settings.detector:
        case "fcn":
            return FCN(
                joints + 1,
                trunk,
                width,
                variant=settings.variant,
                loss_stride=settings.loss_stride,
                fc6_kernel=settings.fc6_kernel,
                pretrained=pretrained,
            )
        case "resnet":
            return ResNetDetector(joints, trunk, pretrained=pretrained)
        case "hourglass":
            return Hourglass(joints, settings.stacks, width)
        case _:
            return CompactDetector(joints + 1, trunk, width, pretrained=pretrained)


def save_weights(model: PoseNet, settings: Settings, path: Path, *, half: bool = True) -> None:
    """Write weights and settings; through a temporary file, so that no half file is left.

    Args:
        model: its state up to the last trained stage, norms' statistics included.
        settings: that :func:`build` made it from.
        path: ``.safetensors`` file.
        half: store numbers in 16 bits.
    """
    state = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
        if name.partition(".")[0] in STAGES[: STAGES.index(settings.last) + 1]
    }
    notes = {FORMAT: json.dumps(asdict(settings))}  # one entry: their order would be random
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save({k: v.cpu() for k, v in state.items()}, metadata=notes))


def load_weights(path: Path, skeleton: Skeleton | None = None) -> tuple[PoseNet, Settings]:
    """Build the network that a file describes and load its weights, ready for inference.

    Args:
        path: written by :func:`save_weights`.
        skeleton: what the caller expects, if anything.

    Raises:
        InputError: if the file is missing, damaged, of another format or another skeleton.
    """
    settings, state = _read(path)
    if settings.skeleton not in SKELETONS or (
        skeleton is not None and settings.skeleton != skeleton.name
    ):
        expected = skeleton.name if skeleton else " or ".join(SKELETONS)
        raise InputError(
            f"{path}: expected weights for skeleton {expected}, found {settings.skeleton}; "
            "choose weights that were trained on it"
        )
    model = build(settings)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise InputError(f"{path}: weights and settings disagree: {lines[-1].strip()}") from error
    return model.eval(), settings


def save_angle_net(net: AngleNet, trunk: str, path: Path, *, half: bool = True) -> None:
    """Write the posterior of the body angle; through a temporary file.

    Args:
        net: its state, norms' statistics included.
        trunk: timm's name of its trunk.
        path: ``.safetensors`` file.
        half: store numbers in 16 bits.
    """
    state = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for name, value in net.state_dict().items()
    }
    shape = {"trunk": trunk, "size": net.size, "width": net.mix.out_channels}
    notes = {ANGLE_FORMAT: json.dumps(shape)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(state, metadata=notes))


def load_angle_net(path: Path) -> AngleNet:
    """Build the posterior of the body angle and load its weights, ready for inference.

    Raises:
        InputError: if the file is missing, damaged or of another format.
    """
    state, notes = _tensors(path)
    if ANGLE_FORMAT not in notes:
        raise InputError(f"{path}: expected weights of an angle net ({ANGLE_FORMAT})")
    try:
        net = AngleNet(**json.loads(notes[ANGLE_FORMAT]))
        net.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: weights and settings disagree: {reason}") from error
    return net.eval()


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors in single precision, and its notes."""
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; expected a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is no safetensors file or is damaged ({error})") from error
    float32 = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    return float32, notes


def _read(path: Path) -> tuple[Settings, dict[str, Tensor]]:
    state, notes = _tensors(path)
    if FORMAT not in notes:
        raise InputError(f"{path}: expected weights written by uprightpose ({FORMAT})")
    try:
        values = dict(json.loads(notes[FORMAT]))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: its settings are missing or damaged ({error})") from error
    known = {field.name for field in fields(Settings)}
    if set(values) - known:
        raise InputError(
            f"{path}: unknown settings {sorted(set(values) - known)}; written by a newer version?"
        )
    values["kernels"] = tuple(values.get("kernels", Settings.kernels))
    values.setdefault("normalize_limbs", values.get("normalize", True))  # once a single setting
    odd = [
        name for name, choices in _CHOICES.items() if name in values and values[name] not in choices
    ]
    if odd:
        raise InputError(
            f"{path}: unknown {', '.join(f'{name} {values[name]}' for name in odd)}; "
            "written by a newer version?"
        )
    return Settings(**values), state


def read_folded(folder: Path) -> Mapping[str, np.ndarray]:
    """Read a folder of ``NAME.weight.npy`` and ``NAME.bias.npy``, one per convolution.

    Raises:
        InputError: if there are none.
    """
    arrays = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    if not arrays:
        raise InputError(f"{folder}: expected .npy files of a trunk's convolutions, found none")
    return arrays


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of learnable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
