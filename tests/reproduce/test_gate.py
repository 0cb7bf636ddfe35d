"""'Rotate by theta only if the torso peaks and |v| are reliable'; 'calibration of the gate'."""

import numpy as np
import pytest

from uprightpose.reproduce.credible import Credibility, fit_credibility
from uprightpose.reproduce.found_joints import Found
from uprightpose.reproduce.gate import (
    BINS,
    RIGHT,
    axis_measures,
    gate_of,
    reliability,
    reliability_table,
)
from uprightpose.scout import axis_joints, axis_places, axis_strength, turn_points, weighted_axis
from uprightpose.skeletons import LSP

TRUE = Credibility(np.array([5.0, 3.0]), -4.0)


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return measures and whether each angle is right, drawn as :data:`TRUE` has it."""
    random = np.random.default_rng(seed)
    measures = random.uniform(0.05, 0.95, (count, 2))
    return measures, random.random(count) < TRUE(measures)


def bodies(count: int, seed: int = 0) -> np.ndarray:
    """Return people whose axis joints lie as they should, about an upright axis."""
    joints = np.random.default_rng(seed).normal(0, 10, (count, 14, 2))
    joints[:, axis_joints(LSP)] = 0
    joints[:, axis_joints(LSP), 1] = -10 * axis_places(LSP)
    joints[:, axis_joints(LSP)[:4], 0] = [5, -5, 4, -4]
    return joints + 50


class TestStrength:
    """'|v| reliable': how much of the spread of the joints the axis explains."""

    def test_size_and_turn_do_not_count(self) -> None:
        joints, scores = bodies(3), np.ones((3, 14))
        found = axis_strength(joints, scores, LSP)
        turned = turn_points(2 * joints, np.array([0.4, -2.0, 3.0]), 100)
        assert np.allclose(axis_strength(turned, scores, LSP), found)
        assert ((found > 0.85) & (found < 1)).all()

    def test_joints_in_disorder_have_a_weak_axis(self) -> None:
        joints, scores = bodies(200), np.ones((200, 14))
        rows = axis_joints(LSP)
        joints[100:, rows] = np.random.default_rng(1).uniform(20, 80, (100, len(rows), 2))
        found = axis_strength(joints, scores, LSP)
        assert found[:100].min() > np.quantile(found[100:], 0.9)

    def test_a_joint_that_is_hardly_seen_hardly_counts(self) -> None:
        joints, scores = bodies(1), np.ones((1, 14))
        joints[0, axis_joints(LSP)[-1]] += (80, 90)
        scores_low = scores.copy()
        scores_low[0, axis_joints(LSP)[-1]] = 0.01
        wrong, right = (axis_strength(joints, own, LSP)[0] for own in (scores, scores_low))
        assert right > wrong + 0.05

    @pytest.mark.parametrize("spread", [0.0, 1e-12])
    def test_one_place_is_no_axis_and_no_error(self, spread: float) -> None:
        joints = spread * np.random.default_rng(0).normal(size=(2, 14, 2))
        found = axis_strength(joints, np.ones((2, 14)), LSP)
        assert np.isfinite(found).all()
        assert found.max() <= 1


class TestGate:
    def test_planted_probabilities_come_back(self) -> None:
        gate = fit_credibility(*drawn(20000))
        measures, right = drawn(5000, 1)
        assert np.abs(gate(measures) - TRUE(measures)).mean() < 0.03
        gap, _ = reliability(gate(measures), np.where(right, 0.0, 90.0))
        assert gap < 0.03

    @pytest.mark.parametrize("right", [True, False])
    def test_angles_that_are_all_alike_still_fit(self, right: bool) -> None:
        measures, _ = drawn(30)
        found = fit_credibility(measures, np.full(30, right))(measures)
        assert np.isfinite(found).all()
        assert ((found >= 0.5) == right).all()

    def test_right_is_below_30_degrees_on_the_circle(self) -> None:
        """Errors are those on the circle; who has no true angle teaches nothing."""
        measures, right = drawn(4000)
        truth = np.random.default_rng(2).uniform(-np.pi, np.pi, 4000)
        off = np.radians(np.where(right, RIGHT - 1, RIGHT + 1))
        angle = np.arctan2(np.sin(truth + off), np.cos(truth + off))
        truth[:7], measures[:7] = np.nan, 9.0
        gate, same = gate_of(measures, angle, truth), fit_credibility(measures[7:], right[7:])
        assert np.allclose(gate.weights, same.weights)
        assert gate.offset == pytest.approx(same.offset)

    def test_people_in_disorder_are_found_by_what_is_measured(self) -> None:
        joints, scores = bodies(400), np.full((400, 14), 0.8)
        random, rows = np.random.default_rng(3), axis_joints(LSP)
        joints[200:, rows] = random.uniform(20, 80, (200, len(rows), 2))
        scores[200:] = random.uniform(0.1, 0.8, (200, 14))
        found = Found(joints, scores)
        gate = gate_of(axis_measures(found), weighted_axis(joints, scores, LSP), np.zeros(400))
        told = gate(axis_measures(found))
        assert (told[:200] > 0.5).mean() > 0.95
        assert (told[200:] < 0.5).mean() > 0.7


class TestReliability:
    def test_shares_are_those_of_each_range(self) -> None:
        probability = np.array([0.05, 0.15, 0.55, 0.58, 0.95, 1.0, 0.9])
        errors = np.array([90.0, 10.0, 10.0, 80.0, 5.0, 30.0, np.nan])
        gap, rows = reliability(probability, errors)
        assert len(rows) == BINS
        assert rows[0] == ["0.0-0.2", "2", "0.10", "0.50"]
        assert rows[1] == ["0.2-0.4", "0", "-", "-"]
        assert rows[2][2:] == ["0.56", "0.50"] or rows[2][2:] == ["0.57", "0.50"]
        assert rows[4] == ["0.8-1.0", "2", "0.97", "1.00"]
        assert 0 < gap < 1

    def test_the_table_says_how_many_are_not_turned(self) -> None:
        text = reliability_table({"people": (np.array([0.1, 0.49, 0.5, 0.9]), np.zeros(4))})
        assert "2 of 4 not turned" in text
