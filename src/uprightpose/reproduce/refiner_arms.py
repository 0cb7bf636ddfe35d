"""Refiners that differ in one thing: by which angle their score maps are turned, if at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uprightpose.data.writing import make_folder
from uprightpose.framed import FramedMaps, merge_joints
from uprightpose.frames import map_to_image
from uprightpose.model import shown_maps
from uprightpose.normalize import Rotation
from uprightpose.refine import BodyRefiner, LimbRefiner, read_rotation
from uprightpose.reproduce.found_joints import Found
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps, fit_on_maps


@dataclass(frozen=True)
class Size:
    """Of the refiners of all arms, and of their training.

    Attributes:
        width: channels.
        kernels: sides of the large kernels.
        canvas: of the body frame over the maps' side.
        limb_canvas: of a limb's frame over the maps' side.
        body_steps: of stage 1.
        limbs_steps: of stage 2.
        batch: people per step.
        rate: largest learning rate.
        sigma: of the Gaussian targets in cells.
    """

    width: int = 8
    kernels: tuple[int, ...] = (9, 15, 15)
    canvas: float = 1.25
    limb_canvas: float = 0.875
    body_steps: int = 500
    limbs_steps: int = 250
    batch: int = 32
    rate: float = 1e-3
    sigma: float = 1.5


@dataclass(frozen=True)
class Arm:
    """One way to refine.

    Attributes:
        angle: name of the body angles by which maps are turned; ``"maps"`` reads them from the
            maps, ``"none"`` turns nothing, neither body nor limbs.
        limbs: stage 2 follows stage 1.
    """

    angle: str
    limbs: bool = True


class Refiners(NamedTuple):
    """Both stages of an arm."""

    body: BodyRefiner
    limbs: LimbRefiner


def fit_arm(
    arm: Arm,
    people: LabeledMaps,
    angle: Float[ndarray, " n"] | None,
    size: Size,
    seed: int,
    folder: Path,
) -> Refiners:
    """Return an arm's refiners, trained if their files are not there.

    Args:
        arm: what to train.
        people: to learn from.
        angle: body angles in radians; NaN, and ``None`` for everyone, reads them from the maps.
        size: of networks and training.
        seed: of weights and order; two arms with one seed start alike.
        folder: for ``body.safetensors`` and ``limbs.safetensors``.
    """
    make_folder(folder)
    torch.manual_seed(seed)
    found = build_refiners(size, normalize=arm.angle != "none")
    given = None if angle is None else torch.from_numpy(angle).float()

    def turned(maps: Tensor, who: Tensor) -> FramedMaps:
        return refine_body(found.body, maps, None if given is None else given[who])

    def hung(maps: Tensor, who: Tensor) -> Sequence[FramedMaps]:
        with torch.no_grad():
            body = turned(maps, who)
        return refine_limbs(found.limbs, body, maps)

    for name, part, steps in (
        ("body", found.body, size.body_steps),
        ("limbs", found.limbs, size.limbs_steps),
    ):
        path = folder / f"{name}.safetensors"
        if name == "limbs" and not arm.limbs:
            continue
        if path.is_file():
            part.load_state_dict(load_file(path))
            part.eval()
            continue
        fit_on_maps(
            part,
            (lambda maps, who: [turned(maps, who)]) if name == "body" else hung,
            people,
            LSP,
            steps=steps,
            batch=size.batch,
            rate=size.rate,
            sigma=size.sigma,
            seed=seed,
            title=f"{folder.name}: {name}",
        )
        partial = path.with_suffix(".partial")
        save_file({key: value.contiguous() for key, value in part.state_dict().items()}, partial)
        partial.replace(path)
    return found


def build_refiners(size: Size, *, normalize: bool) -> Refiners:
    """Return both stages, added to the incoming maps, with random weights."""
    shape = {"width": size.width, "kernels": size.kernels}
    body = BodyRefiner(LSP, canvas=size.canvas, normalize=normalize, residual=True, **shape)  # type: ignore[arg-type]
    limbs = LimbRefiner(
        LSP,
        canvas=size.canvas,
        limb_canvas=size.limb_canvas,
        normalize=normalize,
        upright=normalize,
        residual=True,
        **shape,  # type: ignore[arg-type]
    )
    return Refiners(body, limbs)


def refine_body(
    body: BodyRefiner, maps: Float[Tensor, "b c h w"], angle: Float[Tensor, " b"] | None
) -> FramedMaps:
    """Run stage 1 on maps that are turned by given angles, about the center that they show."""
    rotation: Rotation | None = None
    if angle is not None and body.normalize:
        read = read_rotation(maps, body.skeleton)
        own = torch.where(angle.isfinite(), angle, read.angle)
        rotation = Rotation.about(read.center, own)
    return body.refine(maps, rotation=rotation)


def refine_limbs(
    limbs: LimbRefiner, body: FramedMaps, maps: Float[Tensor, "b c h w"]
) -> tuple[FramedMaps, ...]:
    """Run stage 2 on what stage 1 shows."""
    size = (maps.shape[-2], maps.shape[-1])
    return limbs.refine(shown_maps(body), body.rotation, size)


@torch.inference_mode()
def predict_arm(
    refiners: Refiners,
    maps: ndarray,
    angle: Float[ndarray, " n"] | None,
    stride: float,
    *,
    batch: int = 64,
) -> dict[str, Found]:
    """Return the joints of both stages, ``"body"`` and ``"limbs"``.

    Args:
        refiners: of an arm; stage 2 means nothing where it was not trained.
        maps: ``(n, c, h, w)``.
        angle: as in :func:`fit_arm`.
        stride: pixels per cell.
        batch: people at a time.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {"body": [], "limbs": []}
    joints = len(LSP.joints)
    for start in range(0, len(maps), batch):
        own = torch.from_numpy(maps[start : start + batch].astype(np.float32))
        given = None if angle is None else torch.from_numpy(angle[start : start + batch]).float()
        body = refine_body(refiners.body, own, given)
        parts = {"body": (body,), "limbs": refine_limbs(refiners.limbs, body, own)}
        for name, shown in parts.items():
            decoded = merge_joints(shown, joints, merge=refiners.limbs.merge)
            found[name].append((decoded.joints, decoded.scores))
    return {
        name: Found(
            map_to_image(torch.cat([one for one, _ in rows]).double().numpy(), stride),
            torch.cat([one for _, one in rows]).double().numpy(),
        )
        for name, rows in found.items()
    }


def count_refiners(refiners: Refiners) -> int:
    """Return the parameters of both stages."""
    return sum(value.numel() for part in refiners for value in nn.Module.parameters(part))
