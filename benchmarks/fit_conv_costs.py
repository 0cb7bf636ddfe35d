"""Fit the model of costs that chooses how large kernels are convolved (conv_plan.COSTS).

    python benchmarks/fit_conv_costs.py

Times direct convolutions (in the layer's order of numbers, as in prediction and training) and those
by Fourier transforms over sizes that refinement meets, each alone and with gradients, and prints
the seconds per unit of work that explain them best, in relative error. Then it says how much
would be lost by going by the model.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional

from uprightpose.bench.machine import measure_machine
from uprightpose.conv_plan import Costs, Task, Tiling, direct_work, fft_work, seconds, tilings
from uprightpose.fft_convolution import Convolution, convolve, filter_spectra
from uprightpose.large_conv import WIDEST_LAST

CHANNELS = ((3, 8), (15, 8), (8, 8), (32, 32), (3, 128), (15, 128), (128, 128))
SHAPES = ((24, 5), (40, 9), (40, 15), (64, 15))
BATCHES = (1, 8)
ROUNDS = 3
LARGEST = 8e9
"""Multiplications of a direct convolution: more would take minutes."""


def fastest(work: Callable[[], object]) -> float:
    """Return the least of some wall times, after a warm-up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


Row = tuple[Task, bool, bool, Costs, float]
"""Task, by transforms?, with gradients?, amount of work, seconds."""


def measured(task: Task) -> Iterator[Row]:
    """Yield each way to do a task: directly and by the best two tilings."""
    pad = (task.kernel[0] // 2, task.kernel[1] // 2)
    maps = torch.rand(task.batch, task.inputs, *task.result)
    weight = torch.randn(task.outputs, task.inputs, *task.kernel) * 0.01
    goal = torch.rand(task.batch, task.outputs, *task.result)
    for learns in (False, True):
        last = not learns or task.kernel[1] <= WIDEST_LAST
        layout = torch.channels_last if last else torch.contiguous_format
        inputs = [each.requires_grad_(learns) for each in (maps, weight)]
        ordered = [
            each.detach().contiguous(memory_format=layout).requires_grad_(learns) for each in inputs
        ]
        directly = partial(functional.conv2d, padding=pad)
        work = direct_work(task, channels_last=last, learns=learns)
        yield task, False, learns, work, fastest(partial(run, directly, ordered, goal))
        costs = {
            tiling: seconds(fft_work(task, tiling, kept=not learns, learns=learns))
            for tiling in tilings(task)
        }
        ranked = sorted(costs, key=lambda tiling: costs[tiling])
        for tiling in (ranked[0], ranked[len(ranked) // 4]):
            transformed: Callable[..., Tensor]
            if learns:
                transformed = partial(by_transforms, pad=pad, tiling=tiling)
            else:
                spectra = filter_spectra(weight, tiling.size)
                transformed = partial(convolve, padding=pad, tiling=tiling, spectra=spectra)
            work = fft_work(task, tiling, kept=not learns, learns=learns)
            yield task, True, learns, work, fastest(partial(run, transformed, inputs, goal))


def by_transforms(maps: Tensor, weight: Tensor, pad: tuple[int, int], tiling: Tiling) -> Tensor:
    """Convolve so that gradients flow."""
    found: Tensor = Convolution.apply(maps, weight, pad, tiling)
    return found


def run(way: Callable[..., Tensor], inputs: list[Tensor], goal: Tensor) -> object:
    """Convolve, and back if the inputs learn."""
    found = way(*inputs)
    return torch.autograd.grad(found, inputs, goal) if inputs[0].requires_grad else found


def fitted(rows: list[Row]) -> Costs:
    """Return the seconds per unit of work that explain the measurements, in relative error."""
    work = np.array([amount for *_, amount, _ in rows])
    taken = np.array([seconds for *_, seconds in rows])
    scale = np.maximum(work.max(axis=0), 1)
    return Costs(*(nnls(work / scale / taken[:, None], np.ones(len(rows)))[0] / scale).tolist())


def main() -> None:
    """Measure, fit and print."""
    print(measure_machine(torch.get_num_threads()))
    tasks = [
        Task(batch, *channels, (side, side), (kernel, kernel))
        for batch, channels, (side, kernel) in itertools.product(BATCHES, CHANNELS, SHAPES)
        if batch * math.prod(channels) * side**2 * kernel**2 < LARGEST
    ]
    rows = [row for task in tasks for row in measured(task)]
    # Direct gradients scatter too much to fit: they are priced as 3.3 convolutions (direct_work).
    direct = [row for row in rows if not row[1] and not row[2]]
    costs = Costs(*map(sum, zip(fitted(direct), fitted([r for r in rows if r[1]]), strict=True)))
    print(costs)
    for transformed, learns in itertools.product((False, True), repeat=2):
        off = [seconds(r[3], costs) / r[4] for r in rows if r[1:3] == (transformed, learns)]
        low, mid, high = np.percentile(off, [5, 50, 95])
        name = ("FFT" if transformed else "direct") + (", with gradients" if learns else "")
        print(f"{name:22} model over measured: {low:.2f} {mid:.2f} {high:.2f} (5, 50, 95 %)")
    for learns in (False, True):
        lost, wrong = [], 0
        for task in tasks:
            ways = [row for row in rows if (row[0], row[2]) == (task, learns)]
            chosen = min(ways, key=lambda row: seconds(row[3], costs))
            best = min(ways, key=lambda row: row[4])
            lost.append(chosen[4] / best[4])
            wrong += chosen[1] != best[1]
        print(
            f"choice{', with gradients' if learns else ''}: {wrong} of {len(tasks)} the slower "
            f"kind; time over the best {statistics.mean(lost):.3f} on average, {max(lost):.2f} "
            "at worst"
        )


if __name__ == "__main__":
    main()
