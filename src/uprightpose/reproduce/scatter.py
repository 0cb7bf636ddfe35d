"""Scatters of joints as rows of tables: what was measured, against what, and what it proves."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from uprightpose.compactness import (
    LEAST_PEOPLE,
    NEIGHBORS,
    STATISTICS,
    Displacements,
    Estimate,
    displacements,
    measure,
)
from uprightpose.errors import InputError
from uprightpose.placebos import CONTROLS, PLACEBOS, Comparison, compare_turns
from uprightpose.reproduce.expected import ANKLE, EXPECTED, HEAD, WRIST
from uprightpose.reproduce.people import People
from uprightpose.reproduce.report import markdown_table

JOINTS = {
    HEAD: ("head_top", None),
    WRIST: ("left_wrist", "left arm"),
    ANKLE: ("left_ankle", "left leg"),
}
"""The joint, and the limb whose root it is seen from (``None``: from the torso's center)."""


@dataclass(frozen=True)
class ScatterRow:
    """One joint of one dataset, and all that was measured on it.

    Attributes:
        joint: one of :data:`JOINTS`.
        people: the dataset.
        found: where the joint lies, in torso lengths.
        table: frame -> statistic -> estimate.
        ratios: of traces, e.g. ``"body/raw"``.
        controls: the last turn among its placebos.
    """

    joint: str
    people: People
    found: Displacements
    table: dict[str, dict[str, Estimate]]
    ratios: dict[str, Estimate]
    controls: Comparison

    @property
    def number(self) -> int:
        """How many people are counted."""
        return len(self.found.raw)

    @property
    def expected(self) -> dict[str, tuple[float, ...]]:
        """What SPEC 5.2 states of this row; nothing of some."""
        return EXPECTED.get((self.joint, self.people.name), {})

    def values(self, what: str) -> tuple[float, ...]:
        """Return what :data:`EXPECTED` states, as measured."""
        if what == "n":
            return (float(self.number),)
        named = {**self.ratios, **self.controls.traces}
        if what in named:
            return (named[what].value,)
        return tuple(frame[what].value for frame in self.table.values())


def measure_joint(joint: str, people: People, draws: int, seed: int) -> ScatterRow:
    """Measure one joint of one dataset, with ``draws`` bootstrap draws of people.

    Raises:
        InputError: if too few people have all joints that it takes.
    """
    name, limb_name = JOINTS[joint]
    limb = next((limb for limb in people.skeleton.limbs if limb.name == limb_name), None)
    index = people.skeleton.joints.index(name)
    found = displacements(people.joints, people.skeleton, index, limb)
    check_number(len(found.raw), people, joint)
    title = f"{people.name}: {joint}"
    table, ratios = measure(found.frames, steps(draws, title), seed)
    controls = compare_turns(found, steps(draws, f"{title}, placebos"), seed)
    return ScatterRow(joint, people, found, table, ratios, controls)


def check_number(found: int, people: People, what: str) -> None:
    """Raise an InputError if fewer people than :data:`LEAST_PEOPLE` were found."""
    if found < LEAST_PEOPLE:
        raise InputError(
            f"{people.name}: expected {LEAST_PEOPLE} people or more with all joints for "
            f"{what}, found {found}"
        )


def steps(draws: int, title: str) -> Iterable[int]:
    """Return one item per draw, under a progress bar where a person looks on."""
    return tqdm(range(draws), desc=title, unit="draw", leave=False, disable=None)


def scatter_text(rows: Sequence[ScatterRow]) -> str:
    """Return the table of all statistics in all frames."""
    lines = [
        [row.joint, row.people.name, str(row.number), frame, *map(with_interval, found.values())]
        for row in rows
        for frame, found in row.table.items()
    ]
    header = ["joint / seen from", "data", "n", "frame", *STATISTICS]
    text = (
        "Trace and root of the determinant of the covariance (squared torso lengths), mean "
        f"resultant length of the directions, entropy by {NEIGHBORS} nearest neighbors (nats)."
    )
    return f"{text}\n\n{markdown_table(header, lines)}"


def ratio_text(rows: Sequence[ScatterRow]) -> str:
    """Return the table of traces over the raw trace."""
    lines = [
        [row.joint, row.people.name, ratio, with_interval(estimate)]
        for row in rows
        for ratio, estimate in row.ratios.items()
    ]
    return markdown_table(["joint / seen from", "data", "frames", "ratio of traces"], lines)


def control_text(rows: Sequence[ScatterRow]) -> str:
    """Return the table of true and placebo angles."""
    lines = [
        [row.joint, row.people.name, *map(with_interval, row.controls.traces.values())]
        for row in rows
    ]
    text = (
        "Traces after turning each person by an angle: a random one, that of another person, "
        "the true one, or the direction of the joint itself (no turn can do better). The turn "
        f"is the body's for the head and the limb's for limbs. Placebos: mean of {PLACEBOS} draws."
    )
    return f"{text}\n\n{markdown_table(['joint / seen from', 'data', *CONTROLS], lines)}"


def finding(row: ScatterRow) -> str:
    """Say how much the scatter shrinks, and whether the true angle beats both placebos.

    Without the latter compactness claims nothing (SPEC 5.2).
    """
    answer = {True: "yes", False: "no", None: "not decided (no intervals)"}[row.controls.wins]
    ratios = ", ".join(f"{name} {with_interval(ratio)}" for name, ratio in row.ratios.items())
    margins = ", ".join(
        f"{name} {with_interval(margin, '+z.3f')}" for name, margin in row.controls.margins.items()
    )
    return (
        f"{row.people.name}, {row.joint}: trace {ratios}; the true angle beats both placebos: "
        f"{answer} (their traces less its own: {margins})"
    )


def expected_text(rows: Sequence[ScatterRow]) -> str:
    """Return the table of what SPEC 5.2 states beside what was measured."""
    lines = [
        [row.joint, row.people.name, what, *against(expected, row.values(what))]
        for row in rows
        for what, expected in row.expected.items()
    ]
    header = ["joint / seen from", "data", "", "measured", "SPEC 5.2", "difference"]
    return markdown_table(header, lines)


def against(expected: tuple[float, ...], ours: tuple[float, ...]) -> list[str]:
    """Return our numbers, the expected ones and the differences, each ``raw -> body -> limb``.

    Example:
        >>> against((0.9, 0.2), (0.893, 0.193))
        ['0.893 -> 0.193', '0.9 -> 0.2', '-0.007 -> -0.007']
    """
    form = "g" if all(number == int(number) for number in (*expected, *ours)) else "z.3f"
    differences = [a - b for a, b in zip(ours, expected, strict=True)]
    return [
        " -> ".join(f"{number:{form}}" for number in ours),
        " -> ".join(f"{number:g}" for number in expected),
        " -> ".join(f"{number:+{form}}" for number in differences),
    ]


def with_interval(estimate: Estimate, form: str = "z.3f") -> str:
    """Return a number and its interval, if any.

    Example:
        >>> with_interval(Estimate(0.5, (0.25, 1)))
        '0.500 [0.250, 1.000]'
    """
    if estimate.interval is None:
        return f"{estimate.value:{form}}"
    low, high = estimate.interval
    return f"{estimate.value:{form}} [{low:{form}}, {high:{form}}]"


def row_numbers(row: ScatterRow) -> dict[str, Any]:
    """Return a row for programs."""

    def plain(estimates: dict[str, Estimate]) -> dict[str, Any]:
        return {name: asdict(estimate) for name, estimate in estimates.items()}

    return {
        "joint": row.joint,
        "data": row.people.name,
        "labels": row.people.labels,
        "people": row.number,
        "frames": {frame: plain(found) for frame, found in row.table.items()},
        "trace_ratios": plain(row.ratios),
        "controls": {
            "traces": plain(row.controls.traces),
            "placebo_minus_true": plain(row.controls.margins),
            "true_angle_beats_both": row.controls.wins,
        },
        "expected": {what: list(values) for what, values in row.expected.items()},
    }
