"""Compactness: known distributions, people who count, frames that forget the turn (SPEC 5.2)."""

import numpy as np
import pytest

from uprightpose.compactness import (
    MIN_TORSO,
    MIN_UPPER,
    STATISTICS,
    area,
    direction,
    displacements,
    entropy,
    measure,
    measure_angles,
    resultant,
    trace,
    turn,
)
from uprightpose.errors import InputError
from uprightpose.skeletons import LSP, MPII

HEAD, WRIST = LSP.joints.index("head_top"), LSP.joints.index("left_wrist")
ARM = next(limb for limb in LSP.limbs if limb.name == "left arm")
COVARIANCE = np.array([[4.0, 1.2], [1.2, 1.0]])


def poses(number: int, joints: int = 14) -> np.ndarray:
    """People of no particular shape, each about a place of its own: (number, joints, 2).

    All have torsos and limbs that are long enough to count.
    """
    random = np.random.default_rng(number)
    many = random.normal(0, 30, (9 * number, joints, 2)) + random.normal(0, 90, (9 * number, 1, 2))
    skeleton = LSP if joints == 14 else MPII
    bones = [skeleton.reference, *(limb.joints[:2] for limb in skeleton.limbs)]
    long = [np.linalg.norm(many[:, a] - many[:, b], axis=1) > 20 for a, b in bones]
    return many[np.all(long, axis=0)][:number]


def turned(joints: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn every person about the corner of its picture by an angle of its own."""
    matrix = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    return np.einsum("ijn,nkj->nki", matrix, joints)


def gaussian(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal([5, -2], COVARIANCE, number)


class TestStatistics:
    """'trace and sqrt(det) of the covariance, 5-nearest-neighbour entropy (nats), mean
    resultant length of directions' (SPEC 5.2)."""

    def test_trace_and_area_are_those_of_the_covariance(self):
        points = gaussian(40_000)
        assert trace(points) == pytest.approx(5.0, rel=0.02)
        assert area(points) == pytest.approx(np.sqrt(4 - 1.44), rel=0.02)

    def test_trace_is_unbiased_in_small_samples(self):
        assert trace(np.array([[0.0, 0.0], [2.0, 6.0]])) == pytest.approx(2 + 18)

    def test_points_on_a_line_have_no_area(self):
        assert area(np.outer(np.arange(7.0), [1.0, 3.0])) == pytest.approx(0, abs=1e-6)

    def test_entropy_of_a_gaussian(self):
        expected = np.log(2 * np.pi * np.e) + np.log(np.linalg.det(COVARIANCE)) / 2
        found = [entropy(gaussian(1500, seed)) for seed in range(8)]
        assert np.mean(found) == pytest.approx(expected, abs=0.03)

    def test_entropy_of_a_uniform_rectangle_is_the_logarithm_of_its_area(self):
        points = np.random.default_rng(0).uniform(0, 1, (20_000, 2)) * [3, 5]
        assert entropy(points) == pytest.approx(np.log(15), abs=0.03)

    def test_entropy_grows_by_the_logarithm_of_the_area_and_forgets_turns(self):
        points = gaussian(200)
        same_turn = turn(points, np.full(200, 0.7))
        assert entropy(3 * same_turn) == pytest.approx(entropy(points) + 2 * np.log(3))

    def test_entropy_needs_more_points_than_neighbors_and_each_but_once(self):
        with pytest.raises(ValueError, match="more than 5 points, found 5"):
            entropy(gaussian(5))
        with pytest.raises(InputError, match="very same place"):
            entropy(np.concatenate([gaussian(9), np.zeros((6, 2))]))

    def test_resultant_is_1_where_all_directions_agree_whatever_the_distances(self):
        points = np.outer([0.1, 2.0, 70.0], [0.6, -0.8])
        assert resultant(points) == pytest.approx(1)
        assert resultant(np.concatenate([points, np.zeros((3, 2))])) == pytest.approx(1)

    def test_resultant_is_0_where_no_direction_is_favored(self):
        angles = np.arange(12) / 12 * 2 * np.pi
        assert resultant(np.stack([np.cos(angles), np.sin(angles)], 1)) == pytest.approx(0)
        assert resultant(np.array([[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(np.sqrt(0.5))


class TestTurns:
    def test_own_direction_brings_a_point_straight_below(self):
        """'phi = atan2(u_x, u_y), then R(phi) u = |u| e_down' (SPEC 1.8)."""
        points = gaussian(9)
        below = turn(points, direction(points))
        np.testing.assert_allclose(below[:, 0], 0, atol=1e-12)
        np.testing.assert_allclose(below[:, 1], np.hypot(*points.T))

    def test_a_turn_is_clockwise_as_displayed(self):
        there = turn(np.array([[0.0, -2.0]]), np.array([np.pi / 2]))
        np.testing.assert_allclose(there, [[2, 0]], atol=1e-12)


class TestDisplacements:
    """'people with torso > 8 px and all needed joints', in torsos |l.sho - r.hip|."""

    @pytest.mark.parametrize("size", [0.5, 3.0])
    def test_are_in_torso_lengths(self, size):
        joints = poses(7)
        there = displacements(joints, LSP, WRIST, ARM).raw
        np.testing.assert_allclose(displacements(size * joints, LSP, WRIST, ARM).raw, there)

    def test_are_seen_from_the_mean_of_shoulders_and_hips_or_from_the_root(self):
        joints = poses(7)
        torso = np.linalg.norm(joints[:, 9] - joints[:, 2], axis=1)[:, None]
        center = joints[:, [2, 3, 8, 9]].mean(axis=1)
        head, wrist = displacements(joints, LSP, HEAD), displacements(joints, LSP, WRIST, ARM)
        np.testing.assert_allclose(head.raw * torso, joints[:, 13] - center)
        np.testing.assert_allclose(wrist.raw * torso, joints[:, 11] - joints[:, 9])

    @pytest.mark.parametrize(("missing", "limb"), [(12, None), (13, None), (3, None), (10, ARM)])
    def test_leave_out_who_lacks_a_joint_that_is_needed(self, missing, limb):
        joints = poses(5)
        joints[2, missing] = np.nan
        found = displacements(joints, LSP, WRIST if limb else HEAD, limb)
        assert found.kept.tolist() == [True, True, False, True, True]
        assert all(len(frame) == 4 for frame in found.frames.values())
        assert np.isfinite(np.concatenate(list(found.frames.values()))).all()

    def test_keep_who_lacks_others(self):
        joints = poses(5)
        joints[2, [0, 5, 6, 13]] = np.nan
        assert displacements(joints, LSP, WRIST, ARM).kept.all()

    def test_leave_out_short_torsos_and_upper_limbs(self):
        joints = poses(4)
        joints[:2, 9] = joints[:2, 2] + [[MIN_TORSO, 0], [0, MIN_TORSO + 0.1]]
        assert displacements(joints, LSP, HEAD).kept.tolist() == [False, True, True, True]
        joints[2:, 10] = joints[2:, 9] + [[MIN_UPPER, 0], [0, MIN_UPPER + 0.1]]
        assert displacements(joints, LSP, WRIST, ARM).kept.tolist() == [False, True, False, True]

    def test_mpii_has_its_neck_and_order(self):
        """'MPII: neck = upper neck (id 8)' (SPEC 1.8)."""
        joints = poses(6, joints=16)
        found = displacements(joints, MPII, MPII.joints.index("upper_neck"))
        np.testing.assert_allclose(found.frames["body"][:, 0], 0, atol=1e-12)
        assert (found.frames["body"][:, 1] < 0).all()


class TestFrames:
    def test_body_frame_forgets_a_turn_of_each_person(self):
        joints = poses(11)
        again = turned(joints, np.linspace(-3, 3, 11))
        for joint, limb in ((HEAD, None), (WRIST, ARM)):
            before, after = (displacements(j, LSP, joint, limb).frames for j in (joints, again))
            assert np.abs(after["raw"] - before["raw"]).max() > 0.1
            for frame in list(before)[1:]:
                np.testing.assert_allclose(after[frame], before[frame], atol=1e-9)

    @pytest.mark.parametrize("limb", LSP.limbs, ids=lambda limb: limb.name)
    def test_limb_frame_puts_the_middle_joint_straight_below(self, limb):
        found = displacements(poses(9), LSP, limb.middle, limb).frames["limb"]
        np.testing.assert_allclose(found[:, 0], 0, atol=1e-12)
        assert (found[:, 1] > 0).all()

    def test_body_frame_puts_the_neck_straight_above(self):
        found = displacements(poses(9), LSP, LSP.neck[0]).frames["body"]
        np.testing.assert_allclose(found[:, 0], 0, atol=1e-12)
        assert (found[:, 1] < 0).all()

    def test_limb_turn_is_made_in_the_body_frame(self):
        """'the limb rotation is applied in the body frame' (SPEC 1.8): body's + limb's = both."""
        joints = poses(9)
        found = displacements(joints, LSP, WRIST, ARM)
        both = direction(joints[:, 10] - joints[:, 9])
        assert np.abs(found.limb - both).max() > 0.1
        np.testing.assert_allclose(found.frames["limb"], turn(found.raw, both), atol=1e-12)


class TestMeasure:
    """'95 % intervals from 1000 bootstraps over people' (SPEC 5.2)."""

    FRAMES = {"raw": gaussian(300), "body": 0.5 * gaussian(300, seed=1)}  # noqa: RUF012

    def test_values_are_those_of_everybody(self):
        table, ratios = measure(self.FRAMES, range(3), seed=0)
        for name, statistic in (("trace", trace), ("sqrt det", area), ("entropy", entropy)):
            assert table["body"][name].value == pytest.approx(statistic(self.FRAMES["body"]))
        assert ratios["body/raw"].value == pytest.approx(
            trace(self.FRAMES["body"]) / trace(self.FRAMES["raw"])
        )

    def test_intervals_are_as_wide_as_chance(self):
        """The spread over new samples is what an interval from one sample must show."""
        samples = [gaussian(300, seed) for seed in range(60)]
        tables = [measure({"raw": points}, range(60), seed=1)[0]["raw"] for points in samples]
        for name in STATISTICS:
            found = [table[name] for table in tables]
            spread = np.std([estimate.value for estimate in found])
            widths = [estimate.interval[1] - estimate.interval[0] for estimate in found]
            assert np.mean(widths) == pytest.approx(2 * 1.96 * spread, rel=0.2), name
            assert all(e.interval[0] < e.value < e.interval[1] for e in found)

    def test_entropy_is_inside_its_interval_where_half_of_the_people_see_less(self):
        """Half of the points do not resolve a thin scatter: their estimates are all higher."""
        random = np.random.default_rng(0)
        thin = np.stack([random.uniform(0, 100, 100), random.normal(0, 1e-3, 100)], 1)
        found = measure({"raw": thin}, range(100), seed=0)[0]["raw"]["entropy"]
        assert found.interval[0] < found.value < found.interval[1]
        assert np.mean(found.interval) == pytest.approx(found.value, abs=0.1)

    def test_frames_share_their_draws(self):
        frames = {"raw": gaussian(50), "body": turn(gaussian(50), np.full(50, 1.0))}
        _, ratios = measure(frames, range(20), seed=0)
        assert ratios["body/raw"].interval == pytest.approx((1, 1))

    def test_the_seed_alone_decides_and_without_draws_there_are_no_intervals(self):
        first, again, other = (measure(self.FRAMES, range(9), seed=s) for s in (4, 4, 5))
        assert first == again
        assert first[0]["raw"]["trace"].interval != other[0]["raw"]["trace"].interval
        table, ratios = measure(self.FRAMES, [], seed=0)
        assert {ratios["body/raw"].interval, table["raw"]["entropy"].interval} == {None}


class TestAngles:
    """'share with |theta| > 30 degrees ... resultant of theta' (SPEC 5.2)."""

    def test_shares_count_both_sides_beyond_the_limit(self):
        angles = np.radians([0.0, 29.9, -30.1, 91.0, -180.0, 30.0 - 1e-9, 5.0, -5.0])
        found = measure_angles(angles, (30, 90), [], seed=0)
        assert found["> 30"].value == pytest.approx(100 * 3 / 8)
        assert found["> 90"].value == pytest.approx(100 * 2 / 8)

    def test_resultant_and_intervals(self):
        opposite = np.radians(np.repeat([90.0, -90.0], 200))
        found = measure_angles(opposite, (30,), range(200), seed=0)
        assert found["resultant"].value == pytest.approx(0, abs=1e-12)
        assert found["> 30"].interval == (100, 100)
        half = measure_angles(np.repeat([0.0, 2.0], 200), (30,), range(400), seed=0)
        low, high = half["> 30"].interval
        assert high - low == pytest.approx(2 * 1.96 * 100 * 0.5 / 20, rel=0.15)
