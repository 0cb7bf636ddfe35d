"""The cases of scoring at small sizes: they run, agree, and see a wrong contender."""

import dataclasses

import pytest

from uprightpose.bench.machine import Machine
from uprightpose.bench.scoring import (
    CASES,
    bootstrap_1000,
    score_edges,
    score_joints,
    score_people,
)
from uprightpose.bench.timing import compare
from uprightpose.errors import InputError

MACHINE = Machine("none", 1, 1, 0.0, 1.0, 1.0, {})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contenders_agree(case):
    comparison = case(1, people=301)
    outcome = compare(comparison, MACHINE, rounds=1)
    assert outcome.timings.keys() == comparison.contenders.keys()
    assert set(comparison.bars) < set(outcome.timings)
    assert outcome.floor > 0


@pytest.mark.parametrize("case", [score_people, score_edges])
def test_one_wrong_count_is_seen(case):
    comparison = case(1, people=50)
    hits, counted = comparison.contenders["NumPy loop"]()
    hits[3, 5] += 1
    wrong = {**comparison.contenders, "NumPy loop": lambda: (hits, counted)}
    with pytest.raises(InputError, match="1 of 308 counts differ from NumPy loop"):
        compare(dataclasses.replace(comparison, contenders=wrong), MACHINE, rounds=1)


def test_wrong_scores_and_draws_are_seen():
    for case in (score_joints, bootstrap_1000):
        comparison = case(1, people=50)
        ours = comparison.contenders[comparison.ours]
        wrong = {**comparison.contenders, comparison.ours: lambda ours=ours: ours() + 3}
        with pytest.raises(InputError, match=r"differ|deviations off"):
            compare(dataclasses.replace(comparison, contenders=wrong), MACHINE, rounds=1)
