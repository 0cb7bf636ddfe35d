"""Two rows of a table over several seeds: difference, interval and p (SPEC 5.5).

A seed is one run of training. The interval redraws pictures and seeds, each with replacement and
independently: what it says of other pictures it says of other runs, too, as far as a handful of
runs can. With one seed it redraws pictures alone. p exchanges the two rows picture by picture, for
all seeds at once: it is about these networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from uprightpose.data.sample import Sample
from uprightpose.metrics import column_scores, normalized_distances, squared_lengths
from uprightpose.protocols import Protocol
from uprightpose.statistics import OfSums, holm, interval
from uprightpose.tables import Difference, pck_difference

_CHUNK = 200
"""Draws at a time: 200 x 1000 pictures are 1.6 MB."""


@dataclass(frozen=True, eq=False)
class ScoredPeople:
    """Whom all rows of a table were tested on.

    Attributes:
        truth: ``(n, k, 2)`` pixels, NaN where absent.
        lengths: ``(n,)`` head sizes in pixels, NaN where there are none.
        images: ``(n,)`` a number for each person's picture.
    """

    truth: Float[ndarray, "n k 2"]
    lengths: Float[ndarray, " n"]
    images: Int[ndarray, " n"]


Gained: TypeAlias = tuple[Float[ndarray, "s n k 2"], Float[ndarray, "s n k 2"], ScoredPeople]
"""Joints of two rows by seed, and whom the first minus the second is about."""


def scored_people(people: Sequence[Sample], truth: Float[ndarray, "n k 2"]) -> ScoredPeople:
    """Return what scoring needs of the test people.

    Args:
        people: ``n`` samples.
        truth: their joints in the pixels of the predictions.
    """
    lengths = [np.nan if one.head_size is None else one.head_size for one in people]
    pictures = {path: at for at, path in enumerate(dict.fromkeys(one.image for one in people))}
    images = np.array([pictures[one.image] for one in people])
    return ScoredPeople(truth, np.array(lengths, dtype=np.float64), images)


def contrast_rows(
    first: Float[ndarray, "s n k 2"],
    second: Float[ndarray, "s n k 2"],
    people: ScoredPeople,
    protocol: Protocol,
    *,
    draws: int,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return ``first`` minus ``second`` of each column, pooled over ``s`` seeds.

    Args:
        first: joints of one row, as each seed's network predicts them.
        second: of the other, with the same seeds.
        people: whom both were tested on.
        protocol: any but ``coco``.
        draws: of the bootstrap and of the exchange; 0 for neither (NaN).
        seed: of these draws.

    Returns:
        By column; ``p_holm`` is still of the columns, see :func:`correct`.
    """
    seeds = len(first)
    joined = pck_difference(
        np.concatenate(list(first)),
        np.concatenate(list(second)),
        np.tile(people.truth, (seeds, 1, 1)),
        protocol,
        lengths=np.tile(people.lengths, seeds),
        images=np.tile(people.images, seeds),
        draws=draws,
        seed=seed,
    )
    if seeds == 1 or not draws:
        return joined
    scores = [(1.0, _row_score(first, people, protocol))]
    scores += [(-1.0, _row_score(second, people, protocol))]
    bounds = interval(_redrawn(scores, seeds, _images(people), draws, seed)).tolist()
    return {
        title: one._replace(low=low, high=high)
        for (title, one), (low, high) in zip(joined.items(), bounds, strict=True)
    }


def correct(contrasts: Sequence[Mapping[str, Difference]]) -> list[dict[str, Difference]]:
    """Return the contrasts of a table with Holm's correction over them, column by column.

    Example:
        >>> one, other = Difference(1, 0, 2, 0.01, 0.01), Difference(1, 0, 2, 0.04, 0.04)
        >>> [found["Total"].p_holm for found in correct([{"Total": one}, {"Total": other}])]
        [0.02, 0.04]
    """
    columns = {
        title: holm(np.array([one[title].p for one in contrasts])).tolist()
        for title in contrasts[0]
    }
    return [
        {title: value._replace(p_holm=columns[title][at]) for title, value in one.items()}
        for at, one in enumerate(contrasts)
    ]


def only(people: ScoredPeople, chosen: Bool[ndarray, " n"]) -> ScoredPeople:
    """Return the same people and pictures, of whom only the chosen count."""
    truth = np.where(chosen[:, None, None], people.truth, np.nan)
    return ScoredPeople(truth, people.lengths, people.images)


def contrast_gains(
    gain: Gained, over: Gained, protocol: Protocol, *, draws: int, seed: int = 0
) -> dict[str, Difference]:
    """Return by how much one gain exceeds another, for each column, pooled over seeds.

    Seeds and pictures are redrawn for all four rows at once. There is no p: exchanging rows
    asks whether two are equally good, not two gains (NaN).

    Args:
        gain: two rows and on whom the first is better than the second, as
            :func:`contrast_rows` takes them.
        over: the other gain, with the same seeds and pictures, maybe on other people.
        protocol: as there.
        draws: of the bootstrap; 0 for none (NaN).
        seed: of these draws.
    """
    signed = [(1.0, gain[0], gain[2]), (-1.0, gain[1], gain[2])]
    signed += [(-1.0, over[0], over[2]), (1.0, over[1], over[2])]
    scores = [(sign, _row_score(row, people, protocol)) for sign, row, people in signed]
    seeds, images = len(gain[0]), _images(gain[2])
    value = sum(sign * score(np.ones((1, seeds * images)))[0] for sign, score in scores)
    bounds = np.full((len(protocol.columns), 2), np.nan)
    if draws:
        bounds = interval(_redrawn(scores, seeds, images, draws, seed))
    numbers = zip(np.asarray(value).tolist(), bounds.tolist(), strict=True)
    return {
        column.title: Difference(one, low, high, np.nan, np.nan)
        for column, (one, (low, high)) in zip(protocol.columns, numbers, strict=True)
    }


def _row_score(row: Float[ndarray, "s n k 2"], people: ScoredPeople, protocol: Protocol) -> OfSums:
    """Return the row's columns as a statistic of its ``s * m`` pairs of seed and picture."""
    return column_scores(
        np.concatenate([_distances(one, people, protocol) for one in row]),
        protocol.columns,
        closed=protocol.closed,
        images=np.concatenate([people.images + _images(people) * at for at in range(len(row))]),
    )


def _images(people: ScoredPeople) -> int:
    return int(people.images.max()) + 1


def _redrawn(
    scores: Sequence[tuple[float, OfSums]], seeds: int, images: int, draws: int, seed: int
) -> Float[ndarray, "d c"]:
    """Return the signed sum of scores for draws of pictures and seeds."""
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        of_images = generator.multinomial(images, np.full(images, 1 / images), size=size)
        of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        weights = of_images.astype(float)
        drawn = []
        for sign, score in scores:
            by_image = score.columns.reshape(seeds, images, -1)
            sums = [
                times[:, None] * (weights @ own)
                for times, own in zip(of_seeds.T, by_image, strict=True)
            ]
            drawn.append(sign * score.finish(np.sum(sums, axis=0)))
        found.append(np.sum(drawn, axis=0))
    return np.concatenate(found)


def _distances(
    predicted: Float[ndarray, "n k 2"], people: ScoredPeople, protocol: Protocol
) -> Float[ndarray, "n k"]:
    torso = protocol.norm == "torso"
    lengths = squared_lengths(people.truth, protocol.skeleton) if torso else people.lengths**2
    return normalized_distances(predicted, people.truth, lengths)
