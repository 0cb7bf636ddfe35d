"""'Pre-registered hypotheses' (SPEC 5.3): words, and the answers that contrasts give them."""

from pathlib import Path

import pytest

from uprightpose.protocols import PROTOCOLS
from uprightpose.reproduce.arms import ARMS
from uprightpose.reproduce.hypotheses import HYPOTHESES, answer, registered_sections
from uprightpose.tables import Difference

PAGE = Path(__file__).parents[2] / "docs" / "results" / "simulation.md"


def between(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, low, high, 0.5, 0.5)


def test_the_page_holds_the_registered_words():
    page = PAGE.read_text()
    for heading, text in registered_sections().items():
        assert f"## {heading}\n\n{text}" in page


def test_all_six_are_there_with_arms_and_columns_that_exist():
    assert [one.name for one in HYPOTHESES] == ["H1", "H2", "H3", "H4", "H5", "H6"]
    titles = {arm.title for arm in ARMS}
    columns = {column.title for column in PROTOCOLS["lsp"].columns}
    for one in HYPOTHESES:
        for gain in (one.gain, *([one.over] if one.over else [])):
            assert {gain.first, gain.second} <= titles
        assert set(one.columns) <= columns


def test_each_claim_names_what_decides_it():
    for one in HYPOTHESES:
        assert f"{one.gain.first} - {one.gain.second}" in one.claim
        assert f"{one.pictures} pictures" in one.claim
        assert all(column in one.claim for column in one.columns)
        assert "above 0" in one.claim


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([between(0.1, 2)], "confirmed"),
        ([between(-2, -0.1)], "refuted"),
        ([between(-1, 2)], "undecided"),
        ([between(-2, 1)], "undecided"),
        ([between(0, 2)], "undecided"),
        ([between(1, 2), between(0.1, 3)], "confirmed"),
        ([between(1, 2), between(-0.1, 3)], "undecided"),
        ([between(1, 2), between(-3, -1)], "refuted"),
        ([between(float("nan"), float("nan"))], "undecided"),
    ],
)
def test_intervals_decide(differences, expected):
    assert answer(differences) == expected
