"""The highest cell of each blurred score map, without blurring what cannot be highest.

A blurred cell is a mean: no row of a blurred map holds more than the blur of the rows' maxima does
there. A few rows about the highest such bound are blurred. Where another row's bound exceeds what
they hold, the whole map is: what is found is the same.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

BAND = 7
"""Rows about the highest bound that are blurred: a Gaussian needs three and their neighbors."""

MANY = 1 << 18
"""Cells from which a CPU blurs a band: with fewer the steps around it cost more than they save."""

ROUNDING = 1e-5
"""Share by which a bound in float32 may be too low."""


class Peaks(NamedTuple):
    """The first of each map's highest blurred cells.

    Attributes:
        x: ``(b, k)`` its column.
        y: ``(b, k)`` its row.
        around: ``(b, k, 3, 3)`` the nine blurred cells about it; along an axis that ends there,
            the peak three times.
    """

    x: Int[Tensor, "b k"]
    y: Int[Tensor, "b k"]
    around: Float[Tensor, "b k 3 3"]


def find_peaks(maps: Float[Tensor, "b k h w"], sigma: float) -> Peaks:
    """Blur maps with :func:`blur` and find their peaks.

    Args:
        maps: finite scores, float32 or float64; nothing flows back.
        sigma: blur in cells; 0 for none.

    Returns:
        Cells of these maps.

    Example:
        >>> maps = torch.tensor([[[[0.0, 0, 0, 0], [0, 0, 0, 4], [0, 0, 0, 0]]]])
        >>> x, y, _ = find_peaks(maps, 0.5)
        >>> x.item(), y.item()
        (3, 1)
    """
    flat = maps.detach().flatten(0, 1)
    wide = flat.shape[1] >= BAND + 2 * _radius(sigma)
    if sigma > 0 and wide and _in_numpy(flat) and flat.numel() >= MANY:
        peaks, certain = _peaks_in_bands(flat, sigma)
        if not certain.all():
            for part, own in zip(peaks, _peaks(blur(flat[~certain], sigma)), strict=True):
                part[~certain] = own
    else:
        peaks = _peaks(blur(flat, sigma) if sigma > 0 else flat)
    return Peaks(*(part.view(*maps.shape[:2], *part.shape[1:]) for part in peaks))


def blur(maps: Float[Tensor, "*b h w"], sigma: float) -> Float[Tensor, "*b h w"]:
    """Blur with a Gaussian cut at 3 sigma; at borders the weights inside sum to 1 (SPEC 1.7)."""
    height, width = maps.shape[-2:]
    rows = maps.new_tensor(_blur_matrix(height, sigma))
    columns = maps.new_tensor(_blur_matrix(width, sigma))
    return rows @ maps @ columns.T


def _peaks(blurred: Float[Tensor, "n h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns, rows and nine cells of the peaks of blurred maps."""
    height, width = blurred.shape[1:]
    flat = blurred.flatten(1)
    # numpy compares many numbers at once: torch takes 17 times as long
    best = torch.from_numpy(flat.numpy().argmax(1)) if _in_numpy(flat) else flat.argmax(1)
    x, y = best % width, best // width
    return x, y, _around(flat, x, y, (height, width))


def _peaks_in_bands(
    maps: Float[Tensor, "n h w"], sigma: float
) -> tuple[tuple[Tensor, Tensor, Tensor], Bool[Tensor, " n"]]:
    """Return what :func:`_peaks` does, found in :data:`BAND` rows, and where that is certain."""
    count, height, width = maps.shape
    down = maps.new_tensor(_blur_matrix(height, sigma))
    bound = maps.amax(dim=2) @ down.T
    likely = bound.argmax(dim=1)
    first = (likely - BAND // 2).clamp(0, height - BAND)
    weights, read = _band_weights(height, sigma)
    rows = torch.from_numpy(read)[first] + height * torch.arange(count)[:, None]
    band = maps.reshape(-1, width)[rows.flatten()] @ _columns(maps, sigma)
    band = maps.new_tensor(weights)[first] @ band.view(count, -1, width)
    x, y, around = _peaks(band)
    highest = band.flatten(1).gather(1, (y * width + x)[:, None])
    within = torch.arange(height) - first[:, None]
    others = bound.masked_fill((within >= 0) & (within < BAND), -torch.inf).amax(dim=1)
    beside = ((y > 0) | (first == 0)) & ((y < BAND - 1) | (first == height - BAND))
    certain = beside & (others + ROUNDING * others.abs() < highest[:, 0])
    return (x, y + first, around), certain


def _in_numpy(maps: Tensor) -> bool:
    """Return whether numpy may read the maps, and their values decide what is computed."""
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]
    return maps.device.type == "cpu" and not recorded


def _columns(maps: Float[Tensor, "n h w"], sigma: float) -> Float[Tensor, "w w"]:
    return maps.new_tensor(_blur_matrix(maps.shape[2], sigma)).T


def _radius(sigma: float) -> int:
    """Return how far a blur reaches."""
    return int(3 * sigma)


@lru_cache(maxsize=64)
def _blur_matrix(length: int, sigma: float) -> Float[ndarray, "n n"]:
    """Return the blur along one axis as a matrix whose rows sum to 1.

    In numpy: a tensor that is cached under ``inference_mode`` could not be learned through.
    """
    offset = np.arange(length)[:, None] - np.arange(length)
    weights = np.exp(-(offset**2) / (2 * sigma**2)) * (abs(offset) <= 3 * sigma)
    normed: ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normed


@lru_cache(maxsize=64)
def _band_weights(
    height: int, sigma: float
) -> tuple[Float[ndarray, "bands band read"], Int[ndarray, "bands read"]]:
    """Return for each first row of a band the blur's rows, and the map's rows that these read."""
    starts = np.arange(height - BAND + 1)
    count = BAND + 2 * _radius(sigma)
    lowest = np.clip(starts - _radius(sigma), 0, height - count)
    read = lowest[:, None] + np.arange(count)
    out = starts[:, None] + np.arange(BAND)
    return _blur_matrix(height, sigma)[out[:, :, None], read[:, None, :]], read


def _around(
    flat: Float[Tensor, "n hw"],
    x: Int[Tensor, " n"],
    y: Int[Tensor, " n"],
    size: tuple[int, int],
) -> Float[Tensor, "n 3 3"]:
    """Return the nine cells about a peak; along an axis that ends there, the peak three times."""
    columns, rows = (
        place[..., None] + _steps(place, side) for place, side in ((x, size[1]), (y, size[0]))
    )
    index = rows[..., :, None] * size[1] + columns[..., None, :]
    return flat.gather(1, index.flatten(1)).view(-1, 3, 3)


def _steps(place: Int[Tensor, " n"], side: int) -> Int[Tensor, "n 3"]:
    """Return -1, 0 and 1, or nothing but 0 at the border."""
    inside = (place > 0) & (place < side - 1)
    return inside[..., None] * torch.arange(-1, 2, device=place.device)
