"""Scout: which way a body points, from a small look at it, so that a detector sees it upright.

Nearly all detectors learned people who stand. Turned upright first, anybody looks like that to
them. The scout is a small detector of its own that learned people over the full circle; the axis
through its torso, neck and head tells the turn.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.images import MEAN_COLOR
from uprightpose.frames import turn_matrices
from uprightpose.model import PoseNet
from uprightpose.score_maps import decode
from uprightpose.skeletons import Skeleton

NEAR = float(np.radians(20))
"""Bodies this near to upright are left as they are: detectors know them."""

LEFT = float(np.radians(15))
"""A body that a detector still sees at least so far from upright is turned on."""

WEAK = 0.6
"""Mean peak of a person's score maps below which another look is taken. Chosen, as the order of
looks was, on people whom the detector of ``uprightpose reproduce rivals`` was not trained on: of
LSP's, +2.0 PCK at 1.6 looks each; 0.45 gives +1.8 at 1.16."""

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

    Example:
        Any detector of upright people, on square crops of people (RGB, uint8)::

            scout = uprightpose.load_scout()
            found = uprightpose.look_upright(crops, detect, scout)  # your detect: crops -> joints,
            joints = found.joints                                   # scores; called once or twice
    """

    def __init__(self, model: PoseNet, size: int) -> None:
        """Keep the network."""
        self.model = model.to(memory_format=torch.channels_last).eval()
        self.size = size

    @torch.inference_mode()
    def __call__(self, crops: UInt8[ndarray, "n s s 3"]) -> Sighting:
        """Look at people.

        Args:
            crops: RGB, one person each.
        """
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


class Looked(NamedTuple):
    """What a detector finds of people who were turned for it.

    Attributes:
        joints: ``(n, k, 2)`` pixels of the crops as they came.
        scores: ``(n, k)``.
        turns: ``(n,)`` radians, of the look that is believed.
        passes: how often the detector saw a person, on average.
    """

    joints: Float[ndarray, "n k 2"]
    scores: Float[ndarray, "n k"]
    turns: Float[ndarray, " n"]
    passes: float


Detect = Callable[[ndarray], tuple[ndarray, ndarray]]
"""Crops ``(m, s, s, 3)`` -> joints ``(m, k, 2)`` in their pixels and scores ``(m, k)``, 0 to 1."""

See = Callable[[ndarray, ndarray], tuple[ndarray, ndarray]]
"""Places of people and turns in radians -> mean peak and what is still left to turn, of each."""


def look_upright(
    crops: UInt8[ndarray, "n s s 3"],
    detect: Detect,
    scout: Scout,
    *,
    turn_first: bool = True,
    weak: float = WEAK,
) -> Looked:
    """Let a detector of upright people see everybody upright.

    Everyone is turned as the scout says. Where the detector's maps are weak then, it sees the
    person as is, and turned further by what it still sees of a turn; the look with the highest
    mean score is believed.

    Args:
        crops: RGB, one person each.
        detect: of joints in the scout's order.
        scout: says which way bodies point.
        turn_first: see :func:`take_looks`.
        weak: mean score below which another look is taken; 0 looks once at everyone.
    """
    size, skeleton = crops.shape[1], scout.model.skeleton
    looks: list[tuple[ndarray, ndarray, ndarray, ndarray]] = []

    def see(places: ndarray, turns: ndarray) -> tuple[ndarray, ndarray]:
        joints, scores = detect(turn_crops(crops[places], turns))
        looks.append((places, turns, turn_points(joints, -turns, size), scores))
        return scores.mean(axis=1), weighted_axis(joints, scores, skeleton)

    turns = take_looks(scout(crops).turns, see, turn_first=turn_first, weak=weak)
    _, _, joints, scores = (part.copy() for part in looks[0])
    for places, seen, found, peaks in looks[1:]:
        believed = seen == turns[places]
        joints[places[believed]], scores[places[believed]] = found[believed], peaks[believed]
    passes = sum(len(places) for places, *_ in looks) / max(1, len(crops))
    return Looked(joints, scores, turns, passes)


def take_looks(
    scouted: Float[ndarray, " n"], see: See, *, turn_first: bool = True, weak: float = WEAK
) -> Float[ndarray, " n"]:
    """Look at people until a look is good enough, and return the turns of the best looks.

    The looks are: turned as the scout says; as they are; and turned further by what the first of
    these still showed of a turn.

    Args:
        scouted: radians, the scout's turns.
        see: looks at some people and remembers what it saw.
        turn_first: in this order, for detectors of upright people; else people are looked at as
            they are before they are turned, for detectors that know people at all angles.
        weak: mean peak below which the next look is taken.
    """
    count = len(scouted)
    if not count:
        return scouted
    zeros = np.zeros(count)
    turns, then = (scouted, zeros) if turn_first else (zeros, scouted)
    turns = turns.copy()
    best, left = see(np.arange(count), turns)
    left = np.where(turns == scouted, left, 0.0)

    def look(proposed: ndarray) -> None:
        again = np.flatnonzero(
            (best < weak) & (proposed != scouted if turn_first else proposed != 0)
        )
        if not len(again):
            return
        peaks, seen = see(again, proposed[again])
        left[again] = np.where(proposed[again] == scouted[again], seen, left[again])
        better = again[peaks > best[again]]
        turns[better] = proposed[better]
        best[again] = np.maximum(best[again], peaks)

    look(then)
    further = np.where(np.abs(left) > LEFT, left, 0.0)
    look(np.where(further != 0, scouted + further, scouted if turn_first else zeros))
    return turns


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
    axis, places = axis_joints(skeleton), axis_places(skeleton)
    points, weight = joints[:, axis], np.maximum(scores[:, axis], 1e-3)
    share = weight / weight.sum(axis=1, keepdims=True)
    middle_place = (share * places).sum(axis=1, keepdims=True)
    middle_point = (share[..., None] * points).sum(axis=1, keepdims=True)
    leaned = share * (places - middle_place)
    up = (leaned[..., None] * (points - middle_point)).sum(axis=1)
    angle: ndarray = np.arctan2(0.0 - up[:, 0], 0.0 - up[:, 1])
    return angle


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


def turn_crops(
    crops: UInt8[ndarray, "n s s 3"], turns: Float[ndarray, " n"]
) -> UInt8[ndarray, "n s s 3"]:
    """Turn square pictures about their middle; what comes in from outside is the mean color.

    Where the picture itself is at hand, cut it again by :func:`uprightpose.frames.turn_matrices`
    instead: that resamples once, and shows what lies beside the crop.

    Args:
        crops: RGB.
        turns: radians, positive clockwise.
    """
    import cv2

    size = crops.shape[1]
    turned = crops.copy()
    matrices = turn_matrices(np.tile(np.eye(2, 3), (len(crops), 1, 1)), turns, size)
    for at in np.flatnonzero(turns):
        turned[at] = cv2.warpAffine(
            crops[at],
            matrices[at],
            (size, size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=MEAN_COLOR,
        )
    return turned


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
