"""Maps + joints -> loss; every target is drawn in the frame of the maps (SPEC 1.15)."""

import math
from typing import Literal, NamedTuple

from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from uprightpose.data.sample import State
from uprightpose.frames import image_to_map
from uprightpose.normalize import rotate_joints
from uprightpose.refine import FramedMaps
from uprightpose.score_maps import disk_radius, encode_disks, encode_gaussians, with_background
from uprightpose.skeletons import Skeleton

Target = Literal["disks", "gaussians"]


class Truth(NamedTuple):
    """What a batch teaches, in crop pixels.

    Attributes:
        joints: ``(b, k, 2)``; NaN where absent.
        drawn: ``(b, k)`` joints that are positives; other labeled joints are background.
    """

    joints: Float[Tensor, "b k 2"]
    drawn: Bool[Tensor, "b k"]


def truth(
    joints: Float[Tensor, "b k 2"], state: UInt8[Tensor, "b k"], *, visible_only: bool
) -> Truth:
    """Choose the positives: visible joints only, or occluded ones too (Sec. 3.4)."""
    least = State.VISIBLE if visible_only else State.OCCLUDED
    return Truth(joints, state >= least)


def framed_loss(
    framed: FramedMaps,
    truth: Truth,
    stride: float,
    skeleton: Skeleton,
    target: Target,
    sigma: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the sigmoid cross-entropy of one part's maps in its own frame.

    Mean over cells, sum over maps, mean over the batch. Joints that are not labeled or lie
    outside the canvas have weight 0; the background's target is 1 - max of the others.

    Args:
        framed: logits and their frame.
        truth: in crop pixels.
        stride: crop pixels per cell.
        skeleton: of ``truth``.
        target: disks of ``r = 0.15`` reference lengths, or Gaussians.
        sigma: standard deviation of the Gaussians in cells.
    """
    size = (framed.scores.shape[-2], framed.scores.shape[-1])
    cells = image_to_map(truth.joints, stride)
    joints = rotate_joints(cells, framed.rotation)[:, list(framed.joints)]
    limits = joints.new_tensor([size[1] - 0.5, size[0] - 0.5])
    counted = ((joints > -0.5) & (joints < limits)).all(dim=-1)  # False for NaN
    drawn = counted & truth.drawn[:, list(framed.joints)]
    joints = joints.masked_fill(~drawn[..., None], math.nan)
    if target == "disks":
        goal = encode_disks(joints, size, disk_radius(cells, skeleton))
    else:
        goal = encode_gaussians(joints, size, sigma)
    weight = counted.to(goal.dtype)
    if framed.scores.shape[1] > len(framed.joints):
        goal = with_background(goal)
        weight = functional.pad(weight, (0, 1), value=1.0)
    entropy = functional.binary_cross_entropy_with_logits(framed.scores, goal, reduction="none")
    return (entropy.mean(dim=(2, 3)) * weight).sum(dim=1).mean()
