"""Time contenders side by side: first their outputs must agree, then they take turns.

A *comparison* is a task and several ways to do it, ours first. It is run in one process with
a fixed number of threads; in each round every contender has its turn, once unmeasured (what it
needs is in memory and in caches again) and then measured, the order moves on by one each round,
and medians are reported, of wall time and of the process's CPU time. Ratios say how many times
longer a contender takes than ours.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import cv2
import torch

from uprightpose.bench.machine import Machine, found_versions
from uprightpose.errors import InputError

LEAST = 0.005
"""Seconds of one sample at least: shorter work is repeated within it."""

Work = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """A task and several ways to do it.

    Attributes:
        name: of few words, for the command line: ``"rotate-maps"``.
        task: one sentence that says what is done, with all sizes.
        ours: the name of our contender.
        contenders: name -> does the whole task once and returns its output; ours among them.
        check: takes every contender's output by name and returns how well they agree, in one
            sentence with the number; raises ``AssertionError`` if they do not.
        bars: contender -> how many times longer than ours it must take.
        missing: peer -> why it does not take part.
        operations: on float32 numbers that the task needs at least (floor).
        moved: bytes that it must read and write at least (floor).
        packages: peers whose versions belong to the result.
        notes: what else was measured, such as peak memory; name -> value.
    """

    name: str
    task: str
    ours: str
    contenders: Mapping[str, Work]
    check: Callable[[dict[str, Any]], str]
    bars: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    operations: float = 0.0
    moved: float = 0.0
    packages: tuple[str, ...] = ()
    notes: Mapping[str, float | str] = field(default_factory=dict)


Cases: TypeAlias = Mapping[str, Callable[[int], Comparison]]
"""Name -> makes the comparison for so many threads."""


@dataclass(frozen=True)
class Timing:
    """One contender's medians over the rounds, in seconds.

    Attributes:
        wall: on the clock.
        cpu: of all threads of the process.
        rounds: each round's wall time.
    """

    wall: float
    cpu: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What a comparison showed.

    Attributes:
        comparison: that was run.
        agreement: what its check said.
        timings: contender -> medians.
        floor: seconds that the machine needs at best; 0 if the comparison names no floor.
        versions: of the peers.
    """

    comparison: Comparison
    agreement: str
    timings: dict[str, Timing]
    floor: float
    versions: dict[str, str]

    def ratio(self, contender: str, *, cpu: bool = False) -> float:
        """Return how many times longer than ours a contender takes."""
        ours, theirs = self.timings[self.comparison.ours], self.timings[contender]
        return theirs.cpu / ours.cpu if cpu else theirs.wall / ours.wall

    def without_work(self) -> "Outcome":
        """Return what remains to be reported, without the contenders and all that they hold."""
        names: dict[str, Work] = dict.fromkeys(self.comparison.contenders, _done)
        return replace(self, comparison=replace(self.comparison, contenders=names))

    def met(self, contender: str, *, cpu: bool = False) -> bool | None:
        """Say whether a bar is met; ``None`` if there is none or no such peer.

        Args:
            contender: whose bar.
            cpu: by CPU time, which other programs on the machine hardly change; else by the clock.
        """
        if contender not in self.comparison.bars or contender not in self.timings:
            return None
        return self.ratio(contender, cpu=cpu) >= self.comparison.bars[contender]


def compare(comparison: Comparison, machine: Machine, *, rounds: int = 9) -> Outcome:
    """Check that the contenders agree, then time them in turn.

    Args:
        comparison: the task.
        machine: whose number of threads is kept to.
        rounds: samples of each contender.

    Raises:
        InputError: if the outputs disagree: then no time means anything.
    """
    torch.set_num_threads(machine.threads)
    cv2.setNumThreads(machine.threads)
    names = list(comparison.contenders)
    if comparison.ours not in names:
        raise ValueError(f"expected {comparison.ours} among {names}")
    outputs = {name: work() for name, work in comparison.contenders.items()}
    try:
        agreement = comparison.check(outputs)
    except AssertionError as error:
        raise InputError(f"bench {comparison.name}: the outputs disagree: {error}") from error
    del outputs
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with _numpy_threads(machine.threads):
        repeats = {name: _repeats(comparison.contenders[name]) for name in names}
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                comparison.contenders[name]()
                samples[name].append(_sample(comparison.contenders[name], repeats[name]))
    timings = {
        name: Timing(
            wall=statistics.median(wall for wall, _ in taken),
            cpu=statistics.median(cpu for _, cpu in taken),
            rounds=tuple(wall for wall, _ in taken),
        )
        for name, taken in samples.items()
    }
    return Outcome(
        comparison=comparison,
        agreement=agreement,
        timings=timings,
        floor=machine.floor(comparison.operations, comparison.moved),
        versions=found_versions(comparison.packages),
    )


def _numpy_threads(threads: int) -> AbstractContextManager[Any]:
    """Keep numpy's products to so many threads, where threadpoolctl is there to ask for it."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(threads, user_api="blas")
    return limits


def _done() -> None:
    """Stand for work that has been measured."""


def _repeats(work: Work) -> int:
    """Return how often work is done within one sample."""
    wall, _ = _sample(work, 1)
    return max(1, math.ceil(LEAST / max(wall, 1e-9)))


def _sample(work: Work, repeats: int) -> tuple[float, float]:
    """Return wall and CPU seconds of one piece of work."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats
