"""Convolution of score maps by Fourier transforms of tiles, forward and backward (SPEC 6.5).

Overlap-save: the maps are cut into tiles that overlap by ``kernel - 1`` cells, and each tile's
transform is multiplied by that of every filter. Frequency by frequency that is a product of
matrices, ``(tiles, inputs) @ (inputs, outputs)``. Its result, transformed back, is right in the
first ``step`` cells of each tile; the rest is what wrapped around. For the gradient of the maps
the same tiles are spread out again and added where they overlap.

Maps go through ``torch.fft``. Filters are small in large tiles: they need a few columns of the
Fourier matrix, so two products of matrices transform them, some outputs at a time so that they
stay in the cache.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from uprightpose.conv_plan import COMPLEX, WORKSPACE, Tiling

Pair = tuple[int, int]


@torch.no_grad()
def convolve(
    maps: Float[Tensor, "b i h w"],
    weight: Float[Tensor, "o i kh kw"],
    padding: Pair,
    tiling: Tiling,
    spectra: Complex[Tensor, "f i o"] | None = None,
) -> Float[Tensor, "b o _ _"]:
    """Return ``conv2d(maps, weight, padding=padding)`` by Fourier transforms; no gradients.

    Args:
        maps: float32 or float64.
        weight: of the same type.
        padding: zeros around the maps.
        tiling: how to cut them.
        spectra: of the filters (:func:`filter_spectra`); made some outputs at a time if not given.
    """
    kernel = (weight.shape[2], weight.shape[3])
    out = maps.new_zeros(len(maps), len(weight), *_result(maps, kernel, padding))
    filters = _Filters(weight, tiling.size)
    chunks = (torch.split(each, tiling.chunk) for each in (maps, out))
    for some, found in zip(*chunks, strict=True):
        given = transform(cut(some, tiling, padding, _reach(tiling, kernel)))
        for channels in [slice(None)] if spectra is not None else filters.blocks():
            slab = filters.spectra(channels) if spectra is None else spectra
            place = found[:, channels]
            paste(_multiplied(given, slab, tiling), place, tiling, (0, 0), tiling.step)
            del slab  # before the next one is made
        del given
    return out


def _multiplied(
    given: Complex[Tensor, "f t i"], spectra: Complex[Tensor, "f i o"], tiling: Tiling
) -> Float[Tensor, "b r s o n m"]:
    """Return the tiles whose spectra are the product; nothing of it is held for longer."""
    flat = torch.bmm(given, spectra).flatten(1).t().contiguous()
    return _tiles(flat, spectra.shape[2], tiling)


@torch.no_grad()
def filter_spectra(weight: Float[Tensor, "o i kh kw"], size: Pair) -> Complex[Tensor, "f i o"]:
    """Return the spectra of all filters in tiles of ``size`` cells, conjugate.

    Frequencies are counted row by row, half of the columns and one more. Conjugate spectra
    multiply into a correlation, which is what ``conv2d`` calls a convolution.
    """
    filters = _Filters(weight, size)
    outputs, inputs = weight.shape[:2]
    found = filters.down.new_empty(size[0] * filters.columns, inputs, outputs)
    for channels in filters.blocks():
        found[:, :, channels] = filters.spectra(channels)
    return found


class Convolution(torch.autograd.Function):
    """:func:`convolve` with gradients, by the same transforms."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        maps: Float[Tensor, "b i h w"],
        weight: Float[Tensor, "o i kh kw"],
        padding: Pair,
        tiling: Tiling,
    ) -> Float[Tensor, "b o _ _"]:
        """Convolve; keeps maps and weights, no spectra."""
        ctx.save_for_backward(maps, weight)
        ctx.padding, ctx.tiling = padding, tiling  # type: ignore[attr-defined]
        return convolve(maps, weight, padding, tiling)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, gradient: Float[Tensor, "b o _ _"]
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of maps and weights that are asked for."""
        maps, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        padding, tiling = ctx.padding, ctx.tiling  # type: ignore[attr-defined]
        for_maps, for_weight = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        reach = _reach(tiling, (weight.shape[2], weight.shape[3]))
        filters = _Filters(weight, tiling.size)
        to_maps = torch.zeros_like(maps, memory_format=torch.contiguous_format)
        to_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        chunks = (torch.split(each, tiling.chunk) for each in (maps, gradient, to_maps))
        for some, theirs, found in zip(*chunks, strict=True):
            given = transform(cut(theirs, tiling, (0, 0), tiling.step))
            if for_weight:
                seen = transform(cut(some, tiling, padding, reach)).conj_physical().transpose(1, 2)
            products = given.new_zeros(*given.shape[:2], weight.shape[1])
            for channels in filters.blocks():
                part = given[:, :, channels]
                if for_weight:
                    to_weight[channels] += filters.values(torch.bmm(seen, part))
                if for_maps:
                    slab = filters.spectra(channels, conjugate=False)
                    products.baddbmm_(part, slab.transpose(1, 2))
                    del slab
                del part
            del given
            if for_weight:
                del seen
            if for_maps:
                paste(untransform(products, tiling), found, tiling, padding, reach)
            del products
        return to_maps if for_maps else None, to_weight if for_weight else None, None, None


def cut(
    maps: Float[Tensor, "b c h w"], tiling: Tiling, start: Pair, reach: Pair
) -> Float[Tensor, "b r s c n m"]:
    """Cut maps into tiles and fill them up with zeros.

    Args:
        maps: any channels.
        tiling: the tile in row ``r``, column ``s`` begins at cell ``(r, s) * step - start``.
        start: ``(h, w)`` cells before the first.
        reach: ``(h, w)`` cells that a tile takes from the maps.
    """
    size = (maps.shape[-2], maps.shape[-1])
    tiles = maps.new_zeros(len(maps), *tiling.grid, maps.shape[1], *tiling.size)
    for row, column, (mine, theirs) in _places(size, tiling, start, reach):
        tiles[:, row, column][mine] = maps[theirs]
    return tiles


def paste(
    tiles: Float[Tensor, "b r s c n m"],
    maps: Float[Tensor, "b c h w"],
    tiling: Tiling,
    start: Pair,
    reach: Pair,
) -> None:
    """Add the first ``reach`` cells of tiles to the maps that :func:`cut` would take them from."""
    size = (maps.shape[-2], maps.shape[-1])
    for row, column, (mine, theirs) in _places(size, tiling, start, reach):
        maps[theirs] += tiles[:, row, column][mine]


def transform(tiles: Float[Tensor, "b r s c n m"]) -> Complex[Tensor, "f t c"]:
    """Transform tiles; frequencies come first, then all tiles, then channels."""
    spectra: Tensor = torch.fft.rfft2(tiles)
    count = math.prod(tiles.shape[:3])
    frequencies = spectra.shape[-2] * spectra.shape[-1]
    flat = spectra.reshape(count * tiles.shape[3], frequencies)
    return flat.t().contiguous().view(frequencies, count, tiles.shape[3])


def untransform(spectra: Complex[Tensor, "f t c"], tiling: Tiling) -> Float[Tensor, "b r s c n m"]:
    """Undo :func:`transform`."""
    return _tiles(spectra.flatten(1).t().contiguous(), spectra.shape[2], tiling)


def _tiles(
    flat: Complex[Tensor, "tc f"], channels: int, tiling: Tiling
) -> Float[Tensor, "b r s c n m"]:
    """Return tiles, given each one's frequencies in a row."""
    rows, columns = tiling.size
    spectra = flat.view(-1, *tiling.grid, channels, rows, columns // 2 + 1)
    found: Tensor = torch.fft.irfft2(spectra, s=tiling.size)
    return found


class _Filters:
    """Filters of ``(kh, kw)`` cells and their spectra in larger tiles, some outputs at a time.

    A filter's value at ``(r, c)`` turns by ``p r / n + q c / m`` of a circle at the frequency
    of row ``p`` and column ``q``. Two products of matrices sum that up, first along ``c``.
    """

    def __init__(self, weight: Float[Tensor, "o i kh kw"], size: Pair) -> None:
        self.weight, self.size, self.columns = weight, size, size[1] // 2 + 1
        self.down = _turns(size[0], size[0], weight.shape[2], weight)
        self.across = _turns(self.columns, size[1], weight.shape[3], weight)

    def blocks(self) -> Iterator[slice]:
        """Yield ranges of outputs whose spectra fit the workspace."""
        one = self.size[0] * self.columns * self.weight.shape[1] * COMPLEX
        count = math.ceil(len(self.weight) / max(1, WORKSPACE // one))
        step = math.ceil(len(self.weight) / count)
        for start in range(0, len(self.weight), step):
            yield slice(start, min(start + step, len(self.weight)))

    def spectra(self, channels: slice, *, conjugate: bool = True) -> Complex[Tensor, "f i o"]:
        """Return the spectra of some outputs' filters, by default conjugate."""
        outputs, inputs, height, width = self.weight[channels].shape
        sign = 1 if conjugate else -1
        values = self.weight[channels].permute(3, 2, 1, 0).reshape(width, -1)
        half = torch.complex(self.across.real @ values, sign * self.across.imag @ values)
        half = half.view(self.columns, height, inputs * outputs)
        down = self.down if conjugate else self.down.conj().resolve_conj()
        found = half.new_empty(self.size[0], self.columns, inputs * outputs)
        for column in range(self.columns):
            torch.mm(down, half[column], out=found[:, column])
        return found.view(-1, inputs, outputs)

    def values(self, spectra: Complex[Tensor, "f i o"]) -> Float[Tensor, "o i kh kw"]:
        """Return what conjugate spectra are at the filters' cells."""
        inputs, outputs = spectra.shape[1:]
        height, width = self.weight.shape[2:]
        rows = spectra.view(self.size[0], self.columns, inputs * outputs)
        half = spectra.new_empty(self.columns, height, inputs * outputs)
        up = self.down.conj().resolve_conj().t().contiguous()
        for column in range(self.columns):
            torch.mm(up, rows[:, column], out=half[column])
        # Of a real signal half of the columns are kept; each but the first and the last
        # stands for its mirror image, too.
        twice = torch.full((self.columns, 1), 2.0, dtype=up.real.dtype, device=up.device)
        twice[0] = 1
        if self.size[1] % 2 == 0:
            twice[-1] = 1
        across = self.across * (twice / math.prod(self.size))
        half = half.view(self.columns, -1)
        found = (across.real.t() @ half.real).addmm_(across.imag.t(), half.imag)
        return found.view(width, height, inputs, outputs).permute(3, 2, 1, 0)


def _turns(count: int, length: int, cells: int, like: Tensor) -> Complex[Tensor, "count cells"]:
    """Return ``exp(2 pi i p r / length)``, exact to the last digit, as ``like`` is."""
    whole = torch.arange(count)[:, None] * torch.arange(cells) % length
    angle = whole.double() * (2 * math.pi / length)
    turns = torch.polar(torch.ones_like(angle), angle)
    kind = torch.complex128 if like.dtype == torch.float64 else torch.complex64
    return turns.to(like.device, kind)


def _places(
    size: Pair, tiling: Tiling, start: Pair, reach: Pair
) -> Iterator[tuple[int, int, tuple[tuple[slice, ...], tuple[slice, ...]]]]:
    """Yield each tile's row and column, and which cells of it and of the maps are the same."""
    for row in range(tiling.grid[0]):
        for column in range(tiling.grid[1]):
            mine: list[slice] = [slice(None)] * 2
            theirs: list[slice] = [slice(None)] * 2
            for axis, number in enumerate((row, column)):
                first = number * tiling.step[axis] - start[axis]
                low, high = max(0, -first), min(reach[axis], size[axis] - first)
                mine.append(slice(low, max(low, high)))
                theirs.append(slice(first + low, first + max(low, high)))
            yield row, column, (tuple(mine), tuple(theirs))


def _reach(tiling: Tiling, kernel: Pair) -> Pair:
    """Return the cells of input that a tile of output looks at."""
    return (tiling.step[0] + kernel[0] - 1, tiling.step[1] + kernel[1] - 1)


def _result(maps: Tensor, kernel: Pair, padding: Pair) -> Pair:
    """Return ``(h, w)`` of the result."""
    return (
        maps.shape[2] + 2 * padding[0] - kernel[0] + 1,
        maps.shape[3] + 2 * padding[1] - kernel[1] + 1,
    )
