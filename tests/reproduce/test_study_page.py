"""Accuracy by body angle beside cost, and paired differences over seeds."""

import numpy as np
import pytest

from uprightpose.metrics import ANGLE_BINS
from uprightpose.reproduce import study_page
from uprightpose.reproduce.study import COPIES
from uprightpose.reproduce.study_page import BINS, Comparison
from uprightpose.reproduce.variants import Variant
from uprightpose.scout import turn_points
from uprightpose.skeletons import LSP

PEOPLE = 12
MILLISECONDS = {"detector": 3.0, "scout": 0.5, "limbs refinement": 2.0}


def standing(angles: np.ndarray) -> np.ndarray:
    """Return loosely standing people at these body angles."""
    joints = np.random.default_rng(0).normal(64, 15, (len(angles), 14, 2))
    upright = ((-9, -15), (9, -15), (-6, 15), (6, 15), (0, -20))
    joints[:, [*LSP.torso, *LSP.neck]] = 64 + np.array(upright)
    return turn_points(joints, -angles, 128)


TRUTH = {
    "natural": standing(np.radians(np.tile([0.0, 10, -20], 4))),
    "turned": standing(np.radians(np.tile([5.0, -100, 170, 45], 3))),
}


def variant(title: str, sizes: list[float], passes: float = 1.0, steps=()) -> Variant:
    """Return guesses with a size of error per seed."""
    random = np.random.default_rng(len(title))
    joints = {
        copy: np.stack([truth + random.normal(0, size, truth.shape) for size in sizes])
        for copy, truth in TRUTH.items()
    }
    return Variant(title, joints, dict.fromkeys(COPIES, passes), steps)


@pytest.fixture
def comparison() -> Comparison:
    rows = [
        variant("exact", [0.0]),
        variant("rough", [9.0]),
        variant("refined", [0.0, 9.0, 14.0], 1.5, ("scout", "limbs refinement")),
        variant("again", [3.0, 3.0, 3.0]),
    ]
    return Comparison(rows, TRUTH, 30)


class TestScores:
    def test_are_means_over_seeds(self, comparison: Comparison) -> None:
        assert comparison.score("exact", "natural") == 100
        totals = [one.scores["Total"] for one in comparison.tables("refined", "turned")]
        assert totals[0] == 100 > totals[1] > totals[2]
        assert comparison.score("refined", "turned") == pytest.approx(np.mean(totals))

    def test_ranges_of_angles_hold_everyone_once(self, comparison: Comparison) -> None:
        for copy in COPIES:
            assert (sum(comparison.who[copy][name].astype(int) for name in BINS) == 1).all()
        assert tuple(f"{low}-{high}" for low, high in ANGLE_BINS) == BINS
        assert comparison.who["natural"]["0-30"].all()
        assert comparison.who["turned"]["90-180"].sum() == 6

    def test_nobody_has_no_score(self, comparison: Comparison) -> None:
        assert np.isnan(comparison.score("exact", "natural", "90-180"))


class TestContrasts:
    def test_are_antisymmetric_and_zero_with_oneself(self, comparison: Comparison) -> None:
        one, other = (
            comparison.contrast(pair, "turned")["Total"]
            for pair in (("refined", "again"), ("again", "refined"))
        )
        assert one.value == pytest.approx(-other.value)
        assert one.value != 0
        assert comparison.contrast(("again", "again"), "turned")["Total"].value == 0

    def test_are_differences_of_means_over_seeds(self, comparison: Comparison) -> None:
        found = comparison.contrast(("refined", "again"), "turned")["Total"]
        scores = [comparison.score(title, "turned") for title in ("refined", "again")]
        assert found.value == pytest.approx(scores[0] - scores[1])

    @pytest.mark.parametrize("pair", [("refined", "rough"), ("rough", "refined")])
    def test_a_row_without_seeds_stands_beside_every_seed(
        self, comparison: Comparison, pair: tuple[str, str]
    ) -> None:
        found = comparison.contrast(pair, "natural")["Total"]
        scores = [comparison.score(title, "natural") for title in pair]
        assert found.value == pytest.approx(scores[0] - scores[1])
        assert found.low <= found.value <= found.high

    def test_of_some_people_only(self, comparison: Comparison) -> None:
        pair = ("exact", "rough")
        found = comparison.contrast(pair, "turned", "90-180")["Total"]
        scores = [comparison.score(title, "turned", "90-180") for title in pair]
        assert found.value == pytest.approx(scores[0] - scores[1])

    def test_each_is_drawn_once(
        self, comparison: Comparison, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = comparison.contrast(("exact", "rough"), "turned")
        monkeypatch.setattr(study_page, "contrast_rows", None)
        assert comparison.contrast(("exact", "rough"), "turned") == first


def test_a_pass_is_that_of_the_rows_own_detector(comparison: Comparison) -> None:
    """'Accuracy against time per person': a larger detector's pass takes longer."""
    times = {**MILLISECONDS, "larger detector": 7.0}
    joints = comparison.titled["exact"].joints
    larger = Variant("larger", joints, dict.fromkeys(COPIES, 2.0), ("scout",), "larger detector")
    assert comparison.milliseconds(larger, "natural", times) == 2 * 7 + 0.5


class TestTables:
    def test_time_is_passes_and_other_steps(self, comparison: Comparison) -> None:
        rows = comparison.by_angle(MILLISECONDS)
        refined = next(
            line
            for title, text in rows.items()
            if title.startswith("turned")
            for line in text.splitlines()
            if line.startswith("| refined |")
        )
        cells = [cell.strip() for cell in refined.split("|")[1:-1]]
        assert cells[1:3] == ["1.50", f"{1.5 * 3 + 0.5 + 2:.1f}"]
        assert cells[-2] == f"{comparison.score('refined', 'turned'):.2f}"
        assert comparison.titled["exact"].steps == ()

    def test_headings_count_people(self, comparison: Comparison) -> None:
        assert "90-180: 6" in list(comparison.by_angle(MILLISECONDS))[1]

    def test_every_seed_has_a_row(self, comparison: Comparison) -> None:
        text = comparison.groups()["natural pictures, every seed"]
        assert [f"| refined | seed {seed} |" in text for seed in range(4)] == [True] * 3 + [False]
        assert "| exact | - | 100.00 |" in text

    def test_differences_leave_out_empty_ranges(self, comparison: Comparison) -> None:
        pairs = (("exact", "rough"), ("refined", "again"))
        text = comparison.contrasts(pairs)
        assert "| exact - rough | natural | 0-30 | +" in text
        assert "| natural | 90-180 |" not in text
        assert "| refined - again | turned | 90-180 |" in text

    def test_without_draws_there_are_no_intervals(self) -> None:
        plain = Comparison([variant("exact", [0.0]), variant("rough", [9.0])], TRUTH, 0)
        row = plain.contrasts((("exact", "rough"),), ("all",)).splitlines()[2]
        assert "[" not in row
        assert "| - |" in row

    def test_types_of_error_add_up(self, comparison: Comparison) -> None:
        lines = [one for one in comparison.errors().splitlines() if one.startswith("| exact")]
        assert len(lines) == len(COPIES)

    def test_numbers_hold_the_same(self, comparison: Comparison) -> None:
        numbers = comparison.numbers((("exact", "rough"),))
        own = numbers["variants"]["refined"]["turned"]
        assert len(own["seeds"]) == 3
        assert own["Total by angle"]["90-180"] == pytest.approx(
            comparison.score("refined", "turned", "90-180"), abs=1e-3
        )
        assert "90-180" not in numbers["variants"]["refined"]["natural"]["Total by angle"]
        assert [one["pictures"] for one in numbers["contrasts"]] == list(COPIES)


def test_time_is_left_out_where_there_is_none(comparison: Comparison) -> None:
    plain = next(iter(comparison.by_angle().values())).splitlines()
    timed = next(iter(comparison.by_angle(MILLISECONDS).values())).splitlines()
    for short, long in zip(plain, timed, strict=True):
        cells = long.split("|")
        assert short.split("|") == [*cells[:2], *cells[4:]]
