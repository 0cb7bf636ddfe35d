"""Two rows of a table over several seeds: difference, interval and p (SPEC 5.5).

A seed is one run of training. The interval redraws pictures and seeds, each with replacement and
independently: what it says of other pictures it says of other runs, too, as far as a handful of
runs can. With one seed it redraws pictures alone. p exchanges the two rows picture by picture, for
all seeds at once: it is about these networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.data.sample import Sample
from uprightpose.metrics import column_scores, normalized_distances, squared_lengths
from uprightpose.protocols import Protocol
from uprightpose.statistics import holm, interval
from uprightpose.tables import Difference, pck_difference

_CHUNK = 200
"""Draws at a time: 200 x 5 seeds x 1000 pictures x 2 rows are 16 MB."""


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
    bounds = interval(_redrawn(first, second, people, protocol, draws, seed)).tolist()
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


def _redrawn(
    first: Float[ndarray, "s n k 2"],
    second: Float[ndarray, "s n k 2"],
    people: ScoredPeople,
    protocol: Protocol,
    draws: int,
    seed: int,
) -> Float[ndarray, "d c"]:
    """Return the differences of draws of pictures and seeds."""
    seeds, images = len(first), int(people.images.max()) + 1
    units = seeds * images  # (seed, picture) of the first row; then those of the second
    places = [people.images + images * number for number in range(2 * seeds)]
    distances = [_distances(one, people, protocol) for one in (*first, *second)]
    score = column_scores(
        np.concatenate(distances),
        protocol.columns,
        closed=protocol.closed,
        images=np.concatenate(places),
    )
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        of_images = generator.multinomial(images, np.full(images, 1 / images), size=size)
        of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        weights = (of_seeds[:, :, None] * of_images[:, None]).reshape(size, units).astype(float)
        none = np.zeros_like(weights)
        found.append(score(np.hstack([weights, none])) - score(np.hstack([none, weights])))
    return np.concatenate(found)


def _distances(
    predicted: Float[ndarray, "n k 2"], people: ScoredPeople, protocol: Protocol
) -> Float[ndarray, "n k"]:
    torso = protocol.norm == "torso"
    lengths = squared_lengths(people.truth, protocol.skeleton) if torso else people.lengths**2
    return normalized_distances(predicted, people.truth, lengths)
