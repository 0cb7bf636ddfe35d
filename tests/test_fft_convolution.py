"""Convolution by Fourier transforms of tiles is convolution: values and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d
from torch.testing import assert_close

from uprightpose.conv_plan import Task, Tiling, tilings
from uprightpose.fft_convolution import Convolution, convolve, cut, filter_spectra, paste

CASES = [
    # b, i, o, (h, w), kernel, padding
    (2, 3, 4, (20, 31), (15, 15), (7, 7)),
    (3, 2, 5, (17, 23), (5, 8), (1, 4)),
    (1, 1, 1, (5, 6), (3, 3), (0, 0)),
    (2, 3, 2, (40, 9), (9, 7), (4, 3)),
    (5, 2, 3, (12, 13), (1, 13), (0, 6)),
    (2, 1, 2, (4, 5), (9, 11), (4, 5)),  # a kernel larger than the map
]


def drawn(case, dtype=torch.float64):
    batch, inputs, outputs, size, kernel, padding = case
    maps = torch.rand(batch, inputs, *size, dtype=dtype)
    weight = torch.randn(outputs, inputs, *kernel, dtype=dtype)
    result = tuple(s + 2 * p - k + 1 for s, p, k in zip(size, padding, kernel, strict=True))
    return maps, weight, padding, Task(batch, inputs, outputs, result, kernel)


def cuts(task):
    """Every way to cut a task, some of them one map at a time."""
    found = list(tilings(task))
    return found + [tiling._replace(chunk=1) for tiling in found]


@pytest.mark.parametrize("case", CASES)
class TestEveryTiling:
    """Overlap-save: whatever the tiles, the result is the direct convolution's."""

    def test_values(self, case):
        maps, weight, padding, task = drawn(case)
        direct = conv2d(maps, weight, padding=padding)
        for tiling in cuts(task):
            assert_close(convolve(maps, weight, padding, tiling), direct, atol=1e-11, rtol=0)

    def test_values_by_kept_spectra(self, case):
        maps, weight, padding, task = drawn(case)
        direct = conv2d(maps, weight, padding=padding)
        for tiling in cuts(task):
            spectra = filter_spectra(weight, tiling.size)
            found = convolve(maps, weight, padding, tiling, spectra)
            assert_close(found, direct, atol=1e-11, rtol=0)

    def test_gradients(self, case):
        maps, weight, padding, task = drawn(case)
        maps.requires_grad_(), weight.requires_grad_()
        direct = conv2d(maps, weight, padding=padding)
        goal = torch.randn_like(direct)
        expected = torch.autograd.grad(direct, (maps, weight), goal)
        for tiling in cuts(task):
            found = Convolution.apply(maps, weight, padding, tiling)
            assert_close(found, direct, atol=1e-11, rtol=0)
            gradients = torch.autograd.grad(found, (maps, weight), goal)
            assert_close(gradients, expected, atol=1e-10, rtol=0)


def test_gradients_by_central_differences():
    maps, weight, padding, task = drawn((2, 2, 3, (6, 5), (3, 4), (1, 2)))
    tiling = next(tiling for tiling in tilings(task) if tiling.tiles > 2)
    inputs = (maps.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda x, w: Convolution.apply(x, w, padding, tiling), inputs, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_what_is_asked_for_gets_a_gradient(wanted):
    maps, weight, padding, task = drawn(CASES[0])
    maps.requires_grad_(wanted[0]), weight.requires_grad_(wanted[1])
    Convolution.apply(maps, weight, padding, next(tilings(task))).sum().backward()
    assert (maps.grad is not None, weight.grad is not None) == wanted


@pytest.mark.parametrize("block", [1, 1 << 12, 1 << 40])
def test_however_many_outputs_are_made_at_a_time(block, monkeypatch):
    monkeypatch.setattr("uprightpose.fft_convolution.WORKSPACE", block)
    maps, weight, padding, task = drawn(CASES[0])
    maps.requires_grad_(), weight.requires_grad_()
    direct = conv2d(maps, weight, padding=padding)
    goal = torch.randn_like(direct)
    expected = torch.autograd.grad(direct, (maps, weight), goal)
    for tiling in list(tilings(task))[:2]:
        found = Convolution.apply(maps, weight, padding, tiling)
        assert_close(found, direct, atol=1e-11, rtol=0)
        assert_close(torch.autograd.grad(found, (maps, weight), goal), expected)
        kept = convolve(maps, weight, padding, tiling, filter_spectra(weight, tiling.size))
        assert_close(kept, direct, atol=1e-11, rtol=0)


class TestFloat32:
    """'Equal to the direct convolution to 1e-5 relative, gradients too.'"""

    def test_at_the_size_of_the_paper(self):
        maps, weight, padding, task = drawn(
            (1, 128, 128, (44, 40), (15, 15), (7, 7)), torch.float32
        )
        maps.requires_grad_(), weight.requires_grad_()
        direct = conv2d(maps, weight, padding=padding)
        goal = torch.randn_like(direct)
        expected = torch.autograd.grad(direct, (maps, weight), goal)
        found = Convolution.apply(maps, weight, padding, next(tilings(task)))
        gradients = torch.autograd.grad(found, (maps, weight), goal)
        for one, other in zip((found, *gradients), (direct, *expected), strict=True):
            assert (one - other).norm() < 1e-5 * other.norm()
            assert (one - other).abs().max() < 1e-5 * other.abs().max()


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    step=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    start=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_tiles_without_overlap_cut_and_pasted_are_the_maps(size, step, start):
    grid = tuple(-(-(side + at) // by) for side, at, by in zip(size, start, step, strict=True))
    tiling = Tiling((6, 6), step, grid, 1)
    maps = torch.rand(2, 3, *size)
    again = torch.zeros_like(maps)
    paste(cut(maps, tiling, start, step), again, tiling, start, step)
    assert_close(again, maps, atol=0, rtol=0)
