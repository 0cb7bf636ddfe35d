"""Who teaches what: people who are held out for refinement, and the turns that upright them."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.errors import InputError


def held_out(sources: Sequence[str], parts: int) -> Int[ndarray, " m"]:
    """Return the places of the last of ``parts`` equal parts of each dataset.

    Neighbors in a dataset look alike (LSPET has near duplicates), so that people are held out
    in one piece and not one by one.

    Args:
        sources: each person's dataset, one dataset after the other.
        parts: at least 2.

    Example:
        >>> held_out(["lsp"] * 4 + ["lspet"] * 6, 2).tolist()
        [2, 3, 7, 8, 9]
    """
    places: list[int] = []
    start = 0
    for _, people in groupby(sources):
        count = len(list(people))
        places += range(start + count - count // parts, start + count)
        start += count
    return np.array(places, dtype=np.int64)


def learners(
    stage: str, sources: Sequence[str], parts: int, turns: Float[ndarray, " n"] | None
) -> Int[ndarray, " m"] | None:
    """Return the places of the people who teach a stage; ``None`` for everyone.

    Args:
        stage: its name; ``"detector"`` learns from those who are not held out, ``"body"`` and
            ``"limbs"`` from those who are, any other from everyone.
        sources: each person's dataset.
        parts: see :func:`held_out`; 0 holds nobody out.
        turns: radians that turn each person upright; who has none teaches nothing.

    Raises:
        InputError: if nobody is left to learn from.
    """
    chosen = np.ones(len(sources), dtype=bool)
    if parts and stage in ("detector", "body", "limbs"):
        out = np.zeros(len(sources), dtype=bool)
        out[held_out(sources, parts)] = True
        chosen = ~out if stage == "detector" else out
    if turns is not None:
        chosen &= np.isfinite(turns)
    if not chosen.any():
        raise InputError(
            f"stage {stage}: nobody is left to learn from; expected datasets of at least held_out "
            f"people each (held_out {parts}), with body angles where upright or angle_steps is set"
        )
    return None if chosen.all() else np.flatnonzero(chosen)
