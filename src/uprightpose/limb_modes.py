"""Two hypotheses for each limb: its middle joint may lie at the second peak of its map, too.

A limb hangs by the angle from its root to its elbow or knee. Where that joint's map has two peaks
and the lower one is right, the limb is turned wrongly and its refiner sees what it has not learned
from (SPEC 6.3d). Here both turns are refined and the one with the higher scores is kept.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from uprightpose.framed import FramedMaps
from uprightpose.frames import middle
from uprightpose.normalize import Rotation, limb_rotation
from uprightpose.peaks import blur
from uprightpose.refine import LimbRefiner
from uprightpose.score_maps import Decoded, decode

REACH = 4.0
"""Cells about the first peak in which no second one is looked for."""

SHARE = 0.5
"""Of the first peak's height that a second one needs to count."""


class LimbModes(NamedTuple):
    """Limbs refined by the better of two turns each.

    Attributes:
        parts: as :meth:`~uprightpose.refine.LimbRefiner.refine` returns them.
        offered: ``(b, l)`` limbs whose middle joint has a second peak.
        taken: ``(b, l)`` those of them for which it is kept.
    """

    parts: tuple[FramedMaps, ...]
    offered: Bool[Tensor, "b l"]
    taken: Bool[Tensor, "b l"]


def refine_limb_modes(
    limbs: LimbRefiner,
    body_maps: Float[Tensor, "b c h w"],
    rotation: Rotation,
    size: tuple[int, int],
    *,
    reach: float = REACH,
    share: float = SHARE,
) -> LimbModes:
    """Refine limbs by both peaks of their middle joints; keep, limb by limb, the better.

    Better is the higher mean score of the limb's three refined joints; of equal ones the first
    peak's stays. Stage 2 runs twice; no training is needed.

    Args:
        limbs: trained, with ``normalize``: limbs that do not turn have no angle to be wrong.
        body_maps: scores in [0, 1] in the body frame.
        rotation: image maps -> body frame.
        size: ``(h, w)`` of the image maps.
        reach: see :data:`REACH`.
        share: see :data:`SHARE`.

    SPEC 6.3d.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> limbs = LimbRefiner(LSP, width=2, kernels=(3,)).eval()
        >>> maps = torch.zeros(1, 15, 24, 20)
        >>> found = refine_limb_modes(limbs, maps, Rotation.none(maps), (16, 16))
        >>> len(found.parts), found.offered.any().item()
        (5, False)
    """
    skeleton = limbs.skeleton
    first = limbs.read_turns(body_maps)
    joints = decode(body_maps[:, : len(skeleton.joints)], sigma=limbs.blur, subcell=limbs.subcell)
    middles = [limb.middle for limb in skeleton.limbs]
    second, offered = second_peaks(
        body_maps[:, middles],
        Decoded(joints.joints[:, middles], joints.scores[:, middles]),
        sigma=limbs.blur,
        reach=reach,
        share=share,
    )
    moved = joints.joints.clone()
    moved[:, middles] = torch.where(offered[..., None], second.joints, moved[:, middles])
    otherwise = middle((body_maps.shape[-2], body_maps.shape[-1]))
    turns = [limb_rotation(moved, limb, otherwise) for limb in skeleton.limbs]
    one = limbs.refine(body_maps, rotation, size, first)
    other = limbs.refine(body_maps, rotation, size, turns)
    better = torch.stack(
        [_height(b) > _height(a) for a, b in zip(one[1:], other[1:], strict=True)], dim=1
    )
    taken = offered & better
    kept = [_chosen(*pair) for pair in zip(one[1:], other[1:], taken.unbind(1), strict=True)]
    return LimbModes((one[0], *kept), offered, taken)


def second_peaks(
    maps: Float[Tensor, "b k h w"],
    first: Decoded,
    *,
    sigma: float = 1.0,
    reach: float = REACH,
    share: float = SHARE,
) -> tuple[Decoded, Bool[Tensor, "b k"]]:
    """Return each map's highest peak beyond the first one's neighborhood, and whether it counts.

    A peak is a local maximum of the blurred map, so that the first one's slope is none. Where
    there is no such peak, or it is below ``share`` of the first, place and score mean nothing.

    Args:
        maps: scores in [0, 1].
        first: the highest peaks.
        sigma: of the blur in cells.
        reach: see :data:`REACH`.
        share: see :data:`SHARE`.

    Example:
        >>> from uprightpose.score_maps import encode_gaussians
        >>> both = encode_gaussians(torch.tensor([[[4.0, 5.0], [14.0, 9.0]]]), (16, 20))
        >>> maps = both[:, :1] + 0.7 * both[:, 1:]
        >>> second, there = second_peaks(maps, decode(maps))
        >>> second.joints.round().tolist(), there.tolist()
        ([[[14.0, 9.0]]], [[True]])
    """
    blurred = blur(maps, sigma) if sigma > 0 else maps
    local = blurred == functional.max_pool2d(blurred, 3, stride=1, padding=1)
    allowed = local & ~_near(maps, first.joints, reach)
    best = blurred.where(allowed, 0.0).flatten(2).argmax(dim=2)
    width = maps.shape[-1]
    cell = torch.stack([best % width, best // width], dim=-1).to(maps.dtype)
    found = decode(maps.where(_near(maps, cell, reach), 0.0), sigma=sigma)
    there = allowed.flatten(2).gather(2, best[..., None])[..., 0]
    return found, there & (found.scores > 0) & (found.scores >= share * first.scores)


def _near(
    maps: Float[Tensor, "b k h w"], places: Float[Tensor, "b k 2"], reach: float
) -> Bool[Tensor, "b k h w"]:
    """Return which cells lie within ``reach`` of the places."""
    y, x = (torch.arange(side, device=maps.device) for side in maps.shape[-2:])
    across = (x - places[..., 0, None]) ** 2
    down = (y - places[..., 1, None]) ** 2
    return across[..., None, :] + down[..., :, None] <= reach**2


def _height(part: FramedMaps) -> Float[Tensor, " b"]:
    return part.decode().scores.mean(dim=1)


def _chosen(one: FramedMaps, other: FramedMaps, taken: Bool[Tensor, " b"]) -> FramedMaps:
    """Return for each person the other's maps and frame where it is taken."""
    scores = torch.where(taken[:, None, None, None], other.scores, one.scores)
    rotation = one.rotation.exchanged(taken, other.rotation)
    return FramedMaps(scores, rotation, one.joints, one.mapping)
