"""All comparisons by name, in the order of a picture's way through the package."""

from uprightpose.bench import augmentation, convolution, decoding, prediction, rotation, scoring
from uprightpose.bench.timing import Cases
from uprightpose.errors import InputError

CASES: Cases = {
    **convolution.CASES,
    **rotation.CASES,
    **decoding.CASES,
    **scoring.CASES,
    **augmentation.CASES,
    **prediction.CASES,
}


GROWTH = "growth"
"""What is no comparison: 1 to 1000 people and pictures (:mod:`uprightpose.bench.growth`)."""


def choose(names: list[str]) -> Cases:
    """Return the comparisons whose names begin with one of these, by default all.

    :data:`GROWTH` is a name, too, of no comparison.

    Raises:
        InputError: if a name is none's beginning.

    Example:
        >>> list(choose(["conv-layer", "decode"]))
        ['conv-layer-batch1', 'conv-layer-batch8', 'decode']
    """
    for name in names:
        if name != GROWTH and not any(case.startswith(name) for case in CASES):
            known = ", ".join([*CASES, GROWTH])
            raise InputError(f"bench: expected names that begin as {known}; found {name}")
    chosen = tuple(names) or ("",)
    return {name: case for name, case in CASES.items() if name.startswith(chosen)}
