"""How often each image counts in samples drawn with replacement, and weighted sums over them.

Few images are drawn by numpy's multinomial. For many that takes seconds, so weights are made
from random bytes there, with the same distribution: independent Poisson weights of a rate
slightly below 1, and the images that are still wanting drawn one by one. Given its sum, a
vector of Poisson weights of one rate is multinomial, so rows whose sum is already too large
may simply be drawn again.
"""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8
from numpy import ndarray

from uprightpose.background import in_background

FEW = 1 << 14
"""Images up to which numpy's multinomial draws: the same seed gives what it always gave."""

_CHUNK = 1 << 23  # weights at a time, 32 MB of float32: enough rows for a fast product
_EXACT = 1 << 24  # integers up to which float32 is exact
_ODD = 255  # marks the bytes whose weight is drawn apart


def redraw(images: int, draws: int, seed: int) -> Iterator[Integer[ndarray, "b n"]]:
    """Yield, in order, how often each image is in each of ``draws`` samples of so many images.

    The next chunk is drawn in a thread while one is used.

    Args:
        images: at least 1.
        draws: rows of all chunks together.
        seed: the same seed and number of images give the same samples.

    SPEC 5.5.

    Example:
        >>> [weights.sum(axis=1).tolist() for weights in redraw(6, 3, seed=0)]
        [[6, 6, 6]]
    """
    generator = np.random.default_rng(seed)
    even = np.full(images, 1 / images)

    def draw(size: int) -> Integer[ndarray, "b n"]:
        if images <= FEW:
            return generator.multinomial(images, even, size=size)
        return _draw_many(images, size, generator)

    # One thread, so that the generator's numbers come in order.
    yield from in_background(draw, chunks(images, draws), threads=1, ahead=1)


def chunks(images: int, draws: int) -> Iterator[int]:
    """Yield how many draws to hold at a time, so that memory does not grow with images.

    Example:
        >>> list(chunks(1000, 10_000))
        [8388, 1612]
    """
    rows = max(1, _CHUNK // max(1, images))
    for start in range(0, draws, rows):
        yield min(rows, draws - start)


def weighted_sums(
    columns: Float[ndarray, "n c"], total: int
) -> Callable[[Shaped[ndarray, "b n"]], Float[ndarray, "b c"]]:
    """Return the function that multiplies weights with columns, as fast as is exact.

    Columns of integers are multiplied in float32, large ones as two digits, so that no sum
    leaves the integers that float32 holds: the result is exact. Others are in float64. Equal
    columns are multiplied once.

    Args:
        columns: what is summed.
        total: no row of weights, none of which is negative, may sum to more.

    Example:
        >>> weighted_sums(np.array([[1.0, 500.0], [2.0, 700.0]]), 100_000)(np.array([[3, 1]]))
        array([[   5., 2200.]])
    """
    distinct, places = _distinct(columns)
    base = _EXACT // max(1, total)
    digits = [distinct]
    if not (np.rint(distinct) == distinct).all() or np.abs(distinct).max(initial=0) > base**2 // 2:
        exact: type[np.floating] = np.float64
    else:
        exact = np.float32
        large = np.flatnonzero(np.abs(distinct).max(axis=0, initial=0) > base)
        high = np.floor(distinct[:, large] / max(1, base))
        digits = [distinct.copy(), high]
        digits[0][:, large] -= base * high
    table = np.hstack(digits).astype(exact)
    count = distinct.shape[1]

    def multiply(weights: Shaped[ndarray, "b n"]) -> Float[ndarray, "b c"]:
        sums = (weights.astype(exact) @ table).astype(np.float64)
        found = sums[:, :count]
        if len(digits) > 1:
            found[:, large] += base * sums[:, count:]
        return found[:, places]

    return multiply


def _draw_many(images: int, draws: int, generator: np.random.Generator) -> UInt8[ndarray, "b n"]:
    rate = 1 - 4 / math.sqrt(images)  # four deviations: one row in 30 000 is drawn again
    weights = _poisson(images, draws, rate, generator)
    wanting = images - _row_sums(weights)
    for row in np.flatnonzero(wanting < 0):
        while wanting[row] < 0:
            weights[row] = _poisson(images, 1, rate, generator)
            wanting[row] = images - int(weights[row].sum())
    rows = np.repeat(np.arange(draws) * images, wanting)
    np.add.at(weights.reshape(-1), rows + generator.integers(0, images, len(rows)), np.uint8(1))
    return weights


def _poisson(
    images: int, draws: int, rate: float, generator: np.random.Generator
) -> UInt8[ndarray, "b n"]:
    """Return independent Poisson numbers.

    Of the 256 values of a byte as many stand for each number as its probability holds whole
    256ths. The few that are left stand for what the 256ths leave over, drawn by a float.
    """
    numbers = np.arange(20)  # what is beyond has less chance than a float64 can tell
    chances = rate**numbers * math.exp(-rate) / [math.factorial(each) for each in numbers]
    whole = np.floor(256 * chances).astype(int)
    left = np.cumsum(256 * chances - whole)
    meaning = np.full(256, _ODD, dtype=np.uint8)
    meaning[: whole.sum()] = np.repeat(numbers, whole)
    words = generator.integers(0, 1 << 64, -(-images * draws // 8), dtype=np.uint64)
    found: UInt8[ndarray, "b n"] = cv2.LUT(
        words.view(np.uint8)[: images * draws].reshape(draws, images), meaning
    )
    flat = found.reshape(-1)
    odd = np.flatnonzero(flat == _ODD)
    drawn, number = left[-1] * generator.random(len(odd)), np.zeros(len(odd), dtype=np.uint8)
    for edge in left[:-1]:
        number += drawn >= edge
    flat[odd] = number
    return found


def _row_sums(weights: UInt8[ndarray, "b n"]) -> Integer[ndarray, " b"]:
    sums: Integer[ndarray, " b"] = cv2.reduce(weights, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    return sums.reshape(-1).astype(np.int64)


def _distinct(
    columns: Float[ndarray, "n c"],
) -> tuple[Float[ndarray, "n d"], list[int]]:
    """Return the columns that differ, and for each column which of them it is."""
    seen: dict[bytes, int] = {}
    places = [seen.setdefault(column.tobytes(), len(seen)) for column in columns.T]
    first = [places.index(place) for place in range(len(seen))]
    return columns[:, first], places
