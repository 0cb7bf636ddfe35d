"""Peaks of blurred maps: those of the whole blurred map, however little of it is blurred."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uprightpose import peaks
from uprightpose.peaks import BAND, MANY, blur, find_peaks
from uprightpose.score_maps import encode_gaussians


class TestBlur:
    """'Kernel radius 3 sigma, borders renormalised' (SPEC 1.7)."""

    @given(value=st.floats(0, 1), sigma=st.floats(0.3, 3))
    def test_a_constant_stays_to_the_border(self, value, sigma):
        maps = torch.full((2, 3, 5, 7), value, dtype=torch.float64)
        assert_close(blur(maps, sigma), maps)

    def test_values(self):
        maps = torch.zeros(1, 1, 9, 11, dtype=torch.float64)
        maps[0, 0, 4, 5] = 1
        weights = [math.exp(-(d**2) / 2) for d in range(-3, 4)]
        out = blur(maps, 1.0)[0, 0]
        assert_close(out[4, 5].item(), 1 / sum(weights) ** 2)
        assert_close(out[5, 3].item(), weights[4] * weights[5] / sum(weights) ** 2)
        assert out[4, 1] == out[0, 5] == 0  # beyond three sigma

    def test_axes_are_not_swapped(self):
        maps = torch.rand(1, 2, 4, 9)
        assert_close(blur(maps, 1.0).mT, blur(maps.mT, 1.0))

    def test_gradient(self):
        maps = torch.rand(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda m: blur(m, 1.0), maps)

    def test_prediction_before_training_leaves_no_trace(self):
        with torch.inference_mode():
            blur(torch.rand(1, 1, 13, 17, dtype=torch.float64), 0.9)
        maps = torch.rand(1, 1, 13, 17, dtype=torch.float64, requires_grad=True)
        blur(maps, 0.9).sum().backward()
        assert maps.grad is not None


def peaks_of_whole(maps, sigma):
    """The definition, slowly: blur all, take the first highest cell."""
    blurred = blur(maps, sigma) if sigma else maps
    best = blurred.flatten(2).argmax(dim=2)
    return best % maps.shape[-1], best // maps.shape[-1], blurred


def many(maps):
    """Enough copies that a band is looked into."""
    return maps.repeat(-(-MANY // maps.numel()), 1, 1, 1)


@pytest.fixture
def blurred_whole(monkeypatch):
    """How many maps are blurred whole, call by call."""
    counts = []

    def counted(maps, sigma):
        counts.append(len(maps))
        return blur(maps, sigma)

    monkeypatch.setattr(peaks, "blur", counted)
    return counts


def scene(seed, *, noise=0.02, width=2.0, size=(41, 29), joints=300):
    """Gaussians anywhere, also outside the map, each with a lower one elsewhere, and noise."""
    generator = torch.Generator().manual_seed(seed)
    span = torch.tensor([size[1] + 4.0, size[0] + 4.0])
    places, others = torch.rand(2, 1, joints, 2, generator=generator, dtype=torch.float64)
    maps = encode_gaussians(places * span - 2, size, width)
    maps = maps + 0.8 * encode_gaussians(others * span - 2, size, width)
    return maps + noise * torch.randn(maps.shape, generator=generator, dtype=torch.float64)


class TestBand:
    """'The highest cell of each blurred score map, without blurring what cannot be highest.'"""

    @pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5, 3.0])
    @pytest.mark.parametrize("noise", [0.0, 0.02, 1.0])
    @pytest.mark.parametrize("width", [0.7, 2.0, 5.0])
    def test_it_finds_what_the_whole_blurred_map_shows(self, sigma, noise, width):
        maps = scene(1, noise=noise, width=width)
        maps = torch.cat([maps, maps.flip(2)], dim=1)
        assert maps.numel() > MANY
        x, y, around = find_peaks(maps, sigma)
        true_x, true_y, blurred = peaks_of_whole(maps, sigma)
        assert torch.equal(x, true_x)
        assert torch.equal(y, true_y)
        inner = (x > 0) & (x < 28) & (y > 0) & (y < 40)
        for step_y in (-1, 0, 1):
            for step_x in (-1, 0, 1):
                at = (y + step_y).clamp(0, 40) * 29 + (x + step_x).clamp(0, 28)
                cells = blurred.flatten(2).gather(2, at[..., None])[..., 0]
                assert_close(around[..., 1 + step_y, 1 + step_x][inner], cells[inner])

    def test_a_gaussian_is_not_blurred_whole(self, blurred_whole):
        generator = torch.Generator().manual_seed(0)
        joints = torch.rand(1, 300, 2, generator=generator) * torch.tensor([28.0, 40.0])
        find_peaks(encode_gaussians(joints, (41, 29), 2.0), 1.0)
        assert sum(blurred_whole) == 0

    def test_a_narrow_peak_yields_to_a_wide_one_elsewhere(self, blurred_whole):
        narrow = encode_gaussians(torch.tensor([[[5.0, 4.0]]]), (40, 30), 0.3)
        wide = encode_gaussians(torch.tensor([[[20.0, 31.0]]]), (40, 30), 3.0)
        x, y, _ = find_peaks(many(narrow + 0.5 * wide), 1.0)
        assert x.unique().item() == 20
        assert y.unique().item() == 31
        assert sum(blurred_whole) == 0

    def test_rows_that_bounds_do_not_exclude_are_blurred(self, blurred_whole):
        dots = torch.zeros(1, 1, 40, 30)
        dots[0, 0, 3:9, 4:21:8] = 1.0  # lines apart: little is left after the blur
        spot = encode_gaussians(torch.tensor([[[20.0, 31.0]]]), (40, 30), 1.0)
        x, y, _ = find_peaks(many(dots + 0.9 * spot), 1.0)
        assert x.unique().item() == 20
        assert y.unique().item() == 31
        assert sum(blurred_whole) > 0

    def test_a_peak_at_the_edge_of_the_band_is_looked_at_whole(self):
        """Its neighbors in the next row count, too, though all other rows are excluded."""
        maps = torch.zeros(1, 1, 30, 40, dtype=torch.float64)
        maps[0, 0, 10, 3:14] = 1.0  # broad: little is lost by the blur across
        maps[0, 0, 10, 8] = 1.01
        maps[0, 0, 10 + BAND // 2, 25] = 1.2  # the highest bound; as a dot it is blurred away
        maps[0, 0, 9, 8] = 0.1
        x, y, around = find_peaks(many(maps), 0.5)
        _, true_y, blurred = peaks_of_whole(maps, 0.5)
        assert y.unique().item() == true_y.item() == 10
        assert_close(around[0, 0, 0, 1], blurred[0, 0, 9, x[0, 0].item()])

    @pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
    def test_of_equal_cells_the_first_counts(self, value):
        x, y, _ = find_peaks(many(torch.full((1, 1, 40, 32), value, dtype=torch.float64)), 0.5)
        flat = blur(torch.full((40, 32), value, dtype=torch.float64), 0.5)
        best = flat.argmax().item()
        assert (x.unique().item(), y.unique().item()) == (best % 32, best // 32)

    def test_maps_below_zero(self):
        maps = scene(3) - 2
        x, y, _ = find_peaks(maps, 1.0)
        true_x, true_y, _ = peaks_of_whole(maps, 1.0)
        assert torch.equal(x, true_x)
        assert torch.equal(y, true_y)

    def test_undefined_cells_are_found(self):
        maps = scene(4)
        maps[0, 7, 3, 5] = torch.nan
        x, y, _ = find_peaks(maps, 1.0)
        true_x, true_y, _ = peaks_of_whole(maps, 1.0)
        assert torch.equal(x, true_x)
        assert torch.equal(y, true_y)

    @pytest.mark.parametrize("size", [(BAND + 5, 40), (BAND + 6, 40), (1, 90), (90, 1)])
    def test_maps_hardly_higher_than_a_band(self, size):
        maps = scene(5, size=size, joints=20)
        maps = many(maps)
        x, y, _ = find_peaks(maps, 1.0)
        true_x, true_y, _ = peaks_of_whole(maps, 1.0)
        assert torch.equal(x, true_x)
        assert torch.equal(y, true_y)

    def test_a_border_counts_as_much_as_its_blur(self):
        """'At borders the weights inside sum to 1': also in the bound."""
        maps = torch.zeros(1, 1, 40, 32)
        maps[0, 0, :2] = 1.0  # blurred 0.92 in the first row
        maps[0, 0, 30:32] = 1.37  # blurred 0.88
        assert find_peaks(many(maps), 1.0).y.unique().item() == 0

    @pytest.mark.parametrize("maker", ["torch.jit.is_tracing", "torch.compiler.is_compiling"])
    def test_a_recorded_network_has_no_way_that_depends_on_values(
        self, maker, monkeypatch, blurred_whole
    ):
        monkeypatch.setattr(maker, lambda: True)
        maps = many(scene(6))
        find_peaks(maps, 1.0)
        assert blurred_whole == [len(maps) * maps.shape[1]]
