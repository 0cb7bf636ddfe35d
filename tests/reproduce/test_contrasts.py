"""Differences between rows over seeds: 'pooled paired differences', Holm 'inside a table'."""

from pathlib import Path

import numpy as np
import pytest

from uprightpose.data.sample import Sample
from uprightpose.protocols import PROTOCOLS
from uprightpose.reproduce.contrasts import (
    contrast_gains,
    contrast_rows,
    correct,
    only,
    scored_people,
)
from uprightpose.skeletons import LSP, MPII
from uprightpose.tables import Difference, pck_difference

PEOPLE, DRAWS = 60, 400


def person(number: int, skeleton=LSP, picture: int | None = None) -> Sample:
    joints = np.random.default_rng(number).uniform(0, 100, (len(skeleton.joints), 2))
    name = f"{number if picture is None else picture}.jpg"
    state = np.full(len(joints), 2, np.uint8)
    head = 10.0 if skeleton is MPII else None
    return Sample(
        Path(name), joints, state, "oc", None, "test", "made", number, skeleton, head_size=head
    )


@pytest.fixture
def samples() -> list[Sample]:
    return [person(number) for number in range(PEOPLE)]


@pytest.fixture
def people(samples):
    return scored_people(samples, np.stack([one.joints for one in samples]))


def guesses(people, sizes: list[float], seed: int = 0) -> np.ndarray:
    """Return a guess per size of error: (seeds, people, joints, 2)."""
    random = np.random.default_rng(seed)
    shape = people.truth.shape
    return np.stack([people.truth + random.normal(0, size, shape) for size in sizes])


def total(first, second, people, **options) -> Difference:
    found = contrast_rows(first, second, people, PROTOCOLS["lsp"], **{"draws": DRAWS} | options)
    return found["Total"]


class TestOneSeed:
    def test_is_the_paired_difference_of_the_two(self, people):
        first, second = guesses(people, [5]), guesses(people, [8], 1)
        known = pck_difference(first[0], second[0], people.truth, PROTOCOLS["lsp"], draws=DRAWS)
        assert contrast_rows(first, second, people, PROTOCOLS["lsp"], draws=DRAWS) == known
        assert known["Total"].value > 0
        assert known["Total"].low > 0

    def test_without_draws_there_is_no_interval(self, people):
        one = total(guesses(people, [5]), guesses(people, [8]), people, draws=0)
        assert np.isnan([one.low, one.high, one.p]).all()


class TestSeveralSeeds:
    def test_value_is_the_mean_of_the_seeds_differences(self, people):
        first, second = guesses(people, [5, 6, 9]), guesses(people, [8, 7, 8], 1)
        each = [total(first[[i]], second[[i]], people, draws=0).value for i in range(3)]
        assert total(first, second, people).value == pytest.approx(np.mean(each))

    def test_seeds_that_disagree_widen_the_interval(self, people):
        """'Random effects over seeds': pictures alone would say that the difference is sure."""
        second = guesses(people, [8, 8, 8], 1)
        apart = guesses(people, [3, 9, 20])
        wide = total(apart, second, people)
        joined = pck_difference(
            np.concatenate(apart),
            np.concatenate(second),
            np.tile(people.truth, (3, 1, 1)),
            PROTOCOLS["lsp"],
            images=np.tile(people.images, 3),
            draws=DRAWS,
        )["Total"]
        assert wide.high - wide.low > 2 * (joined.high - joined.low)
        assert wide.low < wide.value < wide.high

    def test_seeds_that_agree_leave_the_interval_to_the_pictures(self, people):
        one, other = guesses(people, [5]), guesses(people, [5.2], 1)
        alone = total(one, other, people)
        assert 0.05 < alone.p < 0.95
        same = total(np.tile(one, (3, 1, 1, 1)), np.tile(other, (3, 1, 1, 1)), people)
        assert same.value == pytest.approx(alone.value)
        assert same.high - same.low == pytest.approx(alone.high - alone.low, rel=0.25)
        assert same.p == alone.p  # equal copies are no further evidence

    def test_a_row_does_not_differ_from_itself(self, people):
        rows = guesses(people, [5, 9])
        assert total(rows, rows, people) == (0, 0, 0, 1, 1)

    def test_people_of_one_picture_are_drawn_together(self):
        """'Unit = image' (SPEC 5.5): twenty people in two pictures are two units."""
        crowd = [person(number, picture=number % 2) for number in range(20)]
        people = scored_people(crowd, np.stack([one.joints for one in crowd]))
        assert people.images.tolist() == [0, 1] * 10
        good, bad = people.truth.copy(), people.truth + 1000
        first = np.where((people.images == 0)[:, None, None], good, bad)
        spread = total(np.stack([first, first]), np.stack([bad, bad]), people)
        assert (spread.value, spread.low, spread.high) == (50, 0, 100)
        assert spread.p == 1  # exchanging the one picture that differs changes a sign, no size


def test_head_sizes_are_the_samples():
    crowd = [person(number, MPII) for number in range(5)]
    people = scored_people(crowd, np.stack([one.joints for one in crowd]))
    near, far = people.truth[None] + 3.5, people.truth[None] + 3.6  # 4.95 and 5.09 of 5 pixels
    rows = (np.concatenate([one, one]) for one in (near, far))
    found = contrast_rows(*rows, people, PROTOCOLS["mpii-official"], draws=20)
    assert found["Total"][:3] == (100, 100, 100)


class TestGains:
    """One gain less another, maybe of other people of the same pictures."""

    def test_is_the_difference_of_two_contrasts(self, people):
        rows = [guesses(people, [size, size], seed) for seed, size in enumerate((5, 9, 6, 8))]
        some = only(people, np.arange(PEOPLE) < 20)
        found = contrast_gains(
            (rows[0], rows[1], some), (rows[2], rows[3], people), PROTOCOLS["lsp"], draws=DRAWS
        )
        parts = [total(*rows[:2], some, draws=0), total(*rows[2:], people, draws=0)]
        assert found["Total"].value == pytest.approx(parts[0].value - parts[1].value)
        assert found["Total"].low < found["Total"].value < found["Total"].high
        assert np.isnan(found["Total"].p)

    def test_a_gain_does_not_exceed_itself(self, people):
        gain = (guesses(people, [5, 9]), guesses(people, [8, 8], 1), people)
        found = contrast_gains(gain, gain, PROTOCOLS["lsp"], draws=DRAWS)["Total"]
        assert found[:3] == (0, 0, 0)

    def test_without_draws_there_is_no_interval(self, people):
        gain = (guesses(people, [5]), guesses(people, [8], 1), people)
        assert np.isnan(contrast_gains(gain, gain, PROTOCOLS["lsp"], draws=0)["AUC"].low)


class TestHolm:
    def test_is_over_the_contrasts_of_each_column(self):
        def one(p):
            return Difference(0.0, 0.0, 0.0, p, 1.0)

        rows = [{"Total": one(0.01), "AUC": one(0.5)}, {"Total": one(0.02), "AUC": one(0.03)}]
        found = correct([*rows, {"Total": one(0.4), "AUC": one(0.01)}])
        assert [row["Total"].p_holm for row in found] == pytest.approx([0.03, 0.04, 0.4])
        assert [row["AUC"].p_holm for row in found] == pytest.approx([0.5, 0.06, 0.03])
        assert [row["Total"].p for row in found] == [0.01, 0.02, 0.4]
