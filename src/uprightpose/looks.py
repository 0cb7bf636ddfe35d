"""Looks at a person from several angles: what a detector of upright people finds of anybody.

Everyone is turned as the scout says; who is seen weakly then is looked at again, and the look with
the highest mean peak is believed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from uprightpose.data.images import crop_turned
from uprightpose.errors import InputError
from uprightpose.scout import Scout, expect_crops, turn_points, weighted_axis
from uprightpose.skeletons import Skeleton

LEFT = float(np.radians(15))
"""A body that a detector still sees at least so far from upright is turned on."""

WEAK = 0.6
"""Mean peak of a person's score maps below which another look is taken. Chosen, as the order of
looks was, on people whom the detector of ``uprightpose reproduce rivals`` was not trained on: of
LSP's, +2.0 PCK at 1.6 looks each; 0.45 gives +1.8 at 1.16. How 0.6 came to be taken: the caveats
there."""


class Look(NamedTuple):
    """What one look at ``m`` people shows.

    Attributes:
        peaks: ``(m,)`` mean peak of each person's maps.
        left: ``(m,)`` radians by which each body would still have to be turned.
        found: by name, ``(m, ...)``: whatever is to be kept of the look that is believed.
    """

    peaks: Float[ndarray, " m"]
    left: Float[ndarray, " m"]
    found: dict[str, ndarray]


class Believed(NamedTuple):
    """What is believed of ``n`` people after all looks.

    Attributes:
        turns: ``(n,)`` radians, of each person's believed look.
        found: as :class:`Look` has it, ``(n, ...)``, from that look.
        looks: ``(n,)`` how often each person was looked at.
    """

    turns: Float[ndarray, " n"]
    found: dict[str, ndarray]
    looks: Float[ndarray, " n"]


See = Callable[[ndarray, ndarray], Look]
"""Places of people and turns in radians, ``(m,)`` each -> the look at them."""


def take_looks(
    scouted: Float[ndarray, " n"], see: See, *, turn_first: bool = True, weak: float = WEAK
) -> Believed:
    """Look at people until a look is good enough, and believe the best.

    The looks are: turned as the scout says; as they are; and turned further by what the first of
    these still showed of a turn.

    Args:
        scouted: radians, the scout's turns; at least one.
        see: looks at some people.
        turn_first: in this order, for detectors of upright people; else people are looked at as
            they are before they are turned, for detectors that know people at all angles.
        weak: mean peak below which the next look is taken.
    """
    zeros = np.zeros(len(scouted))
    turns = (scouted if turn_first else zeros).copy()
    peaks, left, first = see(np.arange(len(scouted)), turns)
    peaks, left = peaks.copy(), np.where(turns == scouted, left, 0.0)
    found = {name: values.copy() for name, values in first.items()}
    looks = np.ones(len(scouted))

    def look(proposed: Float[ndarray, " n"]) -> None:
        known = scouted if turn_first else zeros
        again = np.flatnonzero((peaks < weak) & (proposed != known))
        if not len(again):
            return
        seen = see(again, proposed[again])
        looks[again] += 1
        left[again] = np.where(proposed[again] == scouted[again], seen.left, left[again])
        better = seen.peaks > peaks[again]
        rows = again[better]
        turns[rows], peaks[rows] = proposed[rows], seen.peaks[better]
        for name, values in seen.found.items():
            found[name][rows] = values[better]

    look(zeros if turn_first else scouted)
    look(np.where(np.abs(left) > LEFT, scouted + left, scouted if turn_first else zeros))
    return Believed(turns, found, looks)


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


def look_upright(
    crops: UInt8[ndarray, "n s s 3"],
    detect: Detect,
    scout: Scout,
    *,
    turn_first: bool = True,
    weak: float = WEAK,
) -> Looked:
    """Let a detector of upright people see everybody upright.

    Where pictures are at hand, not only crops, :func:`uprightpose.load` with a ``scout`` cuts
    them anew for each look: that resamples once, and shows what lies beside the crop.

    Args:
        crops: RGB, one person each.
        detect: yours, of joints in the order of the scout's skeleton (LSP's, of the package's
            scout), NumPy or torch; called up to three times. A joint that it does not find may
            be NaN.
        scout: says which way bodies point.
        turn_first: see :func:`take_looks`.
        weak: mean score below which another look is taken; 0 looks once at everyone.

    Raises:
        InputError: if ``crops`` are no such array, or ``detect`` gives other shapes, or scores
            beyond [0, 1].

    Example:
        >>> from uprightpose.predict import load_scout
        >>> crops = np.zeros((2, 128, 128, 3), np.uint8)
        >>> def detect(crops):
        ...     return np.ones((len(crops), 14, 2)), np.ones((len(crops), 14))
        >>> look_upright(crops, detect, load_scout(device="cpu")).passes
        1.0
    """
    expect_crops(crops)
    size, skeleton = crops.shape[1], scout.model.skeleton
    if not len(crops):
        joints = len(skeleton.joints)
        return Looked(np.zeros((0, joints, 2)), np.zeros((0, joints)), np.zeros(0), 0.0)

    def see(places: Int[ndarray, " m"], turns: Float[ndarray, " m"]) -> Look:
        pairs = zip(crops[places], turns.tolist(), strict=True)
        shown = np.stack([crop_turned(crop, np.eye(2, 3), size, turn) for crop, turn in pairs])
        joints, scores = _expected(detect(shown), len(places), skeleton)
        found = {"joints": turn_points(joints, -turns, size), "scores": scores}
        return Look(scores.mean(axis=1), weighted_axis(joints, scores, skeleton), found)

    turns, found, looks = take_looks(scout(crops).turns, see, turn_first=turn_first, weak=weak)
    return Looked(found["joints"], found["scores"], turns, float(looks.mean()))


def _expected(answer: Any, people: int, skeleton: Skeleton) -> tuple[ndarray, ndarray]:
    """Return a detector's answer in double precision, or refuse it.

    Raises:
        InputError: saying what was expected and found.
    """
    joints = len(skeleton.joints)
    wanted = [(people, joints, 2), (people, joints)]
    try:
        first, second = answer
        parts = [np.asarray(part, dtype=np.float64) for part in (first, second)]
        found = " and ".join(str(part.shape) for part in parts)
    except (TypeError, ValueError, RuntimeError):  # one thing or three, or no numbers
        parts, found = [], type(answer).__name__
    if [part.shape for part in parts] != wanted:
        raise InputError(
            f"look_upright: expected detect to return joints {wanted[0]} and scores {wanted[1]}, "
            f"in the order of skeleton {skeleton.name}, found {found}; reorder them, or load a "
            "scout of your skeleton"
        )
    low, high = parts[1].min(), parts[1].max()
    if low < 0 or high > 1:
        raise InputError(
            f"look_upright: expected scores from 0 to 1, found {low:g} to {high:g}; scale them, "
            "or no second look is ever taken"
        )
    return parts[0], parts[1]
