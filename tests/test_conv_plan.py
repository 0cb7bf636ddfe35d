"""How convolutions are cut: tiles cover the result, memory is kept to, costs are ordered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprightpose.conv_plan import (
    Task,
    best_tiling,
    direct_work,
    fft_wins,
    fft_work,
    seconds,
    smallest_tiling,
    tilings,
    transform_size,
)

PAPER = Task(1, 128, 128, (64, 64), (15, 15))


@given(
    result=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    kernel=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    batch=st.integers(1, 20),
)
def test_tiles_cover_the_result_and_hold_what_they_look_at(result, kernel, batch):
    found = list(tilings(Task(batch, 3, 4, result, kernel)))
    assert found
    for tiling in found:
        for axis in (0, 1):
            covered = tiling.step[axis] * tiling.grid[axis]
            assert covered >= result[axis] > covered - tiling.step[axis]
            assert tiling.step[axis] + kernel[axis] - 1 <= tiling.size[axis]
        assert 1 <= tiling.chunk <= batch


@given(st.integers(1, 500))
def test_transforms_have_small_factors_only(cells):
    size = transform_size(cells)
    assert size >= cells
    assert size % 2 == 0
    rest = size
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    assert rest == 1


class TestMemory:
    """'Peak memory reported, with a setting that bounds it.'"""

    @pytest.mark.parametrize("kept", [True, False])
    @pytest.mark.parametrize("megabytes", [64, 128, 256, 1024])
    def test_is_kept_to(self, megabytes, kept):
        task = PAPER._replace(batch=8)
        tiling = best_tiling(task, megabytes << 20, kept=kept)
        if tiling is not None:
            assert tiling.memory(task, kept=kept) <= megabytes << 20

    def test_none_fits_none(self):
        assert best_tiling(PAPER, 1 << 20, kept=True) is None
        for kept in (True, False):
            least = min(tiling.memory(PAPER, kept=kept) for tiling in tilings(PAPER))
            assert smallest_tiling(PAPER, kept=kept).memory(PAPER, kept=kept) == least

    def test_more_memory_never_costs_more(self):
        costs = []
        for megabytes in (64, 128, 256, 512, 2048):
            tiling = best_tiling(PAPER, megabytes << 20, kept=True)
            if tiling is not None:
                costs.append(seconds(fft_work(PAPER, tiling, kept=True)))
        assert costs == sorted(costs, reverse=True)
        assert len(costs) > 2


class TestCosts:
    def test_large_kernels_are_transformed_small_ones_are_not(self):
        for task, wins in ((PAPER, True), (Task(1, 128, 128, (64, 64), (1, 1)), False)):
            tiling = best_tiling(task, 1 << 28, kept=True)
            assert fft_wins(task, tiling, kept=True) is wins
            assert fft_wins(task, tiling, kept=False, learns=True) is wins

    def test_to_learn_costs_about_three_times_as_much(self):
        for work in (
            lambda learns: direct_work(PAPER, learns=learns),
            lambda learns: fft_work(PAPER, next(tilings(PAPER)), kept=False, learns=learns),
        ):
            alone, learning = (seconds(work(learns)) for learns in (False, True))
            assert 2 < learning / alone < 4

    def test_kept_spectra_save_their_making(self):
        tiling = next(tilings(PAPER))
        kept, made = (seconds(fft_work(PAPER, tiling, kept=kept)) for kept in (True, False))
        assert kept < made
