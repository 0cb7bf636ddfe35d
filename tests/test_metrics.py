"""Distances in reference lengths, what counts, the area under a curve, the true body's angle."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprightpose.metrics import (
    Column,
    angle_bins,
    area_under,
    axis_angle,
    body_angle,
    column_scores,
    normalized_distances,
    squared_lengths,
)
from uprightpose.protocols import limits
from uprightpose.skeletons import COCO, FLIC, LSP, MPII

K = len(LSP.joints)


def people(count: int, seed: int = 0, skeleton=LSP) -> np.ndarray:
    """Standing bodies whose two shoulder-hip diagonals are both of length 10, a (6, 8) step."""
    joints = np.random.default_rng(seed).integers(0, 99, (count, len(skeleton.joints), 2)) * 1.0
    left_shoulder, right_hip = skeleton.reference
    joints[:, right_hip] = joints[:, left_shoulder] + (6, 8)
    return joints


def lsp_distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return normalized_distances(predicted, truth, squared_lengths(truth, LSP))


def score(distances, *columns: Column, closed: bool = True, images=None) -> list[float]:
    """Return the columns when every picture counts once."""
    count = len(distances) if images is None else max(images) + 1
    where = None if images is None else np.array(images)
    statistic = column_scores(np.array(distances), columns, closed=closed, images=where)
    return statistic(np.ones((1, count)))[0].tolist()


class TestDistances:
    """'d = |prediction - truth| / |left shoulder - right hip|', 'a missing one is wrong'."""

    @pytest.mark.parametrize("skeleton", [LSP, FLIC, MPII, COCO], ids=lambda s: s.name)
    def test_reference_is_left_shoulder_to_right_hip(self, skeleton):
        truth = np.zeros((3, len(skeleton.joints), 2))
        truth[:, skeleton.joints.index("left_shoulder")] = (3, 0)
        truth[:, skeleton.joints.index("right_hip")] = (0, 4)
        truth[:, skeleton.joints.index("right_shoulder")] = (-30, 0)
        truth[:, skeleton.joints.index("left_hip")] = (0, 400)
        assert squared_lengths(truth, skeleton).tolist() == [25, 25, 25]

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
        distances = lsp_distances(truth + offset, truth)
        assert (distances <= k / 100).all()
        assert (distances >= k / 100 - 1e-16).all()

    def test_missing_prediction_is_infinitely_far_and_missing_truth_unknown(self):
        truth, predicted = people(5), people(5)
        predicted[1, 4, 0] = np.nan
        truth[2, 6] = np.nan
        predicted[2, 6] = np.nan
        truth[3, 0, 1] = np.nan
        distances = lsp_distances(predicted, truth)
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
            distances = lsp_distances(truth, truth)
        assert np.isnan(distances[1]).all()
        assert not np.isnan(distances[[0, 2]]).any()

    def test_lengths_are_each_persons_own(self):
        truth = np.zeros((2, 3, 2))
        distances = normalized_distances(truth + np.array([3, 4]), truth, np.array([100.0, 25.0]))
        assert distances.tolist() == [[0.5] * 3, [1.0] * 3]

    def test_does_not_change_its_arguments(self):
        truth, predicted = people(2), people(2, seed=1)
        kept = truth.copy(), predicted.copy()
        lsp_distances(predicted, truth)
        assert (truth == kept[0]).all()
        assert (predicted == kept[1]).all()


class TestArea:
    """'AUC = trapezoid of the pooled curve over thresholds rescaled to [0,1], in percent'."""

    def test_is_that_of_trapezoids(self):
        assert area_under(np.array([0.0, 10, 40, 100])) == pytest.approx((5 + 25 + 70) / 3)
        assert area_under(np.full((2, 3, 21), 100.0)).tolist() == [[100.0] * 3] * 2

    def test_of_one_point_is_the_point(self):
        assert area_under(np.array([[7.0], [30.0]])).tolist() == [7.0, 30.0]


class TestColumns:
    """'correct if d <= 0.2 (closed)', 'open ball', 'plain mean', 'count-weighted mean'."""

    def test_a_ball_holds_its_edge_or_not(self):
        at = Column("at", (0,), (0.2,))
        distances = [[0.2], [0.1], [0.3], [np.inf]]
        assert score(distances, at, closed=True) == [50.0]
        assert score(distances, at, closed=False) == [25.0]

    def test_mean_of_joints_and_pool_of_decisions_differ_where_truth_is_missing(self):
        distances = [[0.0, 9.0], [np.nan, 9.0], [np.nan, 9.0], [np.nan, 0.0]]
        mean, pool = (Column("", (0, 1), (0.5,), pooled) for pooled in (False, True))
        assert score(distances, mean, pool) == [(100 + 25) / 2, 100 * 2 / 5]

    def test_a_joint_without_truth_leaves_the_mean_and_none_is_no_number(self):
        distances = [[0.0, np.nan], [9.0, np.nan]]
        some, none = Column("", (0, 1), (0.5,)), Column("", (1,), (0.5,))
        assert score(distances, some)[0] == 50
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert math.isnan(score(distances, none)[0])

    def test_only_its_joints_count(self):
        assert score([[0.0, 9.0, 9.0]], Column("", (0,), (1.0,)), Column("", (2, 0), (1.0,))) == [
            100.0,
            50.0,
        ]

    def test_area_is_under_the_curve_of_its_limits(self):
        curve = Column("AUC", (0, 1), limits(0.2), pooled=True)
        distances = [[0.0, 0.13], [0.2, np.inf]]
        expected = [100 * np.mean(np.array([0, 0.13, 0.2, np.inf]) <= x) for x in limits(0.2)]
        assert score(distances, curve) == pytest.approx([np.trapezoid(expected) / 20])

    def test_weights_count_pictures_with_all_their_people(self):
        """Unit = image: two people of picture 1 are drawn together."""
        distances = np.array([[0.0, 0.0], [9.0, np.nan], [9.0, 0.0], [0.0, 9.0]])
        images = np.array([1, 0, 1, 2])
        columns = (Column("", (0, 1), (0.5,)), Column("", (0, 1), (0.5,), pooled=True))
        statistic = column_scores(distances, columns, closed=True, images=images)
        weights = np.array([[1.0, 1, 1], [0, 2, 1], [2, 0, 0], [0, 0, 0]])
        for row, found in zip(weights.astype(int), statistic(weights), strict=True):
            drawn = [p for p in range(4) for _ in range(row[images[p]])]
            expected = score(distances[drawn], *columns) if drawn else [math.nan] * 2
            assert found.tolist() == pytest.approx(expected, nan_ok=True)


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


class TestAxisAngle:
    """The body angle, and where a joint of it is missing, that of what is known of the axis."""

    def turned(self, turn: float) -> np.ndarray:
        """Return a standing person, turned clockwise about the torso's center."""
        joints = np.full((1, K, 2), np.nan)
        for place, (x, y) in zip([*LSP.torso, *LSP.neck], STANDING, strict=True):
            joints[0, place] = (
                math.cos(turn) * x - math.sin(turn) * y,
                math.sin(turn) * x + math.cos(turn) * y,
            )
        return joints

    @pytest.mark.parametrize("turn", [0.0, 0.5, -2.0, 3.0])
    def test_is_the_body_angle_where_that_is_known(self, turn):
        joints = np.concatenate([self.turned(turn), people(9)])
        assert (axis_angle(joints, LSP) == body_angle(joints, LSP)).all()

    @pytest.mark.parametrize("missing", [LSP.torso[:1], LSP.torso[:2], LSP.neck])
    @pytest.mark.parametrize("turn", [0.0, 0.5, -2.0, 3.0])
    def test_missing_above_leaves_the_axis_within_a_few_degrees(self, turn, missing):
        joints = self.turned(turn)
        joints[:, list(missing)] = np.nan
        assert np.isnan(body_angle(joints, LSP)).all()
        error = axis_angle(joints, LSP) + turn
        assert abs(math.degrees(math.atan2(math.sin(error[0]), math.cos(error[0])))) < 20

    def test_both_hips_or_all_above_missing_give_no_angle(self):
        for missing in (LSP.torso[2:], (*LSP.torso[:2], *LSP.neck)):
            joints = self.turned(0.4)
            joints[:, list(missing)] = np.nan
            assert np.isnan(axis_angle(joints, LSP)).all()

    def test_half_a_joint_is_not_known(self):
        joints, plain = self.turned(0.4), self.turned(0.4)
        joints[0, LSP.torso[0], 1] = np.nan
        plain[0, LSP.torso[0]] = np.nan
        assert axis_angle(joints, LSP) == axis_angle(plain, LSP)


STANDING = ((-6, -10), (6, -10), (-4, 10), (4, 10), (0, -13))
"""Torso and neck."""
