"""Settings of a network and its weights, as one safetensors file (half precision)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from uprightpose.data.sample import Labels
from uprightpose.data.writing import write_whole
from uprightpose.detectors.compact import CompactDetector
from uprightpose.errors import InputError
from uprightpose.model import STAGES, PoseNet
from uprightpose.refine import BodyRefiner, LimbRefiner
from uprightpose.skeletons import SKELETONS, Skeleton

FORMAT = "uprightpose-1"
"""Names the settings in every file; a file without it is refused."""


@dataclass(frozen=True)
class Settings:
    """All that is needed to build a network again; stored with its weights.

    Attributes:
        skeleton: name of the skeleton.
        labels: whose left and right it was taught, ``"pc"`` or ``"oc"``.
        size: side of the square crops it was trained on, in pixels.
        trunk: timm's name.
        head_width: channels of the detector's head at stride 4.
        refine_width: channels of the refinement networks.
        kernels: sides of their large kernels.
        canvas: side of the body frame over the image maps' side.
        limb_canvas: side of a limb's frame over the image maps' side.
        normalize: ``False`` for the control that refines without turning anything.
        residual: refinement adds to the incoming maps.
        last: last trained stage, a name of :data:`uprightpose.model.STAGES`; later ones are
            not built.
    """

    skeleton: str = "lsp"
    labels: Labels = "pc"
    size: int = 128
    trunk: str = "resnet18"
    head_width: int = 64
    refine_width: int = 128
    kernels: tuple[int, ...] = (9, 15, 15)
    canvas: float = 1.5
    limb_canvas: float = 1.5
    normalize: bool = True
    residual: bool = False
    last: str = "limbs"


def build(settings: Settings, *, pretrained: bool = False) -> PoseNet:
    """Build the network; ``pretrained`` starts the trunk from timm's weights."""
    skeleton = SKELETONS[settings.skeleton]
    shape: dict[str, Any] = {
        "width": settings.refine_width,
        "kernels": settings.kernels,
        "canvas": settings.canvas,
        "normalize": settings.normalize,
        "residual": settings.residual,
    }
    detector = CompactDetector(
        len(skeleton.joints) + 1, settings.trunk, settings.head_width, pretrained=pretrained
    )
    body = BodyRefiner(skeleton, **shape) if settings.last != "detector" else None
    limbs = None
    if settings.last == "limbs":
        limbs = LimbRefiner(
            skeleton, limb_canvas=settings.limb_canvas, upright=settings.normalize, **shape
        )
    return PoseNet(skeleton, detector, body, limbs)


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


def _read(path: Path) -> tuple[Settings, dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; expected a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is no safetensors file or is damaged ({error})") from error
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
    float32 = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    return Settings(**values), float32


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
