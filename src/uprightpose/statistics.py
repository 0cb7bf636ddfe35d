"""What chance does to the numbers: bootstrap, exchange of models, correction of many tests.

The unit is the image: the joints of one are correlated (SPEC 5.5). A *statistic* is a function
of weights: from ``(b, n)``, how often each of ``n`` units counts, to ``(b, s)`` numbers. So
ratios of sums stay ratios of the redrawn sums, whatever their denominators, and numbers that
are no ratios (average precision) need nothing more.

To compare two models on the same ``n`` images there are ``2 n`` units: the images as the first
model sees them, then the same images as the second does.
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

DRAWS = 10_000
LEVEL = 95.0

Statistic: TypeAlias = Callable[[Float[ndarray, "b n"]], Float[ndarray, "b s"]]

_CHUNK = 500  # draws at a time: 500 x 1000 images are 4 MB
_TIE = 1e-9  # sums in another order differ by rounding: that is no difference


def ratio_of_sums(parts: Float[ndarray, "n s"], wholes: Float[ndarray, "n s"]) -> Statistic:
    """Return the statistic ``sum(parts) / sum(wholes)``; NaN where the whole is 0.

    Two models' images are given one below the other, first the first model's.

    Example:
        >>> ratio = ratio_of_sums(np.array([[1.0], [4.0]]), np.array([[2.0], [4.0]]))
        >>> ratio(np.array([[1.0, 1.0], [3.0, 1.0]])).ravel()
        array([0.83333333, 0.7       ])
    """

    def ratio(weights: Float[ndarray, "b n"]) -> Float[ndarray, "b s"]:
        part, whole = weights @ parts, weights @ wholes
        quotient = np.full(part.shape, np.nan)
        np.divide(part, whole, out=quotient, where=whole != 0)
        return quotient

    return ratio


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
    return np.concatenate([statistic(w) for w in _redraw(images, draws, seed)])


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
    for weights in _redraw(images, draws, seed):
        none = np.zeros_like(weights)
        drawn.append(statistic(np.hstack([weights, none])) - statistic(np.hstack([none, weights])))
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
    seen = np.abs(_difference(statistic, np.zeros((1, images), dtype=bool)))[0]
    generator = np.random.default_rng(seed)
    as_far = np.zeros(len(seen))
    for start in range(0, draws, _CHUNK):
        flips = generator.random((min(_CHUNK, draws - start), images)) < 0.5
        as_far += (np.abs(_difference(statistic, flips)) >= seen - _TIE).sum(axis=0)
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


def _redraw(images: int, draws: int, seed: int) -> Iterator[Float[ndarray, "b n"]]:
    generator = np.random.default_rng(seed)
    even = np.full(images, 1 / images)
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        yield generator.multinomial(images, even, size=size).astype(float)


def _difference(statistic: Statistic, flips: Bool[ndarray, "b n"]) -> Float[ndarray, "b s"]:
    """Return first minus second where the models are exchanged on the flipped images."""
    kept = np.hstack([~flips, flips]).astype(float)
    return statistic(kept) - statistic(1 - kept)
