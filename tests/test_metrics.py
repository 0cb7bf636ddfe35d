"""PCK and AUC of SPEC 3.1, the angle of the true body, and what chance does to the numbers."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprightpose.metrics import (
    PckTable,
    angle_bins,
    area_under,
    as_json,
    body_angle,
    format_table,
    format_tables,
    normalized_distances,
    pck_curve,
    pck_difference,
    pck_table,
    reference_lengths,
    thresholds,
)
from uprightpose.skeletons import COCO, FLIC, LSP, MPII

K = len(LSP.joints)
COLUMNS = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total", "AUC"]


def people(count: int, seed: int = 0, skeleton=LSP) -> np.ndarray:
    """Standing bodies whose two shoulder-hip diagonals are both of length 10, a (6, 8) step."""
    joints = np.random.default_rng(seed).integers(0, 99, (count, len(skeleton.joints), 2)) * 1.0
    left_shoulder, right_hip = skeleton.reference
    joints[:, right_hip] = joints[:, left_shoulder] + (6, 8)
    return joints


class TestThresholds:
    """'thresholds 0:0.01:0.2 (21 values)' (SPEC 3.1)."""

    def test_are_the_floats_of_their_decimals(self):
        assert thresholds().tolist() == [float(f"0.{k:02d}") for k in range(21)]


class TestDistances:
    """'d = |prediction - truth| / |left shoulder - right hip|', 'a missing one is wrong'."""

    @pytest.mark.parametrize("skeleton", [LSP, FLIC, MPII, COCO], ids=lambda s: s.name)
    def test_reference_is_left_shoulder_to_right_hip(self, skeleton):
        truth = np.zeros((3, len(skeleton.joints), 2))
        truth[:, skeleton.joints.index("left_shoulder")] = (3, 0)
        truth[:, skeleton.joints.index("right_hip")] = (0, 4)
        truth[:, skeleton.joints.index("right_shoulder")] = (-30, 0)
        truth[:, skeleton.joints.index("left_hip")] = (0, 400)
        assert reference_lengths(truth, skeleton).tolist() == [5, 5, 5]

    @given(
        x=st.integers(-50, 50),
        y=st.integers(1, 50),
        k=st.integers(0, 20),
        quarters=st.integers(0, 3),
    )
    def test_balls_hold_their_edges_in_every_direction(self, x, y, k, quarters):
        """The offset is k/100 of a reference of 100 (x, y), turned by quarters."""
        truth = np.zeros((2, K, 2))
        truth[:, 9] = (100 * x, 100 * y)
        offset = np.array([(x, y), (-y, x), (-x, -y), (y, -x)][quarters]) * k
        distances = normalized_distances(truth + offset, truth, LSP)
        assert (distances <= thresholds()[k]).all()
        assert (distances >= thresholds()[k] - 1e-16).all()

    def test_missing_prediction_is_infinitely_far_and_missing_truth_unknown(self):
        truth, predicted = people(5), people(5)
        predicted[1, 4, 0] = np.nan
        truth[2, 6] = np.nan
        predicted[2, 6] = np.nan
        truth[3, 0, 1] = np.nan
        distances = normalized_distances(predicted, truth, LSP)
        assert distances[1, 4] == np.inf
        assert np.isnan(distances[2, 6])
        assert np.isnan(distances[3, 0])
        assert (np.delete(distances.ravel(), [18, 34, 42]) == 0).all()

    @pytest.mark.parametrize("place", [np.nan, 0.0])
    def test_without_a_reference_length_nobody_is_counted(self, place):
        truth = people(3)
        truth[1, 9] = truth[1, 2] + place
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            distances = normalized_distances(truth, truth, LSP)
        assert np.isnan(distances[1]).all()
        assert not np.isnan(distances[[0, 2]]).any()

    def test_shapes_of_another_skeleton_are_refused(self):
        with pytest.raises(ValueError, match=r"shape \(3, 14, 2\), found \(3, 10, 2\)"):
            normalized_distances(np.zeros((3, 10, 2)), np.zeros((3, 10, 2)), LSP)

    def test_does_not_change_its_arguments(self):
        truth, predicted = people(2), people(2, seed=1)
        kept = truth.copy(), predicted.copy()
        normalized_distances(predicted, truth, LSP)
        assert (truth == kept[0]).all()
        assert (predicted == kept[1]).all()


class TestCurve:
    """'correct if d <= 0.2 (closed)'; 'AUC = trapezoid of the pooled curve ... in percent'."""

    def test_holds_its_edges(self):
        distances = np.broadcast_to(thresholds()[:, None], (21, 3))
        expected = 100 * np.arange(1, 22) / 21
        assert pck_curve(distances, thresholds()) == pytest.approx(expected, abs=1e-12)

    def test_is_flat_for_perfect_and_missing_predictions(self):
        assert (pck_curve(np.zeros((5, 3)), thresholds()) == 100).all()
        assert (pck_curve(np.full((5, 3), np.inf), thresholds()) == 0).all()

    def test_unknown_truth_leaves_the_denominator(self):
        distances = np.array([[0.0, np.nan], [np.nan, np.inf], [np.nan, np.nan]])
        assert (pck_curve(distances, thresholds()) == 50).all()

    def test_area_is_that_of_trapezoids(self):
        assert area_under(np.array([0.0, 10, 40, 100])) == pytest.approx((5 + 25 + 70) / 3)
        assert area_under(np.full((2, 3, 21), 100.0)).tolist() == [[100.0] * 3] * 2


class TestTable:
    """'Head = mean(neck, head top), other groups = mean of left and right; Total ... pooled'."""

    @pytest.mark.parametrize("joint", range(K))
    def test_a_joint_off_costs_its_group_half_and_the_total_a_fourteenth(self, joint):
        truth = people(5)
        predicted = truth.copy()
        predicted[:, joint] += 1000
        table = pck_table(predicted, truth, LSP, "pc")
        title = next(title for title, members in LSP.groups if joint in members)
        assert table.rows == {name: 50.0 if name == title else 100.0 for name, _ in LSP.groups}
        assert table.total == pytest.approx(1300 / 14)
        assert table.auc == pytest.approx(1300 / 14)

    def test_ball_is_closed_and_ends_at_a_fifth(self):
        truth = people(3)
        exact = truth + np.array([2, 0])
        outside = truth + np.array([2.0000001, 0])
        assert pck_table(exact, truth, LSP, "pc").total == 100
        assert pck_table(exact, truth, LSP, "pc").auc == pytest.approx(2.5)
        assert pck_table(outside, truth, LSP, "pc").total == 0

    def test_groups_are_means_of_joints_and_total_pools_decisions(self):
        truth = people(4)
        truth[1:, 6] = np.nan  # right wrist: one decision, right; left wrist: four, wrong
        predicted = np.nan_to_num(truth, nan=0.0)
        predicted[:, 11] += 500
        table = pck_table(predicted, truth, LSP, "pc")
        assert table.rows["Wrist"] == 50
        assert (table.joints, table.people) == (53, 4)
        assert table.total == pytest.approx(100 * 49 / 53)

    def test_invisible_people_and_joints_of_no_truth_are_left_out(self):
        truth = people(4)
        truth[0] = np.nan
        truth[:, [12, 13]] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = pck_table(np.zeros_like(truth), truth, LSP, "pc", draws=20)
        assert (table.people, table.joints) == (3, 36)
        assert math.isnan(table.rows["Head"])
        assert not math.isnan(table.total)
        assert as_json(table)["scores"]["Head"] is None
        assert json.loads(json.dumps(as_json(table), allow_nan=False))["people"] == 3
        assert " - " in format_table(table)

    def test_nobody_is_no_number(self):
        table = pck_table(np.zeros((0, K, 2)), np.zeros((0, K, 2)), LSP, "pc", draws=3)
        assert math.isnan(table.total)
        assert table.people == 0
        assert all(math.isnan(low) for low, _ in table.intervals.values())

    @given(shift=st.floats(-1e3, 1e3), scale=st.sampled_from([0.5, 2.0, 8.0]))
    def test_frame_and_size_of_pixels_do_not_matter(self, shift, scale):
        truth = people(7)
        predicted = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
        here = pck_table(predicted, truth, LSP, "oc")
        there = pck_table(predicted * scale + shift, truth * scale + shift, LSP, "oc")
        assert there.total == here.total

    def test_other_skeletons_have_their_groups(self):
        truth = people(3, skeleton=FLIC)
        table = pck_table(truth, truth, FLIC, "oc")
        assert list(table.scores) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Total", "AUC"]


class TestBodyAngle:
    """'the line from the center to the neck joint is upright' (Sec. 3.2)."""

    @given(
        turn=st.floats(-3.1, 3.1),
        skeleton=st.sampled_from([LSP, FLIC, MPII, COCO]),
        size=st.floats(1, 100),
    )
    def test_undoes_a_clockwise_turn(self, turn, skeleton, size):
        """A body turned clockwise by t needs -t: its neck is at (sin t, -cos t)."""
        joints = np.full((1, len(skeleton.joints), 2), np.nan)
        cos, sin = math.cos(turn), math.sin(turn)
        square = {"left_shoulder": (1, -1), "right_shoulder": (-1, -1)}
        square |= {"left_hip": (1, 1), "right_hip": (-1, 1), "neck": (0, -2)}
        square |= {"upper_neck": (0, -2)}
        for name, (x, y) in square.items():
            if name in skeleton.joints:
                index = skeleton.joints.index(name)
                joints[0, index] = (cos * x - sin * y, sin * x + cos * y)
        found = body_angle(joints * size + 7, skeleton)
        assert found == pytest.approx([-turn], abs=1e-6)

    def test_upright_and_undefined_are_zero_and_inverted_is_half_a_turn(self):
        joints = np.zeros((3, K, 2))
        joints[0, 12] = (0, -5)
        joints[1, 12] = (0, 5)
        assert body_angle(joints, LSP).tolist() == [0.0, math.pi, 0.0]

    def test_missing_torso_joint_has_no_angle_and_no_bin(self):
        joints = np.zeros((2, K, 2))
        joints[1, 2] = np.nan
        assert np.isnan(body_angle(joints, LSP)).tolist() == [False, True]
        assert not any(bin_[1] for bin_ in angle_bins(joints, LSP).values())

    def test_bins_take_their_lower_edge_and_everyone_once(self):
        neck = [(0, -9), (9, -9), (9, 0), (-9, 0), (-9, 1), (0, 9)]
        joints = np.zeros((6, K, 2))
        joints[:, 12] = neck
        bins = angle_bins(joints, LSP)
        assert list(bins) == ["0-30", "30-90", "90-180"]
        assert [np.flatnonzero(who).tolist() for who in bins.values()] == [[0], [1], [2, 3, 4, 5]]


class TestBootstrap:
    """'Unit = image'; 'paired cluster bootstrap (10000, percentile interval)' (SPEC 5.5)."""

    def test_interval_is_that_of_a_binomial_for_one_decision_a_person(self):
        truth = np.full((400, K, 2), np.nan)
        truth[:, [2, 9]] = people(400)[:, [2, 9]]
        predicted = truth.copy()
        predicted[:100, [2, 9]] += 1000  # the two joints of a person are right or wrong together
        low, high = pck_table(predicted, truth, LSP, "pc", draws=4000).intervals["Total"]
        error = 100 * 1.96 * math.sqrt(0.25 * 0.75 / 400)
        assert (low, high) == pytest.approx((75 - error, 75 + error), abs=0.4)

    def test_covers_the_score_and_depends_on_the_seed_only(self):
        truth = people(30)
        predicted = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
        table = pck_table(predicted, truth, LSP, "pc", draws=1100, seed=3)
        again = pck_table(predicted, truth, LSP, "pc", draws=1100, seed=3)
        other = pck_table(predicted, truth, LSP, "pc", draws=1100, seed=4)
        assert table == again
        assert table.intervals != other.intervals
        assert list(table.intervals) == COLUMNS
        for title, (low, high) in table.intervals.items():
            assert low < table.scores[title] < high

    def test_equals_redrawing_people_one_by_one(self):
        truth = people(9)
        truth[3, 12] = np.nan
        predicted = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
        generator = np.random.default_rng(5)
        scores = []
        for counts in generator.multinomial(9, np.full(9, 1 / 9), size=60):
            who = np.repeat(np.arange(9), counts)
            scores.append(list(pck_table(predicted[who], truth[who], LSP, "pc").scores.values()))
        expected = np.percentile(scores, [2.5, 97.5], axis=0).T
        found = pck_table(predicted, truth, LSP, "pc", draws=60, seed=5).intervals
        assert np.array(list(found.values())) == pytest.approx(expected, abs=1e-9)

    def test_pairing_cancels_what_both_find_hard(self):
        truth = people(200)
        hard = np.random.default_rng(0).normal(0, 8, (200, 1, 1)) * np.ones_like(truth)
        first, second = truth + hard, truth + hard
        second[:4, 0] += 99
        difference = pck_difference(first, second, truth, LSP, draws=500)
        low, high = pck_table(first, truth, LSP, "pc", draws=500).intervals["Total"]
        assert list(difference) == COLUMNS
        assert difference["Total"].value >= 0 == difference["Head"].value
        assert difference["Total"].high - difference["Total"].low < (high - low) / 5

    def test_sign_is_first_minus_second(self):
        truth = people(6)
        worse = truth.copy()
        worse[:, 0] += 99
        assert pck_difference(truth, worse, truth, LSP, draws=5)["Ankle"] == (50.0, 50.0, 50.0)
        assert pck_difference(worse, truth, truth, LSP, draws=5)["Ankle"].value == -50


class TestPresentation:
    """'State the protocol with every number' (SPEC 3.2)."""

    def table(self, draws: int = 0) -> PckTable:
        truth = people(7)
        predicted = truth + np.random.default_rng(1).normal(0, 1.5, truth.shape)
        return pck_table(predicted, truth, LSP, "oc", draws=draws)

    def test_text_has_the_columns_in_order_and_aligned(self):
        lines = format_table(self.table()).splitlines()
        assert lines[0].split() == ["People", *COLUMNS]
        assert len(lines) == 2
        assert len(lines[0]) == len(lines[1])
        assert [float(cell) for cell in lines[1].split()[2:]] == [
            round(score, 2) for score in self.table().scores.values()
        ]

    def test_intervals_stand_below_their_row(self):
        text = format_tables({"all": self.table(draws=9), "0-30": self.table(draws=9)})
        names = [line.split()[0] for line in text.splitlines()]
        assert names == ["People", "all", "from", "to", "0-30", "from", "to"]

    def test_json_keeps_every_digit_and_says_what_was_measured(self):
        table = self.table(draws=9)
        found = json.loads(json.dumps(as_json(table)))
        assert list(found["scores"]) == COLUMNS == list(found["intervals"])
        assert found["scores"]["Total"] == table.total != round(table.total, 2)
        assert (found["labels"], found["threshold"], found["people"]) == ("oc", 0.2, 7)
        assert found["reference_length"] == "left shoulder - right hip"
        assert as_json(self.table())["intervals"] is None
