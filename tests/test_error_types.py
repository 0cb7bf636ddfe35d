"""Types of error of one person: planted ones are found, and good is PCK."""

from dataclasses import replace

import numpy as np
import pytest

from uprightpose.error_types import NOT_COUNTED, TYPES, error_types, overall_shares, type_shares
from uprightpose.protocols import PROTOCOLS
from uprightpose.skeletons import LSP, MPII
from uprightpose.tables import pck_table

RULES = PROTOCOLS["lsp"]
TORSO = 40.0
"""Pixels from left shoulder to right hip, so that the radius is 8 pixels and jitter ends at 16."""

LEFT_WRIST, RIGHT_WRIST, RIGHT_ELBOW, NECK, HEAD = 11, 6, 7, 12, 13


@pytest.fixture
def truth() -> np.ndarray:
    """Three people whose joints are all 50 pixels apart, but for the reference length."""
    joints = np.stack([np.arange(14) % 4, np.arange(14) // 4], axis=1) * 50.0
    start, end = LSP.reference
    joints[end] = joints[start] + (0, TORSO)
    return np.stack([joints, joints + 7, joints - 300])


def kind(predicted: np.ndarray, truth: np.ndarray, joint: int, rules=RULES) -> str:
    """Return the type of one joint of the second person."""
    types = error_types(predicted, truth, rules)
    assert (np.delete(types.ravel(), 14 + joint) <= 0).all()  # nobody else has an error
    return TYPES[types[1, joint]]


def moved(truth: np.ndarray, joint: int, to: np.ndarray) -> np.ndarray:
    predicted = truth.copy()
    predicted[1, joint] = to
    return predicted


class TestPlantedErrors:
    """'Jitter ... inversion: of the same instance, left for right ... miss: near no body part.'"""

    @pytest.mark.parametrize(
        ("pixels", "expected"),
        [(0, "good"), (8, "good"), (8.01, "jitter"), (16, "jitter"), (16.01, "miss")],
    )
    def test_the_way_from_good_to_miss(self, truth, pixels, expected) -> None:
        there = truth[1, RIGHT_WRIST] + (0, pixels)
        assert kind(moved(truth, RIGHT_WRIST, there), truth, RIGHT_WRIST) == expected

    @pytest.mark.parametrize(
        ("target", "expected"),
        [(LEFT_WRIST, "inversion"), (RIGHT_ELBOW, "swap"), (HEAD, "swap")],
    )
    def test_another_joint_within_the_radius(self, truth, target, expected) -> None:
        near, far = truth[1, target] - (8, 0), truth[1, target] - (8.01, 0)
        assert kind(moved(truth, RIGHT_WRIST, near), truth, RIGHT_WRIST) == expected
        assert kind(moved(truth, RIGHT_WRIST, far), truth, RIGHT_WRIST) == "miss"

    def test_another_persons_joint_is_none_of_the_own(self, truth) -> None:
        there = truth[2, LEFT_WRIST]
        assert kind(moved(truth, RIGHT_WRIST, there), truth, RIGHT_WRIST) == "miss"

    def test_the_twin_of_a_middle_joint_is_not_itself(self, truth) -> None:
        there = truth[1, NECK] + (0, 12)
        assert kind(moved(truth, NECK, there), truth, NECK) == "jitter"

    @pytest.mark.parametrize(
        ("other", "expected"), [(LEFT_WRIST, "inversion"), (RIGHT_ELBOW, "swap")]
    )
    def test_nearer_to_another_joint_is_no_jitter(self, truth, other, expected) -> None:
        """The nearest joint decides, as in coco-analyze."""
        truth[1, other] = truth[1, RIGHT_WRIST] + (0, 12)
        there = truth[1, RIGHT_WRIST] + (0, 9)
        assert kind(moved(truth, RIGHT_WRIST, there), truth, RIGHT_WRIST) == expected

    def test_near_the_twin_and_right_is_good(self, truth) -> None:
        truth[1, LEFT_WRIST] = truth[1, RIGHT_WRIST]
        assert kind(truth, truth, RIGHT_WRIST) == "good"

    def test_the_twin_goes_before_another_joint(self, truth) -> None:
        truth[1, RIGHT_ELBOW] = truth[1, LEFT_WRIST] + (0, 4)
        there = truth[1, RIGHT_ELBOW]
        assert kind(moved(truth, RIGHT_WRIST, there), truth, RIGHT_WRIST) == "inversion"

    def test_an_open_ball_has_no_edge(self, truth) -> None:
        rules = replace(RULES, closed=False)
        for pixels, expected in ((8, "jitter"), (16, "miss")):
            there = truth[1, RIGHT_WRIST] + (0, pixels)
            assert kind(moved(truth, RIGHT_WRIST, there), truth, RIGHT_WRIST, rules) == expected


class TestAbsence:
    """As in metrics: no prediction is wrong, no truth is not counted."""

    def test_a_missing_prediction_is_a_miss(self, truth) -> None:
        assert kind(moved(truth, HEAD, np.full(2, np.nan)), truth, HEAD) == "miss"

    def test_a_missing_truth_is_not_counted_and_draws_nobody(self, truth) -> None:
        predicted = moved(truth, RIGHT_WRIST, truth[1, LEFT_WRIST])
        truth[1, LEFT_WRIST] = np.nan
        types = error_types(predicted, truth, RULES)
        assert types[1, LEFT_WRIST] == NOT_COUNTED
        assert TYPES[types[1, RIGHT_WRIST]] == "miss"

    def test_nobody_without_a_reference_length(self, truth) -> None:
        truth[1, LSP.reference[0]] = truth[1, LSP.reference[1]]
        types = error_types(truth, truth, RULES)
        assert (types == np.array([[0], [NOT_COUNTED], [0]])).all()

    def test_joints_that_the_protocol_leaves_out(self) -> None:
        """MPII's pelvis and thorax are no joints of the official table (SPEC 3.2)."""
        rules = PROTOCOLS["mpii-official"]
        truth = np.random.default_rng(0).uniform(0, 1000, (5, 16, 2))
        pelvis, left_hip = MPII.joints.index("pelvis"), MPII.joints.index("left_hip")
        predicted = truth.copy()
        predicted[0, left_hip] = truth[0, pelvis]
        types = error_types(predicted, truth, rules, np.full(5, 10.0))
        assert (types[:, pelvis] == NOT_COUNTED).all()
        assert TYPES[types[0, left_hip]] == "miss"

    def test_pckh_needs_heads(self) -> None:
        joints = np.zeros((1, 16, 2))
        with pytest.raises(ValueError, match="head sizes"):
            error_types(joints, joints, PROTOCOLS["mpii-valid"])


@pytest.mark.parametrize("name", [name for name, rules in PROTOCOLS.items() if rules.columns])
def test_good_is_pck_and_all_types_are_all_joints(name: str) -> None:
    """'Good: within the radius', in each column by its own way to average."""
    rules, random = PROTOCOLS[name], np.random.default_rng(1)
    shape = (30, len(rules.skeleton.joints), 2)
    truth = random.uniform(0, 100, shape)
    truth[random.uniform(size=shape[:2]) < 0.1] = np.nan
    predicted = truth + random.normal(0, 15, shape)
    heads = random.uniform(10, 60, 30)
    lengths = heads if rules.norm == "head" else None
    shares = type_shares(error_types(predicted, truth, rules, lengths), rules)
    scores = pck_table(predicted, truth, rules, rules.labels[0], lengths=lengths).scores
    assert all(value == pytest.approx(scores[title]) for title, value in shares["good"].items())
    assert {"Head", "Ankle"} <= set(shares["good"]) or name == "flic"
    assert "AUC" not in shares["good"]
    for title in shares["good"]:
        assert sum(shares[one][title] for one in TYPES) == pytest.approx(100)
    assert overall_shares(shares)["good"] == pytest.approx(scores.get("Total", scores.get("Mean")))
    assert all(0 < share < 100 for share in overall_shares(shares).values())
