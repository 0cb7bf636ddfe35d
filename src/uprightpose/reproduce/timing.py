"""Milliseconds per person of the parts of a way from picture to joints, side by side."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from uprightpose.framed import merge_joints
from uprightpose.model import PoseNet
from uprightpose.reproduce.refiner_arms import Refiners, refine_body, refine_limbs
from uprightpose.reproduce.study_plan import LARGER, SCOUT
from uprightpose.scout import average_down
from uprightpose.skeletons import LSP

PEOPLE = 8
"""In a batch."""

ROUNDS = 9
"""Each part runs once in every round; the median counts."""


@torch.inference_mode()
def time_parts(
    detector: PoseNet, scout: PoseNet, refiners: Refiners, larger: PoseNet | None = None
) -> dict[str, float]:
    """Return milliseconds per person by part, with the threads that torch has now.

    Args:
        detector: one pass over a person's picture is ``"detector"``.
        scout: ``"scout"``, on the same picture averaged down.
        refiners: ``"body refinement"``, and ``"limbs refinement"``, which holds the body's.
        larger: ``"larger detector"``, on larger pictures.
    """
    images = _pictures(128)
    maps = detector.image_maps(detector(images, "detector").detector)

    def limbs() -> None:
        parts = refine_limbs(refiners.limbs, refine_body(refiners.body, maps, None), maps)
        merge_joints(parts, len(LSP.joints), merge=refiners.limbs.merge)

    def body() -> None:
        merge_joints((refine_body(refiners.body, maps, None),), len(LSP.joints))

    def look() -> None:
        scout(average_down(images, SCOUT), "detector").detector.decode()

    parts: dict[str, Callable[[], object]] = {
        "detector": lambda: detector(images, "detector").detector.decode(),
        "scout": look,
        "body refinement": body,
        "limbs refinement": limbs,
    }
    if larger is not None:
        pictures = _pictures(LARGER)
        parts["larger detector"] = lambda: larger(pictures, "detector").detector.decode()
    return time_calls(parts)


def time_calls(parts: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return milliseconds per person of calls that each see :data:`PEOPLE`, taken by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS + 1):  # the first is not counted
        for name, run in parts.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return {name: float(np.median(own[1:])) * 1e3 / PEOPLE for name, own in seconds.items()}


def _pictures(side: int) -> Float[Tensor, "b 3 s s"]:
    noise = torch.rand(PEOPLE, 3, side, side).mul(255)
    return noise.contiguous(memory_format=torch.channels_last)
