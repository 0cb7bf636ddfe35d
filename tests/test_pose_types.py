"""Pose types: clusters of standardized poses, and which one a pose is nearest to."""

import itertools

import numpy as np
import pytest

from uprightpose import pose_types
from uprightpose.data.lsp import read_lsp
from uprightpose.pose_types import nearest_type, pose_clusters, standardize
from uprightpose.skeletons import FLIC, LSP, SKELETONS

SIZES = (40, 25, 8)


def turned(angle: float) -> np.ndarray:
    """A standing person's 14 joints, turned about the torso center."""
    pose = np.random.default_rng(5).normal(0, 0.2, (14, 2)) + np.linspace(3, -3, 14)[:, None] * [
        0,
        1,
    ]
    matrix = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return (pose - pose[list(LSP.torso)].mean(axis=0)) @ np.transpose(matrix)


@pytest.fixture
def people() -> tuple[np.ndarray, np.ndarray]:
    """Three kinds of poses anywhere and of any size, shuffled; and which kind each is."""
    random = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], SIZES)
    random.shuffle(kinds)
    poses = np.stack([turned((0.3, np.pi, 1.8)[kind]) for kind in kinds])
    poses += random.normal(0, 0.15, poses.shape)
    scale, place = random.uniform(2, 50, (73, 1, 1)), random.uniform(-90, 90, (73, 1, 2))
    return poses * scale + place, kinds


class TestStandardize:
    """'Joints minus torso centre divided by RMS spread' (SPEC 1.14)."""

    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
    def test_center_and_spread(self, skeleton):
        joints = np.random.default_rng(1).normal(3, 9, (5, len(skeleton.joints), 2))
        poses = standardize(joints, skeleton)
        np.testing.assert_allclose(poses[:, list(skeleton.torso)].mean(axis=1), 0, atol=1e-12)
        np.testing.assert_allclose((poses**2).sum(axis=2).mean(axis=1), 1)
        span = joints[:, 1] - joints[:, 0]
        cross = span * (poses[:, 1] - poses[:, 0])[:, ::-1]
        np.testing.assert_allclose(cross[:, 0], cross[:, 1])  # nothing turns or stretches

    def test_absent_joints_stay_absent_and_count_for_nothing(self):
        joints = np.random.default_rng(1).normal(3, 9, (2, 14, 2))
        joints[0, [0, 9, 13]] = np.nan
        poses = standardize(joints)
        assert np.isnan(poses[0, [0, 9, 13]]).all()
        assert np.isfinite(np.delete(poses[0], [0, 9, 13], axis=0)).all()
        np.testing.assert_allclose(poses[0, [2, 3, 8]].mean(axis=0), 0, atol=1e-12)
        assert np.nansum(poses[0] ** 2) == pytest.approx(11)
        assert (poses[1] ** 2).sum() == pytest.approx(14)

    def test_without_a_torso_all_joints_are_the_center(self):
        joints = np.random.default_rng(1).normal(3, 9, (1, 14, 2))
        joints[:, list(LSP.torso)] = np.nan
        np.testing.assert_allclose(np.nanmean(standardize(joints)[0], axis=0), 0, atol=1e-12)

    def test_no_joint_and_one_joint(self):
        joints = np.full((2, 14, 2), np.nan)
        joints[1, 4] = [7, 8]
        poses = standardize(joints)
        assert np.isnan(poses[0]).all()
        assert (poses[1, 4] == 0).all()


class TestPoseClusters:
    """'k-means (20 restarts)' (SPEC 1.14)."""

    @pytest.mark.parametrize("seed", range(12))
    def test_planted_clusters_are_found_from_every_seed(self, people, seed):
        joints, kinds = people
        centers = pose_clusters(joints, seed=seed)
        expected = [standardize(joints[kinds == kind]).mean(axis=0) for kind in range(3)]
        np.testing.assert_allclose(centers, expected, atol=1e-9)  # the largest first

    def test_the_best_of_many_starts(self):
        """Three clusters far apart: most single starts leave two of them together."""
        random = np.random.default_rng(3)
        three = random.normal(0, 9, (3, 14, 2))
        joints = np.repeat(three, 6, axis=0) + random.normal(0, 0.01, (18, 14, 2))
        for seed in range(8):
            centers = pose_clusters(joints, 3, seed)
            assert np.bincount(nearest_type(joints, centers)).tolist() == [6, 6, 6]

    def test_a_start_that_lost_a_cluster_does_not_count(self, people, monkeypatch):
        """... even where the others are worse."""
        good = pose_clusters(people[0]).reshape(3, -1)
        books = itertools.cycle([good[:2], good + 9])
        monkeypatch.setattr(pose_types, "kmeans", lambda *_, **__: (next(books), 0.0))
        assert len(pose_clusters(people[0])) == 3

    def test_place_and_size_do_not_matter(self, people):
        joints, _ = people
        random = np.random.default_rng(2)
        moved = joints * random.uniform(0.1, 9, (73, 1, 1)) + random.normal(0, 50, (73, 1, 2))
        np.testing.assert_allclose(pose_clusters(moved), pose_clusters(joints), atol=1e-9)

    def test_people_with_absent_joints_are_left_out(self, people):
        joints, _ = people
        more = np.concatenate([joints, joints[:7] ** 2])
        more[73:, 5] = np.nan
        assert np.array_equal(pose_clusters(more), pose_clusters(joints))

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_count(self, people, count):
        centers = pose_clusters(people[0], count)
        assert centers.shape == (count, 14, 2)
        sizes = np.bincount(nearest_type(people[0], centers), minlength=count)
        assert (np.diff(sizes) <= 0).all()
        assert sizes.sum() == 73

    def test_the_same_seed_gives_the_same_centers(self, people):
        noise = np.random.default_rng(4).normal(size=(60, 14, 2))
        assert np.array_equal(pose_clusters(noise, 6, 3), pose_clusters(noise, 6, 3))
        assert not np.array_equal(pose_clusters(noise, 6, 3), pose_clusters(noise, 6, 4))

    def test_other_skeletons(self):
        joints = np.random.default_rng(4).normal(size=(30, 10, 2))
        centers = pose_clusters(joints, 2, skeleton=FLIC)
        np.testing.assert_allclose(centers[:, list(FLIC.torso)].mean(axis=1), 0, atol=1e-9)

    def test_too_few_poses(self, people):
        joints = people[0][[0, 1, 1, 2, 3]]
        joints[3:, 0] = np.nan
        with pytest.raises(ValueError, match="expected 3 complete poses that differ, found 2"):
            pose_clusters(joints)
        assert pose_clusters(joints, 2).shape == (2, 14, 2)


class TestNearestType:
    """'Nearest cluster of the detector's pose' (SPEC 1.14)."""

    def test_each_person_has_its_clusters_type(self, people):
        joints, kinds = people
        assert nearest_type(joints, pose_clusters(joints)).tolist() == kinds.tolist()

    def test_absent_joints_are_left_out_of_distances(self, people):
        joints, kinds = people
        centers = pose_clusters(joints)
        for absent in ([0, 5, 13], [6, 7, 8], [12]):
            fewer = joints.copy()
            fewer[:, absent] = np.nan
            assert nearest_type(fewer, centers).tolist() == kinds.tolist()

    def test_without_joints_it_is_the_largest(self, people):
        centers = pose_clusters(people[0])
        assert nearest_type(np.full((2, 14, 2), np.nan), centers).tolist() == [0, 0]

    def test_only_the_joints_present_decide(self):
        centers = np.zeros((2, 14, 2))
        joints = standardize(np.random.default_rng(0).normal(size=(1, 14, 2)))
        centers[0], centers[1] = joints[0], joints[0]
        centers[0, 4] += 5  # the only difference, at a joint that is absent below
        centers[1, 5] += 1
        assert nearest_type(joints, centers).tolist() == [1]
        joints[0, 4] = np.nan
        assert nearest_type(joints, centers).tolist() == [0]


def test_lsp(data_root):
    """'LSP train, OC. Result: 713 / 230 / 57 people with mean body angles 2, -22, -177 degrees'
    (SPEC 1.14)."""
    joints = np.stack(
        [one.joints for one in read_lsp(data_root / "lsp", "oc") if one.split == "train"]
    )
    types = nearest_type(joints, pose_clusters(joints))
    assert np.bincount(types).tolist() == [713, 230, 57]
    center = joints[:, list(LSP.torso)].mean(axis=1)
    up = joints[:, LSP.neck[0]] - center
    angles = np.arctan2(-up[:, 0], -up[:, 1])  # to upright, SPEC 1.8
    means = [np.degrees(np.angle(np.exp(1j * angles[types == kind]).mean())) for kind in range(3)]
    assert means == pytest.approx([2, -22, -177], abs=0.6)
