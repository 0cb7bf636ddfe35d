"""Flip, scale and turn: picture and joints move together, by one affine map (SPEC 1.17)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.frames import Crop, apply_affine


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
class Draw:
    """One drawn augmentation.

    Attributes:
        angle: radians.
        scale: size factor.
        shift: ``(x, y)`` in parts of the crop's side.
        flip: mirror left and right.
        covers: ``(left, top, right, bottom)`` of rectangles, in parts of the crop's side.
    """

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    covers: tuple[tuple[float, float, float, float], ...] = ()


UPRIGHT = 30.0
"""Degrees that still count as upright for ``upright_share``."""


COVER_SIDES = (0.1, 0.35)
"""Smallest and largest side of a covering rectangle, in parts of the crop's side."""


def draw_augmentation(augmentation: Augmentation, random: np.random.Generator) -> Draw:
    """Draw one augmentation; always takes the same number of random values."""
    upright, turn, size, x, y, mirrored, *rest = random.random(20)
    limit = min(UPRIGHT, augmentation.rotation)
    limit = limit if upright < augmentation.upright_share else augmentation.rotation
    low, high = augmentation.scale
    return Draw(
        angle=math.radians((2 * turn - 1) * limit),
        scale=math.exp(math.log(low) + size * math.log(high / low)),
        shift=((2 * x - 1) * augmentation.shift, (2 * y - 1) * augmentation.shift),
        flip=bool(mirrored < augmentation.flip),
        covers=_covers(augmentation.erase, rest),
    )


def _covers(erase: float, values: Sequence[float]) -> tuple[tuple[float, float, float, float], ...]:
    """Return up to three rectangles from 14 values in [0, 1)."""
    whether, count, *places = values
    if whether >= erase:
        return ()
    centers, sides = np.reshape(places, (2, 3, 2))[:, : 1 + int(3 * count)]
    low, high = COVER_SIDES
    half = (low + sides * (high - low)) / 2
    edges = np.concatenate([centers - half, centers + half], axis=1).tolist()
    return tuple((left, top, right, bottom) for left, top, right, bottom in edges)


def cover(image: UInt8[ndarray, "s s 3"], draw: Draw, color: Sequence[int]) -> None:
    """Fill the draw's rectangles of a crop with one color, in place."""
    side = len(image)
    for part in draw.covers:
        left, top, right, bottom = (round(min(max(edge, 0.0), 1.0) * side) for edge in part)
        image[top:bottom, left:right] = color


def augmented_matrix(box: Sequence[float], crop: Crop, draw: Draw) -> Float[ndarray, "2 3"]:
    """Return the map from image pixels to the augmented crop of ``box``."""
    matrix = crop.matrix(box, angle=draw.angle, scale=draw.scale, flip=draw.flip)
    matrix[:, 2] += np.multiply(draw.shift, crop.size)
    return matrix


def move_joints(
    joints: Float[ndarray, "k 2"],
    matrix: Float[ndarray, "2 3"],
    mirror: Sequence[int],
) -> Float[ndarray, "k 2"]:
    """Map joints; a mirroring map also exchanges left and right.

    Args:
        joints: image pixels, NaN where absent.
        matrix: image pixels -> crop pixels.
        mirror: the skeleton's joint of the other side, for each joint.
    """
    moved = apply_affine(matrix, joints)
    return moved[list(mirror)] if np.linalg.det(matrix[:, :2]) < 0 else moved
