"""Maps + joints -> loss; every target is drawn in the frame of the maps (SPEC 1.15)."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from uprightpose.data.sample import State
from uprightpose.framed import FramedMaps
from uprightpose.frames import image_to_map
from uprightpose.normalize import rotate_joints
from uprightpose.score_maps import (
    disk_radius,
    encode_disks,
    encode_gaussians,
    encode_labels,
    with_background,
)
from uprightpose.skeletons import Skeleton

Target = Literal["disks", "gaussians"]
Loss = Literal["entropy", "squared"]
"""Cross-entropy (of a softmax or of sigmoids, as the maps say), or the squared error."""

Occluded = Literal["drawn", "background", "ignored"]
"""What an occluded joint teaches: itself, that it is not seen, or nothing (SPEC 1.15)."""

IGNORED = -100
"""Label of cells that a softmax learns nothing from."""


class Truth(NamedTuple):
    """What a batch teaches, in crop pixels.

    Attributes:
        joints: ``(b, k, 2)``; NaN where absent.
        drawn: ``(b, k)`` joints that are positives; other counted joints are background.
        counted: ``(b, k)`` joints whose maps learn at all.
        types: ``(b,)`` pose types, for maps that show a person's type (SPEC 1.14).
    """

    joints: Float[Tensor, "b k 2"]
    drawn: Bool[Tensor, "b k"]
    counted: Bool[Tensor, "b k"]
    types: Int[Tensor, " b"] | None = None


def truth(
    joints: Float[Tensor, "b k 2"],
    state: UInt8[Tensor, "b k"],
    occluded: Occluded,
    types: Int[Tensor, " b"] | None = None,
) -> Truth:
    """Choose the positives: visible joints only, or occluded ones too (Sec. 3.4)."""
    visible, labeled = state >= State.VISIBLE, state >= State.OCCLUDED
    drawn = labeled if occluded == "drawn" else visible
    return Truth(joints, drawn, visible if occluded == "ignored" else labeled, types)


def framed_loss(
    framed: FramedMaps,
    truth: Truth,
    stride: float,
    skeleton: Skeleton,
    target: Target,
    *,
    sigma: float = 1.0,
    loss: Loss = "entropy",
) -> Float[Tensor, ""]:
    """Return the loss of one part's maps in its own frame.

    Mean over cells, sum over maps, mean over the batch. Joints that do not count or lie
    outside the canvas have weight 0 (a softmax cannot leave a class out: there absent joints
    are background); the background's target is 1 - max of the others. Where the frame itself is
    learned (SPEC 6.4), targets move with it, and so gradients flow.

    Args:
        framed: scores, how they map to [0, 1], and their frame.
        truth: in crop pixels.
        stride: crop pixels per cell.
        skeleton: of ``truth``.
        target: disks of ``r = 0.15`` reference lengths, or Gaussians; a softmax always learns
            disks.
        sigma: standard deviation of the Gaussians in cells.
        loss: the squared error is taken of the scores as they are where these map to [0, 1] by
            clipping (hourglass), else of the mapped ones.
    """
    joints = list(framed.joints)
    size = (framed.scores.shape[-2], framed.scores.shape[-1])
    cells = image_to_map(truth.joints, stride)
    placed = _placed(cells, framed)[:, joints]
    limits = placed.new_tensor([size[1] - 0.5, size[0] - 0.5])
    inside = ((placed > -0.5) & (placed < limits)).all(dim=-1)  # False for NaN
    drawn = inside & truth.drawn[:, joints] & _own_type(truth, joints, skeleton)
    positives = placed.masked_fill(~drawn[..., None], math.nan)
    radius = disk_radius(cells, skeleton)
    if framed.mapping == "softmax":
        labels = encode_labels(positives, size, radius)
        hidden = placed.masked_fill(truth.counted[:, joints][..., None], math.nan)
        unknown = encode_disks(hidden, size, radius).any(dim=1) & (labels == len(joints))
        known = labels.masked_fill(unknown, IGNORED)
        total = functional.cross_entropy(
            framed.scores, known, ignore_index=IGNORED, reduction="sum"
        )
        return total / (known != IGNORED).sum().clamp(min=1)  # maybe no cell is known
    if target == "disks":
        goal = encode_disks(positives, size, radius)
    else:
        goal = encode_gaussians(positives, size, sigma)
    weight = (inside & truth.counted[:, joints]).to(goal.dtype)
    if framed.scores.shape[1] > len(joints):
        goal = with_background(goal)
        weight = functional.pad(weight, (0, 1), value=1.0)
    return (_cell_losses(framed, goal, loss).mean(dim=(2, 3)) * weight).sum(dim=1).mean()


def _placed(cells: Float[Tensor, "b k 2"], framed: FramedMaps) -> Float[Tensor, "b k 2"]:
    """Move joints into the frame; absent ones stay NaN but leave the frame's gradient a number."""
    absent = cells.isnan().any(dim=2, keepdim=True)
    placed = rotate_joints(cells.masked_fill(absent, 0.0), framed.rotation)
    return placed.masked_fill(absent, math.nan)


def _cell_losses(
    framed: FramedMaps, goal: Float[Tensor, "b c h w"], loss: Loss
) -> Float[Tensor, "b c h w"]:
    if loss == "squared":
        return (framed.scores if framed.mapping == "clip" else framed.maps).sub(goal).square()
    return functional.binary_cross_entropy_with_logits(framed.scores, goal, reduction="none")


def _own_type(truth: Truth, joints: list[int], skeleton: Skeleton) -> Bool[Tensor, "b c"]:
    """Return which channels show a person's type: all, unless each joint is there per type."""
    sets = torch.arange(len(joints), device=truth.joints.device) // len(skeleton.joints)
    if truth.types is None or len(joints) < 2 * len(skeleton.joints):
        return torch.ones_like(sets, dtype=torch.bool).expand(len(truth.joints), -1)
    return sets == truth.types[:, None]
