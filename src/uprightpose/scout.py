"""Scout: which way a body points, from a small look at it, so that a detector sees it upright.

Nearly all detectors learned people who stand. Turned upright first, anybody looks like that to
them. The scout is a small detector of its own that learned people over the full circle; the axis
through its torso, neck and head tells the turn.
"""

from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.errors import InputError
from uprightpose.frames import turn_matrices
from uprightpose.model import PoseNet
from uprightpose.score_maps import decode
from uprightpose.skeletons import Skeleton

NEAR = float(np.radians(20))
"""Bodies this near to upright are left as they are: detectors know them."""

PLACES = {"shoulder": 1.0, "hip": -1.0, "neck": 1.2, "head_top": 2.0}
"""Along the axis from the torso's center up, in half torso lengths."""

BATCH = 32
"""People at a time."""


class Sighting(NamedTuple):
    """What a scout says of some people.

    Attributes:
        angle: ``(n,)`` radians in (-pi, pi], the turn that brings each body upright, positive
            clockwise (:func:`uprightpose.metrics.body_angle`).
        sure: ``(n,)`` mean peak of the maps of torso, neck and head, 0 to 1.
    """

    angle: Float[ndarray, " n"]
    sure: Float[ndarray, " n"]

    @property
    def turns(self) -> Float[ndarray, " n"]:
        """The angles, 0 for bodies nearer than :data:`NEAR` to upright."""
        return np.where(np.abs(self.angle) < NEAR, 0.0, self.angle)


@final
class Scout:
    """A small detector that tells body angles.

    Args:
        model: a detector of joints, torso, neck and head among them; in evaluation mode.
        size: side of the pictures that it was trained on; larger ones are averaged down to it.

    Use it by :func:`uprightpose.looks.look_upright`.
    """

    def __init__(self, model: PoseNet, size: int) -> None:
        """Keep the network."""
        self.model = model.to(memory_format=torch.channels_last).eval()
        self.size = size

    @torch.inference_mode()
    def __call__(self, crops: UInt8[ndarray, "n s s 3"]) -> Sighting:
        """Look at people; nobody is no trouble.

        Args:
            crops: RGB, one person each.

        Raises:
            InputError: if they are no such array.
        """
        expect_crops(crops)
        crops = np.ascontiguousarray(crops)
        device = next(self.model.parameters()).device
        joints, scores = [], []
        for start in range(0, len(crops), BATCH):
            images = torch.from_numpy(crops[start : start + BATCH]).to(device).permute(0, 3, 1, 2)
            small = average_down(images.float(), self.size)
            framed = self.model(small.contiguous(memory_format=torch.channels_last), "detector")
            found = decode(framed.detector.maps[:, : len(framed.detector.joints)])
            joints.append(found.joints.double().cpu().numpy())
            scores.append(found.scores.double().cpu().numpy())
        if not joints:
            return Sighting(np.zeros(0), np.zeros(0))
        skeleton = self.model.skeleton
        every, peaks = np.concatenate(joints), np.concatenate(scores)
        return Sighting(weighted_axis(every, peaks, skeleton), sureness(peaks, skeleton))


def expect_crops(crops: Any) -> None:
    """Refuse what is no batch of square RGB pictures.

    Raises:
        InputError: saying what was expected and found.
    """
    known = isinstance(crops, ndarray)
    right = known and crops.ndim == 4 and crops.shape[3] == 3 and crops.dtype == np.uint8
    if right and crops.shape[1] == crops.shape[2] > 0:
        return
    found = f"{crops.dtype} {crops.shape}" if known else type(crops).__name__
    scaled = known and crops.dtype.kind == "f"
    raise InputError(
        "expected crops as a uint8 array (n, s, s, 3), square RGB pictures of one person each, "
        f"found {found}"
        + ("; give (crops * 255).astype(np.uint8) if they lie in [0, 1]" if scaled else "")
    )


def average_down(
    images: Float[torch.Tensor, "b c s s"], size: int
) -> Float[torch.Tensor, "b c _ _"]:
    """Average square pictures down to a smaller side; one of that side stays as it is."""
    if images.shape[-1] == size:
        return images
    return torch.nn.functional.interpolate(images, (size, size), mode="area")


def weighted_axis(
    joints: Float[ndarray, "n k 2"], scores: Float[ndarray, "n k"], skeleton: Skeleton
) -> Float[ndarray, " n"]:
    """Return the angle of the line through torso, neck and head, weighted by their scores.

    Each joint's place along the axis is known roughly (:data:`PLACES`), so that the axis is the
    weighted regression of positions on places: one wrong joint turns it less than it turns the
    paper's line from four joints to one (SPEC 6.3c).

    Args:
        joints: any pixels or cells.
        scores: peaks of their maps.
        skeleton: of the joints.
    """
    up = _axis(joints, scores, skeleton)[0]
    angle: ndarray = np.arctan2(0.0 - up[:, 0], 0.0 - up[:, 1])
    return angle


def axis_strength(
    joints: Float[ndarray, "n k 2"], scores: Float[ndarray, "n k"], skeleton: Skeleton
) -> Float[ndarray, " n"]:
    """Return how much of the joints' spread :func:`weighted_axis` explains, 0 to 1.

    It is the length of the correlation of positions with places along the axis: near 1 where the
    joints lie in the order and at the distances of a body, 0 where they show no direction. The
    size of the body does not count; its width does, so that nobody seen from the front has 1.

    Args:
        joints: any pixels or cells.
        scores: peaks of their maps.
        skeleton: of the joints.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> joints, scores = np.zeros((2, 14, 2)), np.ones((2, 14))
        >>> joints[0, axis_joints(LSP), 1] = -axis_places(LSP)
        >>> axis_strength(joints, scores, LSP).round(6)
        array([1., 0.])
    """
    up, along, spread = _axis(joints, scores, skeleton)
    product = np.sqrt(along * spread)
    strength: ndarray = np.hypot(*up.T) / np.where(product > 0, product, 1.0)
    return strength


def _axis(
    joints: Float[ndarray, "n k 2"], scores: Float[ndarray, "n k"], skeleton: Skeleton
) -> tuple[Float[ndarray, "n 2"], Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Return the weighted covariance of positions with places, and the variances of both."""
    axis, places = axis_joints(skeleton), axis_places(skeleton)
    points, weight = joints[:, axis], np.maximum(scores[:, axis], 1e-3)
    share = weight / weight.sum(axis=1, keepdims=True)
    middle_place = (share * places).sum(axis=1, keepdims=True)
    middle_point = (share[..., None] * points).sum(axis=1, keepdims=True)
    leaned = share * (places - middle_place)
    up = (leaned[..., None] * (points - middle_point)).sum(axis=1)
    along = (leaned * (places - middle_place)).sum(axis=1)
    spread = (share * ((points - middle_point) ** 2).sum(axis=2)).sum(axis=1)
    return up, along, spread


def sureness(scores: Float[ndarray, "n k"], skeleton: Skeleton) -> Float[ndarray, " n"]:
    """Return the mean peak of the maps of torso, neck and head."""
    mean: ndarray = scores[:, axis_joints(skeleton)].mean(axis=1)
    return mean


def axis_joints(skeleton: Skeleton) -> list[int]:
    """Return torso, neck and, where the skeleton has it, the top of the head."""
    head = [skeleton.joints.index("head_top")] if "head_top" in skeleton.joints else []
    return [*skeleton.torso, *skeleton.neck, *head]


def axis_places(skeleton: Skeleton) -> Float[ndarray, " p"]:
    """Return the places of :func:`axis_joints` along the axis.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> axis_places(LSP)
        array([ 1. ,  1. , -1. , -1. ,  1.2,  2. ])
    """
    names = ["shoulder"] * 2 + ["hip"] * 2 + ["neck"] * len(skeleton.neck) + ["head_top"]
    return np.array([PLACES[name] for name in names[: len(axis_joints(skeleton))]])


def turn_points(
    points: Float[ndarray, "n k 2"], turns: Float[ndarray, " n"], size: int
) -> Float[ndarray, "n k 2"]:
    """Move pixels of squares to where they lie when each square is turned; ``-turns`` undoes it.

    Args:
        points: pixels of the squares; NaN stays NaN.
        turns: radians, positive clockwise.
        size: side of the squares.

    Example:
        >>> turn_points(np.array([[[0.0, 0.0]]]), np.array([np.pi / 2]), 4).round(6) + 0.0
        array([[[3., 0.]]])
    """
    matrices = turn_matrices(np.tile(np.eye(2, 3), (len(turns), 1, 1)), turns, size)
    moved: ndarray = points @ matrices[:, :, :2].swapaxes(1, 2) + matrices[:, None, :, 2]
    return moved
