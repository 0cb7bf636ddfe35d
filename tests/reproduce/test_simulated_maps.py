"""'Gaussian at the joint with position noise 0.055 torso, amplitude Beta(6,2)' (SPEC 5.3)."""

import math

import numpy as np
import pytest

from uprightpose.metrics import squared_lengths
from uprightpose.reproduce.simulated_maps import chain_neighbors, draw_maps, error_rates
from uprightpose.score_maps import decode
from uprightpose.skeletons import LSP

SIDE = 48
"""Larger than the experiment's, so that the torso's noise is many cells' noise."""

STANDING = np.array(
    [
        *([17, 45], [18, 36], [19, 26], [29, 26], [30, 36], [31, 45]),
        *([11, 24], [12, 17], [17, 10], [31, 10], [36, 17], [37, 24], [24, 8], [24, 2]),
    ],
    dtype=float,
)
"""In LSP's order; the torso is 20 cells long."""


@pytest.fixture(scope="module")
def joints():
    return np.tile(STANDING, (1500, 1, 1)) + np.random.default_rng(1).uniform(-1, 1, (1500, 1, 2))


@pytest.fixture(scope="module")
def drawn(joints):
    return draw_maps(joints, LSP, SIDE, np.random.default_rng(3))


def test_error_rates_are_those_printed_for_yang():
    """'Per-joint error rates of a real detector (Yang et al. OC: 1 - PCK per joint)'."""
    rates = dict(zip(LSP.joints, error_rates(LSP), strict=True))
    assert rates["left_wrist"] == pytest.approx(0.265)
    assert rates["right_ankle"] == pytest.approx(0.312)
    assert rates["neck"] == rates["head_top"] == pytest.approx(0.094)


def test_joints_fail_at_these_rates(drawn):
    spread = np.sqrt(error_rates(LSP) * (1 - error_rates(LSP)) / len(drawn.failed))
    assert (np.abs(drawn.failed.mean(axis=0) - error_rates(LSP)) < 4 * spread).all()


def test_what_did_not_fail_is_where_it_should_be(joints, drawn):
    found = decode(drawn.maps[:, :14], sigma=1.0)
    kept = ~drawn.failed
    offsets = (found.joints.numpy() - joints) / np.sqrt(squared_lengths(joints, LSP))[:, None, None]
    assert offsets[kept].std(axis=0) == pytest.approx([0.055, 0.055], abs=0.006)
    places = found.joints.numpy()
    beside = ((places - places.round()) ** 2).sum(axis=-1)  # what the peak's cell misses of it
    heights = found.scores.numpy() * np.exp(beside / 2)
    assert heights[kept].mean() == pytest.approx(6 / 8, abs=0.02)
    assert heights[kept].std() == pytest.approx(math.sqrt(12 / 64 / 9), abs=0.02)


def test_a_failure_puts_the_highest_peak_elsewhere_and_leaves_a_weaker_one(joints, drawn):
    """'An error weakens the true peak and adds a stronger one': half of them at the mirror."""
    found = decode(drawn.maps[:, :14], sigma=1.0).joints.numpy()
    mirror = joints[:, list(LSP.mirror)]
    failed = drawn.failed & (np.array(LSP.mirror) != np.arange(14))
    near = np.linalg.norm(found - mirror, axis=-1) < 4
    assert near[failed].mean() == pytest.approx(0.5, abs=0.06)
    chain = chain_neighbors(LSP)
    neighbor = np.minimum(
        *(np.linalg.norm(found - joints[:, chain[:, side]], axis=-1) for side in (0, 1))
    )
    assert (neighbor < 4)[failed].mean() == pytest.approx(0.25, abs=0.06)
    x, y = joints.round().astype(int).transpose(2, 0, 1)
    person, joint = np.nonzero(failed)
    near_truth = [
        drawn.maps[i, k, max(0, down - 3) : down + 4, max(0, across - 3) : across + 4].max().item()
        for i, k, across, down in zip(person, joint, x[failed], y[failed], strict=True)
    ]
    # 0.75 times 0.3 to 0.9
    assert np.mean(near_truth) == pytest.approx(0.45, abs=0.04)


def test_midline_joints_have_no_mirror_to_go_to(joints):
    head = [LSP.joints.index(name) for name in ("neck", "head_top")]
    assert chain_neighbors(LSP)[head].tolist() == [[13, 13], [12, 12]]


def test_the_background_is_what_the_others_leave(drawn):
    maps = drawn.maps.numpy()
    assert maps.shape == (1500, 15, SIDE, SIDE)
    assert (maps >= 0).all()
    assert (maps <= 1).all()
    np.testing.assert_allclose(maps[:, 14], 1 - maps[:, :14].max(axis=1), atol=1e-6)


def test_other_poses_fail_in_the_same_way(joints):
    """'Same network, steps, seeds, data order': chance is the stream's, not the poses'."""
    here = draw_maps(joints[:20], LSP, 24, np.random.default_rng(5))
    there = draw_maps(joints[20:40] / 3, LSP, 24, np.random.default_rng(5))
    assert (here.failed == there.failed).all()
