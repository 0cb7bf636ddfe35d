"""Chance: redrawn images, exchanged models, many tests; against brute force and known cases."""

import itertools
import math

import numpy as np
import pytest

from uprightpose.statistics import (
    bootstrap,
    holm,
    interval,
    paired_bootstrap,
    ratio_of_sums,
    sign_flip_permutation,
)


def ratios(images: int, seed: int = 0, columns: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Hits and decisions of images that differ in how many decisions they have."""
    random = np.random.default_rng(seed)
    wholes = random.integers(1, 9, (images, columns)) * 1.0
    return np.floor(random.random((images, columns)) * (wholes + 1)), wholes


def mean_of(values: np.ndarray):
    """The plain mean of one value per image as a statistic."""
    return ratio_of_sums(values[:, None], np.ones((len(values), 1)))


class TestRatio:
    def test_is_of_sums_and_not_a_mean_of_ratios(self):
        statistic = ratio_of_sums(np.array([[1.0], [0.0]]), np.array([[1.0], [9.0]]))
        assert statistic(np.array([[1.0, 1.0], [5.0, 0.0]])).tolist() == [[0.1], [1.0]]

    def test_nothing_counted_is_no_number(self):
        assert math.isnan(ratio_of_sums(np.zeros((2, 1)), np.zeros((2, 1)))(np.ones((1, 2)))[0, 0])


class TestBootstrap:
    """'Unit = image ... bootstrap (10000, percentile interval)' (SPEC 5.5)."""

    def test_redraws_as_many_images_with_replacement(self):
        seen = []

        def remember(weights):
            seen.append(weights)
            return weights[:, :1]

        drawn = bootstrap(remember, 7, draws=1203)
        weights = np.concatenate(seen)
        assert weights.shape == (1203, 7)
        assert drawn.shape == (1203, 1)
        assert (weights.sum(axis=1) == 7).all()
        assert (weights == weights.round()).all()
        assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
        assert weights.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.15)

    def test_error_of_a_mean_is_that_of_theory(self):
        values = np.random.default_rng(1).normal(3, 2, 500)
        low, high = interval(bootstrap(mean_of(values), 500, draws=4000))[0]
        error = values.std() / math.sqrt(500)
        assert (low, high) == pytest.approx(
            (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error
        )

    def test_interval_holds_95_percent_and_leaves_out_what_has_no_value(self):
        drawn = np.arange(201.0)[::-1, None].repeat(3, axis=1)
        drawn[::2, 1] = np.nan
        drawn[:, 2] = np.nan
        bounds = interval(drawn)
        assert bounds[0].tolist() == [5.0, 195.0]
        assert bounds[1].tolist() == pytest.approx([1 + 0.025 * 198, 1 + 0.975 * 198])
        assert np.isnan(bounds[2]).all()

    def test_depends_on_the_seed_only(self):
        statistic = ratio_of_sums(*ratios(20))
        first, again, other = (bootstrap(statistic, 20, draws=30, seed=s) for s in (1, 1, 2))
        assert (first == again).all()
        assert (first != other).any()


class TestPairedBootstrap:
    def test_is_the_difference_of_both_on_the_same_images(self):
        first, second = ratios(30, seed=1), ratios(30, seed=2)
        both = ratio_of_sums(*(np.concatenate(each) for each in zip(first, second, strict=True)))
        alone = [bootstrap(ratio_of_sums(*one), 30, draws=700, seed=4) for one in (first, second)]
        found = paired_bootstrap(both, 30, draws=700, seed=4)
        assert found == pytest.approx(alone[0] - alone[1], abs=1e-12)

    def test_is_narrower_than_unpaired_where_images_are_hard_for_both(self):
        hard = np.random.default_rng(0).normal(0, 5, 300)
        noise = np.random.default_rng(1).normal(0, 1, (2, 300))
        first, second = hard + noise[0], hard + noise[1]
        both = mean_of(np.concatenate([first, second]))
        paired = np.ptp(interval(paired_bootstrap(both, 300, draws=500)))
        unpaired = np.hypot(
            *(np.ptp(interval(bootstrap(mean_of(one), 300, draws=500))) for one in (first, second))
        )
        assert paired < unpaired / 3


class TestPermutation:
    """'sign-flip permutation p' (SPEC 5.5): exchange the models on each image or not."""

    @pytest.mark.parametrize("seed", range(5))
    def test_is_that_of_all_exchanges(self, seed):
        """Brute force over the 2^8 ways to say which model said what, for a ratio of sums."""
        images = 8
        (a, of_a), (b, of_b) = ratios(images, seed), ratios(images, seed + 50)
        differences = []
        for flips in itertools.product([False, True], repeat=images):
            swap = np.array(flips)[:, None]
            ones, others = np.where(swap, b, a), np.where(swap, a, b)
            of_ones, of_others = np.where(swap, of_b, of_a), np.where(swap, of_a, of_b)
            differences.append(ones.sum(0) / of_ones.sum(0) - others.sum(0) / of_others.sum(0))
        exact = (np.abs(differences) >= np.abs(differences[0]) - 1e-9).mean(axis=0)
        both = ratio_of_sums(np.concatenate([a, b]), np.concatenate([of_a, of_b]))
        found = sign_flip_permutation(both, images, draws=20_000)
        assert found == pytest.approx(exact, abs=0.015)

    def test_for_means_it_flips_signs(self):
        """Differences 1, 2, ..., 6: |sum| is 21 in 2 of 64 ways."""
        both = mean_of(np.concatenate([np.arange(1.0, 7), np.zeros(6)]))
        assert sign_flip_permutation(both, 6, draws=20_000) == pytest.approx([2 / 64], abs=0.005)

    def test_is_two_sided(self):
        values = np.random.default_rng(0).normal(0, 1, (2, 15))
        p = [
            sign_flip_permutation(mean_of(np.concatenate(pair)), 15, draws=500)[0]
            for pair in (values, values[::-1])
        ]
        assert p[0] == p[1] < 1

    def test_sure_differences_have_the_smallest_p_and_none_has_p_one(self):
        better = mean_of(np.repeat([1.0, 0.0], 40))
        assert sign_flip_permutation(better, 40, draws=999).tolist() == [0.001]
        same = mean_of(np.tile(np.random.default_rng(0).random(40), 2))
        assert sign_flip_permutation(same, 40, draws=99).tolist() == [1.0]

    def test_is_uniform_where_the_models_are_equally_good(self):
        """Of 300 pairs of equal models a share x has p <= x, within 3 standard errors."""
        random = np.random.default_rng(0)
        p = []
        for seed in range(300):
            hard = random.normal(0, 1, 25)
            both = mean_of(np.concatenate([hard, hard]) + random.normal(0, 1, 50))
            p.append(sign_flip_permutation(both, 25, draws=199, seed=seed)[0])
        for x in (0.05, 0.25, 0.5, 0.75):
            assert np.mean(np.array(p) <= x) == pytest.approx(
                x, abs=3 * math.sqrt(x * (1 - x) / 300)
            )

    def test_no_value_has_no_p(self):
        nothing = ratio_of_sums(np.zeros((6, 1)), np.zeros((6, 1)))
        assert np.isnan(sign_flip_permutation(nothing, 3, draws=9)).all()


class TestHolm:
    """'Holm correction inside a table' (SPEC 5.5)."""

    def test_textbook(self):
        """Ordered p times 4, 3, 2, 1, each at least the one before, at most 1."""
        found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
        assert found.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm(np.array([0.9, 0.4])).tolist() == pytest.approx([0.9, 0.8])
        assert holm(np.array([0.6, 0.7, 0.5])).tolist() == [1.0] * 3

    def test_one_is_itself_and_ties_are_equal(self):
        assert holm(np.array([0.2])).tolist() == [0.2]
        assert holm(np.array([0.01, 0.5, 0.01])).tolist() == pytest.approx([0.03, 0.5, 0.03])

    def test_what_has_no_p_is_no_test(self):
        assert holm(np.array([np.nan, 0.02, 0.01])).tolist() == pytest.approx(
            [math.nan, 0.02, 0.02], nan_ok=True
        )
        assert holm(np.array([])).size == 0
