"""Samples with replacement (SPEC 5.5), few by numpy and many by bytes; exact sums over them."""

import math

import numpy as np
import pytest

from uprightpose import resampling
from uprightpose.resampling import FEW, redraw, weighted_sums
from uprightpose.statistics import (
    bootstrap,
    paired_bootstrap,
    ratio_of_sums,
    sign_flip_permutation,
)


class TestRedraw:
    def test_few_are_numpys_multinomial_whatever_the_chunks(self, monkeypatch):
        expected = np.random.default_rng(3).multinomial(40, np.full(40, 1 / 40), size=90)
        monkeypatch.setattr(resampling, "_CHUNK", 40 * 7)
        found = list(redraw(40, 90, seed=3))
        assert len(found) == 13
        assert (np.concatenate(found) == expected).all()

    def test_many_are_as_many_images_again(self):
        images = FEW + 3
        found = np.concatenate(list(redraw(images, 600, seed=1)))
        assert found.shape == (600, images)
        assert (found.sum(axis=1, dtype=int) == images).all()
        again = np.concatenate(list(redraw(images, 600, seed=1)))
        assert (found == again).all()
        assert (found[0] != found[1]).any()

    def test_many_have_the_multinomials_distribution(self):
        """Each image is binomial, nearly Poisson of rate 1; two images hardly know each other."""
        images = FEW + 3
        found = np.concatenate(list(redraw(images, 600, seed=2)))
        for number in range(8):
            share, chance = (found == number).mean(), math.exp(-1) / math.factorial(number)
            error = math.sqrt(chance / found.size)
            assert share == pytest.approx(chance, abs=4 * error + chance / images)
        of_images = found.sum(axis=0, dtype=int)
        assert of_images.var() == pytest.approx(600, rel=0.05)
        halves = found[:, : images // 2].sum(axis=1, dtype=int)
        assert halves.var() == pytest.approx(images / 4, rel=0.25)

    def test_rows_that_hold_too_many_are_drawn_again(self, monkeypatch):
        drawn = resampling._poisson
        monkeypatch.setattr(
            resampling, "_poisson", lambda n, b, rate, g: drawn(n, b, rate + 4 / math.sqrt(n), g)
        )
        found = np.concatenate(list(redraw(FEW + 1, 40, seed=0)))
        assert (found.sum(axis=1, dtype=int) == FEW + 1).all()

    def test_memory_does_not_grow_with_images(self):
        assert [w.shape for w in redraw(1 << 22, 3, seed=0)] == [(2, 1 << 22), (1, 1 << 22)]


class TestSums:
    @pytest.mark.parametrize("images", [7, 20_011])
    @pytest.mark.parametrize("largest", [1, 560, 70_000, 10**9])
    def test_of_integers_are_exact(self, images, largest):
        random = np.random.default_rng(0)
        columns = random.integers(-largest, largest + 1, (images, 5)) * 1.0
        columns[:, 3] = columns[:, 1]
        columns[:, 4] = 1
        (weights,) = redraw(images, 3, seed=0)
        found = weighted_sums(columns, images)(weights)
        assert (found == weights.astype(np.int64) @ columns.astype(np.int64)).all()

    def test_of_others_are_in_float64(self):
        columns = np.random.default_rng(0).normal(0, 1, (50, 3))
        weights = np.arange(100).reshape(2, 50) % 3
        assert weighted_sums(columns, 75)(weights) == pytest.approx(weights @ columns, abs=1e-12)


class TestStatistics:
    """A statistic of sums and the same as an opaque function of weights agree."""

    @pytest.mark.parametrize("images", [30, FEW + 1])
    def test_sums_are_a_short_cut_only(self, images, monkeypatch):
        monkeypatch.setattr(resampling, "_CHUNK", 4 * images)
        random = np.random.default_rng(0)
        wholes = random.integers(1, 9, (2 * images, 2)) * 1.0
        of_sums = ratio_of_sums(np.floor(random.random(wholes.shape) * wholes), wholes)
        for test in (paired_bootstrap, sign_flip_permutation):
            found = test(of_sums, images, draws=11, seed=4)
            assert found == pytest.approx(test(lambda w: of_sums(w), images, draws=11, seed=4))
        found = bootstrap(of_sums, 2 * images, draws=11)
        assert len(found) == 11
        assert found == pytest.approx(bootstrap(lambda w: of_sums(w), 2 * images, draws=11))
