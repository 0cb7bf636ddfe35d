"""Flip, scale and turn: picture and joints move together, by one affine map (SPEC 1.17)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.frames import apply_affine, crop_matrix


@dataclass(frozen=True)
class Augmentation:
    """What one draw may do to a picture.

    Attributes:
        rotation: largest turn in degrees, either way; 180 is the full circle.
        upright_share: share of draws that turn by at most 30 degrees instead.
        scale: smallest and largest size factor, drawn log-uniformly.
        shift: largest shift, in parts of the crop's side, either way, along each axis.
        flip: probability of mirroring.
    """

    rotation: float = 180.0
    upright_share: float = 0.0
    scale: tuple[float, float] = (0.80, 1.25)
    shift: float = 0.0
    flip: float = 0.5


@dataclass(frozen=True)
class Draw:
    """One drawn augmentation: ``angle`` in radians, ``scale``, ``shift`` (x, y), ``flip``."""

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False


UPRIGHT = 30.0
"""Degrees that still count as upright for ``upright_share``."""


def draw_augmentation(augmentation: Augmentation, random: np.random.Generator) -> Draw:
    """Draw one augmentation; always takes the same number of random values."""
    upright, turn, size, x, y, mirrored = random.random(6)
    limit = min(UPRIGHT, augmentation.rotation)
    limit = limit if upright < augmentation.upright_share else augmentation.rotation
    low, high = augmentation.scale
    return Draw(
        angle=math.radians((2 * turn - 1) * limit),
        scale=math.exp(math.log(low) + size * math.log(high / low)),
        shift=((2 * x - 1) * augmentation.shift, (2 * y - 1) * augmentation.shift),
        flip=bool(mirrored < augmentation.flip),
    )


def augmented_matrix(box: Sequence[float], size: int, draw: Draw) -> Float[ndarray, "2 3"]:
    """Return the map from image pixels to the augmented crop of ``box``."""
    matrix = crop_matrix(box, size, angle=draw.angle, scale=draw.scale, flip=draw.flip)
    matrix[:, 2] += np.multiply(draw.shift, size)
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
