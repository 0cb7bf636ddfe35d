"""How many distances lie within each of many limits: all limits in one pass.

Limits are sorted, so each distance has one *first ball*, the first limit that holds it; counts
of first balls add up to the curve. Evenly spaced limits need no search: a distance times a
scale is its cell of a fine grid, and only the few distances in cells beside a limit are
compared with it. So all counts are those of ``distance <= limit`` (or ``<``) on float64.
"""

import math
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

_CELLS = 1 << 16  # of the grid: it fits 16 bits
_CHUNK = 1 << 17  # people at a time: OpenCV counts exactly up to 2 ** 24
_FINEST = 126  # limits whose grid has a last ball that fits 8 bits
_NEAR = 0.25  # cells that a limit may be off the center of its own, whose distances are compared
_FAR = 1e9  # cells from the first: OpenCV rounds to 32 bits


def count_hits(
    distances: Float[ndarray, "n k"], limits: tuple[float, ...], *, closed: bool
) -> tuple[Int[ndarray, "t k"], Int[ndarray, " k"]]:
    """Return how many people are within each limit, and how many are counted, by joint.

    Args:
        distances: at least 0, in reference lengths: NaN is not counted, infinite is wrong.
        limits: ascending, at most 255; evenly spaced ones from 0 are fastest.
        closed: a distance exactly at a limit is within it.

    Returns:
        ``(t, k)`` hits and ``(k,)`` decisions; 100 times their quotient is the PCK curve, under
        which :func:`~uprightpose.metrics.area_under` gives the area.

    Raises:
        ValueError: if there are too many limits.

    SPEC 3.1.

    Example:
        >>> hits, counted = count_hits(np.array([[0.1], [0.2], [np.nan]]), (0.1, 0.2), closed=True)
        >>> hits.ravel(), counted
        (array([1, 2]), array([2]))
    """
    hits = np.zeros((len(limits), distances.shape[1]), dtype=np.int64)
    counted = np.full(distances.shape[1], len(distances))
    for start in range(0, len(distances), _CHUNK):
        part = distances[start : start + _CHUNK]
        largest = part.max(initial=0)
        hits += _histogram(_first_balls(part, limits, closed, largest), len(limits))
        if np.isnan(largest):
            joints = np.flatnonzero(np.isnan(part)) % part.shape[1]
            counted -= np.bincount(joints, minlength=part.shape[1])
    return hits, counted


def first_balls(
    distances: Float[ndarray, "n k"], limits: tuple[float, ...], *, closed: bool
) -> UInt8[ndarray, "n k"]:
    """Return the index of the first limit that holds each distance.

    Where none does it is the number of limits, or more.

    Args:
        distances: as in :func:`count_hits`; NaN is within none.
        limits: as there.
        closed: as there.

    Raises:
        ValueError: as there.

    Example:
        >>> first_balls(np.array([[0.0, 0.3, np.inf]]), (0.1, 0.3), closed=False)
        array([[0, 2, 2]], dtype=uint8)
    """
    return _first_balls(distances, limits, closed, distances.max(initial=0))


def _first_balls(
    distances: Float[ndarray, "n k"], limits: tuple[float, ...], closed: bool, largest: float
) -> UInt8[ndarray, "n k"]:
    if not 0 < len(limits) < 256:
        raise ValueError(f"expected 1 to 255 limits, found {len(limits)}")
    edges, exact = np.array(limits), np.ascontiguousarray(distances, dtype=np.float64)
    if len(limits) == 1:
        beyond = ~(exact <= edges[0] if closed else exact < edges[0])
        outside: UInt8[ndarray, "n k"] = beyond.astype(np.uint8)
        return outside
    side: Literal["left", "right"] = "left" if closed else "right"
    fine = 1 << math.floor(math.log2((_CELLS - 1) / (len(limits) + 1)))  # cells between limits
    scale = fine * (len(limits) - 1) / edges[-1]
    uneven = np.abs(edges * scale - fine * np.arange(len(limits))).max() > _NEAR
    if uneven or len(limits) > _FINEST or not exact.size:
        searched: UInt8[ndarray, "n k"] = np.searchsorted(edges, exact, side).astype(np.uint8)
        return searched
    if not largest * scale < _FAR:  # NaN too
        exact = np.fmin(exact, 2 * edges[-1])
        largest = exact.max(initial=0)
    # This normalize is numpy's rint(exact * scale), clipped and cast, in one pass.
    cells = np.empty(exact.shape, np.uint16)
    cv2.normalize(exact, cells, scale * largest, 0, cv2.NORM_INF, cv2.CV_16U)
    near = np.flatnonzero((cells & np.uint16(fine - 1)) == 0)
    balls = np.empty(exact.shape, np.uint8)
    np.right_shift(cells, np.uint16(fine.bit_length() - 1), out=balls, casting="unsafe")
    beside, found = balls.reshape(-1)[near], np.append(edges, np.inf)
    balls += np.uint8(1)
    held = np.less_equal if closed else np.less
    limit = found[np.minimum(beside, len(limits))]
    balls.reshape(-1)[near] -= held(exact.reshape(-1)[near], limit)
    return balls


def _histogram(balls: UInt8[ndarray, "m k"], limits: int) -> Int[ndarray, "t k"]:
    """Return how many people's first ball is at most each limit."""
    joints = balls.shape[1]
    if not balls.size:
        return np.zeros((limits, joints), dtype=np.int64)
    picture, size = balls[:, None], limits + 1  # one pixel a person, one channel a joint
    counts = [
        cv2.calcHist([picture], [joint], None, [size], [0, size]).ravel() for joint in range(joints)
    ]
    return np.cumsum(np.array(counts, dtype=np.int64).T, axis=0)[:limits]
