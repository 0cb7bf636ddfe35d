"""Score maps that are drawn instead of detected, with the failures of a real detector (SPEC 5.3).

All chance comes from one generator, and how much is drawn does not depend on the joints: two
calls with equal generators fail at the same joints in the same way, whoever the people are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from uprightpose.metrics import squared_lengths
from uprightpose.reproduce.paper import TABLES
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.skeletons import Skeleton

POSITION_NOISE = 0.055
"""Reference lengths along each axis."""

AMPLITUDE = (6.0, 2.0)
"""Of the Beta distribution of the highest peak."""

WEAKENED = (0.3, 0.9)
"""Of that amplitude, what is left of the true peak where a joint fails."""

MIRRORED, NEIGHBORING = 0.5, 0.25
"""Shares of failures; the rest lie about the body."""

BODY_SPREAD = 1.0
"""Reference lengths along each axis, about the torso's center."""

CELL_NOISE = 0.03
SIGMA = 1.0
"""Cells: of a peak."""


@dataclass(frozen=True, eq=False)
class SimulatedMaps:
    """Drawn maps and what went wrong in them.

    Attributes:
        maps: ``(b, k + 1, h, w)`` in [0, 1], the background last.
        failed: ``(b, k)`` joints whose highest peak is meant for another place.
    """

    maps: Float[Tensor, "b c h w"]
    failed: Bool[ndarray, "b k"]


def error_rates(skeleton: Skeleton) -> Float[ndarray, " k"]:
    """Return 1 - PCK of Yang et al. for each joint (the paper's Table 2, observer-centric).

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> error_rates(LSP).round(3).tolist()[:3]
        [0.312, 0.172, 0.145]
    """
    printed = TABLES["table2"].row("Yang [37]")
    rates = np.zeros(len(skeleton.joints))
    for title, joints in skeleton.groups:
        rates[list(joints)] = 1 - (printed[title] or 0.0) / 100
    return rates


def draw_maps(
    joints: Float[ndarray, "b k 2"],
    skeleton: Skeleton,
    side: int,
    generator: np.random.Generator,
) -> SimulatedMaps:
    """Draw each person's score maps.

    Args:
        joints: true places in cells; all are known, not all need lie on the map.
        skeleton: their order.
        side: cells of the square maps.
        generator: of all chance.
    """
    people, count, _ = joints.shape
    length = np.sqrt(squared_lengths(joints, skeleton))[:, None, None]
    jitter = generator.normal(0, POSITION_NOISE, (2, people, count, 2)) * length
    amplitude = generator.beta(*AMPLITUDE, (people, count))
    failed = generator.random((people, count)) < error_rates(skeleton)
    weakened = generator.uniform(*WEAKENED, (people, count))
    wrong = _wrong_places(joints, length, skeleton, generator)
    noise = generator.normal(0, CELL_NOISE, (people, count, side, side))
    true_height = np.where(failed, weakened, 1.0) * amplitude
    peaks = _peaks(joints + jitter[0], true_height, side)
    others = _peaks(wrong + jitter[1], np.where(failed, amplitude, 0.0), side)
    maps = (torch.maximum(peaks, others) + torch.from_numpy(noise).float()).clamp(0, 1)
    return SimulatedMaps(with_background(maps), failed)


def _peaks(
    joints: Float[ndarray, "b k 2"], heights: Float[ndarray, "b k"], side: int
) -> Float[Tensor, "b k h w"]:
    gaussians = encode_gaussians(torch.from_numpy(joints).float(), (side, side), SIGMA)
    return gaussians * torch.from_numpy(heights).float()[..., None, None]


def _wrong_places(
    joints: Float[ndarray, "b k 2"],
    length: Float[ndarray, "b 1 1"],
    skeleton: Skeleton,
    generator: np.random.Generator,
) -> Float[ndarray, "b k 2"]:
    """Return where each joint's second peak would stand, if it failed."""
    people, count, _ = joints.shape
    kind, side = generator.random((2, people, count))
    spread = generator.normal(0, BODY_SPREAD, (people, count, 2)) * length
    about = joints[:, list(skeleton.torso)].mean(axis=1, keepdims=True) + spread
    mirror = np.array(skeleton.mirror)
    chain = chain_neighbors(skeleton)
    neighbor = np.where(side < 0.5, chain[:, 0], chain[:, 1])
    sided = mirror != np.arange(count)
    other = np.where((kind < MIRRORED) & sided, mirror, neighbor)
    near: Float[ndarray, "b k 2"] = np.take_along_axis(joints, other[..., None], axis=1)
    return np.where((kind < MIRRORED + NEIGHBORING)[..., None], near, about)


def chain_neighbors(skeleton: Skeleton) -> Int[ndarray, "k 2"]:
    """Return two neighbors of each joint, the same one twice where a chain ends.

    A limb is a chain from root to end; the joints of no limb are one another's neighbors along
    the skeleton's edges.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> names = [LSP.joints[one] for one in chain_neighbors(LSP)[10]]
        >>> LSP.joints[10], names
        ('left_elbow', ['left_shoulder', 'left_wrist'])
    """
    rest = set(skeleton.rest)
    bones = [pair for limb in skeleton.limbs for pair in (limb.joints[:2], limb.joints[1:])]
    bones += [edge for edge in skeleton.edges if rest.issuperset(edge)]
    both = [*bones, *((end, start) for start, end in bones)]
    own = [
        sorted(other for other, one in both if one == joint)
        for joint in range(len(skeleton.joints))
    ]
    return np.array([(near[0], near[-1]) for near in own])
