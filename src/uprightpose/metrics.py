"""How good: PCK, its area under the curve and their uncertainty, as functions of joints.

Everything is numpy and follows SPEC 3.1 (the LSP protocol) to the digit: closed ball,
reference length from left shoulder to right hip of the true joints, joints counted whether
visible or not. Numbers are percent. Distances carry both kinds of absence: NaN where there is
no truth (not counted), infinite where there is no prediction (counted, wrong).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from uprightpose.data.sample import Labels
from uprightpose.skeletons import Skeleton

THRESHOLD = 0.2
STEPS = 20
"""The curve has thresholds 0, 1/20, ..., 1 of :data:`THRESHOLD`: 21 values."""

DRAWS = 10_000
LEVEL = 95.0
ANGLE_BINS = ((0, 30), (30, 90), (90, 180))
"""Degrees of ``|theta|``; a bin holds its lower edge, the last one holds 180 too."""

_CHUNK = 500  # draws at a time: 500 x 1000 people are 4 MB


def thresholds() -> Float[ndarray, " t"]:
    """Return 0, 0.01, ..., 0.2 (SPEC 3.1), each the float that the decimal number names.

    Example:
        >>> thresholds()[[0, 1, 14, 20]]
        array([0.  , 0.01, 0.14, 0.2 ])
    """
    return np.arange(STEPS + 1) / 100


def reference_lengths(truth: Float[ndarray, "n k 2"], skeleton: Skeleton) -> Float[ndarray, " n"]:
    """Return each person's distance from left shoulder to right hip, in pixels (SPEC 3.1).

    The other diagonal gives other numbers, so ``truth`` must be in the labels that are scored.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> joints = np.zeros((1, 14, 2))
        >>> joints[0, 9] = (3, 4)
        >>> reference_lengths(joints, LSP)
        array([5.])
    """
    lengths: Float[ndarray, " n"] = np.sqrt(_squared_lengths(truth, skeleton))
    return lengths


def normalized_distances(
    predicted: Float[ndarray, "n k 2"], truth: Float[ndarray, "n k 2"], skeleton: Skeleton
) -> Float[ndarray, "n k"]:
    """Return how far each prediction is from the truth, in reference lengths.

    The root is taken of the quotient of squares, not the quotient of roots: so a prediction
    exactly 0.14 lengths away in any direction never comes out above 0.14, and the closed
    ball keeps its edge.

    Args:
        predicted: joints in pixels, any frame; NaN where there is no prediction.
        truth: joints in the same frame; NaN where a joint is not annotated.
        skeleton: names the two joints of the reference length.

    Returns:
        ``(n, k)``: NaN where the truth of the joint or of the reference length is missing or
        that length is 0 (not counted), infinite where the prediction is missing (wrong).

    Raises:
        ValueError: if the shapes differ or are not ``(n, k, 2)`` of the skeleton.

    SPEC 3.1.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> truth = np.zeros((1, 14, 2))
        >>> truth[0, 9] = (10, 10)
        >>> normalized_distances(truth + 2, truth, LSP)[0, 0]
        np.float64(0.2)
    """
    _check(predicted, truth, skeleton)
    predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
    squares = ((predicted - truth) ** 2).sum(axis=2)
    lengths = np.broadcast_to(_squared_lengths(truth, skeleton)[:, None], squares.shape)
    known = np.isfinite(truth).all(axis=2) & np.isfinite(lengths) & (lengths > 0)
    missing = ~np.isfinite(predicted).all(axis=2)
    distances = np.full(squares.shape, np.nan)
    np.divide(squares, lengths, out=distances, where=known & ~missing)
    distances[known & missing] = np.inf
    return np.sqrt(distances)


def pck_curve(
    distances: Float[ndarray, "n k"], limits: Float[ndarray, " t"]
) -> Float[ndarray, " t"]:
    """Return the percentage of all decisions within each limit, limit included.

    Example:
        >>> pck_curve(np.array([[0.1, 0.2], [np.inf, np.nan]]), np.array([0.0, 0.1, 0.2]))
        array([ 0.        , 33.33333333, 66.66666667])
    """
    hits = (distances[..., None] <= limits).sum(axis=(0, 1))
    return _ratio(100 * hits, np.full(hits.shape, (~np.isnan(distances)).sum()))


def area_under(curves: Float[ndarray, "*any t"]) -> Float[ndarray, "*any"]:
    """Return the area under each curve by trapezoids over evenly spaced limits (SPEC 3.1).

    The limits are rescaled to [0, 1], so the area is the mean of the trapezoids' heights.

    Example:
        >>> area_under(np.array([0.0, 100.0, 100.0]))
        array(75.)
    """
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
class PckTable:
    """One row of the paper's tables, with all that is needed to compare it with another.

    Attributes:
        rows: PCK of each group of joints, e.g. ``"Head"``, in percent.
        total: PCK of all decisions pooled.
        auc: area under the pooled curve, in percent.
        joints: number of decisions.
        people: number of people with at least one decision.
        intervals: bounds for each column, ``"Total"`` and ``"AUC"`` included: percentiles of
            a bootstrap over people; ``None`` if not asked for.
        labels: the labels scored.
        threshold: radius of the closed ball, in reference lengths.
        reference: the joints whose distance is the reference length.
    """

    rows: dict[str, float]
    total: float
    auc: float
    joints: int
    people: int
    intervals: dict[str, tuple[float, float]] | None
    labels: Labels
    threshold: float
    reference: str

    @property
    def scores(self) -> dict[str, float]:
        """All columns in order: the groups, Total, AUC."""
        return {**self.rows, "Total": self.total, "AUC": self.auc}


def pck_table(
    predicted: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    skeleton: Skeleton,
    labels: Labels,
    *,
    draws: int = 0,
    seed: int = 0,
) -> PckTable:
    """Score predictions by SPEC 3.1.

    Args:
        predicted: joints in pixels; NaN counts as wrong.
        truth: joints in the same frame and labels; NaN is not counted.
        skeleton: gives the groups, each the mean of its joints' PCK, and the reference length.
        labels: the labels of both, to be printed with the numbers.
        draws: bootstrap draws for the intervals, :data:`DRAWS` for publication; 0 for none.
        seed: of these draws.

    Raises:
        ValueError: if the shapes differ or are not ``(n, k, 2)`` of the skeleton.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> table = pck_table(truth, truth, LSP, "pc")
        >>> table.rows["Wrist"], table.total, table.auc, table.joints
        (100.0, 100.0, 100.0, 14)
    """
    distances = normalized_distances(predicted, truth, skeleton)
    tally = _count(distances)
    scores = _scores(tally, skeleton, np.ones((1, len(truth))))[0]
    drawn = _draw([tally], skeleton, draws, seed)
    columns = [*(title for title, _ in skeleton.groups), "Total", "AUC"]
    pairs = zip(columns, drawn.T, strict=True)
    return PckTable(
        rows={title: float(score) for title, score in zip(columns[:-2], scores, strict=False)},
        total=float(scores[-2]),
        auc=float(scores[-1]),
        joints=int(tally.counted.sum()),
        people=int(tally.counted.any(axis=1).sum()),
        intervals={title: _interval(column) for title, column in pairs} if draws else None,
        labels=labels,
        threshold=THRESHOLD,
        reference=" - ".join(skeleton.joints[j].replace("_", " ") for j in skeleton.reference),
    )


class Difference(NamedTuple):
    """A difference in points and its interval; 0 outside means more than chance."""

    value: float
    low: float
    high: float


def pck_difference(
    first: Float[ndarray, "n k 2"],
    second: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    skeleton: Skeleton,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return ``first`` minus ``second`` for each column, both redrawn with the same people.

    Pairing removes what both find hard: on 1000 pictures the interval of a difference is
    several times narrower than that of either score (SPEC 5.5).

    Raises:
        ValueError: if the shapes differ or are not ``(n, k, 2)`` of the skeleton.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> pck_difference(truth, truth + 1e6, truth, LSP, draws=10)["Total"]
        Difference(value=100.0, low=100.0, high=100.0)
    """
    tallies = [_count(normalized_distances(each, truth, skeleton)) for each in (first, second)]
    everyone = np.ones((1, len(truth)))
    a, b = (_scores(tally, skeleton, everyone)[0] for tally in tallies)
    drawn = _draw(tallies, skeleton, draws, seed)
    columns = [*(title for title, _ in skeleton.groups), "Total", "AUC"]
    return {
        title: Difference(float(a[i] - b[i]), *_interval(drawn[:, i]))
        for i, title in enumerate(columns)
    }


def format_tables(tables: Mapping[str, PckTable]) -> str:
    """Lay out tables as aligned text: a line each, and two more where there are intervals.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> text = format_tables({"PCK": pck_table(truth, truth, LSP, "pc")})
        >>> [line[:24] for line in text.splitlines()]
        ['     People    Head  Sho', 'PCK       1  100.00    1']
    """
    first = next(iter(tables.values()))
    lines = [["", "People", *first.scores]]
    for name, table in tables.items():
        lines.append([name, str(table.people), *map(_two_decimals, table.scores.values())])
        bounds = zip(*(table.intervals or {}).values(), strict=True)
        for side, values in zip(("from", "to"), bounds, strict=False):
            lines.append([f"  {side}", "", *map(_two_decimals, values)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths = [widths[0], widths[1], *(max(6, width) for width in widths[2:])]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def format_table(table: PckTable) -> str:
    """Lay out one table as aligned text; see :func:`format_tables`."""
    return format_tables({"PCK": table})


def as_json(table: PckTable) -> dict[str, object]:
    """Return the table as plain numbers, not rounded; what has no value is ``None``.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> as_json(pck_table(truth, truth, LSP, "pc"))["reference_length"]
        'left shoulder - right hip'
    """
    intervals = table.intervals
    return {
        "labels": table.labels,
        "reference_length": table.reference,
        "threshold": table.threshold,
        "people": table.people,
        "joints": table.joints,
        "scores": {title: _or_none(score) for title, score in table.scores.items()},
        "intervals": intervals
        and {title: [_or_none(bound) for bound in pair] for title, pair in intervals.items()},
    }


@dataclass(frozen=True)
class _Tally:
    """Counts per person, so that the scores of any redrawn people are matrix products."""

    hits: Float[ndarray, "n k"]
    counted: Float[ndarray, "n k"]
    curve: Float[ndarray, "n t"]  # hits of all joints at every threshold


def _count(distances: Float[ndarray, "n k"]) -> _Tally:
    within = distances[..., None] <= thresholds()
    counted = (~np.isnan(distances)).astype(float)
    return _Tally((distances <= THRESHOLD).astype(float), counted, within.sum(1).astype(float))


def _scores(
    tally: _Tally, skeleton: Skeleton, weights: Float[ndarray, "b n"]
) -> Float[ndarray, "b s"]:
    """Return groups, total and AUC in percent when person ``n`` counts ``weights[b, n]`` times."""
    joints = _ratio(100 * (weights @ tally.hits), weights @ tally.counted)
    groups = [_mean_known(joints[:, list(members)]) for _, members in skeleton.groups]
    decisions = weights @ tally.counted.sum(axis=1)
    total = _ratio(100 * (weights @ tally.hits.sum(axis=1)), decisions)
    hits = 100 * (weights @ tally.curve)
    curves = _ratio(hits, np.broadcast_to(decisions[:, None], hits.shape))
    return np.stack([*groups, total, area_under(curves)], axis=1)


def _draw(
    tallies: list[_Tally], skeleton: Skeleton, draws: int, seed: int
) -> Float[ndarray, "d s"]:
    """Return the scores of redrawn people, or of two tallies their difference."""
    people = len(tallies[0].hits)
    width = len(skeleton.groups) + 2
    if not people or not draws:
        return np.full((draws, width), np.nan)
    generator = np.random.default_rng(seed)
    even = np.full(people, 1 / people)
    drawn = []
    for start in range(0, draws, _CHUNK):
        counts = generator.multinomial(people, even, size=min(_CHUNK, draws - start))
        scores = [_scores(tally, skeleton, counts.astype(float)) for tally in tallies]
        drawn.append(scores[0] - scores[1] if len(scores) > 1 else scores[0])
    return np.concatenate(drawn)


def _interval(column: Float[ndarray, " d"]) -> tuple[float, float]:
    known = column[np.isfinite(column)]
    if not known.size:
        return (math.nan, math.nan)
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return (float(low), float(high))


def _ratio(part: ndarray, whole: ndarray) -> ndarray:
    """Divide; NaN where the whole is 0."""
    quotient = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient


def _mean_known(values: Float[ndarray, "b g"]) -> Float[ndarray, " b"]:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))


def _squared_lengths(truth: Float[ndarray, "n k 2"], skeleton: Skeleton) -> Float[ndarray, " n"]:
    start, end = skeleton.reference
    squares: Float[ndarray, " n"] = ((truth[:, start] - truth[:, end]) ** 2).sum(axis=1)
    return squares


def _check(predicted: ndarray, truth: ndarray, skeleton: Skeleton) -> None:
    expected = (len(truth), len(skeleton.joints), 2)
    if truth.shape != expected or predicted.shape != expected:
        raise ValueError(
            f"expected predictions and truth of shape {expected}, "
            f"found {predicted.shape} and {truth.shape}"
        )


def _two_decimals(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.2f}"


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
