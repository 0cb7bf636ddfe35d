"""Finished rows -> numbers: 'by body angle', each range of its own people."""

from dataclasses import replace

import numpy as np
import pytest

from uprightpose.protocols import PROTOCOLS
from uprightpose.reproduce.contrasts import ScoredPeople
from uprightpose.reproduce.page import _gain
from uprightpose.reproduce.results import Results, score_rows
from uprightpose.reproduce.rows import Joints, Outcome
from uprightpose.reproduce.tables import EXPERIMENTS
from uprightpose.scout import turn_points
from uprightpose.skeletons import LSP
from uprightpose.tables import Difference, pck_table

DEGREES = np.array([0.0, 10, -20, 45, -80, 100, 170])
FIRST, SECOND = "FCN", "Stage 1 with body norm."


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    joints = np.random.default_rng(0).normal(64, 15, (len(DEGREES), 14, 2))
    upright = ((-9, -15), (9, -15), (-6, 15), (6, 15), (0, -20))
    joints[:, [*LSP.torso, *LSP.neck]] = 64 + np.array(upright)
    return turn_points(joints, -np.radians(DEGREES), 128)


@pytest.fixture(scope="module")
def found(truth: np.ndarray) -> dict[str, np.ndarray]:
    """Joints by row, two seeds each: whoever lies is found badly by the second row alone."""
    random = np.random.default_rng(1)
    lying = np.where(np.abs(DEGREES) < 90, 1.0, 60.0)[:, None, None]
    shape = (2, *truth.shape)
    return {
        FIRST: truth + 6 * random.normal(size=shape),
        SECOND: truth + lying * random.normal(size=shape),
    }


@pytest.fixture(scope="module")
def results(truth: np.ndarray, found: dict[str, np.ndarray]) -> Results:
    table9 = EXPERIMENTS["table9"]
    rows = tuple(row for row in table9.rows if row.title in (FIRST, SECOND))
    experiment = replace(table9, rows=rows, contrasts=((SECOND, FIRST),))
    outcomes = {
        title: [
            Outcome(title, seed, {}, {"natural": Joints(joints, truth)})
            for seed, joints in enumerate(seeds)
        ]
        for title, seeds in found.items()
    }
    people = ScoredPeople(truth, np.full(len(truth), np.nan), np.arange(len(truth)))
    return score_rows(experiment, outcomes, people, "natural", "lsp", 50)


def test_each_range_has_its_own_people(
    results: Results, found: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    assert {name: one.people for name, one in results.angles.items()} == {
        "0-30": 3,
        "30-90": 2,
        "90-180": 2,
    }
    chosen = {"0-30": slice(0, 3), "30-90": slice(3, 5), "90-180": slice(5, 7)}
    for name, one in results.angles.items():
        for title, seeds in found.items():
            alone = [
                pck_table(j[chosen[name]], truth[chosen[name]], PROTOCOLS["lsp"], "oc")
                for j in seeds
            ]
            mean = np.mean([table.scores["Total"] for table in alone])
            assert one.rows[title]["Total"] == pytest.approx(mean)


def test_a_difference_is_that_of_the_ranges_people(results: Results) -> None:
    gains = {
        name: one.contrasts[SECOND, FIRST]["Total"].value for name, one in results.angles.items()
    }
    assert gains["0-30"] > 0
    assert gains["90-180"] < 0
    for name, one in results.angles.items():
        assert gains[name] == pytest.approx(one.rows[SECOND]["Total"] - one.rows[FIRST]["Total"])


def test_the_asterisk_is_of_p_after_holm() -> None:
    assert _gain(Difference(1.0, 0.5, 1.5, 0.03, 0.06)) == "+1.00 [+0.50, +1.50]"
    assert _gain(Difference(1.0, 0.5, 1.5, 0.03, 0.04)) == "+1.00 [+0.50, +1.50]*"
