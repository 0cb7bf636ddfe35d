"""Tables: what is counted and what chance does to it."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprightpose.protocols import PROTOCOLS
from uprightpose.skeletons import FLIC, LSP
from uprightpose.table_text import as_json, format_tables
from uprightpose.tables import pck_difference, pck_table

LSP_TEST = PROTOCOLS["lsp"]
COLUMNS = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total", "AUC"]
K = len(LSP.joints)


def people(count: int, seed: int = 0, skeleton=LSP) -> np.ndarray:
    """Standing bodies whose two shoulder-hip diagonals are both of length 10, a (6, 8) step."""
    joints = np.random.default_rng(seed).integers(0, 99, (count, len(skeleton.joints), 2)) * 1.0
    left_shoulder, right_hip = skeleton.reference
    joints[:, right_hip] = joints[:, left_shoulder] + (6, 8)
    return joints


class TestTable:
    """'Head = mean(neck, head top), other groups = mean of left and right; Total ... pooled'."""

    @pytest.mark.parametrize("joint", range(K))
    def test_a_joint_off_costs_its_group_half_and_the_total_a_fourteenth(self, joint):
        truth = people(5)
        predicted = truth.copy()
        predicted[:, joint] += 1000
        table = pck_table(predicted, truth, LSP_TEST, "pc")
        title = next(title for title, members in LSP.groups if joint in members)
        groups = {name: table.scores[name] for name, _ in LSP.groups}
        assert groups == {name: 50.0 if name == title else 100.0 for name, _ in LSP.groups}
        assert table.scores["Total"] == pytest.approx(1300 / 14)
        assert table.scores["AUC"] == pytest.approx(1300 / 14)

    def test_ball_is_closed_and_ends_at_a_fifth(self):
        truth = people(3)
        exact = truth + np.array([2, 0])
        outside = truth + np.array([2.0000001, 0])
        assert pck_table(exact, truth, LSP_TEST, "pc").scores["Total"] == 100
        assert pck_table(exact, truth, LSP_TEST, "pc").scores["AUC"] == pytest.approx(2.5)
        assert pck_table(outside, truth, LSP_TEST, "pc").scores["Total"] == 0

    def test_groups_are_means_of_joints_and_total_pools_decisions(self):
        truth = people(4)
        truth[1:, 6] = np.nan  # right wrist: one decision, right; left wrist: four, wrong
        predicted = np.nan_to_num(truth, nan=0.0)
        predicted[:, 11] += 500
        table = pck_table(predicted, truth, LSP_TEST, "pc")
        assert table.scores["Wrist"] == 50
        assert (table.joints, table.people) == (53, 4)
        assert table.scores["Total"] == pytest.approx(100 * 49 / 53)

    def test_invisible_people_and_joints_of_no_truth_are_left_out(self):
        truth = people(4)
        truth[0] = np.nan
        truth[:, [12, 13]] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = pck_table(np.zeros_like(truth), truth, LSP_TEST, "pc", draws=20)
        assert (table.people, table.joints) == (3, 36)
        assert math.isnan(table.scores["Head"])
        assert not math.isnan(table.scores["Total"])
        assert as_json(table)["scores"]["Head"] is None
        assert json.loads(json.dumps(as_json(table), allow_nan=False))["people"] == 3
        assert " - " in format_tables({"PCK": table})

    def test_nobody_is_no_number(self):
        table = pck_table(np.zeros((0, K, 2)), np.zeros((0, K, 2)), LSP_TEST, "pc", draws=3)
        assert math.isnan(table.scores["Total"])
        assert table.people == 0
        assert all(math.isnan(low) for low, _ in table.intervals.values())

    @given(shift=st.floats(-1e3, 1e3), scale=st.sampled_from([0.5, 2.0, 8.0]))
    def test_frame_and_size_of_pixels_do_not_matter(self, shift, scale):
        truth = people(7)
        predicted = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
        here = pck_table(predicted, truth, LSP_TEST, "oc")
        there = pck_table(predicted * scale + shift, truth * scale + shift, LSP_TEST, "oc")
        assert there.scores["Total"] == here.scores["Total"]

    def test_other_skeletons_have_their_groups(self):
        truth = people(3, skeleton=FLIC)
        table = pck_table(truth, truth, PROTOCOLS["flic"], "oc")
        assert list(table.scores) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Total", "AUC"]


class TestBootstrap:
    """'Unit = image'; 'paired cluster bootstrap (10000, percentile interval)' (SPEC 5.5)."""

    def test_interval_is_that_of_a_binomial_for_one_decision_a_person(self):
        truth = np.full((400, K, 2), np.nan)
        truth[:, [2, 9]] = people(400)[:, [2, 9]]
        predicted = truth.copy()
        predicted[:100, [2, 9]] += 1000  # the two joints of a person are right or wrong together
        low, high = pck_table(predicted, truth, LSP_TEST, "pc", draws=4000).intervals["Total"]
        error = 100 * 1.96 * math.sqrt(0.25 * 0.75 / 400)
        assert (low, high) == pytest.approx((75 - error, 75 + error), abs=0.4)

    def test_covers_the_score_and_depends_on_the_seed_only(self):
        truth = people(30)
        predicted = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
        table = pck_table(predicted, truth, LSP_TEST, "pc", draws=1100, seed=3)
        again = pck_table(predicted, truth, LSP_TEST, "pc", draws=1100, seed=3)
        other = pck_table(predicted, truth, LSP_TEST, "pc", draws=1100, seed=4)
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
            scores.append(
                list(pck_table(predicted[who], truth[who], LSP_TEST, "pc").scores.values())
            )
        expected = np.percentile(scores, [2.5, 97.5], axis=0).T
        found = pck_table(predicted, truth, LSP_TEST, "pc", draws=60, seed=5).intervals
        assert np.array(list(found.values())) == pytest.approx(expected, abs=1e-9)

    def test_people_of_one_picture_are_drawn_together(self):
        """The joints of twins double the decisions, but not what is known."""
        truth = people(60)
        predicted = truth + np.random.default_rng(1).normal(0, 2, truth.shape)
        alone = pck_table(predicted, truth, LSP_TEST, "pc", draws=300)
        both = [np.repeat(each, 2, axis=0) for each in (predicted, truth)]
        twins = np.repeat(np.arange(60), 2) * 7 + 3  # any numbers will do
        together = pck_table(*both, LSP_TEST, "pc", images=twins, draws=300)
        apart = pck_table(*both, LSP_TEST, "pc", draws=300)
        for title, bounds in together.intervals.items():
            assert bounds == pytest.approx(alone.intervals[title])
        assert (together.people, together.images, apart.images) == (120, 60, 120)
        widths = [np.subtract(*t.intervals["Total"][::-1]) for t in (together, apart)]
        assert widths[0] > 1.2 * widths[1]

    def test_pictures_of_nobody_who_counts_are_not_counted(self):
        truth = people(4)
        truth[2] = np.nan
        table = pck_table(truth, truth, LSP_TEST, "pc", images=np.array([0, 0, 1, 2]))
        assert (table.people, table.images) == (3, 2)


class TestDifference:
    """'Two models: paired cluster bootstrap + sign-flip permutation p ... Holm' (SPEC 5.5)."""

    def test_pairing_cancels_what_both_find_hard(self):
        truth = people(200)
        hard = np.random.default_rng(0).normal(0, 8, (200, 1, 1)) * np.ones_like(truth)
        first, second = truth + hard, truth + hard
        second[:4, 0] += 99
        difference = pck_difference(first, second, truth, LSP_TEST, draws=500)
        low, high = pck_table(first, truth, LSP_TEST, "pc", draws=500).intervals["Total"]
        assert list(difference) == COLUMNS
        assert difference["Total"].value >= 0 == difference["Head"].value
        assert difference["Total"].high - difference["Total"].low < (high - low) / 5

    def test_sign_is_first_minus_second(self):
        truth = people(6)
        worse = truth.copy()
        worse[:, 0] += 99
        difference = pck_difference(truth, worse, truth, LSP_TEST, draws=5)
        assert difference["Ankle"][:3] == (50.0, 50.0, 50.0)
        assert pck_difference(worse, truth, truth, LSP_TEST, draws=5)["Ankle"].value == -50

    def test_equals_the_difference_of_tables_redrawn_alike(self):
        truth = people(9)
        truth[3, 12] = np.nan
        first, second = (
            truth + np.random.default_rng(seed).normal(0, 2, truth.shape) for seed in (1, 2)
        )
        generator = np.random.default_rng(5)
        differences = []
        for counts in generator.multinomial(9, np.full(9, 1 / 9), size=60):
            who = np.repeat(np.arange(9), counts)
            a, b = (
                list(pck_table(one[who], truth[who], LSP_TEST, "pc").scores.values())
                for one in (first, second)
            )
            differences.append(np.subtract(a, b))
        expected = np.percentile(differences, [2.5, 97.5], axis=0).T
        found = pck_difference(first, second, truth, LSP_TEST, draws=60, seed=5)
        bounds = np.array([one[1:3] for one in found.values()])
        assert bounds == pytest.approx(expected, abs=1e-9)

    def test_p_is_small_where_one_is_surely_better_and_corrected_for_the_columns(self):
        truth = people(40)
        worse = truth.copy()
        worse[:, 0] += 99  # one ankle: Ankle, Total and AUC are worse, on every picture
        found = pck_difference(truth, worse, truth, LSP_TEST, draws=600)
        smallest = 1 / 601
        for title in COLUMNS:
            sure = title in ("Ankle", "Total", "AUC")
            assert found[title].p == (smallest if sure else 1.0)
            assert found[title].p_holm == pytest.approx(9 * smallest if sure else 1.0)

    def test_people_of_one_picture_change_hands_together(self):
        """On one picture there is one exchange: it is always as far."""
        truth = people(30)
        worse = truth + 99
        one = np.zeros(30, dtype=int)
        found = pck_difference(truth, worse, truth, LSP_TEST, images=one, draws=50)
        assert found["Total"].p == 1
        assert pck_difference(truth, worse, truth, LSP_TEST, draws=50)["Total"].p == 1 / 51

    def test_nobody_has_no_difference(self):
        none = np.zeros((0, K, 2))
        found = pck_difference(none, none, none, LSP_TEST, draws=3)
        assert all(math.isnan(number) for one in found.values() for number in one)

    def test_without_draws_there_is_the_value_only(self):
        truth = people(3)
        total = pck_difference(truth, truth, truth, LSP_TEST, draws=0)["Total"]
        assert total.value == 0
        assert all(math.isnan(number) for number in total[1:])


class TestHeadSizes:
    """'head size = 0.6 * diagonal of the head box' (SPEC 3.2)."""

    def test_each_persons_own_counts(self):
        protocol = PROTOCOLS["mpii-valid"]
        truth = np.ones((2, 16, 2)) * np.arange(16)[:, None]
        lengths = np.array([9.9, 10.1])
        table = pck_table(truth + np.array([3, 4]), truth, protocol, "pc", lengths=lengths)
        assert set(table.scores.values()) == {50.0}
        assert table.joints == 28  # no pelvis, no thorax

    @pytest.mark.parametrize("name", ["mpii-official", "mpii-valid", "mpii-hrnet", "coco"])
    def test_are_asked_for(self, name):
        joints = np.zeros((2, len(PROTOCOLS[name].skeleton.joints), 2))
        with pytest.raises(ValueError, match=f"head sizes for protocol {name}, found none"):
            pck_table(joints, joints, PROTOCOLS[name], "pc")

    def test_shapes_of_another_skeleton_are_refused(self):
        joints = np.zeros((3, 10, 2))
        with pytest.raises(ValueError, match=r"shape \(3, 14, 2\), found \(3, 10, 2\)"):
            pck_table(joints, joints, LSP_TEST, "pc")
