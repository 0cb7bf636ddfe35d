"""Flip, scale and turn: picture and joints move together, by one affine map (SPEC 1.17).

A whole batch is drawn and moved at once; what becomes of a person depends on that person's
random values alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from uprightpose.frames import Crop


@dataclass(frozen=True)
class Augmentation:
    """What one draw may do to a picture.

    Attributes:
        rotation: largest turn in degrees, either way; 180 is the full circle.
        upright_share: share of draws that turn by at most 30 degrees instead.
        scale: smallest and largest size factor, drawn log-uniformly.
        shift: largest shift, in parts of the crop's side, either way, along each axis.
        flip: probability of mirroring.
        erase: probability of covering up to three rectangles, whose joints stay labeled: score
            maps then fail as on pictures that the detector was not fitted to (SPEC 1.16).
    """

    rotation: float = 180.0
    upright_share: float = 0.0
    scale: tuple[float, float] = (0.80, 1.25)
    shift: float = 0.0
    flip: float = 0.5
    erase: float = 0.0


@dataclass(frozen=True)
class Draws:
    """One drawn augmentation for each of ``b`` people.

    Attributes:
        angle: ``(b,)`` radians.
        scale: ``(b,)`` size factors.
        shift: ``(b, 2)`` as ``(x, y)`` in parts of the crop's side.
        flip: ``(b,)`` whether left and right are mirrored.
        covers: ``(b, 3, 4)`` rectangles ``(left, top, right, bottom)`` in parts of the crop's
            side; all 0 where there is none.
    """

    angle: Float[ndarray, " b"]
    scale: Float[ndarray, " b"]
    shift: Float[ndarray, "b 2"]
    flip: Bool[ndarray, " b"]
    covers: Float[ndarray, "b 3 4"]


UPRIGHT = 30.0
"""Degrees that still count as upright for ``upright_share``."""


COVER_SIDES = (0.1, 0.35)
"""Smallest and largest side of a covering rectangle, in parts of the crop's side."""


VALUES = 20
"""Random values that one draw takes, whatever it may do."""


def draw_augmentations(augmentation: Augmentation, values: Float[ndarray, "b 20"]) -> Draws:
    """Turn random values in [0, 1) into augmentations, a row into one.

    Example:
        >>> draw_augmentations(Augmentation(rotation=90), np.full((1, VALUES), 0.75)).angle
        array([0.78539816])
    """
    upright, turn, size, x, y, mirrored = values[:, :6].T
    calm = upright < augmentation.upright_share
    limit = np.where(calm, min(UPRIGHT, augmentation.rotation), augmentation.rotation)
    low, high = augmentation.scale
    return Draws(
        angle=np.radians((2 * turn - 1) * limit),
        scale=_each(math.exp, math.log(low) + size * math.log(high / low)),
        shift=np.stack([(2 * x - 1), (2 * y - 1)], axis=1) * augmentation.shift,
        flip=mirrored < augmentation.flip,
        covers=_covers(augmentation.erase, values[:, 6:]),
    )


def no_augmentations(count: int) -> Draws:
    """Return draws that leave so many pictures as they are."""
    zeros, kept = np.zeros(count), np.zeros(count, dtype=bool)
    return Draws(zeros, np.ones(count), np.zeros((count, 2)), kept, np.zeros((count, 3, 4)))


def turned_further(draws: Draws, angle: Float[ndarray, " b"]) -> Draws:
    """Return draws that first turn each person by ``angle`` radians; mirrored, the other way.

    Example:
        >>> turned_further(no_augmentations(1), np.array([0.5])).angle
        array([0.5])
    """
    return replace(draws, angle=draws.angle + np.where(draws.flip, -angle, angle))


def _each(function: Callable[[float], float], values: Float[ndarray, " b"]) -> Float[ndarray, " b"]:
    """Apply a function of libm's: numpy's own vary in their last bit with the processor."""
    return np.fromiter(map(function, values.tolist()), np.float64, len(values))


def _covers(erase: float, values: Float[ndarray, "b 14"]) -> Float[ndarray, "b 3 4"]:
    """Return up to three rectangles from 14 values in [0, 1)."""
    centers, sides = np.moveaxis(values[:, 2:].reshape(-1, 2, 3, 2), 1, 0)
    low, high = COVER_SIDES
    half = (low + sides * (high - low)) / 2
    edges = np.concatenate([centers - half, centers + half], axis=2)
    count = np.where(values[:, 0] < erase, 1 + (3 * values[:, 1]).astype(int), 0)
    covers: ndarray = np.where(np.arange(3)[:, None] < count[:, None, None], edges, 0.0)
    return covers


def covered_pixels(draws: Draws, size: int) -> Int[ndarray, "b 3 4"]:
    """Return each rectangle's first and last edge in pixels of a crop of side ``size``."""
    edges: ndarray = np.rint(np.clip(draws.covers, 0.0, 1.0) * size).astype(np.int64)
    return edges


def cover(
    images: UInt8[ndarray, "b s s 3"], covers: Int[ndarray, "b 3 4"], color: Sequence[int]
) -> None:
    """Fill rectangles of crops with one color, in place."""
    rows, places = np.nonzero((covers[..., 2:] > covers[..., :2]).all(axis=2))
    for row, (left, top, right, bottom) in zip(rows, covers[rows, places].tolist(), strict=True):
        images[row, top:bottom, left:right] = color


def augmented_matrices(box: Sequence[float], crop: Crop, draws: Draws) -> Float[ndarray, "b 2 3"]:
    """Return the maps from image pixels to the augmented crops of one ``box``."""
    matrices = crop.matrices(box, draws.angle, draws.scale, draws.flip)
    matrices[:, :, 2] += draws.shift * crop.size
    return matrices


def move_joints(
    joints: Float[ndarray, "b k 2"],
    matrices: Float[ndarray, "b 2 3"],
    mirror: Sequence[int],
) -> Float[ndarray, "b k 2"]:
    """Map joints, each person's by its own map; a mirroring one also exchanges left and right.

    Args:
        joints: image pixels, NaN where absent.
        matrices: image pixels -> crop pixels.
        mirror: the skeleton's joint of the other side, for each joint.
    """
    moved = joints @ matrices[:, :, :2].swapaxes(1, 2) + matrices[:, None, :, 2]
    return exchange_sides(moved, np.linalg.det(matrices[:, :, :2]) < 0, mirror)


def exchange_sides(values: ndarray, flip: Bool[ndarray, " b"], mirror: Sequence[int]) -> ndarray:
    """Exchange left and right joints ``(b, k, ...)`` of the people who are mirrored."""
    exchanged = values.copy()
    exchanged[flip] = values[flip][:, list(mirror)]
    return exchanged
