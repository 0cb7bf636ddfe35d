"""Tiny comparisons for the tests of how comparisons are run and reported."""

from collections.abc import Callable

import pytest

from uprightpose.bench.machine import Machine
from uprightpose.bench.timing import Comparison


def spin(turns: int) -> Callable[[], int]:
    """Return work that takes time in proportion to ``turns``."""

    def work() -> int:
        return min(i * 0 + 7 for i in range(turns))

    return work


def same(outputs: dict[str, int]) -> str:
    assert len(set(outputs.values())) == 1, f"found {sorted(set(outputs.values()))}"
    return "all 7"


@pytest.fixture
def machine() -> Machine:
    return Machine("drawn", 2, 1, 0.5, 100.0, 10.0, {"torch": "1"})


@pytest.fixture
def tiny() -> Comparison:
    return Comparison(
        name="spin",
        task="spin around",
        ours="short",
        contenders={"short": spin(20_000), "long": spin(200_000)},
        check=same,
        bars={"long": 3.0, "absent": 2.0},
        missing={"absent": "not installed"},
        operations=1e6,
        moved=4e6,
        packages=("numpy", "no-such-package"),
        notes={"memory, MB": 3},
    )
