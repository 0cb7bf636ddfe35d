"""'Each comparison ... first checks that outputs agree, then alternates the contenders.'"""

import dataclasses

import pytest
import torch

from uprightpose.bench.timing import Timing, compare
from uprightpose.errors import InputError


class TestCompare:
    def test_more_work_takes_longer(self, tiny, machine):
        outcome = compare(tiny, machine, rounds=3)
        assert outcome.ratio("long") > 3
        assert outcome.ratio("long", cpu=True) > 3
        assert outcome.ratio("short") == 1
        assert outcome.agreement == "all 7"
        assert all(len(timing.rounds) == 3 for timing in outcome.timings.values())
        assert outcome.versions["no-such-package"] == "not installed"

    def test_contenders_take_turns_and_each_begins_once(self, tiny, machine):
        calls = []

        def named(name):
            def work():
                calls.append(name)
                return 7

            return work

        works = {name: named(name) for name in ("short", "b", "c")}
        case = dataclasses.replace(tiny, contenders=works, bars={})
        compare(case, machine, rounds=3)
        turns = [name for at, name in enumerate(calls) if at == 0 or calls[at - 1] != name]
        rounds = [("short", "b", "c"), ("b", "c", "short"), ("c", "short", "b")]
        assert turns[-9:] == [name for order in rounds for name in order]

    def test_outputs_that_disagree_are_not_timed(self, tiny, machine):
        wrong = {**tiny.contenders, "long": lambda: 8}
        with pytest.raises(InputError, match=r"bench spin: the outputs disagree: found \[7, 8\]"):
            compare(dataclasses.replace(tiny, contenders=wrong), machine, rounds=1)

    def test_ours_must_take_part(self, tiny, machine):
        with pytest.raises(ValueError, match="expected none among"):
            compare(dataclasses.replace(tiny, ours="none"), machine)

    def test_threads_are_pinned(self, tiny, machine):
        before = torch.get_num_threads()
        seen = []

        def look():
            seen.append(torch.get_num_threads())
            return 7

        case = dataclasses.replace(tiny, contenders={"short": look, "long": look})
        compare(case, dataclasses.replace(machine, threads=1), rounds=1)
        torch.set_num_threads(before)
        assert set(seen) == {1}


class TestBars:
    def test_met_missed_and_absent(self, tiny, machine):
        outcome = compare(tiny, machine, rounds=1)
        assert outcome.met("long") is True
        assert outcome.met("short") is None
        assert outcome.met("absent") is None
        higher = dataclasses.replace(tiny, bars={"long": 1e6})
        assert dataclasses.replace(outcome, comparison=higher).met("long") is False

    def test_by_the_clock_and_by_cpu_time(self, tiny, machine):
        """'CPU time where the machine is shared.'"""
        outcome = compare(tiny, machine, rounds=1)
        timings = {
            "short": Timing(1.0, 2.0, (1.0,)),
            "long": Timing(4.0, 4.0, (4.0,)),
        }
        outcome = dataclasses.replace(outcome, timings=timings)
        assert outcome.met("long") is True
        assert outcome.met("long", cpu=True) is False
        assert outcome.met("short", cpu=True) is None

    def test_numpy_keeps_to_the_threads_too(self, tiny, machine):
        threadpoolctl = pytest.importorskip("threadpoolctl", reason="comes with the extra bench")
        seen = []

        def look():
            seen.append(
                {
                    pool["num_threads"]
                    for pool in threadpoolctl.threadpool_info()
                    if pool["user_api"] == "blas"
                }
            )
            return 7

        case = dataclasses.replace(tiny, contenders={"short": look, "long": look})
        compare(case, dataclasses.replace(machine, threads=1), rounds=1)
        assert seen[-1] == {1}


def test_the_floor_is_the_larger_of_arithmetic_and_bandwidth(machine):
    assert machine.floor(1e9, 0) == pytest.approx(0.01)
    assert machine.floor(0, 1e9) == pytest.approx(0.1)
    assert machine.floor(1e9, 1e9) == pytest.approx(0.1)
