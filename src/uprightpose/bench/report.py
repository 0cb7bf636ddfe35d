"""What a run of comparisons says, as text and as JSON."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from uprightpose.bench.growth import Growth
from uprightpose.bench.machine import Machine
from uprightpose.bench.timing import Outcome

_MET = {True: "met", False: "MISSED"}


def describe_machine(machine: Machine) -> str:
    """Return the machine in two lines."""
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.threads} threads used, load "
        f"{machine.load:.1f} before; at best {machine.gigaflops:.0f} GFLOP/s in float32, "
        f"{machine.gigabytes:.0f} GB/s\n{versions}"
    )


def describe(outcome: Outcome) -> str:
    """Return a comparison in lines: what was done, each contender's medians, ratios and bars."""
    case = outcome.comparison
    lines = [f"{case.name}: {case.task}", f"  outputs agree: {outcome.agreement}"]
    width = max(map(len, outcome.timings))
    for name, timing in outcome.timings.items():
        line = f"  {name:{width}} {_milliseconds(timing.wall)} ms  CPU {_milliseconds(timing.cpu)}"
        if name != case.ours:
            wall, cpu = (_ratio(outcome.ratio(name, cpu=cpu)) for cpu in (False, True))
            line += f"  {wall} x ours, CPU {cpu}"
        if outcome.met(name) is not None:
            met, by_cpu = (_MET[bool(outcome.met(name, cpu=cpu))] for cpu in (False, True))
            apart = f", by CPU time {by_cpu}" if by_cpu != met else ""
            line += f"  (bar {_ratio(case.bars[name])}: {met}{apart})"
        lines.append(line)
    if outcome.floor:
        lines.append(f"  {'floor':{width}} {_milliseconds(outcome.floor)} ms")
    lines += [f"  {peer}: {why}" for peer, why in case.missing.items()]
    lines += [f"  {name}: {value}" for name, value in case.notes.items()]
    return "\n".join(lines)


def describe_growth(sizes: Sequence[Growth]) -> str:
    """Return in lines how time and memory grow."""
    lines = ["growth: predict_files, each number in a process of its own"]
    for one in sizes:
        lines.append(
            f"  {one.number:5} {one.of:8} {one.seconds:8.2f} s  {one.each:8.2f} ms each  "
            f"{one.megabytes:6.0f} MB at most, {one.above:4.0f} MB above the start"
        )
    return "\n".join(lines)


def as_json(
    machine: Machine, outcomes: Sequence[Outcome], growth: Sequence[Growth], rounds: int
) -> dict[str, Any]:
    """Return everything that was measured, every round's time too."""
    return {
        "machine": asdict(machine),
        "python": platform.python_version(),
        "system": platform.platform(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "rounds": rounds,
        "comparisons": [_as_json(outcome) for outcome in outcomes],
        "growth": [asdict(one) for one in growth],
    }


def _as_json(outcome: Outcome) -> dict[str, Any]:
    case = outcome.comparison
    return {
        "name": case.name,
        "task": case.task,
        "ours": case.ours,
        "agreement": outcome.agreement,
        "floor": outcome.floor,
        "seconds": {name: asdict(timing) for name, timing in outcome.timings.items()},
        "ratio": {name: outcome.ratio(name) for name in outcome.timings},
        "ratio_cpu": {name: outcome.ratio(name, cpu=True) for name in outcome.timings},
        "bars": dict(case.bars),
        "met": {name: outcome.met(name) for name in case.bars},
        "met_cpu": {name: outcome.met(name, cpu=True) for name in case.bars},
        "missing": dict(case.missing),
        "versions": outcome.versions,
        "notes": dict(case.notes),
    }


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:10.3f}"


def _ratio(value: float) -> str:
    """Return a ratio with three digits.

    Example:
        >>> _ratio(0.0512), _ratio(6.0), _ratio(12.34)
        ('0.0512', '6', '12.3')
    """
    return f"{value:.3g}"
