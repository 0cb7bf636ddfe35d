"""What a refinement network's channels cost: milliseconds per person and parameters.

    python benchmarks/refine_width.py

One training step (forward and backward) of the body network and of the five networks of stage 2
at the sizes of ``recipes/compact.yaml``, in bf16 as there. Channels are measured in turn, several
rounds, medians; compare rows of one run only.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch

from uprightpose import LSP, BodyRefiner, LimbRefiner
from uprightpose.weights import count_parameters

BATCH, SIDE, ROUNDS, WIDTHS = 16, 32, 5, (8, 16, 32)


def steps(width: int) -> tuple[int, Callable[[], None], Callable[[], None]]:
    """Return the parameters and one training step of each stage."""
    torch.manual_seed(0)
    body = BodyRefiner(LSP, width=width, canvas=1.25, residual=True)
    limbs = LimbRefiner(LSP, width=width, canvas=1.25, limb_canvas=0.875, residual=True)
    body, limbs = (net.to(memory_format=torch.channels_last) for net in (body, limbs))
    maps = torch.rand(BATCH, 15, SIDE, SIDE)
    upright = body.refine(maps)
    inputs = upright.maps.detach()

    def body_step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            refined = body.refine(maps)
        refined.scores.mean().backward()

    def limbs_step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            parts = limbs.refine(inputs, upright.rotation, (SIDE, SIDE))
        torch.stack([part.scores.mean() for part in parts]).sum().backward()

    return count_parameters(body) + count_parameters(limbs), body_step, limbs_step


def main() -> None:
    """Measure and print one line per width."""
    torch.set_flush_denormal(True)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, batch {BATCH}, maps {SIDE} x {SIDE}")
    built = {width: steps(width) for width in WIDTHS}
    seconds: dict[tuple[int, str], list[float]] = {}
    for _ in range(ROUNDS):
        for width, (_, *both) in built.items():
            for name, step in zip(("body", "limbs"), both, strict=True):
                start = time.perf_counter()
                step()
                seconds.setdefault((width, name), []).append(time.perf_counter() - start)
    print("channels  parameters  body ms/person  limbs ms/person")
    for width, (parameters, *_) in built.items():
        body, limbs = (
            1000 * statistics.median(seconds[width, name]) / BATCH for name in ("body", "limbs")
        )
        print(f"{width:8}  {parameters:10}  {body:14.2f}  {limbs:15.2f}")


if __name__ == "__main__":
    main()
