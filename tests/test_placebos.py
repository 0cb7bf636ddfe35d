"""'A compactness claim counts only if the true angle beats both placebo rotations' (SPEC 5.2)."""

import numpy as np
import pytest

from uprightpose.compactness import Displacements, displacements, trace, turn
from uprightpose.placebos import CONTROLS, compare_turns
from uprightpose.skeletons import LSP

ARM = next(limb for limb in LSP.limbs if limb.name == "left arm")
WRIST, HEAD = ARM.end, LSP.joints.index("head_top")


def people(number: int, *, loose: bool = False) -> np.ndarray:
    """Upright torsos whose arms point anywhere; the forearm follows, or goes its own way."""
    random = np.random.default_rng(0)
    joints = random.normal(0, 1, (number, 14, 2))
    for joint, place in {8: (-8, 0), 9: (8, 0), 2: (-6, 30), 3: (6, 30), 12: (0, -3)}.items():
        joints[:, joint] += place
    upper = random.uniform(-np.pi, np.pi, number)
    fore = random.uniform(-np.pi, np.pi, number) if loose else upper + random.normal(0, 0.4, number)
    for joint, origin, angle in ((10, 9, upper), (11, 10, fore)):
        joints[:, joint] = joints[:, origin] + 15 * np.stack([np.sin(angle), np.cos(angle)], 1)
    return joints


def test_the_true_angle_beats_both_placebos_where_the_joint_follows_it():
    found = displacements(people(300), LSP, WRIST, ARM)
    compared = compare_turns(found, range(60), seed=0)
    values = {name: estimate.value for name, estimate in compared.traces.items()}
    assert compared.wins is True
    assert values["own direction"] < values["true angle"] < 0.5 * values["random rotation"]
    assert values["true angle"] < 0.5 * values["angle of another person"]
    assert values["true angle"] == pytest.approx(trace(found.frames["limb"]))
    assert values["raw"] == pytest.approx(trace(found.raw))
    for name, margin in compared.margins.items():
        assert margin.value == pytest.approx(values[name] - values["true angle"])
        assert margin.interval[0] < margin.value < margin.interval[1]


def test_an_angle_that_says_nothing_of_the_joint_does_not_win():
    found = displacements(people(300), LSP, WRIST, ARM)
    angles = np.random.default_rng(1).permutation(found.limb)
    meaningless = Displacements(found.raw, found.body, angles, found.kept)
    compared = compare_turns(meaningless, range(60), seed=0)
    assert compared.wins is False
    assert any(margin.interval[0] < 0 for margin in compared.margins.values())


def test_one_beaten_placebo_is_not_enough():
    """The random rotation alone is easily beaten where everybody's limb has the same angle."""
    found = displacements(people(300), LSP, HEAD)
    shared = Displacements(found.raw, found.body, np.full(300, 0.3), found.kept)
    compared = compare_turns(shared, range(60), seed=0)
    low = {name: margin.interval[0] for name, margin in compared.margins.items()}
    assert low["random rotation"] > 0
    assert low["angle of another person"] == pytest.approx(0, abs=1e-12)
    assert compared.wins is False


def test_random_rotations_leave_the_mean_square_distance():
    found = displacements(people(300), LSP, HEAD)
    compared = compare_turns(found, [], seed=0)
    square = (found.raw**2).sum(axis=1).mean()
    assert compared.traces["random rotation"].value == pytest.approx(square, rel=0.02)
    assert compared.wins is None


def test_no_turn_beats_the_joints_own_direction_which_leaves_the_distances():
    found = displacements(people(300, loose=True), LSP, WRIST, ARM)
    compared = compare_turns(found, range(9), seed=0)
    bound = compared.traces["own direction"]
    assert bound.value == pytest.approx(np.hypot(*found.raw.T).var(ddof=1))
    assert all(bound.value <= compared.traces[name].value for name in CONTROLS)
    assert bound.interval[0] < bound.value < bound.interval[1]


def test_another_person_is_never_oneself():
    """Of two people each gets the other's angle, in each of many draws."""
    raw = np.array([[3.0, 1.0], [-1.0, 2.0]])
    found = Displacements(raw, np.array([0.4, 2.0]), None, np.ones(2, dtype=bool))
    compared = compare_turns(found, [], seed=0)
    exchanged = trace(turn(raw, found.body[::-1]))
    assert compared.traces["angle of another person"].value == pytest.approx(exchanged)


def test_limb_placebos_act_in_the_body_frame():
    """There another person's limb has the angle of the person's own body taken out."""
    joints = people(200)
    found = displacements(joints, LSP, WRIST, ARM)
    tilted = np.random.default_rng(2).uniform(-np.pi, np.pi, 200)
    matrix = np.array([[np.cos(tilted), -np.sin(tilted)], [np.sin(tilted), np.cos(tilted)]])
    again = displacements(np.einsum("ijn,nkj->nki", matrix, joints), LSP, WRIST, ARM)
    one, two = (compare_turns(each, [], seed=0).traces for each in (found, again))
    for name in CONTROLS[1:]:
        assert two[name].value == pytest.approx(one[name].value)
    assert np.abs(again.raw - found.raw).max() > 0.1
