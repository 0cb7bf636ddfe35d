"""How a large convolution is cut into tiles for its Fourier transforms, and what that costs.

Overlap-save: the output is cut into tiles of ``step`` cells; each needs ``step + kernel - 1``
cells of the input, which are transformed at ``size`` cells, no fewer. Large tiles overlap less,
small ones have fewer frequencies to keep filters for: what is best depends on batch, map size
and memory. Costs are modelled, not measured at run time, so that one recipe gives one result;
``uprightpose bench conv-choice`` shows the model against measurements.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

COMPLEX = 8
"""Bytes of a complex number of two float32."""

COPIES = 5
"""Of a chunk's spectra or tiles that are there at once: two of what goes in or the product, three
within a transform; while learning the same."""

WORKSPACE = 24 << 20
"""Bytes of one temporary at most: the allocators of C libraries give larger ones back to the
system at once, and to get them again costs more than to transform what is in them."""

MOST_TILES = 8
"""Along one side; more of them mean more overlap than work saved."""


class Task(NamedTuple):
    """Sizes of one convolution of stride 1.

    Attributes:
        batch: maps at a time.
        inputs: channels in.
        outputs: channels out.
        result: ``(h, w)`` cells out.
        kernel: ``(h, w)`` cells.
    """

    batch: int
    inputs: int
    outputs: int
    result: tuple[int, int]
    kernel: tuple[int, int]


class Tiling(NamedTuple):
    """How a task is cut.

    Attributes:
        size: ``(h, w)`` cells of a transform.
        step: ``(h, w)`` cells of output per tile.
        grid: rows and columns of tiles.
        chunk: maps transformed at a time.
    """

    size: tuple[int, int]
    step: tuple[int, int]
    grid: tuple[int, int]
    chunk: int

    @property
    def frequencies(self) -> int:
        """Of a real tile: half of the columns' and one more."""
        return self.size[0] * (self.size[1] // 2 + 1)

    @property
    def tiles(self) -> int:
        """Of one map."""
        return self.grid[0] * self.grid[1]

    def spectra(self, task: Task) -> int:
        """Return the bytes of the spectra of all filters."""
        return self.frequencies * task.inputs * task.outputs * COMPLEX

    def workspace(self, task: Task) -> int:
        """Return the bytes of all temporaries of one chunk: tiles and spectra, in and out."""
        return COPIES * self.chunk * _temporary(self, task)

    def memory(self, task: Task, *, kept: bool) -> int:
        """Return the bytes of all that a convolution, or to learn by it, needs at once.

        Maps, weights, the result and gradients come on top; so does what the system's allocator
        holds back. Float64 takes twice as much.

        Args:
            task: what was cut.
            kept: the filters' spectra are, and nothing learns.
        """
        share = task.kernel[0] / self.size[0]  # of a half-made spectrum in a whole one
        block = min(WORKSPACE, self.spectra(task))
        making = int(block * (max(1 + share, 2.5 * share) + share**2))
        if kept:
            return self.spectra(task) + max(self.workspace(task), making)
        return self.workspace(task) + making


class Costs(NamedTuple):
    """Seconds per unit of work, fitted by ``benchmarks/fit_conv_costs.py``.

    Only their proportions decide anything: a machine twice as fast has other seconds and makes
    the same choices.

    Attributes:
        direct: per multiplication of a direct convolution.
        transform: per ``n log2 n`` of a map tile's ``n`` cells, moved about and transformed.
        load: per complex number of the filters' spectra, read from memory.
        multiply: per complex multiplication of maps by filters.
        filters: per multiplication of a filter's own transform.
        call: per call of torch, whatever its size.
    """

    direct: float = 0.0
    transform: float = 0.0
    load: float = 0.0
    multiply: float = 0.0
    filters: float = 0.0
    call: float = 0.0


COSTS = Costs(
    direct=1.4e-11,
    transform=2.5e-10,
    load=4.5e-10,
    multiply=7.2e-11,
    filters=1.3e-10,
    call=1.4e-5,
)


def direct_work(task: Task, *, channels_last: bool = False, learns: bool = False) -> Costs:
    """Return how much there is of each work in a direct convolution.

    Its outputs come in eights. In the usual order of numbers few of them use the processor
    badly, as if there were 27 more; with channels last they do not. To learn takes two more
    convolutions: for the gradient of the maps and for that of the weights.
    """
    cells = task.batch * math.prod(task.result) * math.prod(task.kernel)
    outputs = 8 * math.ceil(task.outputs / 8)
    channels = task.inputs * (outputs if channels_last else 0.86 * (outputs + 27))
    return Costs(direct=(3.3 if learns else 1) * cells * channels)


def fft_work(task: Task, tiling: Tiling, *, kept: bool, learns: bool = False) -> Costs:
    """Return how much there is of each work in a convolution by Fourier transforms.

    Args:
        task: the convolution.
        tiling: its tiles.
        kept: the filters' spectra are there already.
        learns: with the gradients: three more sets of maps are transformed, and there are
            three products and three transforms of filters in all.
    """
    chunks = math.ceil(task.batch / tiling.chunk)
    cells, tiles = math.prod(tiling.size), task.batch * tiling.tiles
    pairs = task.inputs * task.outputs
    filters = tiling.frequencies * pairs
    height, width = task.kernel
    columns = tiling.size[1] // 2 + 1
    own = pairs * height * columns * (width + tiling.size[0])
    blocks = math.ceil(filters * COMPLEX / WORKSPACE)
    channels = task.inputs + task.outputs
    transforms = channels + learns * (channels + task.outputs)
    products = 3 if learns else 1
    calls = (20 + 8 * tiling.tiles) * (2.5 if learns else 1)
    return Costs(
        transform=tiles * transforms * cells * math.log2(cells),
        load=products * chunks * filters,
        multiply=products * tiles * filters,
        filters=0 if kept else products * chunks * own,
        call=chunks * (calls + (0 if kept else products * blocks * (20 + columns))),
    )


def seconds(work: Costs, costs: Costs = COSTS) -> float:
    """Return what an amount of each work costs."""
    return sum(amount * cost for amount, cost in zip(work, costs, strict=True))


@lru_cache(maxsize=256)
def best_tiling(task: Task, memory: int, *, kept: bool, learns: bool = False) -> Tiling | None:
    """Return the tiling that costs least within ``memory`` bytes, ``None`` if none fits.

    Args:
        task: the convolution.
        memory: see :meth:`Tiling.memory`.
        kept: keep the spectra of the filters for the next call.
        learns: with the gradients.

    Example:
        >>> best_tiling(Task(1, 128, 128, (64, 64), (15, 15)), 1 << 28, kept=True)
        Tiling(size=(36, 48), step=(22, 34), grid=(3, 2), chunk=1)
    """
    found = [tiling for tiling in tilings(task) if tiling.memory(task, kept=kept) <= memory]
    return min(
        found,
        key=lambda tiling: seconds(fft_work(task, tiling, kept=kept, learns=learns)),
        default=None,
    )


def fft_wins(
    task: Task, tiling: Tiling, *, kept: bool, channels_last: bool = False, learns: bool = False
) -> bool:
    """Say whether transforms cost less than the direct convolution."""
    direct = direct_work(task, channels_last=channels_last, learns=learns)
    return seconds(fft_work(task, tiling, kept=kept, learns=learns)) < seconds(direct)


def smallest_tiling(task: Task, *, kept: bool) -> Tiling:
    """Return the tiling that needs least memory, for who insists on transforms."""
    return min(tilings(task), key=lambda tiling: tiling.memory(task, kept=kept))


def tilings(task: Task) -> Iterator[Tiling]:
    """Yield every sensible grid, with as many maps in a chunk as the workspace holds, and one."""
    rows, columns = (_sides(r, k) for r, k in zip(task.result, task.kernel, strict=True))
    for down, step_h, size_h in rows:
        for across, step_w, size_w in columns:
            one = Tiling((size_h, size_w), (step_h, step_w), (down, across), 1)
            chunk = min(task.batch, max(1, WORKSPACE // _temporary(one, task)))
            even = math.ceil(task.batch / math.ceil(task.batch / chunk))
            yield one._replace(chunk=even)
            if even > 1:
                yield one


def _sides(result: int, kernel: int) -> list[tuple[int, int, int]]:
    """Return number, step and size of tiles along one side."""
    found = []
    for count in range(1, min(MOST_TILES, result) + 1):
        size = transform_size(math.ceil(result / count) + kernel - 1)
        step = min(result, size - kernel + 1)
        if math.ceil(result / step) == count:
            found.append((count, step, size))
    return found


def transform_size(cells: int) -> int:
    """Return the next even number of cells that has no prime factor above 5.

    Example:
        >>> [transform_size(cells) for cells in (1, 35, 36, 46, 78)]
        [2, 36, 36, 48, 80]
    """
    size = cells + cells % 2
    while _rest(size) > 1:
        size += 2
    return size


def _rest(size: int) -> int:
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    return size


def _temporary(tiling: Tiling, task: Task) -> int:
    """Return the bytes of one map's spectra, of inputs or outputs, whichever are more."""
    return tiling.tiles * tiling.frequencies * max(task.inputs, task.outputs) * COMPLEX
