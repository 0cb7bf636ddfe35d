"""Where: image <-> crop <-> score map, the one place that knows about half a pixel.

Points are ``(x, y)`` with x right and y down; pixel and cell centers are integers, the first
is 0. In *edge* coordinates, ``u = x + 0.5``, a picture of width ``w`` spans ``[0, w]`` and
resizing is a plain multiplication. Every shift between grids follows from that.

An affine map is a ``(2, 3)`` float64 array that acts on the column ``(x, y, 1)``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Num
from numpy import ndarray

Points = TypeVar("Points")  # numpy array or torch tensor (..., 2); arithmetic only

HALF = 0.5

Resize = Literal["letterbox", "stretch"]
"""Keep the picture's proportions and pad, or fill the square (SPEC 1.8)."""


def image_to_map(points: Points, stride: float) -> Points:
    """Turn image pixels into cells of a score map of the given stride (SPEC 1.1).

    Example:
        >>> image_to_map(np.array([1.5, 3.5]), stride=4)
        array([0. , 0.5])
    """
    return (points + HALF) / stride - HALF  # type: ignore[operator,return-value]


def map_to_image(points: Points, stride: float) -> Points:
    """Turn score-map cells into image pixels: ``x = stride * (cell + 0.5) - 0.5``.

    Example:
        >>> map_to_image(np.array([0.0, 0.5]), stride=4)
        array([1.5, 3.5])
    """
    return (points + HALF) * stride - HALF  # type: ignore[operator,return-value]


def middle(size: tuple[int, int]) -> tuple[float, float]:
    """Return the middle ``(x, y)`` of a grid of ``(h, w)`` cells, between cells if even."""
    height, width = size
    return (width / 2 - HALF, height / 2 - HALF)


def whole_image_box(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the box ``(x, y, w, h)`` of an image of ``(h, w)`` pixels, in edge coordinates."""
    height, width = size
    return (0.0, 0.0, float(width), float(height))


def crop_matrix(
    box: Sequence[float],
    size: int,
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    flip: bool = False,
    stretch: bool = False,
) -> Float[ndarray, "2 3"]:
    """Return the affine map from image pixels to a square crop that letter-boxes ``box``.

    The longer side of the box fills the crop, the box's middle becomes the crop's middle.
    Then the content is mirrored (``flip``), turned by ``angle`` and scaled, all about the
    middle, so that one resampling does everything (SPEC 1.17).

    Args:
        box: ``(x, y, w, h)`` in edge coordinates of the image (a whole image is
            ``(0, 0, w, h)``), as in COCO.
        size: side of the crop in pixels.
        angle: radians, positive clockwise as displayed.
        scale: above 1 makes the person larger.
        flip: mirror left and right first.
        stretch: let both sides of the box fill the crop, each by its own factor.

    Returns:
        ``(2, 3)`` matrix acting on pixel centers.

    Example:
        A 100 x 50 picture in a 10 x 10 crop: its first pixel's center lies at 0.05 edge
        units from the left, below the upper quarter that letter-boxing leaves empty.

        >>> matrix = crop_matrix((0, 0, 100, 50), 10)
        >>> apply_affine(matrix, np.array([[0.0, 0.0]])).round(3)
        array([[-0.45,  2.05]])
    """
    x, y, width, height = (float(value) for value in box)
    across, down = (width, height) if stretch else (max(width, height),) * 2
    factor_x, factor_y = (-1.0 if flip else 1.0) * scale * size / across, scale * size / down
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos * factor_x, -sin * factor_y], [sin * factor_x, cos * factor_y]])
    center = np.array([x + width / 2, y + height / 2]) - HALF
    target = np.full(2, size / 2 - HALF)
    return np.concatenate([linear, (target - linear @ center)[:, None]], axis=1)


def crop_matrices(
    box: Sequence[float],
    size: int,
    angle: Float[ndarray, " b"],
    scale: Num[ndarray, " b"],
    flip: Bool[ndarray, " b"],
    *,
    stretch: bool = False,
) -> Float[ndarray, "b 2 3"]:
    """Return the very maps of :func:`crop_matrix` for many turns of one box, in one pass.

    Example:
        >>> turns = np.array([0.0, math.pi])
        >>> kept = np.array([False, False])
        >>> crop_matrices((0, 0, 4, 4), 8, turns, np.ones(2), kept)[:, 0].round(3)
        array([[ 2. , -0. ,  0.5],
               [-2. , -0. ,  6.5]])
    """
    x, y, width, height = (float(value) for value in box)
    across, down = (width, height) if stretch else (max(width, height),) * 2
    factor_x, factor_y = np.where(flip, -1.0, 1.0) * scale * size / across, scale * size / down
    cos, sin = _cos_sin(angle)
    linear = np.stack([cos * factor_x, -sin * factor_y, sin * factor_x, cos * factor_y], axis=1)
    linear = linear.reshape(-1, 2, 2)
    center = np.array([x + width / 2, y + height / 2]) - HALF
    target = np.full(2, size / 2 - HALF)
    return np.concatenate([linear, (target - linear @ center)[:, :, None]], axis=2)


@dataclass(frozen=True)
class Crop:
    """How a network sees a person: the square that a box is brought into.

    Attributes:
        size: side of the square in pixels.
        content: pixels that the box fills; 0 for all of ``size``. The paper's pictures are 340
            pixels, padded to 352 = 11 * 32 so that strides come out even (SPEC 1.2).
        resize: letter-box the box, or stretch it (SPEC 1.8).
    """

    size: int
    content: int = 0
    resize: Resize = "letterbox"

    def matrix(
        self, box: Sequence[float], *, angle: float = 0.0, scale: float = 1.0, flip: bool = False
    ) -> Float[ndarray, "2 3"]:
        """Return the map from image pixels to crop pixels; see :func:`crop_matrix`."""
        share = (self.content or self.size) / self.size
        stretch = self.resize == "stretch"
        return crop_matrix(
            box, self.size, angle=angle, scale=scale * share, flip=flip, stretch=stretch
        )

    def matrices(
        self,
        box: Sequence[float],
        angle: Float[ndarray, " b"],
        scale: Float[ndarray, " b"],
        flip: Bool[ndarray, " b"],
    ) -> Float[ndarray, "b 2 3"]:
        """Return the maps of many turns of one box; see :func:`crop_matrices`."""
        share = (self.content or self.size) / self.size
        stretch = self.resize == "stretch"
        return crop_matrices(box, self.size, angle, scale * share, flip, stretch=stretch)


def apply_affine(
    matrix: Float[ndarray, "2 3"], points: Float[ndarray, "*any 2"]
) -> Float[ndarray, "*any 2"]:
    """Map points ``(..., 2)``; NaN stays NaN."""
    moved: Float[ndarray, "*any 2"] = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def compose_affine(
    first: Float[ndarray, "2 3"], second: Float[ndarray, "2 3"]
) -> Float[ndarray, "2 3"]:
    """Return the map that applies ``first`` and then ``second``."""
    linear = second[:, :2] @ first[:, :2]
    shift = second[:, :2] @ first[:, 2] + second[:, 2]
    return np.concatenate([linear, shift[:, None]], axis=1)


def invert_affine(matrix: Float[ndarray, "2 3"]) -> Float[ndarray, "2 3"]:
    """Return the map that undoes ``matrix``."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, (-linear @ matrix[:, 2])[:, None]], axis=1)


def turn_matrices(
    matrices: Float[ndarray, "b 2 3"], angle: Float[ndarray, " b"], size: int
) -> Float[ndarray, "b 2 3"]:
    """Return maps to square crops that are each turned further, about the crop's middle.

    Args:
        matrices: any pixels -> crop pixels.
        angle: radians, positive clockwise as displayed.
        size: side of the crops.

    Example:
        >>> turn_matrices(np.eye(2, 3)[None], np.array([math.pi / 2]), 4)[0].round(3) + 0.0
        array([[ 0., -1.,  3.],
               [ 1.,  0.,  0.]])
    """
    cos, sin = _cos_sin(angle)
    turn = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    center = np.array(middle((size, size)))
    linear = turn @ matrices[:, :, :2]
    shift = (turn @ (matrices[:, :, 2] - center)[:, :, None])[:, :, 0] + center
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _cos_sin(angle: Float[ndarray, " b"]) -> tuple[Float[ndarray, " b"], Float[ndarray, " b"]]:
    """Return libm's values: numpy's own vary in their last bit with the processor."""
    cos, sin = (np.fromiter(map(f, angle.tolist()), np.float64) for f in (math.cos, math.sin))
    return cos, sin


def inside_square(angle: float, size: int) -> Bool[ndarray, "s s"]:
    """Return which pixels of a square show what it showed before it was turned by ``angle``."""
    places = np.arange(size) - middle((size, size))[0]
    x, y = places[None, :], places[:, None]
    cos, sin, half = np.cos(angle), np.sin(angle), size / 2
    shown: ndarray = (np.abs(cos * x + sin * y) <= half) & (np.abs(cos * y - sin * x) <= half)
    return shown


def shrink_matrix(factor_x: float, factor_y: float) -> Float[ndarray, "2 3"]:
    """Return the map of pixel centers when a picture is resized by these factors."""
    shift_x, shift_y = HALF * factor_x - HALF, HALF * factor_y - HALF
    return np.array([[factor_x, 0.0, shift_x], [0.0, factor_y, shift_y]])


def sampling_grids(
    matrices: Float[ndarray, "b 2 3"], source: int, size: int
) -> Float[ndarray, "b 2 3"]:
    """Return what ``affine_grid(..., align_corners=False)`` wants to apply these maps.

    Torch asks the other way, from the target to the source, and measures both pictures from
    -1 to 1 between their outer edges.

    Args:
        matrices: pixels of a square of side ``source`` -> pixels of a square of side ``size``.
        source: side in pixels.
        size: side in pixels.

    Example:
        >>> sampling_grids(np.eye(2, 3)[None], 8, 4)[0]
        array([[ 0.5,  0. , -0.5],
               [ 0. ,  0.5, -0.5]])
    """
    back = np.linalg.inv(matrices[:, :, :2])
    here, there = np.array(middle((size, size))), np.array(middle((source, source)))
    shift = (back @ (here - matrices[:, :, 2])[:, :, None])[:, :, 0] - there
    return np.concatenate([back * (size / source), shift[:, :, None] * (2 / source)], axis=2)
