"""Refiners that differ in one thing: by which angle their score maps are turned, if at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uprightpose.body_frame import read_rotation
from uprightpose.data.writing import make_folder
from uprightpose.framed import FramedMaps, merge_joints
from uprightpose.frames import map_to_image
from uprightpose.model import shown_maps
from uprightpose.normalize import Rotation
from uprightpose.refine import BodyRefiner, LimbRefiner
from uprightpose.reproduce.found_joints import Found
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps, Refine, fit_on_maps


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
    teaching = Teaching(people, size, seed)
    turned = turned_by(found.body, angle)
    teaching.fit(found.body, alone(turned), folder / "body.safetensors", size.body_steps)
    if arm.limbs:
        hung = hanging(turned, found.limbs)
        teaching.fit(found.limbs, hung, folder / "limbs.safetensors", size.limbs_steps)
    return found


Turned = Callable[[Tensor, Tensor], FramedMaps]
"""Maps of some people, and which ones, -> what stage 1 makes of them."""


def turned_by(body: BodyRefiner, angle: Float[ndarray, " n"] | None) -> Turned:
    """Return stage 1 by everyone's angle, see :func:`fit_arm`."""
    given = None if angle is None else torch.from_numpy(angle).float()
    return lambda maps, who: refine_body(body, maps, None if given is None else given[who])


def alone(turned: Turned) -> Refine:
    """Return what learns in stage 1: its maps."""
    return lambda maps, who: [turned(maps, who)]


def hanging(turned: Turned, limbs: LimbRefiner) -> Refine:
    """Return what learns in stage 2: its parts, below a stage 1 that stays as it is."""

    def hung(maps: Tensor, who: Tensor) -> Sequence[FramedMaps]:
        with torch.no_grad():
            body = turned(maps, who)
        return refine_limbs(limbs, body, maps)

    return hung


@dataclass(frozen=True, eq=False)
class Teaching:
    """What one refiner after another learns from, and how.

    Attributes:
        people: to learn from.
        size: of the training.
        seed: of the order of people.
    """

    people: LabeledMaps
    size: Size
    seed: int

    def fit(self, part: nn.Module, refine: Refine, path: Path, steps: int) -> None:
        """Train a part of a refiner, or read its weights if the file is there.

        Args:
            part: what learns; left in evaluation mode.
            refine: runs it.
            path: of its weights, written whole.
            steps: of the optimizer.
        """
        if path.is_file():
            part.load_state_dict(load_file(path))
            part.eval()
            return
        fit_on_maps(
            part,
            refine,
            self.people,
            LSP,
            steps=steps,
            batch=self.size.batch,
            rate=self.size.rate,
            sigma=self.size.sigma,
            seed=self.seed,
            title=f"{path.parent.name}: {path.stem}",
        )
        partial = path.with_suffix(".partial")
        save_file({key: value.contiguous() for key, value in part.state_dict().items()}, partial)
        partial.replace(path)


def build_refiners(
    size: Size,
    *,
    normalize: bool,
    bone_lengths: Sequence[float] | None = None,
    share_sides: bool = False,
    soft: float | None = None,
    flow: bool = False,
) -> Refiners:
    """Return both stages, added to the incoming maps, with random weights.

    Args:
        size: of the networks.
        normalize: turn body and limbs.
        bone_lengths: see :class:`~uprightpose.refine.BodyRefiner`.
        share_sides: see :class:`~uprightpose.refine.LimbRefiner`, as for the others.
        soft: see there.
        flow: see there.
    """
    shape: dict[str, Any] = {"width": size.width, "kernels": size.kernels}
    body = BodyRefiner(
        LSP,
        canvas=size.canvas,
        normalize=normalize,
        residual=True,
        bone_lengths=bone_lengths,
        **shape,
    )
    limbs = LimbRefiner(
        LSP,
        canvas=size.canvas,
        limb_canvas=size.limb_canvas,
        normalize=normalize,
        upright=normalize,
        residual=True,
        share_sides=share_sides,
        soft=soft,
        flow=flow,
        **shape,
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


RefineLimbs = Callable[[LimbRefiner, FramedMaps, Tensor], Sequence[FramedMaps]]
"""Stage 2, what stage 1 shows and the maps that came in -> stage 2's parts."""


@torch.inference_mode()
def predict_arm(
    refiners: Refiners,
    maps: ndarray,
    angle: Float[ndarray, " n"] | None,
    stride: float,
    *,
    batch: int = 64,
    limbs: RefineLimbs | None = refine_limbs,
) -> dict[str, Found]:
    """Return the joints of both stages, ``"body"`` and ``"limbs"``.

    Args:
        refiners: of an arm; stage 2 means nothing where it was not trained.
        maps: ``(n, c, h, w)``.
        angle: as in :func:`fit_arm`.
        stride: pixels per cell.
        batch: people at a time.
        limbs: how stage 2 is run; ``None`` leaves it out.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    joints = len(LSP.joints)
    for start in range(0, len(maps), batch):
        own = torch.from_numpy(maps[start : start + batch].astype(np.float32))
        given = None if angle is None else torch.from_numpy(angle[start : start + batch]).float()
        body = refine_body(refiners.body, own, given)
        parts: dict[str, Sequence[FramedMaps]] = {"body": (body,)}
        if limbs is not None:
            parts["limbs"] = limbs(refiners.limbs, body, own)
        for name, shown in parts.items():
            decoded = merge_joints(shown, joints, merge=refiners.limbs.merge)
            found.setdefault(name, []).append((decoded.joints, decoded.scores))
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
