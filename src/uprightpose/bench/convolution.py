"""Large kernels by Fourier transforms against the direct convolution, at the paper's sizes.

One layer is 15 x 15 cells, 128 channels to 128, on maps of 64 x 64 (SPEC 1.9: 64 x 64 is the
hourglass's size). The floor is that of the direct convolution: transforms go below it.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from uprightpose.bench.growth import forget_peak, memory_now, peak_megabytes
from uprightpose.bench.timing import Cases, Comparison
from uprightpose.conv_plan import Task
from uprightpose.large_conv import LargeConv2d, Method
from uprightpose.refinement_net import RefinementNet

SIDE, CHANNELS, KERNEL = 64, 128, 15

NETWORKS = ((15, 15), (15, 2), (3, 3), (3, 3), (3, 3), (3, 3))
"""Maps in and out of the six refinement networks: whole body, semi-global, four limbs."""

TOLERANCE = 1e-5
"""Relative, of the largest value, that the two ways may differ by."""


def layer(batch: int, bar: float, side: int = SIDE, channels: int = CHANNELS) -> Comparison:
    """Compare one layer, its spectra kept as in inference."""
    torch.manual_seed(0)
    fft = LargeConv2d(channels, channels, KERNEL, padding="same", method="fft").eval()
    direct = nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2).eval()
    direct.load_state_dict(fft.state_dict())
    last = nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2).eval()
    last.load_state_dict(fft.state_dict())
    last = last.to(memory_format=torch.channels_last)
    maps = torch.rand(batch, channels, side, side)
    maps_last = maps.contiguous(memory_format=torch.channels_last)
    cells = batch * side**2
    return Comparison(
        name=f"conv-layer-batch{batch}",
        task=f"one {KERNEL}x{KERNEL}x{channels}x{channels} layer on {batch} x {side}x{side} maps",
        ours="FFT",
        contenders={
            "FFT": frozen(lambda: fft(maps)),
            "conv2d": frozen(lambda: direct(maps)),
            "conv2d, channels last": frozen(lambda: last(maps_last)),
        },
        check=agreement("FFT"),
        bars={"conv2d": bar},
        operations=2.0 * cells * channels**2 * KERNEL**2,
        moved=4.0 * (2 * cells * channels + channels**2 * KERNEL**2),
        notes=memory_notes(fft, maps) | measured_memory("inference", batch, side, channels),
    )


def network(batch: int, bar: float, side: int = SIDE, width: int = CHANNELS) -> Comparison:
    """Compare one whole refinement network in inference."""
    fft, direct = networks(NETWORKS[:1], width)
    maps = torch.rand(batch, 15, side, side)
    return Comparison(
        name=f"conv-network-batch{batch}",
        task=f"one refinement network, {width} channels, on {batch} x {side}x{side} maps",
        ours="FFT",
        contenders={
            "FFT": frozen(lambda: fft[0](maps)),
            "conv2d": frozen(lambda: direct[0](maps)),
        },
        check=agreement("FFT"),
        bars={"conv2d": bar},
        operations=2.0 * batch * side**2 * multiplications(fft[0]),
    )


def six_networks(batch: int, bar: float, side: int = SIDE, width: int = CHANNELS) -> Comparison:
    """Compare all six refinement networks, of the same maps each."""
    fft, direct = networks(NETWORKS, width)
    maps = torch.rand(batch, 15, side, side)

    def run(nets: Sequence[nn.Module]) -> Tensor:
        found = [net(maps[:, :inputs]) for net, (inputs, _) in zip(nets, NETWORKS, strict=True)]
        return torch.cat(found, dim=1)

    return Comparison(
        name=f"conv-six-networks-batch{batch}",
        task=f"all six refinement networks, {width} channels, on {batch} x {side}x{side} maps",
        ours="FFT",
        contenders={"FFT": frozen(lambda: run(fft)), "conv2d": frozen(lambda: run(direct))},
        check=agreement("FFT"),
        bars={"conv2d": bar},
        operations=2.0 * batch * side**2 * sum(map(multiplications, fft)),
    )


def training(batch: int, bar: float, side: int = SIDE, width: int = CHANNELS) -> Comparison:
    """Compare a training step of one network: forward, backward, for maps and weights."""
    fft, direct = networks(NETWORKS[:1], width)
    maps = torch.rand(batch, 15, side, side)
    goal = torch.rand(batch, 15, side, side).round()

    def step(net: nn.Module) -> Callable[[], tuple[Tensor, ...]]:
        def work() -> tuple[Tensor, ...]:
            inputs = maps.clone().requires_grad_()
            loss = functional.binary_cross_entropy_with_logits(net(inputs), goal)
            return torch.autograd.grad(loss, (inputs, *net.parameters()))

        return work

    return Comparison(
        name=f"conv-training-batch{batch}",
        task=f"a training step of one refinement network, {width} channels, "
        f"on {batch} x {side}x{side} maps",
        ours="FFT",
        contenders={"FFT": step(fft[0].train()), "conv2d": step(direct[0].train())},
        check=agreement("FFT"),
        bars={"conv2d": bar},
        operations=6.0 * batch * side**2 * multiplications(fft[0]),
        notes=measured_memory("training", batch, side, width),
    )


def choice(side: int = 40, width: int = 8, batch: int = 8) -> Comparison:
    """Compare what the model of costs chose with both ways, at the shipped model's size."""
    torch.manual_seed(0)
    methods: tuple[Method, ...] = ("auto", "fft", "direct")
    layers = {
        method: LargeConv2d(width, width, KERNEL, padding="same", method=method).eval()
        for method in methods
    }
    for one in layers.values():
        one.load_state_dict(layers["auto"].state_dict())
    maps = torch.rand(batch, width, side, side)
    with torch.inference_mode():
        chosen = "direct" if layers["auto"].tiling(maps) is None else "fft"
    return Comparison(
        name="conv-choice",
        task=f"one {KERNEL}x{KERNEL}x{width}x{width} layer on {batch} x {side}x{side} maps, "
        "the way chosen by the model of costs",
        ours="auto",
        contenders={name: frozen(partial(one, maps)) for name, one in layers.items()},
        check=agreement("auto"),
        notes={"chosen": chosen},
    )


def networks(
    shapes: Sequence[tuple[int, int]], width: int
) -> tuple[list[RefinementNet], list[RefinementNet]]:
    """Return networks that transform, and the same ones that do not, both for inference."""
    torch.manual_seed(0)
    fft = [RefinementNet(*shape, width, method="auto").eval() for shape in shapes]
    direct = [RefinementNet(*shape, width, method="direct").eval() for shape in shapes]
    for one, other in zip(fft, direct, strict=True):
        other.load_state_dict(one.state_dict())
    return fft, direct


def multiplications(net: nn.Module) -> int:
    """Return a network's multiplications per cell."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    return sum(layer.weight.numel() for layer in layers)


def frozen(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return the same work without gradients."""

    def run() -> Tensor:
        with torch.inference_mode():
            return work()

    return run


def agreement(ours: str) -> Callable[[dict[str, Any]], str]:
    """Return a check that all outputs are ours, each relative to its largest value."""

    def parts(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (output,) if isinstance(output, Tensor) else output

    def check(outputs: dict[str, Any]) -> str:
        worst = 0.0
        for output in outputs.values():
            for one, own in zip(parts(output), parts(outputs[ours]), strict=True):
                worst = max(worst, float((one - own).abs().max() / one.abs().max()))
        assert worst < TOLERANCE, f"relative difference {worst:.1e}, expected < {TOLERANCE:.0e}"
        return f"largest difference {worst:.1e} of the largest value"

    return check


def memory_notes(layer: LargeConv2d, maps: Tensor) -> dict[str, float | str]:
    """Return what a layer holds and uses."""
    with torch.inference_mode():  # as it is timed: spectra are kept
        tiling = layer.tiling(maps)
    assert tiling is not None
    kernel = (layer.kernel_size[0], layer.kernel_size[1])
    size = (maps.shape[-2], maps.shape[-1])
    task = Task(len(maps), layer.in_channels, layer.out_channels, size, kernel)
    return {
        "tiles": f"{tiling.size[0]}x{tiling.size[1]} cells, {tiling.grid[0]}x{tiling.grid[1]} a "
        f"map, {tiling.chunk} maps at a time",
        "spectra kept, MB": round(tiling.spectra(task) / 2**20, 1),
        "spectra and temporaries, MB": round(tiling.memory(task, kept=True) / 2**20, 1),
    }


Mode = Literal["inference", "training"]


def measured_memory(
    mode: Mode, batch: int, side: int, channels: int, allowed: Sequence[int] = (64, 128, 336)
) -> dict[str, float | str]:
    """Return the memory that one layer takes, measured in a process of its own for each setting.

    Beside maps and weights, which are there before; the result and gradients are in it.

    Args:
        mode: ``"inference"``, or the forward and backward pass of ``"training"``.
        batch: maps.
        side: of the maps, in cells.
        channels: in and out.
        allowed: megabytes that the layer may use.

    Raises:
        CalledProcessError: if a process fails; it says why on stderr.
    """
    notes: dict[str, float | str] = {}
    for megabytes in allowed:
        words = (mode, *map(str, (batch, side, channels, megabytes)))
        command = [sys.executable, "-m", __name__, *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rise, own = map(float, done.stdout.split())
        text = f"{rise:.0f}, {own:.0f} of it the result" + (mode == "training") * " and gradients"
        name = f"memory that one layer takes where {megabytes} MB are allowed, MB"
        notes[name] = text if rise else "not known"
    return notes


def _main(mode: Mode, *numbers: str) -> None:
    """Print by how much memory rises in one pass, and what the result and gradients are of it."""
    batch, side, channels, allowed = map(int, numbers)
    small = LargeConv2d(8, 8, KERNEL, padding="same", method="fft")
    small(torch.rand(1, 8, side, side).requires_grad_()).sum().backward()  # loads libraries
    layer = LargeConv2d(channels, channels, KERNEL, padding="same", method="fft")
    layer.memory = allowed << 20
    maps, slope = torch.rand(2, batch, channels, side, side)
    if mode == "inference":
        layer.eval().requires_grad_(False)
    else:
        maps.requires_grad_()
    before = memory_now() if forget_peak() else 0.0
    found = [layer(maps)]
    if mode == "training":
        found += torch.autograd.grad(found[0], [maps, *layer.parameters()], slope)
    own = sum(one.nbytes for one in found) / 2**20
    print(peak_megabytes() - before if before else 0.0, own)


CASES: Cases = {
    "conv-layer-batch1": lambda _threads: layer(1, 6),
    "conv-layer-batch8": lambda _threads: layer(8, 15),
    "conv-network-batch1": lambda _threads: network(1, 5),
    "conv-network-batch8": lambda _threads: network(8, 8),
    "conv-training-batch4": lambda _threads: training(4, 5),
    "conv-six-networks-batch1": lambda _threads: six_networks(1, 1 / 0.15),
    "conv-six-networks-batch8": lambda _threads: six_networks(8, 10),
    "conv-choice": lambda _threads: choice(),
}
"""The bars of one layer, one network, a training step, and six networks."""


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
