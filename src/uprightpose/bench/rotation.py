"""Turning score maps: against kornia, torchvision, OpenCV and ``grid_sample``; limbs as a batch."""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import affine_transform
from torch import Tensor
from torch.nn import functional

from uprightpose.bench.timing import Cases, Comparison
from uprightpose.body_frame import canvas_size
from uprightpose.frames import middle
from uprightpose.normalize import Rotation, limb_rotation, rotate_joints, rotate_maps
from uprightpose.refine import ROOT_HEIGHT
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.skeletons import LSP

PEOPLE, MAPS, SIDE = 32, 15, 64

TOLERANCE = 1e-4
"""Of values up to 1: float32 places differ by 1e-5 cells, and so do bilinear readings."""

OPERATIONS = 8
"""Of one bilinear reading: four products and sums; places are shared by all maps."""

OPENCV = "OpenCV, map by map"
OPENCV_4 = "OpenCV, four maps at a time"
OPENCV_ALL = "OpenCV, 15 maps at a time"
SCIPY = "SciPy, map by map"


def rotate_maps_forward(threads: int) -> Comparison:  # noqa: ARG001
    """Compare our turn of a batch with what packages offer."""
    maps, rotation = _task()
    contenders: dict[str, Callable[[], Any]] = {"rotate_maps": lambda: rotate_maps(maps, rotation)}
    missing: dict[str, str] = {}
    degrees = torch.rad2deg(rotation.angle)
    try:
        from kornia.geometry.transform import rotate as kornia_rotate

        contenders["kornia"] = lambda: kornia_rotate(maps, -degrees, rotation.center)
    except ImportError:
        missing["kornia"] = "not installed"
    try:
        from torchvision.transforms.functional import (
            InterpolationMode,
        )
        from torchvision.transforms.functional import rotate as vision_rotate

        contenders["torchvision"] = lambda: torch.stack(
            [
                vision_rotate(own, -angle, InterpolationMode.BILINEAR)
                for own, angle in zip(maps, degrees.tolist(), strict=True)
            ]
        )
    except ImportError:
        missing["torchvision"] = "not installed"
    for name, count in ((OPENCV, 1), (OPENCV_4, 4), (OPENCV_ALL, MAPS)):
        contenders[name] = _opencv(maps, rotation, count)
    contenders[SCIPY] = _scipy(maps, rotation)
    contenders["grid_sample, whole batch"] = lambda: _grid_sample(maps, rotation)
    return Comparison(
        name="rotate-maps",
        task=f"turn {MAPS} maps of {SIDE}x{SIDE} cells bilinearly, {PEOPLE} people, an angle each",
        ours="rotate_maps",
        contenders=contenders,
        check=_agree,
        bars={"kornia": 2.0, "torchvision": 2.0, OPENCV: 1.0, OPENCV_4: 1.0, OPENCV_ALL: 1.0},
        missing=missing,
        operations=OPERATIONS * maps.numel(),
        moved=2 * 4 * maps.numel(),
        packages=("kornia", "torchvision", "opencv-python-headless", "scipy"),
    )


def rotate_maps_backward(threads: int) -> Comparison:  # noqa: ARG001
    """Compare our turn and its gradient with ``grid_sample``, called in three ways."""
    maps, rotation = _task()
    weights = torch.rand(maps.shape, generator=torch.Generator().manual_seed(1))

    def learned(turn: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        def work() -> Tensor:
            leaf = maps.detach().requires_grad_()
            return torch.autograd.grad(turn(leaf), leaf, weights)[0]

        return work

    def channel_by_channel(values: Tensor) -> Tensor:
        return torch.cat(
            [_grid_sample(one, rotation) for one in torch.split(values, 1, dim=1)], dim=1
        )

    def map_by_map(values: Tensor) -> Tensor:
        grid = _grid(rotation)
        return torch.stack(
            [
                torch.cat([_sample(one[None, None], own[None]) for one in person], dim=1)[0]
                for person, own in zip(values, grid, strict=True)
            ]
        )

    return Comparison(
        name="rotate-maps-backward",
        task=f"the same {PEOPLE} x {MAPS} maps of {SIDE}x{SIDE}: turn, and gradient of the maps",
        ours="rotate_maps",
        contenders={
            "rotate_maps": learned(lambda values: rotate_maps(values, rotation)),
            "grid_sample per map": learned(map_by_map),
            "grid_sample per joint": learned(channel_by_channel),
            "grid_sample, whole batch": learned(lambda values: _grid_sample(values, rotation)),
        },
        check=_agree,
        bars={"grid_sample per map": 3.0, "grid_sample per joint": 3.0},
        operations=2 * OPERATIONS * maps.numel(),
        moved=4 * 4 * maps.numel(),
    )


def limbs_batched(threads: int) -> Comparison:  # noqa: ARG001
    """Compare four limbs that turn as one batch with one after another."""
    joints = 8 + 32 * torch.rand(8, len(LSP.joints), 2, generator=torch.Generator().manual_seed(0))
    maps = with_background(encode_gaussians(joints, (48, 48), 1.5))
    canvas = canvas_size((32, 32), 1.5)
    place = (middle(canvas)[0], canvas[0] * ROOT_HEIGHT)

    def turns() -> list[Rotation]:
        found = (limb_rotation(joints, limb, otherwise=middle((48, 48))) for limb in LSP.limbs)
        return [turn.placed(place) for turn in found]

    @torch.inference_mode()
    def together() -> list[Tensor]:
        chosen = torch.cat([maps[:, list(limb.joints)] for limb in LSP.limbs])
        return list(rotate_maps(chosen, Rotation.joined(turns()), canvas).chunk(len(LSP.limbs)))

    @torch.inference_mode()
    def one_by_one() -> list[Tensor]:
        return [
            rotate_maps(maps[:, list(limb.joints)], turn, canvas)
            for limb, turn in zip(LSP.limbs, turns(), strict=True)
        ]

    cells = len(joints) * 12 * canvas[0] * canvas[1]
    return Comparison(
        name="limbs-batched",
        task="turn three maps of each of four limbs of 8 people into frames of 48x48 cells",
        ours="one batch",
        contenders={"one batch": together, "one by one": one_by_one},
        check=lambda outputs: _agree({name: torch.stack(one) for name, one in outputs.items()}),
        operations=OPERATIONS * cells,
        moved=2 * 4 * cells,
    )


def _task() -> tuple[Float[Tensor, "b c h w"], Rotation]:
    """Return maps and a turn about their middle for each person."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(PEOPLE, MAPS, SIDE, SIDE, generator=generator)
    angle = (2 * torch.rand(PEOPLE, generator=generator) - 1) * math.pi
    return maps, Rotation.about(torch.tensor([middle((SIDE, SIDE))]).expand(PEOPLE, 2), angle)


def _grid(rotation: Rotation) -> Float[Tensor, "b i j 2"]:
    """Return the places that each cell reads, as ``grid_sample`` counts them."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    cells = torch.stack([x, y], dim=-1).view(1, -1, 2).float()
    places = rotate_joints(cells.expand(PEOPLE, -1, -1), rotation.inverse())
    return (places * (2 / (SIDE - 1)) - 1).view(PEOPLE, SIDE, SIDE, 2)


def _sample(maps: Float[Tensor, "b c h w"], grid: Float[Tensor, "b i j 2"]) -> Tensor:
    return functional.grid_sample(maps, grid, align_corners=True)


def _grid_sample(maps: Float[Tensor, "b c h w"], rotation: Rotation) -> Tensor:
    return _sample(maps, _grid(rotation))


def _opencv(
    maps: Float[Tensor, "b c h w"], rotation: Rotation, count: int
) -> Callable[[], Float[ndarray, "b c h w"]]:
    """Return work that turns so many maps per call; its pixels lie channels last."""
    source = maps.numpy()
    groups = [slice(first, first + count) for first in range(0, MAPS, count)]

    def work() -> Float[ndarray, "b c h w"]:
        turned = np.empty_like(source)
        for person, angle in enumerate(rotation.angle.tolist()):
            matrix = _matrix(angle)
            for group in groups:
                pixels = np.ascontiguousarray(source[person, group].transpose(1, 2, 0))
                found = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
                turned[person, group] = found.reshape(SIDE, SIDE, -1).transpose(2, 0, 1)
        return turned

    def single() -> Float[ndarray, "b c h w"]:
        turned = np.empty_like(source)
        for person, angle in enumerate(rotation.angle.tolist()):
            matrix = _matrix(angle)
            for own, out in zip(source[person], turned[person], strict=True):
                cv2.warpAffine(own, matrix, (SIDE, SIDE), dst=out, flags=cv2.INTER_LINEAR)
        return turned

    return single if count == 1 else work


def _scipy(
    maps: Float[Tensor, "b c h w"], rotation: Rotation
) -> Callable[[], Float[ndarray, "b c h w"]]:
    """Return work that turns map by map; its places are rows first and those that are read."""
    source = maps.numpy()

    def work() -> Float[ndarray, "b c h w"]:
        turned = np.empty_like(source)
        for person, angle in enumerate(rotation.angle.tolist()):
            matrix = _matrix(-angle)
            for own, out in zip(source[person], turned[person], strict=True):
                affine_transform(
                    own,
                    matrix[::-1, 1::-1],
                    matrix[::-1, 2],
                    output=out,
                    order=1,
                    mode="grid-constant",
                )
        return turned

    return work


def _matrix(angle: float) -> Float[ndarray, "2 3"]:
    cos, sin = math.cos(angle), math.sin(angle)
    turn, center = np.array([[cos, -sin], [sin, cos]]), np.array(middle((SIDE, SIDE)))
    return np.concatenate([turn, (center - turn @ center)[:, None]], axis=1)


def _agree(outputs: dict[str, Any]) -> str:
    """Say by how much outputs differ from ours, the first.

    OpenCV with 15 channels reads places in steps of 1/32 cell: up to 1/64 off along each axis.
    """
    name, *others = outputs
    ours = torch.as_tensor(outputs[name])
    worst = coarse = 0.0
    for other in others:
        apart = (torch.as_tensor(outputs[other]) - ours).abs().max().item()
        limit = 1 / 32 if other == OPENCV_ALL else TOLERANCE
        assert apart <= limit, f"{other} is {apart:.2g} from {name}, more than {limit:.2g}"
        worst, coarse = (
            (worst, max(coarse, apart)) if other == OPENCV_ALL else (max(worst, apart), coarse)
        )
    steps = f"; {OPENCV_ALL}, in steps of 1/32 cell, by {coarse:.1g}" if coarse else ""
    return f"values of 0 to 1 (gradients: to 4) differ by at most {worst:.1g}{steps}"


CASES: Cases = {
    "rotate-maps": rotate_maps_forward,
    "rotate-maps-backward": rotate_maps_backward,
    "limbs-batched": limbs_batched,
}
