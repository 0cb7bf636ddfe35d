"""What chance does to the numbers: bootstrap, exchange of models, correction of many tests.

The unit is the image: the joints of one are correlated (SPEC 5.5). A *statistic* is a function
of weights: from ``(b, n)``, how often each of ``n`` units counts, to ``(b, s)`` numbers. So
ratios of sums stay ratios of the redrawn sums, whatever their denominators, and numbers that
are no ratios (average precision) need nothing more.

To compare two models on the same ``n`` images there are ``2 n`` units: the images as the first
model sees them, then the same images as the second does. Where the statistic is a function of
weighted sums, as most are (:class:`OfSums`), all draws are one product of matrices.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Real
from numpy import ndarray

from uprightpose.resampling import chunks, redraw, weighted_sums

DRAWS = 10_000
LEVEL = 95.0

Statistic: TypeAlias = Callable[[Float[ndarray, "b n"]], Float[ndarray, "b s"]]

_TIE = 1e-9  # sums in another order differ by rounding: that is no difference


@dataclass(frozen=True)
class OfSums:
    """A statistic of sums over the units.

    Attributes:
        columns: what is summed, each unit as often as it counts.
        finish: the numbers, from ``(b, c)`` sums.
    """

    columns: Real[ndarray, "n c"]
    finish: Callable[[Float[ndarray, "b c"]], Float[ndarray, "b s"]]

    def __call__(self, weights: Float[ndarray, "b n"]) -> Float[ndarray, "b s"]:
        """Return the numbers for weights of the units."""
        return self.finish(weights @ self.columns.astype(np.float64))


def ratio_of_sums(parts: Float[ndarray, "n s"], wholes: Float[ndarray, "n s"]) -> OfSums:
    """Return the statistic ``sum(parts) / sum(wholes)``; NaN where the whole is 0.

    Two models' images are given one below the other, first the first model's.

    Example:
        >>> ratio = ratio_of_sums(np.array([[1.0], [4.0]]), np.array([[2.0], [4.0]]))
        >>> ratio(np.array([[1.0, 1.0], [3.0, 1.0]])).ravel()
        array([0.83333333, 0.7       ])
    """

    def ratio(sums: Float[ndarray, "b c"]) -> Float[ndarray, "b s"]:
        part, whole = np.hsplit(sums, 2)
        quotient = np.full(part.shape, np.nan)
        np.divide(part, whole, out=quotient, where=whole != 0)
        return quotient

    return OfSums(np.hstack([parts, wholes]), ratio)


def bootstrap(
    statistic: Statistic, images: int, *, draws: int = DRAWS, seed: int = 0
) -> Float[ndarray, "d s"]:
    """Return the statistic of ``draws`` samples of images, drawn with replacement.

    Args:
        statistic: of ``images`` units.
        images: their number, at least 1.
        draws: at least 1.
        seed: of the samples: the same seed and number of images give the same samples.

    SPEC 5.5.

    Example:
        >>> mean = ratio_of_sums(np.arange(9.0)[:, None], np.ones((9, 1)))
        >>> interval(bootstrap(mean, 9)).round(1)
        array([[2.3, 5.7]])
    """
    if isinstance(statistic, OfSums):
        sums = weighted_sums(statistic.columns, images)
        drawn = [statistic.finish(sums(w)) for w in redraw(images, draws, seed)]
    else:
        drawn = [statistic(w.astype(np.float64)) for w in redraw(images, draws, seed)]
    return np.concatenate(drawn)


def paired_bootstrap(
    statistic: Statistic, images: int, *, draws: int = DRAWS, seed: int = 0
) -> Float[ndarray, "d s"]:
    """Return first minus second model for samples of images that both models share.

    What both find hard cancels: the interval of a difference is narrower than that of either
    number.

    Args:
        statistic: of ``2 images`` units, the first model's before the second's.
        images: at least 1.
        draws: at least 1.
        seed: of the samples, those of :func:`bootstrap`.

    SPEC 5.5.
    """
    drawn = []
    if isinstance(statistic, OfSums):
        sums = weighted_sums(_side_by_side(statistic, images), images)
        for weights in redraw(images, draws, seed):
            first, second = np.hsplit(sums(weights), 2)
            drawn.append(statistic.finish(first) - statistic.finish(second))
        return np.concatenate(drawn)
    for weights in redraw(images, draws, seed):
        ones, none = weights.astype(np.float64), np.zeros(weights.shape)
        drawn.append(statistic(np.hstack([ones, none])) - statistic(np.hstack([none, ones])))
    return np.concatenate(drawn)


def sign_flip_permutation(
    statistic: Statistic, images: int, *, draws: int = DRAWS, seed: int = 0
) -> Float[ndarray, " s"]:
    """Return two-sided p values: how often is chance alone as far from 0 as what was seen?

    If the models are equally good, who said what about an image is arbitrary: each draw
    exchanges the two models on a random half of the images. For a mean per image that flips
    the sign of its difference; for a ratio both sums change hands. The observed assignment
    counts as one of the draws, so no p is 0.

    Args:
        statistic: of ``2 images`` units, the first model's before the second's.
        images: at least 1.
        draws: exchanges to try.
        seed: of these.

    Returns:
        A p per number of the statistic; NaN where that has no value.

    SPEC 5.5.

    Example:
        Ten images, each better by one: only the two extreme exchanges of 1024 are as far.

        >>> better = ratio_of_sums(np.repeat([1.0, 0.0], 10)[:, None], np.ones((20, 1)))
        >>> sign_flip_permutation(better, 10).round(3)
        array([0.002])
    """
    exchange = _exchange(statistic, images)
    seen = np.abs(exchange(np.zeros((1, images), dtype=bool)))[0]
    generator = np.random.default_rng(seed)
    as_far = np.zeros(len(seen))
    for size in chunks(images, draws):
        flips = generator.random((size, images)) < 0.5
        as_far += (np.abs(exchange(flips)) >= seen - _TIE).sum(axis=0)
    return np.where(np.isnan(seen), np.nan, (as_far + 1) / (draws + 1))


def holm(p: Float[ndarray, " s"]) -> Float[ndarray, " s"]:
    """Return p values corrected for their number, by Holm's step-down; NaN is not counted.

    The smallest is multiplied by their number, the next by one less and so on; none is below
    the one before it or above 1.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03, 0.005]))
        array([0.03, 0.06, 0.06, 0.02])
    """
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected = np.full(p.shape, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def interval(drawn: Float[ndarray, "d s"]) -> Float[ndarray, "s 2"]:
    """Return the percentiles that hold :data:`LEVEL` percent of each column's known draws."""
    tail = (100 - LEVEL) / 2
    known = [column[np.isfinite(column)] for column in drawn.T]
    bounds = [np.percentile(c, [tail, 100 - tail]) if c.size else [math.nan] * 2 for c in known]
    return np.array(bounds).reshape(-1, 2)


def _exchange(
    statistic: Statistic, images: int
) -> Callable[[Bool[ndarray, "b n"]], Float[ndarray, "b s"]]:
    """Return first minus second as a function of the images on which they are exchanged."""
    if isinstance(statistic, OfSums):
        first, second = np.hsplit(_side_by_side(statistic, images), 2)
        sums = weighted_sums(second - first, images)
        totals, finish = (first.sum(axis=0), second.sum(axis=0)), statistic.finish

        def by_sums(flips: Bool[ndarray, "b n"]) -> Float[ndarray, "b s"]:
            moved = sums(flips)
            ours: Float[ndarray, "b s"] = finish(totals[0] + moved)
            ours -= finish(totals[1] - moved)
            return ours

        return by_sums

    def by_weights(flips: Bool[ndarray, "b n"]) -> Float[ndarray, "b s"]:
        kept = np.hstack([~flips, flips]).astype(float)
        return statistic(kept) - statistic(1 - kept)

    return by_weights


def _side_by_side(statistic: OfSums, images: int) -> Float[ndarray, "n c"]:
    """Return both models' columns of each image."""
    columns = statistic.columns.astype(np.float64)
    return np.hstack([columns[:images], columns[images:]])
