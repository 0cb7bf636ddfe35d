"""Run a network on crops of people: number format, memory layout, batches."""

import math
import warnings
from collections.abc import Sequence
from typing import Literal, TypedDict, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from uprightpose.errors import InputError, check_amount, reason
from uprightpose.large_conv import LargeConv2d
from uprightpose.model import STAGES, Outputs, PoseNet, decode_stage
from uprightpose.pipeline import MOST_WORKERS, memory
from uprightpose.refinement_net import RefinementNet
from uprightpose.score_maps import Decoded

Precision = Literal["float32", "bf16"]
"""Of products in convolutions; joints are decoded in float32 in any case."""

BEST_BATCH = {"cpu": 8, "cuda": 32}
"""People at a time where memory allows. On two EPYC cores a person of 128 pixels takes the shipped
network 33, 22, 20.7 and 20.8 core-milliseconds in batches of 1, 4, 8 and 16."""

BYTES_PER_PIXEL = 1000
"""Of memory that a crop takes at most on its way, per crop pixel: two of VGG's first maps."""

KERNEL_MEMORY = 2 << 30
"""Bytes that all large kernels of a network together may use by default."""


class Options(TypedDict, total=False):
    """How a network runs; nothing here changes its results beyond rounding, but ``"bf16"``.

    Attributes:
        precision: ``"bf16"`` computes products in 8 bits of mantissa. For GPUs and for CPUs
            that have instructions for it; others emulate it, 15 to 45 times slower than float32
            (measured with AVX2). On 24 LSP test people the 128-pixel network's joints move by
            0.03 crop pixels in the median and 1 in the 99th percentile, but 0.3 % of them by
            more than 2, where another peak became the highest: float32 stays the default.
        compile: let ``torch.compile`` build detector and refinement networks, which takes up
            to a minute, and again for the first single person; where that does not work (it
            needs a C++ compiler) a warning says so and the network runs as it is. On a CPU
            the 128-pixel network gains 2 %, so that it is off by default.
        batch: people at a time; by default :func:`automatic_batch`.
        memory: bytes for all large kernels of the network together, shared out equally: for
            the spectra of their filters, which are kept, and the temporaries of one batch. By
            default :data:`KERNEL_MEMORY`. With less they are cut into smaller tiles, or
            convolved directly, which is slower where kernels are wide.
    """

    precision: Precision
    compile: bool
    batch: int | None
    memory: int


@final
class Network:
    """A network that decodes the joints of any number of crops.

    Weights are kept channels-last, in which narrow large kernels are up to 3.5 times faster on a
    CPU where they convolve directly; ``uprightpose bench channels-last`` says what the shipped
    network gains. Numbers are the same up to rounding.

    Args:
        model: is moved to the device and into evaluation mode; its large kernels get their
            share of ``memory``.
        device: where it runs.
        size: side of the crops in pixels.
        precision: see :class:`Options`, as for the others.
        compile: see there.
        batch: see there.
        memory: see there.

    Attributes:
        batch: people at a time; halved when a GPU's memory does not hold them.
        compiled: whether ``torch.compile`` did its work.

    Raises:
        InputError: if ``batch`` or ``memory`` is no whole number of at least 1, or there is no
            such precision.
    """

    def __init__(
        self,
        model: PoseNet,
        device: torch.device,
        size: int,
        *,
        precision: Precision = "float32",
        compile: bool = False,
        batch: int | None = None,
        memory: int = KERNEL_MEMORY,
    ) -> None:
        """Move the network to the device."""
        if batch is not None:
            check_amount("batch", batch, "people at a time")
        check_amount("memory", memory, "bytes")
        if precision not in ("float32", "bf16"):
            raise InputError(f"precision: expected float32 or bf16, found {precision}")
        layout = torch.channels_last
        self.model = model.to(device).to(memory_format=layout).eval()
        self.device, self.size, self.precision = device, size, precision
        self.batch = batch or automatic_batch(size, device)
        large = [part for part in self.model.modules() if isinstance(part, LargeConv2d)]
        for part in large:
            part.memory = memory // len(large)
        self.compiled = compile and self._compile()

    def __call__(
        self, crops: UInt8[ndarray, "n s s 3"], stages: Sequence[str]
    ) -> dict[str, Decoded]:
        """Return each stage's joints ``(n, k, 2)`` in cells, and scores, on the CPU.

        Crops are taken in equal parts of at most :attr:`batch`.

        Args:
            crops: RGB; at least one.
            stages: names of stages that the network has, in order.

        Raises:
            InputError: if the memory of a GPU does not even hold one.
        """
        parts = np.array_split(crops, math.ceil(len(crops) / self.batch))
        found = [self._smaller_if_needed(part, stages) for part in parts]
        return {stage: _joined([one[stage] for one in found]) for stage in stages}

    def _smaller_if_needed(
        self, crops: UInt8[ndarray, "n s s 3"], stages: Sequence[str]
    ) -> dict[str, Decoded]:
        try:
            return self._decode(crops, stages)
        except torch.OutOfMemoryError as error:
            if len(crops) == 1:
                raise InputError(
                    f"{self.device}: its memory does not hold the network and one person; "
                    "free some of it or choose --device cpu"
                ) from error
        self.batch = min(self.batch, len(crops) // 2)
        return self(crops, stages)

    @torch.inference_mode()
    def _decode(
        self, crops: UInt8[ndarray, "n s s 3"], stages: Sequence[str]
    ) -> dict[str, Decoded]:
        images = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float()
        outputs = self._run(images, stages[-1])
        found = {}
        for stage in stages:
            decoded = decode_stage(outputs, stage)
            assert decoded is not None, stage  # the caller names what is there
            found[stage] = Decoded(decoded.joints.cpu(), decoded.scores.cpu())
        return found

    def _run(self, images: Float[Tensor, "b 3 s s"], last: str) -> Outputs:
        if self.precision == "float32":
            return self.model(images, last)  # type: ignore[no-any-return]
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.model(images, last)  # type: ignore[no-any-return]

    def _compile(self) -> bool:
        """Compile what holds nearly all arithmetic, for any batch, and see that it works.

        These are the detector and each refinement network. What turns maps and reads joints
        between them is Python with frames in its hands, which ``torch.compile`` cannot follow.
        """
        nets = (part for part in self.model.modules() if isinstance(part, RefinementNet))
        parts = [self.model.detector, *nets]
        images = torch.zeros(2, 3, self.size, self.size, device=self.device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own, about how it compiles
                for part in parts:
                    part.compile(dynamic=True)
                with torch.inference_mode():
                    self._run(images, STAGES[-1])
        except Exception as error:  # torch names no common class of what may go wrong
            said = f"compile: runs uncompiled, torch.compile failed: {reason(error)}"
            warnings.warn(said, stacklevel=4)
            for part in parts:
                part._compiled_call_impl = None
            return False
        return True


def automatic_batch(size: int, device: torch.device) -> int:
    """Return how many people to take at a time.

    The number of :data:`BEST_BATCH`, or what a quarter of the free memory of a GPU, or of this
    machine's memory among all threads, holds by :data:`BYTES_PER_PIXEL`.

    Args:
        size: side of the crops in pixels.
        device: where the network runs.

    Example:
        >>> automatic_batch(128, torch.device("cpu")) in range(1, 9)
        True
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = memory() // min(max(torch.get_num_threads(), 2), MOST_WORKERS)
    fits = free // 4 // (BYTES_PER_PIXEL * size**2)
    return int(min(max(fits, 1), BEST_BATCH.get(device.type, BEST_BATCH["cuda"])))


def _joined(found: Sequence[Decoded]) -> Decoded:
    return Decoded(
        torch.cat([one.joints for one in found]), torch.cat([one.scores for one in found])
    )
