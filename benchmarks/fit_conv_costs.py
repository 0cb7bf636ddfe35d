"""Fit the model of costs that chooses how large kernels are convolved (conv_plan.COSTS).

    python benchmarks/fit_conv_costs.py

Times direct convolutions (channels last, as in prediction and training) and those by Fourier
transforms over sizes that refinement meets, each
alone and with gradients, and prints the seconds per unit of work that explain them best, in
relative error. Then it says how much would be lost by going by the model.
"""

import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import nnls
from torch.nn import functional

from uprightpose.bench.machine import measure_machine
from uprightpose.conv_plan import Costs, Task, Tiling, direct_work, fft_work, seconds, tilings
from uprightpose.fft_convolution import Convolution, convolve, filter_spectra

CHANNELS = ((3, 128), (15, 128), (128, 128), (64, 64), (32, 32), (16, 16), (15, 8), (8, 8))
SHAPES = ((24, 5), (24, 9), (24, 15), (40, 7), (40, 9), (40, 15), (64, 9), (64, 15), (96, 15))
BATCHES = (1, 8)
ROUNDS = 5
TRIED = 2
"""Tilings of each task: the best by the model as it stands, and some further on."""


def fastest(work: Callable[[], object]) -> float:
    """Return the least of some wall times, after a warm-up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def measured(task: Task) -> list[tuple[str, Costs, float]]:
    """Return kind, amount of work and seconds of each way to do a task."""
    pad = tuple(side // 2 for side in task.kernel)
    maps = torch.rand(task.batch, task.inputs, *task.result)
    weight = torch.randn(task.outputs, task.inputs, *task.kernel) * 0.01
    goal = torch.rand(task.batch, task.outputs, *task.result)
    learning = (maps.clone().requires_grad_(), weight.clone().requires_grad_())
    found: list[tuple[str, Costs, float]] = []

    def learn(
        function: Callable[[], torch.Tensor], inputs: tuple[torch.Tensor, ...] = learning
    ) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(), inputs, goal)

    last = [each.contiguous(memory_format=torch.channels_last) for each in (maps, weight)]
    with torch.no_grad():
        time_direct = fastest(lambda: functional.conv2d(*last, padding=pad))
    found.append(("direct", direct_work(task), time_direct))
    learning_last = tuple(each.detach().requires_grad_() for each in last)
    trains = learn(lambda: functional.conv2d(*learning_last, padding=pad), learning_last)
    found.append(("direct learns", direct_work(task, learns=True), fastest(trains)))
    for kept, learns in ((True, False), (False, True)):
        kind = "fft learns" if learns else "fft"
        ranked = sorted(
            (t for t in tilings(task) if t.spectra(task) < 2e8),
            key=lambda t: seconds(fft_work(task, t, kept=kept, learns=learns)),
        )
        for tiling in ranked[:: max(1, len(ranked) // (2 * TRIED))][:TRIED]:
            found.append(
                (
                    kind,
                    fft_work(task, tiling, kept=kept, learns=learns),
                    fft_time(task, tiling, maps, weight, learn if learns else None, learning),
                )
            )
    return found


def fft_time(task, tiling: Tiling, maps, weight, learn, learning) -> float:
    """Return the seconds of one tiling."""
    pad = tuple(side // 2 for side in task.kernel)
    if learn is not None:
        return fastest(learn(lambda: Convolution.apply(*learning, pad, tiling)))
    with torch.no_grad():
        spectra = filter_spectra(weight, tiling.size)
        return fastest(lambda: convolve(maps, weight, pad, tiling, spectra))


def main() -> None:
    """Measure, fit and print."""
    print(measure_machine(torch.get_num_threads()))
    tasks = [
        Task(batch, *channels, (side, side), (kernel, kernel))
        for batch, channels, (side, kernel) in itertools.product(BATCHES, CHANNELS, SHAPES)
        if batch * channels[0] * channels[1] * side**2 * kernel**2 < 1.6e10
    ]
    rows = [(task, *row) for task in tasks for row in measured(task)]
    work = np.array([amount for _, _, amount, _ in rows], dtype=float)
    taken = np.array([found for *_, found in rows])
    scale = work.max(axis=0)
    fitted = nnls(work / scale / taken[:, None], np.ones(len(rows)))[0] / scale
    costs = Costs(*map(float, fitted))
    print(costs)
    for kind in ("direct", "direct learns", "fft", "fft learns"):
        off = [seconds(a, costs) / t for _, k, a, t in rows if k == kind]
        low, mid, high = np.percentile(off, [5, 50, 95])
        print(f"{kind:14} model over measured: {low:.2f} {mid:.2f} {high:.2f} (5, 50, 95 %)")
    for ending in ("", " learns"):
        lost, wrong = [], 0
        for task in tasks:
            mine = [(k, a, t) for at, k, a, t in rows if at == task and k.endswith(ending)]
            mine = [r for r in mine if (" learns" in r[0]) == bool(ending)]
            chosen = min(mine, key=lambda row: seconds(row[1], costs))
            best = min(mine, key=lambda row: row[2])
            lost.append(chosen[2] / best[2])
            wrong += chosen[0] != best[0]
        print(
            f"choice{ending}: {wrong} of {len(tasks)} the slower kind; time over the best "
            f"{statistics.mean(lost):.3f} on average, {max(lost):.2f} at worst"
        )


if __name__ == "__main__":
    main()
