"""Large-kernel convolution by Fourier transforms: the same function as ``Conv2d``, sooner.

A 15 x 15 kernel multiplies every cell 225 times; transformed tiles are multiplied once per
frequency (overlap-save, :mod:`uprightpose.conv_plan`). All filters share the transforms of
their input, and one product of matrices per frequency, ``(maps, inputs) @ (inputs, outputs)``,
does the work. The result is that of the direct convolution to rounding, and so are gradients.
Maps go through ``torch.fft``; filters, small in large tiles, through two products with the
few rows and columns of the Fourier matrix that they need.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from uprightpose.conv_plan import (
    Task,
    Tiling,
    best_tiling,
    fft_wins,
    smallest_tiling,
)
from uprightpose.fft_convolution import Convolution, convolve, filter_spectra

Method = Literal["auto", "fft", "direct"]
"""How to convolve: as modelled to be faster, by Fourier transforms, or cell by cell."""

MEMORY = 336 << 20
"""Bytes that a layer may keep and use by default."""

WIDEST_LAST = 13
"""Columns of a kernel up to which a CPU learns directly with channels last: beyond it torch's
gradients take 3 to 40 times as long so as with channels first."""

TRIALS = 5
"""Runs by which a GPU's way is chosen."""


class _Kept(NamedTuple):
    """Spectra of filters, and what they were made of.

    Attributes:
        spectra: of the filters.
        source: size of the tiles, type and device of the weights.
        sums: of each output's weights, each weight times its number of ``factors``.
        factors: of the sums.
    """

    spectra: Complex[Tensor, "f i o"]
    source: tuple[tuple[int, int], torch.dtype, torch.device]
    sums: Float[Tensor, " o"]
    factors: Float[Tensor, " n"]


class LargeConv2d(nn.Conv2d):
    """``Conv2d`` that takes Fourier transforms where they are faster.

    It has the parameters, the state dict and, to rounding, the output and gradients of
    ``torch.nn.Conv2d`` with stride 1 and zero padding. In inference (``eval()`` and no
    gradient for the weights) the filters' spectra are kept and made again when the weights
    have changed; in training they are made for some outputs at a time and never held as a whole.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side or ``(h, w)``.
        padding: zeros around the maps, cells or ``(h, w)``; ``"same"`` keeps an odd kernel's
            maps at their size.
        bias: add one number per output.
        method: see :data:`Method`. ``"auto"`` goes by a model of costs on the CPU, which makes
            the same choice every time, and by a measurement on a GPU, once per size.
        memory: bytes that the layer may use for kept spectra and temporaries, beside maps,
            weights, result and gradients; less memory means smaller tiles. Where nothing fits
            ``"auto"`` is direct; ``"fft"`` takes the least that it needs.

    Raises:
        ValueError: if ``padding="same"`` meets an even kernel, or there is no such method.

    Shapes: ``(b, inputs, h, w)`` -> ``(b, outputs, h + 2 padding - kernel + 1, ...)``. Transforms
    are float32 (float64 stays); under autocast the result has autocast's type. Their rounding is
    relative to the largest value of a tile, not of a cell, and a NaN spreads over its tile.
    Gradients of gradients are not there. Exported and traced networks convolve directly.

    SPEC 6.5.

    Example:
        >>> layer = LargeConv2d(3, 4, 15, padding="same", method="fft")
        >>> direct = torch.nn.Conv2d(3, 4, 15, padding=7)
        >>> _ = direct.load_state_dict(layer.state_dict())
        >>> maps = torch.rand(2, 3, 20, 30)
        >>> torch.allclose(layer(maps), direct(maps), atol=1e-5)
        True
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        padding: int | tuple[int, int] | Literal["same"] = 0,
        bias: bool = True,
        method: Method = "auto",
        memory: int = MEMORY,
    ) -> None:
        """Make the parameters as ``Conv2d`` does."""
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        if padding == "same":
            if any(side % 2 == 0 for side in sides):
                raise ValueError(f"expected an odd kernel for padding='same', found {sides}")
            padding = (sides[0] // 2, sides[1] // 2)
        if method not in get_args(Method):
            raise ValueError(f"expected a method of {get_args(Method)}, found {method!r}")
        super().__init__(inputs, outputs, sides, padding=padding, bias=bias)
        self.method, self.memory = method, memory
        self._kept: _Kept | None = None

    def forward(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o _ _"]:
        """Convolve."""
        if maps.dim() != 4:
            raise ValueError(f"expected maps (b, i, h, w), found the shape {tuple(maps.shape)}")
        if maps.shape[1] != self.in_channels:
            raise ValueError(f"expected {self.in_channels} channels, found {maps.shape[1]}")
        if torch.jit.is_tracing() or torch.compiler.is_exporting():  # type: ignore[no-untyped-call,attr-defined]
            return super().forward(maps)
        if torch.compiler.is_compiling():
            return _uncompiled(self, maps)  # type: ignore[no-any-return]
        tiling = self.tiling(maps)
        return self._direct(maps) if tiling is None else self._transformed(maps, tiling)

    def _direct(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o _ _"]:
        """Convolve cell by cell, in the order of numbers in which that is fast."""
        weight = self.weight
        if maps.device.type == "cpu" and self._learns(maps) and weight.shape[3] > WIDEST_LAST:
            maps, weight = maps.contiguous(), weight.contiguous()
        found: Tensor = self._conv_forward(maps, weight, self.bias)
        return found

    def _transformed(
        self, maps: Float[Tensor, "b i h w"], tiling: Tiling
    ) -> Float[Tensor, "b o _ _"]:
        """Convolve by Fourier transforms."""
        device, dtype = maps.device.type, maps.dtype
        if torch.is_autocast_enabled(device) and dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            values, weight = (
                each.to(torch.promote_types(each.dtype, torch.float32))
                for each in (maps, self.weight)
            )
            if self._learns(maps):
                found = Convolution.apply(values, weight, self._padding, tiling)
            else:
                spectra = self._spectra(weight, tiling) if self._keeps else None
                found = convolve(values, weight, self._padding, tiling, spectra)
            if self.bias is not None:
                found += self.bias[:, None, None]
        return found.to(dtype)  # type: ignore[no-any-return]

    def tiling(self, maps: Float[Tensor, "b i h w"]) -> Tiling | None:
        """Return how these maps would be cut, ``None`` for a direct convolution."""
        if self.method == "direct" or not maps.numel():
            return None
        size = (maps.shape[-2], maps.shape[-1])
        result = tuple(
            side + 2 * pad - kernel + 1
            for side, pad, kernel in zip(size, self._padding, self.weight.shape[2:], strict=True)
        )
        if min(result) < 1:
            return None  # as Conv2d has it, an error
        kernel = (self.weight.shape[2], self.weight.shape[3])
        task = Task(len(maps), self.in_channels, self.out_channels, result, kernel)  # type: ignore[arg-type]
        learns = self._learns(maps)
        memory = self.memory // (2 if self.weight.dtype == torch.float64 else 1)
        kept = self._keeps
        found = best_tiling(task, memory, kept=kept, learns=learns)
        if self.method == "fft":
            return found or smallest_tiling(task, kept=kept)
        if found is None:
            return None
        if maps.device.type == "cuda":
            return found if self._measured(maps, task, found) else None
        last = self.weight.is_contiguous(memory_format=torch.channels_last)
        last = last and not (learns and kernel[1] > WIDEST_LAST)
        wins = fft_wins(task, found, kept=kept, channels_last=last, learns=learns)
        return found if wins and maps.device.type == "cpu" else None

    def forget(self) -> None:
        """Drop the kept spectra of the filters."""
        self._kept = None

    def train(self, mode: bool = True) -> "LargeConv2d":
        """Drop what inference kept."""
        self.forget()
        return super().train(mode)

    def extra_repr(self) -> str:
        """Say how it convolves, too."""
        return f"{super().extra_repr()}, method={self.method}"  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles do without the spectra."""
        return {**self.__dict__, "_kept": None}

    @property
    def _padding(self) -> tuple[int, int]:
        assert not isinstance(self.padding, str)
        return (self.padding[0], self.padding[1])

    @property
    def _keeps(self) -> bool:
        """Whether spectra live on: not where the weights are about to change."""
        return not (self.training or (torch.is_grad_enabled() and self.weight.requires_grad))

    def _learns(self, maps: Tensor) -> bool:
        return torch.is_grad_enabled() and (maps.requires_grad or self.weight.requires_grad)

    def _spectra(
        self, weight: Float[Tensor, "o i kh kw"], tiling: Tiling
    ) -> Complex[Tensor, "f i o"]:
        """Return the filters' spectra, those of the last call if the weights are the same.

        All weights are summed up, each times a number of its own, which takes some hundredths
        of a convolution: torch does not count changes through ``.data`` or in inference mode.
        """
        flat = _rows(weight.detach())
        source = (tiling.size, weight.dtype, weight.device)
        kept = self._kept
        if (
            kept is not None
            and kept.source == source
            and torch.equal(flat @ kept.factors, kept.sums)
        ):
            return kept.spectra
        del kept
        self._kept = None  # before the next ones: not both at once
        golden = torch.arange(flat.shape[1], dtype=torch.float64) * (5**0.5 - 1) / 2
        factors = (golden % 1 + 0.5).to(flat)
        spectra = filter_spectra(weight.detach(), tiling.size)
        self._kept = _Kept(spectra, source, flat @ factors, factors)
        return spectra

    def _measured(self, maps: Tensor, task: Task, tiling: Tiling) -> bool:
        """Return whether transforms are faster on this device, by trying both once."""
        device = maps.device
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else maps.dtype
        return fft_is_faster(task, tiling, self._padding, dtype, device, learns=self._learns(maps))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _uncompiled(layer: LargeConv2d, maps: Tensor) -> Tensor:
    """Convolve outside of compiled code: what was compiled would be the direct convolution."""
    return layer.forward(maps)


def _rows(weight: Float[Tensor, "o i kh kw"]) -> Float[Tensor, "o n"]:
    """Return each output's weights in a row, in the order of memory, without a copy."""
    row = weight[0].numel()
    if weight.stride(0) == row and weight.numel() == weight.untyped_storage().nbytes() // (
        weight.element_size()
    ):
        return weight.as_strided((len(weight), row), (row, 1))
    return weight.flatten(1)


def _gpus(device: torch.device) -> list[torch.device]:
    """Return the device if its random state is not the CPU's."""
    return [device] if device.type == "cuda" else []


@lru_cache(maxsize=256)
def fft_is_faster(
    task: Task,
    tiling: Tiling,
    padding: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    *,
    learns: bool,
) -> bool:
    """Time the direct convolution against that by transforms, on numbers drawn for it.

    Args:
        task: sizes.
        tiling: of the transforms.
        padding: zeros around the maps.
        dtype: of the direct convolution; transforms are float32.
        device: where.
        learns: time the backward pass, too.
    """
    from torch.utils import benchmark  # looks for compilers, and says so

    height, width = (
        side - 2 * pad + kernel - 1
        for side, pad, kernel in zip(task.result, padding, task.kernel, strict=True)
    )
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(_gpus(device)):
        maps = torch.rand(task.batch, task.inputs, height, width, device=device)
        weight = torch.rand(task.outputs, task.inputs, *task.kernel, device=device)
        spectra = None if learns else filter_spectra(weight, tiling.size)
        maps.requires_grad_(learns), weight.requires_grad_(learns)

        def direct() -> Tensor:
            return functional.conv2d(maps.to(dtype), weight.to(dtype), padding=padding)

        def transformed() -> Tensor:
            if learns:
                found: Tensor = Convolution.apply(maps, weight, padding, tiling)
                return found
            return convolve(maps, weight, padding, tiling, spectra)

        def median(convolution: Callable[[], Tensor]) -> float:
            def work() -> None:
                found = convolution()
                if learns:
                    torch.autograd.grad(found.sum(), (maps, weight))

            trial = benchmark.Timer("work()", globals={"work": work}, num_threads=threads)
            return float(trial.timeit(TRIALS).median)

        threads = torch.get_num_threads()
        return median(transformed) < median(direct)
