"""The machine of a benchmark, and what it could do at best: the floor under every timing."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from uprightpose.reproduce.machine import processor_name

SIDE = 1024
"""Of the square matrices whose product shows the peak of arithmetic."""

BYTES = 1 << 28
"""Copied to show the bandwidth: far more than any cache holds."""

ROUNDS = 7

PACKAGES = ("torch", "numpy", "scipy", "opencv-python-headless", "timm")
"""Whose versions decide how fast we are; a comparison names those of its peers."""


@dataclass(frozen=True)
class Machine:
    """Where timings were taken.

    Attributes:
        processor: its name, as the system says it.
        cores: of the machine.
        threads: that the contenders may use.
        load: processes that ran or waited over the last minute, when the run began: above 0
            the machine was shared.
        gigaflops: float32 operations per second of a product of matrices, best of some.
        gigabytes: per second, read and written by a copy, best of some.
        versions: of the packages that were timed.
    """

    processor: str
    cores: int
    threads: int
    load: float
    gigaflops: float
    gigabytes: float
    versions: dict[str, str]

    def floor(self, operations: float, moved: float) -> float:
        """Return the seconds below which this machine cannot do a task.

        Args:
            operations: on float32 numbers, a multiplication and an addition count as two.
            moved: bytes that must be read and written at least once.
        """
        return max(operations / self.gigaflops, moved / self.gigabytes) / 1e9


def measure_machine(threads: int) -> Machine:
    """Measure the peaks of arithmetic and bandwidth with so many threads."""
    torch.set_num_threads(threads)
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    source = torch.rand(BYTES // 8)
    target = torch.empty_like(source)
    return Machine(
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        threads=threads,
        load=os.getloadavg()[0],
        gigaflops=2 * SIDE**3 / _fastest(lambda: left @ right) / 1e9,
        gigabytes=BYTES / _fastest(lambda: target.copy_(source)) / 1e9,
        versions=found_versions(PACKAGES),
    )


def found_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the version of each package, ``"not installed"`` where there is none."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
