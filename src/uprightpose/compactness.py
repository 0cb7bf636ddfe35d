"""How compact: the scatter of one joint about another, before and after normalization.

The paper's argument from annotations alone (Figs. 1, 4, 8; SPEC 5.2): once the body, and then
the limb, is turned upright, a joint lies in a smaller region and is easier to learn. All is
numpy; lengths are torsos (left shoulder - right hip), so that people of all sizes compare.

Whether a small scatter means anything is asked in :mod:`uprightpose.placebos`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.spatial import KDTree
from scipy.special import digamma

from uprightpose.errors import InputError
from uprightpose.metrics import body_angle, squared_lengths
from uprightpose.skeletons import Limb, Skeleton
from uprightpose.statistics import interval

MIN_TORSO = 8.0
"""Pixels: who has a torso of this length or less is foreshortened beyond use (SPEC 5.2)."""

MIN_UPPER = 3.0
"""Pixels: an upper arm or leg of this length or less has no direction.

SPEC 5.2 says "all needed joints" only; this bound reproduces all four of its counts."""

NEIGHBORS = 5
LEAST_PEOPLE = 4 * NEIGHBORS
"""Below that the entropy of half of the people means nothing."""

Points = Float[ndarray, "n 2"]


@dataclass(frozen=True)
class Displacements:
    """Where a joint lies as seen from another, and the turns that normalize it.

    Attributes:
        raw: ``(n, 2)`` torso lengths ``(x, y)`` in the picture's orientation, y down.
        body: ``(n,)`` radians, the turn that brings each body upright.
        limb: ``(n,)`` radians, the turn *in the body frame* that lets the limb's upper part
            hang straight down (SPEC 1.8); ``None`` for joints of no limb.
        kept: ``(m,)`` who of all ``m`` people is among the ``n``.
    """

    raw: Points
    body: Float[ndarray, " n"]
    limb: Float[ndarray, " n"] | None
    kept: Bool[ndarray, " m"]

    @property
    def frames(self) -> dict[str, Points]:
        """The same displacements raw, in the body frame and, in a limb, in the limb frame."""
        body = turn(self.raw, self.body)
        frames = {"raw": self.raw, "body": body}
        return frames if self.limb is None else {**frames, "limb": turn(body, self.limb)}


def displacements(
    joints: Float[ndarray, "m k 2"], skeleton: Skeleton, joint: int, limb: Limb | None = None
) -> Displacements:
    """Measure where ``joint`` lies from the limb's root, or from the torso's center.

    The center is the mean of both shoulders and hips, the torso length the distance from left
    shoulder to right hip in the labels of ``joints``. Left out are people who lack a joint
    that is needed (torso, neck, ``joint``, and the limb's root and middle), whose torso is not
    above :data:`MIN_TORSO`, or whose upper limb is not above :data:`MIN_UPPER` pixels.

    Args:
        joints: pixels of each person's own picture; NaN where absent.
        skeleton: the order of the joints.
        joint: index of the joint to look at.
        limb: the limb it belongs to; ``None`` to look from the torso's center.

    Example:
        A head straight above the center of the torso, two torso lengths away.

        >>> from uprightpose.skeletons import LSP
        >>> joints = np.zeros((1, 14, 2))
        >>> joints[0, [8, 9, 2, 3, 12, 13]] = [[0, 0], [6, 0], [0, 8], [6, 8], [3, -4], [3, -16]]
        >>> displacements(joints, LSP, joint=13).raw
        array([[ 0., -2.]])
    """
    torso, angle = torso_lengths(joints, skeleton), body_angle(joints, skeleton)
    root = joints[:, list(skeleton.torso)].mean(axis=1) if limb is None else joints[:, limb.root]
    apart = joints[:, joint] - root
    kept = (torso > MIN_TORSO) & np.isfinite(angle) & np.isfinite(apart).all(axis=1)
    if limb is None:
        return Displacements(apart[kept] / torso[kept, None], angle[kept], None, kept)
    upper = joints[:, limb.middle] - root
    kept &= np.linalg.norm(upper, axis=1) > MIN_UPPER  # False for NaN
    hanging = direction(turn(upper[kept], angle[kept]))
    return Displacements(apart[kept] / torso[kept, None], angle[kept], hanging, kept)


def torso_lengths(joints: Float[ndarray, "m k 2"], skeleton: Skeleton) -> Float[ndarray, " m"]:
    """Return the pixels from left shoulder to right hip; NaN where one is absent."""
    lengths: Float[ndarray, " m"] = np.sqrt(squared_lengths(joints, skeleton))
    return lengths


def turn(points: Points, angles: Float[ndarray, " n"]) -> Points:
    """Turn each point about the origin by its angle: ``R(angle) p``, clockwise as displayed.

    Example:
        >>> turn(np.array([[1.0, 0.0]]), np.array([np.pi / 2])).round(3)
        array([[0., 1.]])
    """
    (x, y), cos, sin = points.T, np.cos(angles), np.sin(angles)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)


def direction(points: Points) -> Float[ndarray, " n"]:
    """Return the turn in radians that brings each point straight below the origin (SPEC 1.8)."""
    angles: Float[ndarray, " n"] = np.arctan2(points[:, 0], points[:, 1])
    return angles


def trace(points: Points) -> float:
    """Return the trace of the covariance: the total variance, in squared torso lengths."""
    return float(points.var(axis=0, ddof=1).sum())


def area(points: Points) -> float:
    """Return the root of the covariance's determinant; ``pi`` times it is an ellipse's area."""
    return float(np.sqrt(max(np.linalg.det(np.cov(points.T)), 0.0)))


def resultant(points: Points) -> float:
    """Return the mean resultant length of the directions: 1 if all agree, 0 if none is favored.

    Points in the origin have no direction and do not count.
    """
    x, y = points.T
    apart = np.hypot(x, y)
    known = apart > 0
    return float(np.hypot((x[known] / apart[known]).mean(), (y[known] / apart[known]).mean()))


def entropy(points: Points) -> float:
    """Return Kozachenko and Leonenko's estimate of the entropy, in nats (5 neighbors).

    ``psi(n) - psi(k) + log(pi) + 2 mean(log r)`` with ``r`` the distance to the k-th
    neighbor. It asks nothing of the shape of the scatter. Each point must be a person of its
    own: among repeated points ``r`` is 0 and the estimate minus infinity.

    Raises:
        ValueError: if there are no more points than neighbors.
        InputError: if more points than neighbors are the same.
    """
    if len(points) <= NEIGHBORS:
        raise ValueError(f"expected more than {NEIGHBORS} points, found {len(points)}")
    distances = np.asarray(KDTree(points).query(points, [NEIGHBORS + 1])[0])
    if not distances.all():
        raise InputError(
            f"more than {NEIGHBORS} people lie at the very same place; expected each person once: "
            "remove repeated annotations"
        )
    spread = 2 * np.log(distances).mean()
    return float(digamma(len(points)) - digamma(NEIGHBORS) + np.log(np.pi) + spread)


STATISTICS: dict[str, Callable[[Points], float]] = {
    "trace": trace,
    "sqrt det": area,
    "resultant": resultant,
    "entropy": entropy,
}


@dataclass(frozen=True)
class Estimate:
    """A number and the interval of 95 percent around it; ``None`` where nothing was redrawn."""

    value: float
    interval: tuple[float, float] | None


def measure(
    frames: dict[str, Points], steps: Iterable[object], seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Estimate]]:
    """Measure the scatter in every frame, with intervals from redrawn people.

    All frames see the same draws. Trace, sqrt det and resultant are bootstrapped: people are
    drawn with replacement. That would repeat people, which the entropy does not bear; it is
    computed on half of the people *without* replacement instead. The variance of a mean over
    ``m`` of ``n`` so drawn is ``s^2 (1/m - 1/n)``, which for ``m = n/2`` is the ``s^2 / n`` of
    the whole sample, so these draws spread as they should. They are moved so that their mean
    is the estimate from everybody, since the bias of the estimate depends on ``n``.

    Args:
        frames: displacements of the same people by name, ``"raw"`` first.
        steps: one item per draw, e.g. ``range(1000)``, or a progress bar around it.
        seed: of the draws.

    Returns:
        For each frame each of :data:`STATISTICS`, and the ratio of traces to the raw one,
        e.g. ``"body/raw"``.
    """
    generator = np.random.default_rng(seed)
    points = list(frames.values())
    values = np.array([[of(frame) for of in STATISTICS.values()] for frame in points])
    drawn = np.array([_redraw(points, generator) for _ in steps]).reshape(-1, *values.shape)
    if len(drawn):
        drawn[..., -1] += values[:, -1] - drawn[..., -1].mean(axis=0)
    table = {
        frame: {name: estimate(values[i, j], drawn[:, i, j]) for j, name in enumerate(STATISTICS)}
        for i, frame in enumerate(frames)
    }
    ratios = {
        f"{frame}/raw": estimate(values[i, 0] / values[0, 0], drawn[:, i, 0] / drawn[:, 0, 0])
        for i, frame in enumerate(frames)
        if i
    }
    return table, ratios


def _redraw(points: list[Points], generator: np.random.Generator) -> Float[ndarray, "f s"]:
    people = len(points[0])
    again = generator.integers(people, size=people)
    half = generator.permutation(people)[: people // 2]
    return np.array(
        [[trace(p[again]), area(p[again]), resultant(p[again]), entropy(p[half])] for p in points]
    )


def measure_angles(
    angles: Float[ndarray, " n"], limits: tuple[int, ...], steps: Iterable[object], seed: int
) -> dict[str, Estimate]:
    """Measure how far from upright bodies are, with intervals from redrawn people.

    Args:
        angles: radians, 0 upright.
        limits: degrees.
        steps: one item per draw.
        seed: of the draws.

    Returns:
        For each limit the percentage of people turned by more, e.g. ``"> 30"``, and the mean
        ``"resultant"`` length of the angles.
    """
    generator = np.random.default_rng(seed)
    beyond = [100.0 * (np.abs(np.degrees(angles)) > limit) for limit in limits]
    columns = np.stack([*beyond, np.cos(angles), np.sin(angles)], axis=1)

    def summary(people: Float[ndarray, "n c"]) -> Float[ndarray, " s"]:
        means = people.mean(axis=0)
        return np.array([*means[:-2], np.hypot(*means[-2:])])

    who = (generator.integers(len(columns), size=len(columns)) for _ in steps)
    values = summary(columns)
    drawn = np.array([summary(columns[people]) for people in who]).reshape(-1, len(values))
    names = [*(f"> {limit}" for limit in limits), "resultant"]
    return {name: estimate(values[i], drawn[:, i]) for i, name in enumerate(names)}


def estimate(value: float, drawn: Float[ndarray, " d"]) -> Estimate:
    """Return a value with the interval that holds 95 percent of its draws, if there are any."""
    if not len(drawn):
        return Estimate(float(value), None)
    ((low, high),) = interval(drawn[:, None]).tolist()
    return Estimate(float(value), (low, high))
