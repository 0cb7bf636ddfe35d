"""Whether a turn by the true angle compacts more than turns by angles that mean nothing.

A small scatter alone proves little: any turn by an angle that is read off the joints next to a
joint takes away some of its freedom. So SPEC 5.2 counts a claim of compactness only if the true
angle beats two placebos.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.compactness import (
    Displacements,
    Estimate,
    Points,
    direction,
    estimate,
    trace,
    turn,
)

PLACEBOS = 200
"""Redrawn placebo turns whose mean trace is reported."""

CONTROLS = ("raw", "random rotation", "angle of another person", "true angle", "own direction")
"""What :func:`compare_turns` compares; the last one is the lower bound of any turn."""


@dataclass(frozen=True)
class Comparison:
    """The true angle among its placebos.

    Attributes:
        traces: one for each of :data:`CONTROLS`.
        margins: by how much each placebo's trace exceeds that of the true angle.
    """

    traces: dict[str, Estimate]
    margins: dict[str, Estimate]

    @property
    def wins(self) -> bool | None:
        """Whether both margins' intervals lie above 0; ``None`` without intervals."""
        bounds = [margin.interval for margin in self.margins.values() if margin.interval]
        return all(low > 0 for low, _ in bounds) if bounds else None


def compare_turns(found: Displacements, steps: Iterable[object], seed: int) -> Comparison:
    """Compare the last turn of ``found`` with placebos, by the trace of what each leaves.

    The turn is the limb's, in the body frame, or the body's where there is no limb. Instead of
    the true angle each person gets a random one, or that of another person, or the one that
    brings the joint *itself* straight below the root: then only distances differ, which no
    turn can change. A placebo's value is its mean over :data:`PLACEBOS` turns of everybody;
    each draw of people has placebos of its own, so the intervals hold both kinds of chance.

    Args:
        found: from :func:`displacements`.
        steps: one item per draw of people.
        seed: of people and placebos.
    """
    generator = np.random.default_rng(seed)
    *_, before, _ = found.frames.values()
    angles = found.body if found.limb is None else found.limb
    people = len(angles)
    values = np.mean(
        [_control_traces(found.raw, before, angles, generator) for _ in range(PLACEBOS)], axis=0
    )
    draws = (generator.integers(people, size=people) for _ in steps)
    drawn = np.array(
        [_control_traces(found.raw[p], before[p], angles[p], generator) for p in draws]
    ).reshape(-1, len(CONTROLS))
    columns = dict(zip(CONTROLS, zip(values, drawn.T, strict=True), strict=True))
    true, redrawn = columns["true angle"]
    return Comparison(
        {name: estimate(value, column) for name, (value, column) in columns.items()},
        {
            name: estimate(columns[name][0] - true, columns[name][1] - redrawn)
            for name in CONTROLS[1:3]
        },
    )


def _control_traces(
    raw: Points, before: Points, angles: Float[ndarray, " n"], generator: np.random.Generator
) -> Float[ndarray, " c"]:
    """Return the trace for each of :data:`CONTROLS`, with newly drawn placebos."""
    people = len(angles)
    random = generator.uniform(-np.pi, np.pi, people)
    other = (np.arange(people) + generator.integers(1, people, size=people)) % people
    turns = (random, angles[other], angles, direction(before))
    return np.array([trace(raw), *(trace(turn(before, angle)) for angle in turns)])
