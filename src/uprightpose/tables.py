"""Rows of the paper's tables: scores with intervals, differences with p.

Numbers are percent. A table carries its protocol, labels and counts, without which the numbers
mean nothing (SPEC 3.2); :mod:`uprightpose.table_text` prints it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.data.sample import Labels
from uprightpose.metrics import column_scores, normalized_distances, squared_lengths
from uprightpose.protocols import Protocol
from uprightpose.statistics import (
    DRAWS,
    Statistic,
    bootstrap,
    holm,
    interval,
    paired_bootstrap,
    sign_flip_permutation,
)


@dataclass(frozen=True)
class Table:
    """One row of the paper's tables, with all that is needed to compare it with another.

    Attributes:
        protocol: what was measured.
        labels: the labels scored.
        scores: column -> percent, in the protocol's order; NaN where nothing is counted.
        joints: number of decisions.
        people: number of people with at least one decision.
        images: number of pictures of these people, the units of the bootstrap.
        intervals: percentiles of a bootstrap over images for each column; ``None`` if not
            asked for.
    """

    protocol: Protocol
    labels: Labels
    scores: dict[str, float]
    joints: int
    people: int
    images: int
    intervals: dict[str, tuple[float, float]] | None


class Difference(NamedTuple):
    """A difference in points: its interval, its p, and p corrected for the whole table."""

    value: float
    low: float
    high: float
    p: float
    p_holm: float


def pck_table(
    predicted: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    protocol: Protocol,
    labels: Labels,
    *,
    lengths: Float[ndarray, " n"] | None = None,
    images: Int[ndarray, " n"] | None = None,
    draws: int = 0,
    seed: int = 0,
) -> Table:
    """Score predictions.

    Args:
        predicted: joints in pixels; NaN counts as wrong.
        truth: joints in the same frame and labels; NaN is not counted.
        protocol: any but ``coco``.
        labels: the labels of both, to be printed with the numbers.
        lengths: head sizes in pixels, for protocols whose norm is the head.
        images: a number for the picture of each person; by default each has its own.
        draws: bootstrap draws for the intervals, :data:`~uprightpose.statistics.DRAWS` for
            publication; 0 for none.
        seed: of these draws.

    Raises:
        ValueError: if the shapes are not ``(n, k, 2)`` of the protocol's skeleton or head
            sizes are needed and not given.

    SPEC 3.1-3.3.

    Example:
        >>> from uprightpose.protocols import PROTOCOLS
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> table = pck_table(truth, truth, PROTOCOLS["lsp"], "pc")
        >>> table.scores["Wrist"], table.scores["AUC"], table.joints
        (100.0, 100.0, 14)
    """
    distances = _distances(predicted, truth, protocol, lengths)
    places, count = _places(images, len(truth))
    score = column_scores(distances, protocol.columns, closed=protocol.closed, images=places)
    counted = ~np.isnan(distances[:, list(protocol.joints)])
    people = counted.any(axis=1)
    return table_of(
        score,
        protocol,
        labels,
        titles=tuple(column.title for column in protocol.columns),
        counts=(
            int(counted.sum()),
            int(people.sum()),
            int(np.count_nonzero(np.bincount(places[people]))),
        ),
        images=count,
        draws=draws,
        seed=seed,
    )


def pck_difference(
    first: Float[ndarray, "n k 2"],
    second: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    protocol: Protocol,
    *,
    lengths: Float[ndarray, " n"] | None = None,
    images: Int[ndarray, " n"] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return ``first`` minus ``second`` for each column, on the same images.

    Pairing removes what both find hard: on 1000 pictures the interval of a difference is
    several times narrower than that of either score (SPEC 5.5).

    Args:
        first: joints of one model, as in :func:`pck_table`, like the other arguments.
        second: of the other.
        truth: as there.
        protocol: as there.
        lengths: as there.
        images: as there.
        draws: for the intervals, and as many for p; 0 for neither (NaN).
        seed: as there.

    Raises:
        ValueError: as there.

    Example:
        >>> from uprightpose.protocols import PROTOCOLS
        >>> truth = np.arange(28.0).reshape(1, 14, 2) ** 2
        >>> pck_difference(truth, truth + 1e6, truth, PROTOCOLS["lsp"], draws=10)["Total"]
        Difference(value=100.0, low=100.0, high=100.0, p=1.0, p_holm=1.0)
    """
    both = [_distances(each, truth, protocol, lengths) for each in (first, second)]
    places, count = _places(images, len(truth))
    score = column_scores(
        np.concatenate(both),
        protocol.columns,
        closed=protocol.closed,
        images=np.concatenate([places, places + count]),
    )
    titles = tuple(column.title for column in protocol.columns)
    return differences_of(score, titles, count, draws=draws, seed=seed)


def table_of(
    statistic: Statistic,
    protocol: Protocol,
    labels: Labels,
    *,
    titles: tuple[str, ...],
    counts: tuple[int, int, int],
    images: int,
    draws: int,
    seed: int = 0,
) -> Table:
    """Return the table of any statistic of images.

    Args:
        statistic: of ``images`` units, in percent.
        protocol: what was measured.
        labels: as in :func:`pck_table`.
        titles: of the statistic's numbers.
        counts: joints, people and pictures that are counted.
        images: all pictures, also those of nobody who is counted.
        draws: as in :func:`pck_table`.
        seed: as there.
    """
    scores = statistic(np.ones((1, images)))[0]
    bounds = np.full((len(titles), 2), np.nan)
    if draws and images:
        bounds = interval(bootstrap(statistic, images, draws=draws, seed=seed))
    pairs = {t: (low, high) for t, (low, high) in zip(titles, bounds.tolist(), strict=True)}
    joints, people, pictures = counts
    return Table(
        protocol=protocol,
        labels=labels,
        scores=dict(zip(titles, map(float, scores), strict=True)),
        joints=joints,
        people=people,
        images=pictures,
        intervals=pairs if draws else None,
    )


def differences_of(
    statistic: Statistic, titles: tuple[str, ...], images: int, *, draws: int, seed: int = 0
) -> dict[str, Difference]:
    """Return first minus second model of any statistic of ``2 images`` units, in points.

    Holm's correction is over the columns that have a value.
    """
    one = np.ones((1, images))
    value = (statistic(np.hstack([one, 0 * one])) - statistic(np.hstack([0 * one, one])))[0]
    bounds, p = np.full((len(titles), 2), np.nan), np.full(len(titles), np.nan)
    if draws and images:
        bounds = interval(paired_bootstrap(statistic, images, draws=draws, seed=seed))
        p = sign_flip_permutation(statistic, images, draws=draws, seed=seed)
    numbers = np.column_stack([value, bounds, p, holm(p)]).tolist()
    return {title: Difference(*row) for title, row in zip(titles, numbers, strict=True)}


def squared_references(
    predicted: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    protocol: Protocol,
    lengths: Float[ndarray, " n"] | None = None,
) -> Float[ndarray, " n"]:
    """Return the square of each person's reference length, once the shapes are found to fit.

    Args:
        predicted: joints in pixels.
        truth: joints in the same frame.
        protocol: any but ``coco``.
        lengths: head sizes in pixels, for protocols whose norm is the head.

    Raises:
        ValueError: if the shapes are not ``(n, k, 2)`` of the protocol's skeleton or head
            sizes are needed and not given.
    """
    expected = (len(truth), len(protocol.skeleton.joints), 2)
    if truth.shape != expected or predicted.shape != expected:
        raise ValueError(
            f"expected predictions and truth of shape {expected}, "
            f"found {predicted.shape} and {truth.shape}"
        )
    if protocol.norm == "torso":
        return squared_lengths(truth, protocol.skeleton)
    if protocol.norm == "oks" or lengths is None:
        raise ValueError(f"expected head sizes for protocol {protocol.name}, found none")
    return lengths.astype(np.float64) ** 2


def _distances(
    predicted: Float[ndarray, "n k 2"],
    truth: Float[ndarray, "n k 2"],
    protocol: Protocol,
    lengths: Float[ndarray, " n"] | None,
) -> Float[ndarray, "n k"]:
    return normalized_distances(
        predicted, truth, squared_references(predicted, truth, protocol, lengths)
    )


def _places(images: Int[ndarray, " n"] | None, people: int) -> tuple[Int[ndarray, " n"], int]:
    """Return pictures numbered from 0 without gaps, and how many there are."""
    if images is None:
        return np.arange(people), people
    known, places = np.unique(images, return_inverse=True)
    return places, len(known)
