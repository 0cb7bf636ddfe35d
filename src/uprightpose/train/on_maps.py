"""Refinement learns on score maps that lie ready, of any detector: no picture is needed.

A frozen detector gives the same maps each time; made once, they teach any number of refiners at
the cost of the refiners alone. To be of use the maps must be of people that the detector was not
trained on (SPEC 1.16).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

from uprightpose.data.sample import State
from uprightpose.errors import InputError
from uprightpose.framed import FramedMaps
from uprightpose.losses import framed_loss, truth
from uprightpose.skeletons import Skeleton

Refine = Callable[[Tensor, Tensor], Sequence[FramedMaps]]
"""Maps of some people, and which ones, -> the parts that learn."""

CLIP = 5.0
"""Largest norm of the gradient."""


class LabeledMaps(NamedTuple):
    """Score maps of people whose joints are known.

    Attributes:
        maps: ``(n, c, h, w)`` scores in [0, 1] of the joints, and the background if the refiners
            ask for it; half precision will do, and a memory map.
        joints: ``(n, k, 2)`` pixels of the crops that the maps show, NaN where absent.
        state: ``(n, k)`` values of :class:`uprightpose.data.sample.State`.
        stride: crop pixels per cell.
    """

    maps: ndarray
    joints: Float[ndarray, "n k 2"]
    state: UInt8[ndarray, "n k"]
    stride: float


def labeled_maps(maps: ndarray, joints: Float[ndarray, "n k 2"], stride: float) -> LabeledMaps:
    """Return maps with their joints, all that are not NaN visible.

    Raises:
        InputError: if there are not as many maps as people.
    """
    if len(maps) != len(joints):
        raise InputError(f"expected joints for {len(maps)} people's maps, found {len(joints)}")
    known = np.isfinite(joints).all(axis=2)
    state = np.where(known, State.VISIBLE, State.ABSENT).astype(np.uint8)
    return LabeledMaps(maps, joints, state, stride)


def fit_on_maps(
    learning: nn.Module,
    refine: Refine,
    people: LabeledMaps,
    skeleton: Skeleton,
    *,
    steps: int,
    batch: int = 32,
    rate: float = 1e-3,
    sigma: float = 1.5,
    seed: int = 0,
    title: str = "refinement",
) -> None:
    """Train a refiner on ready maps: AdamW, 5 % warm-up and half a cosine, Gaussian targets.

    Args:
        learning: what learns; left in evaluation mode.
        refine: runs it.
        people: to learn from.
        skeleton: of their joints.
        steps: of the optimizer.
        batch: people per step.
        rate: largest learning rate.
        sigma: of the Gaussians in cells.
        seed: of the order of people.
        title: of the progress bar.

    Raises:
        InputError: if nobody is there to learn from, or training diverged.

    Example:
        Body refinement for a detector of your own::

            refiner = BodyRefiner(LSP, width=16, residual=True)
            people = labeled_maps(maps, joints, stride=4)
            fit_on_maps(refiner, lambda maps, _: [refiner.refine(maps)], people, LSP, steps=1000)
    """
    if not len(people.maps):
        raise InputError("expected people to learn from, found none")
    values = [value for value in learning.parameters() if value.requires_grad]
    device = values[0].device
    optimizer = torch.optim.AdamW(values, rate, weight_decay=1e-4)
    warm = max(1, steps // 20)
    learning.train()
    orders = np.random.default_rng(seed)
    waiting = np.empty(0, dtype=np.int64)
    for step in tqdm(range(steps), desc=title, unit="step", mininterval=5.0, disable=None):
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, orders.permutation(len(people.maps))])
        chosen, waiting = waiting[:batch], waiting[batch:]
        progress = max(0, step - warm) / max(1, steps - warm)
        factor = (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * progress)
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        maps = torch.from_numpy(people.maps[chosen].astype(np.float32)).to(device)
        goal = truth(
            torch.from_numpy(people.joints[chosen]).float().to(device),
            torch.from_numpy(people.state[chosen]).to(device),
            "drawn",
        )
        parts = refine(maps, torch.from_numpy(chosen))
        losses = [
            framed_loss(part, goal, people.stride, skeleton, "gaussians", sigma=sigma)
            for part in parts
        ]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(values, CLIP)
        optimizer.step()
    learning.eval()
    if not all(value.isfinite().all() for value in values):
        raise InputError(f"{title} diverged: its weights are no numbers; lower the rate")
