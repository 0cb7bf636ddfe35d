"""How far and how often: distances in reference lengths, PCK, PCKh and the area under them.

Everything is numpy in, numpy out. Numbers are percent. Distances carry both kinds of absence:
NaN where there is no truth (not counted), infinite where there is no prediction (counted,
wrong). Which joints, lengths and balls make a published number is said in
:mod:`uprightpose.protocols`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from uprightpose.skeletons import Skeleton

ANGLE_BINS = ((0, 30), (30, 90), (90, 180))
"""Degrees of ``|theta|``; a bin holds its lower edge, the last one holds 180 too."""


@dataclass(frozen=True)
class Column:
    """One number of a table: the PCK of some joints, or the area under their curve.

    Attributes:
        title: e.g. ``"Head"``.
        joints: indices into the skeleton.
        limits: radii in reference lengths, evenly spaced: one for PCK, several for the area
            under the curve that they make.
        pooled: count every decision of these joints alike; otherwise average the joints' PCK.
    """

    title: str
    joints: tuple[int, ...]
    limits: tuple[float, ...]
    pooled: bool = False


def squared_lengths(truth: Float[ndarray, "n k 2"], skeleton: Skeleton) -> Float[ndarray, " n"]:
    """Return each person's squared distance from left shoulder to right hip (SPEC 3.1).

    The other diagonal gives other numbers, so ``truth`` must be in the labels that are scored.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> joints = np.zeros((1, 14, 2))
        >>> joints[0, 9] = (3, 4)
        >>> squared_lengths(joints, LSP)
        array([25.])
    """
    start, end = skeleton.reference
    squares: Float[ndarray, " n"] = ((truth[:, start] - truth[:, end]) ** 2).sum(axis=1)
    return squares


def normalized_distances(
    predicted: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    squared: Float[ndarray, " n"],
) -> Float[ndarray, "n k"]:
    """Return how far each prediction is from the truth, in reference lengths.

    The root is taken of the quotient of squares, not the quotient of roots: so a prediction
    exactly 0.14 lengths away in any direction never comes out above 0.14, and the closed
    ball keeps its edge.

    Args:
        predicted: joints in pixels, any frame; NaN where there is no prediction.
        truth: joints in the same frame; NaN where a joint is not annotated.
        squared: the square of each person's reference length, in the same pixels.

    Returns:
        ``(n, k)``: NaN where the truth of the joint or of the reference length is missing or
        that length is 0 (not counted), infinite where the prediction is missing (wrong).

    Raises:
        ValueError: if the shapes differ.

    SPEC 3.1, 3.2.

    Example:
        >>> truth = np.zeros((1, 14, 2))
        >>> normalized_distances(truth + 2, truth, np.array([200.0]))[0, 0]
        np.float64(0.2)
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"expected equal shapes, found {predicted.shape} and {truth.shape}")
    predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
    squares = ((predicted - truth) ** 2).sum(axis=2)
    lengths = np.broadcast_to(squared.astype(np.float64)[:, None], squares.shape)
    known = np.isfinite(truth).all(axis=2) & np.isfinite(lengths) & (lengths > 0)
    missing = ~np.isfinite(predicted).all(axis=2)
    distances = np.full(squares.shape, np.nan)
    np.divide(squares, lengths, out=distances, where=known & ~missing)
    distances[known & missing] = np.inf
    return np.sqrt(distances)


def column_scores(
    distances: Float[ndarray, "n k"],
    columns: tuple[Column, ...],
    *,
    closed: bool,
    images: Int[ndarray, " n"] | None = None,
) -> Callable[[Float[ndarray, "b m"]], Float[ndarray, "b s"]]:
    """Return the function that scores a weighted choice of images.

    Hits are summed per image here and once: for ten thousand choices of images what remains
    is a matrix product.

    Args:
        distances: in reference lengths, NaN where not counted.
        columns: ``s`` numbers to return.
        closed: a joint exactly at a limit is right.
        images: the picture of each person, ``0 .. m - 1``; by default each has its own.

    Returns:
        A function from ``(b, m)``, how often each image counts, to ``(b, s)`` percent; NaN
        where nothing is counted.

    Example:
        >>> head = Column("Head", (0, 1), (0.5,))
        >>> score = column_scores(np.array([[0.5, 0.7], [0.1, np.nan]]), (head,), closed=True)
        >>> score(np.array([[1.0, 1.0], [0.0, 1.0]]))
        array([[ 50.],
               [100.]])
    """
    places = np.arange(len(distances)) if images is None else images
    tallies = [_count(distances, column, closed, places) for column in columns]

    def score(weights: Float[ndarray, "b m"]) -> Float[ndarray, "b s"]:
        return np.stack([_percent(tally, weights) for tally in tallies], axis=1)

    return score


def area_under(curves: Float[ndarray, "*any t"]) -> Float[ndarray, "*any"]:
    """Return the area under each curve by trapezoids over evenly spaced limits (SPEC 3.1).

    The limits are rescaled to [0, 1], so the area is the mean of the trapezoids' heights; a
    curve of one point is that point.

    Example:
        >>> area_under(np.array([0.0, 100.0, 100.0]))
        array(75.)
    """
    if curves.shape[-1] == 1:
        return np.asarray(curves[..., 0])
    return np.asarray(((curves[..., 1:] + curves[..., :-1]) / 2).mean(axis=-1))


def body_angle(joints: Float[ndarray, "n k 2"], skeleton: Skeleton) -> Float[ndarray, " n"]:
    """Return the turn in radians that would bring each neck straight above its torso center.

    It is signed and positive clockwise: ``atan2(-v_x, -v_y)`` of the line ``v`` from the mean
    of the torso joints to the neck. Upright is 0, as is a neck in the center; NaN where one of
    these joints is missing.

    Paper: Sec. 3.2, Eqs. 1-2.

    Example:
        A body on its side, neck to the right, turns a quarter counter-clockwise.

        >>> from uprightpose.skeletons import LSP
        >>> joints = np.zeros((1, 14, 2))
        >>> joints[0, 12] = (6, 0)
        >>> body_angle(joints, LSP).round(4)
        array([-1.5708])
    """
    center = joints[:, list(skeleton.torso)].mean(axis=1)
    x, y = (joints[:, list(skeleton.neck)].mean(axis=1) - center).T
    # 0.0 - x, unlike -x, is never -0.0, whose angle would be pi.
    angles: Float[ndarray, " n"] = np.arctan2(0.0 - x, 0.0 - y)
    return angles


def angle_bins(
    joints: Float[ndarray, "n k 2"], skeleton: Skeleton
) -> dict[str, Bool[ndarray, " n"]]:
    """Return who belongs to each of :data:`ANGLE_BINS`; people without an angle to none.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> angle_bins(np.zeros((1, 14, 2)), LSP)["0-30"]
        array([ True])
    """
    degrees = np.abs(np.degrees(body_angle(joints, skeleton)))
    last = ANGLE_BINS[-1][1]
    return {
        f"{low}-{high}": (degrees >= low) & (degrees < (high if high < last else math.inf))
        for low, high in ANGLE_BINS
    }


@dataclass(frozen=True)
class _Tally:
    """Counts of one column by image, ``g`` joints apart or one pool of them."""

    hits: Float[ndarray, "m t g"]
    counted: Float[ndarray, "m g"]


def _count(
    distances: Float[ndarray, "n k"], column: Column, closed: bool, images: Int[ndarray, " n"]
) -> _Tally:
    chosen = distances[:, list(column.joints)]
    limits = np.array(column.limits)[:, None]
    hits = chosen[:, None] <= limits if closed else chosen[:, None] < limits
    counted = ~np.isnan(chosen)
    if column.pooled:
        hits, counted = hits.sum(axis=2, keepdims=True), counted.sum(axis=1, keepdims=True)
    return _Tally(_sum_by_image(hits, images), _sum_by_image(counted, images))


def _sum_by_image(counts: ndarray, images: Int[ndarray, " n"]) -> ndarray:
    sums = np.zeros((images.max(initial=-1) + 1, *counts.shape[1:]))
    np.add.at(sums, images, counts)
    return sums


def _percent(tally: _Tally, weights: Float[ndarray, "b m"]) -> Float[ndarray, " b"]:
    counted = (weights @ tally.counted)[:, None]
    hits = 100 * np.tensordot(weights, tally.hits, axes=1)
    joints = _ratio(hits, np.broadcast_to(counted, hits.shape))
    known = ~np.isnan(joints)
    return area_under(_ratio(np.where(known, joints, 0).sum(axis=2), known.sum(axis=2)))


def _ratio(part: ndarray, whole: ndarray) -> ndarray:
    """Divide; NaN where the whole is 0."""
    quotient = np.full(part.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient
