"""'A calibrated probability for each look', fitted on people whose angle is known."""

import numpy as np
import pytest

from uprightpose.reproduce.credible import Credibility, calibration_error, fit_credibility

TRUE = Credibility(np.array([6.0]), -2.0)


def looks(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return peaks and whether each look is right, drawn as :data:`TRUE` has it."""
    random = np.random.default_rng(seed)
    peaks = random.uniform(0.05, 0.95, (count, 1))
    return peaks, random.random(count) < TRUE(peaks)


def test_planted_probabilities_come_back() -> None:
    fit = fit_credibility(*looks(20000))
    peaks, right = looks(5000, 1)
    assert np.abs(fit(peaks) - TRUE(peaks)).mean() < 0.03
    assert calibration_error(fit(peaks), right) < 0.03


def test_a_surer_look_is_more_probable() -> None:
    fit = fit_credibility(*looks(2000))
    assert (np.diff(fit(np.linspace(0.1, 0.9, 7)[:, None])) > 0).all()
    assert fit(np.full((3, 2, 1), 0.4)).shape == (3, 2)


@pytest.mark.parametrize("right", [True, False])
def test_looks_that_are_all_alike_still_fit(right: bool) -> None:
    """All right, or all wrong: weights stay finite and say so."""
    peaks, _ = looks(50)
    found = fit_credibility(peaks, np.full(50, right))(peaks)
    assert np.isfinite(found).all()
    assert ((found > 0.5) == right).all()


class TestCalibrationError:
    def test_is_zero_for_certain_and_right(self) -> None:
        right = np.arange(40) % 3 == 0
        assert calibration_error(right.astype(float), right, bins=40) == 0

    def test_is_zero_where_shares_are_as_said(self) -> None:
        right = np.tile([True, False, False, False], 10)
        assert calibration_error(np.full(40, 0.25), right) == pytest.approx(0, abs=0.06)
        assert calibration_error(np.full(40, 0.25), right, bins=1) == 0

    def test_is_the_gap_where_they_are_not(self) -> None:
        assert calibration_error(np.full(40, 0.9), np.zeros(40, bool)) == pytest.approx(0.9)

    def test_counts_people_not_bins(self) -> None:
        probability, right = np.array([0.1, 0.1, 1.0]), np.array([False, False, True])
        assert calibration_error(probability, right, bins=2) == pytest.approx(0.2 / 3)

    def test_nobody(self) -> None:
        assert calibration_error(np.zeros(0), np.zeros(0, bool)) == 0
