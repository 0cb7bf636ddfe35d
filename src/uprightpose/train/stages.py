"""Sec. 3.4 as a table: what learns, which losses count, and at which rate (SPEC 1.16)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One step of the staged training.

    Attributes:
        name: also the prefix of the recipe's ``NAME_steps``.
        learns: parts of the network whose weights change; all others are fixed.
        losses: stages of the network whose losses are summed, weight 1 each.
        fine_tune: uses the recipe's lower ``fine_tune_rate``.
    """

    name: str
    learns: tuple[str, ...]
    losses: tuple[str, ...]
    fine_tune: bool = False


STAGES = (
    Stage("detector", learns=("detector",), losses=("detector",)),
    Stage("body", learns=("body",), losses=("body",)),
    Stage("limbs", learns=("limbs",), losses=("limbs",)),
    Stage(
        "all",
        learns=("detector", "body", "limbs"),
        losses=("detector", "body", "limbs"),
        fine_tune=True,
    ),
)

FOLD = Stage("fold", learns=("detector",), losses=("detector",))
"""A detector that does not see one fold of the people (SPEC 1.16)."""
