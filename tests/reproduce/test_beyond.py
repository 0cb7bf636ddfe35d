"""The page of ideas beyond the paper, from folders of pictures to a report, on stick figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from uprightpose.reproduce import beyond, ideas
from uprightpose.reproduce.beyond import limb_angles, reproduce_beyond, verdict
from uprightpose.reproduce.report import write_report
from uprightpose.reproduce.study import Study
from uprightpose.skeletons import LSP
from uprightpose.tables import Difference

DRAWS = 2
TITLES = (
    *(beyond.DETECTOR, beyond.AXIS, beyond.CHAIN, beyond.GATED, beyond.MODES, beyond.ANGLES),
    *(beyond.SHARED, beyond.SYNTHETIC, beyond.PRETRAINED, beyond.SCALED),
    *(beyond.TOGETHER, beyond.FLOWING),
)


@pytest.fixture(scope="module")
def page(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's folder."""
    out = tmp_path_factory.mktemp("page")
    write_report(reproduce_beyond(study, DRAWS), out, "beyond", "uprightpose")
    return out


@pytest.mark.slow  # four trainings and a page
class TestPage:
    def test_it_has_every_row_every_pair_and_says_what_it_is_of(self, page: Path) -> None:
        text = (page / "beyond.md").read_text()
        numbers = json.loads((page / "beyond.json").read_text())
        assert tuple(numbers["variants"]) == TITLES
        for first, second in beyond.PAIRS:
            assert f"| {first} - {second} |" in text
        for title in TITLES:
            assert text.count(f"| {title} |") >= 4  # two copies, by angle and every seed
        for stated in ("4 people", "left shoulder - right hip", "person-centric", "0, 1 of"):
            assert stated in text
        assert all(caveat in text for caveat in beyond.CAVEATS)
        assert len(numbers["findings"]) == len(beyond.IDEAS) + 2
        for idea, finding in zip(beyond.IDEAS, numbers["findings"], strict=False):
            assert finding.startswith(idea.name)
            assert "natural pictures" in finding
            assert "turned pictures" in finding

    def test_every_seed_is_there(self, page: Path) -> None:
        numbers = json.loads((page / "beyond.json").read_text())["variants"]
        for title in TITLES[1:]:
            assert len(numbers[title]["turned"]["seeds"]) == 2

    def test_the_baselines_are_those_of_normalization(self, page: Path, study: Study) -> None:
        """'The baseline arms must be reused, not retrained': no folder of another name."""
        assert page.is_dir()
        names = {path.name for path in (study.out / "refiners").iterdir()}
        assert {name for name in names if "axis" in name} == {
            "circle-zero-axis-0",
            "circle-zero-axis-1",
        }

    @pytest.mark.usefixtures("nothing_is_made")
    def test_what_is_there_is_not_made_again(
        self, page: Path, study: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ideas, "predict_arm", None)
        again = Study(study.data, study.out, study.plan, threads=1)
        report = reproduce_beyond(again, DRAWS)
        before = json.loads((page / "beyond.json").read_text())
        assert report.numbers["variants"] == before["variants"]
        assert list(report.findings) == before["findings"]


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.7, "it helps"),
        (-0.7, -0.1, "it hurts"),
        (-0.1, 0.1, "undecided"),
        (0.0, 0.2, "undecided"),
        (np.nan, np.nan, "no interval"),
    ],
)
def test_a_verdict_is_the_intervals(low: float, high: float, word: str) -> None:
    """'Helps (low > 0), hurts (high < 0) or is undecided'."""
    assert word in verdict(Difference((low + high) / 2, low, high, 0.5, 0.5))


def test_a_limb_that_hangs_has_no_angle() -> None:
    joints = np.zeros((2, 14, 2))
    for limb in LSP.limbs:
        joints[0, limb.middle] = (0, 3)
        joints[1, limb.middle] = (3, 0)
    assert np.allclose(limb_angles(joints), [0] * 4 + [np.pi / 2] * 4)
