"""Body and limb normalization: turn score maps and joints so that the body part is upright.

Frames: *image maps* are the detector's cells; a normalized frame has cells of the same size
on a canvas of its own. Angles are radians, positive clockwise as displayed, so that
``R(t) = [[cos t, -sin t], [sin t, cos t]]`` acts on ``(x, y)`` with y down (Eq. 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from uprightpose.frames import HALF
from uprightpose.score_maps import full_precision
from uprightpose.skeletons import Limb

MIN_LENGTH = 0.5
"""Cells: a shorter axis has no direction (SPEC 1.8)."""

MIN_SCORE = 0.05
"""A body angle needs each torso map and the neck's to peak at least this high (SPEC 1.8)."""

SCALES = (0.5, 2.0)
"""Nobody is made smaller or larger than this: beyond it bones were found wrong (SPEC 6.6)."""


@dataclass(frozen=True, eq=False)
class Rotation:
    """A turn about ``center``, which then lies at ``target``: ``x' = s R(angle)(x - c) + t``.

    With ``target == center`` this is the paper's turn in place (Eq. 1); another target puts
    the content on a canvas of its own without a second resampling. With a scale ``s`` it is a
    similarity, which brings people to one size, too (SPEC 6.6).

    Attributes:
        center: ``(b, 2)`` cells ``(x, y)`` before the turn.
        angle: ``(b,)`` radians.
        target: ``(b, 2)`` cells after the turn; the center by default.
        scale: ``(b,)`` cells after the turn for each before, above 0; ``None`` for 1.
    """

    center: Float[Tensor, "b 2"]
    angle: Float[Tensor, " b"]
    target: Float[Tensor, "b 2"]
    scale: Float[Tensor, " b"] | None = None

    @staticmethod
    def about(
        center: Float[Tensor, "b 2"],
        angle: Float[Tensor, " b"],
        target: Float[Tensor, "b 2"] | None = None,
    ) -> "Rotation":
        """Return the turn about ``center``, in place unless a target is given."""
        return Rotation(center, angle, center if target is None else target)

    @staticmethod
    def none(like: Tensor) -> "Rotation":
        """Return the identity for a batch like ``like`` (its first size, dtype and device)."""
        zeros = like.new_zeros(len(like), 2)
        return Rotation(zeros, zeros[:, 0], zeros)

    @staticmethod
    def joined(parts: Sequence["Rotation"]) -> "Rotation":
        """Return the turns of several batches as those of one, in their order."""
        scaled = any(part.scale is not None for part in parts)
        return Rotation(
            torch.cat([part.center for part in parts]),
            torch.cat([part.angle for part in parts]),
            torch.cat([part.target for part in parts]),
            torch.cat([part.scales for part in parts]) if scaled else None,
        )

    @property
    def scales(self) -> Float[Tensor, " b"]:
        """The scale, ones where there is none."""
        return torch.ones_like(self.angle) if self.scale is None else self.scale

    def inverse(self) -> "Rotation":
        """Return the turn back."""
        scale = None if self.scale is None else 1 / self.scale
        return Rotation(self.target, -self.angle, self.center, scale)

    def then(self, after: "Rotation") -> "Rotation":
        """Return this turn followed by ``after`` as one turn: one resampling, not two."""
        plain = self.scale is None and after.scale is None
        scale = None if plain else self.scales * after.scales
        target = _turn(self.target, after)
        return Rotation(self.center, self.angle + after.angle, target, scale)

    def scaled(self, scale: Float[Tensor, " b"]) -> "Rotation":
        """Return the same turn that brings everybody to ``scale`` times the present size."""
        return Rotation(self.center, self.angle, self.target, self.scales * scale)

    def exchanged(self, chosen: Bool[Tensor, " b"], other: "Rotation") -> "Rotation":
        """Return these turns, and another batch's for those who are chosen."""
        plain = self.scale is None and other.scale is None
        return Rotation(
            torch.where(chosen[:, None], other.center, self.center),
            torch.where(chosen, other.angle, self.angle),
            torch.where(chosen[:, None], other.target, self.target),
            None if plain else torch.where(chosen, other.scales, self.scales),
        )

    def detached(self) -> "Rotation":
        """Return the same turn as a constant, through which no gradient flows."""
        parts = (self.center.detach(), self.angle.detach(), self.target.detach())
        return Rotation(*parts, None if self.scale is None else self.scale.detach())

    def placed(self, target: tuple[float, float]) -> "Rotation":
        """Return the same turn with the center brought to the fixed cell ``(x, y)``."""
        cell = self.center.new_tensor(target).expand_as(self.center)
        return Rotation(self.center, self.angle, cell, self.scale)


def body_rotation(
    joints: Float[Tensor, "b k 2"],
    torso: tuple[int, ...],
    neck: tuple[int, ...],
    scores: Float[Tensor, "b k"] | None = None,
    otherwise: tuple[float, float] | None = None,
) -> Rotation:
    """Return the turn that brings the neck straight above the torso center.

    Args:
        joints: positions in score-map cells, ``(x, y)``; may be NaN.
        torso: indices of both shoulders and both hips.
        neck: index of the neck; several are averaged (COCO has none of its own).
        scores: peak of each joint's map; where a torso joint or the neck is below
            :data:`MIN_SCORE` the maps support no angle.
        otherwise: the center ``(x, y)`` where no angle is supported; by default the torso
            center if known, else 0.

    Returns:
        A rotation about the mean of the torso joints, in place. The angle is signed, by
        ``atan2``: the paper's ``arccos`` gives the size of the turn but not its side. It is
        0 where a torso joint or the neck is missing or weak, or where neck and center
        (nearly) coincide. Never NaN.

    Raises:
        ValueError: if ``torso`` does not name exactly four joints.

    Paper: Sec. 3.2, Eqs. 1-2, Fig. 3; SPEC 1.8.

    Example:
        A body on its side, neck to the right, turns a quarter counter-clockwise.

        >>> joints = torch.tensor([[[1.0, 2], [1, 4], [5, 2], [5, 4], [9, 3]]])
        >>> body_rotation(joints, torso=(0, 1, 2, 3), neck=(4,)).angle
        tensor([-1.5708])
    """
    if len(torso) != 4:
        raise ValueError(f"expected four torso joints (shoulders, hips), found {len(torso)}")
    joints = joints.detach()
    center = joints[:, list(torso)].mean(dim=1)
    up = joints[:, list(neck)].mean(dim=1) - center
    supported = up.norm(dim=-1) >= MIN_LENGTH  # False for NaN
    if scores is not None:
        axis = scores[:, [*torso, *neck]]
        supported = supported & (axis >= MIN_SCORE).all(dim=1)
    angle = torch.atan2(-up[:, 0], -up[:, 1])
    fallback = center.nan_to_num(0.0) if otherwise is None else center.new_tensor(otherwise)
    return Rotation.about(
        torch.where(supported[:, None], center, fallback), torch.where(supported, angle, 0.0)
    )


def limb_rotation(
    joints: Float[Tensor, "b k 2"],
    limb: Limb,
    otherwise: tuple[float, float] = (0.0, 0.0),
) -> Rotation:
    """Return the turn about the limb's root that makes its upper part hang straight down.

    Args:
        joints: positions in score-map cells of the frame to turn; may be NaN.
        limb: indices of root, middle and end.
        otherwise: the center ``(x, y)`` where the root is missing.

    Returns:
        A rotation about the root, in place; angle 0 where root or middle are missing or
        (nearly) coincide. Never NaN.

    Paper: Sec. 3.2, limb normalization; SPEC 1.8: ``phi = atan2(u_x, u_y)``.
    """
    joints = joints.detach()
    root = joints[:, limb.root]
    known = root.isfinite().all(dim=1, keepdim=True)
    center = torch.where(known, root, root.new_tensor(otherwise))
    return Rotation.about(center, limb_angle(joints, limb))


def limb_angle(joints: Float[Tensor, "b k 2"], limb: Limb) -> Float[Tensor, " b"]:
    """Return the angle of :func:`limb_rotation`; gradients flow through it (SPEC 6.4).

    With ``u`` from root to middle it is ``d angle = (u_y du_x - u_x du_y) / |u|^2``, which grows
    without bound as ``u`` shrinks: below :data:`MIN_LENGTH`, where the angle is 0, so it is.

    Args:
        joints: positions in cells; may be NaN.
        limb: indices of root and middle.
    """
    down = joints[:, limb.middle] - joints[:, limb.root]
    supported = down.norm(dim=-1, keepdim=True) >= MIN_LENGTH  # False for NaN
    x, y = torch.where(supported, down, down.new_tensor((0.0, 1.0))).unbind(dim=-1)
    return torch.atan2(x, y)


def body_scale(
    joints: Float[Tensor, "b k 2"],
    scores: Float[Tensor, "b k"],
    bones: Sequence[tuple[int, int]],
    lengths: Sequence[float],
) -> Float[Tensor, " b"]:
    """Return by how much people are to be enlarged to come at one size (SPEC 6.6).

    A size is the mean of bone lengths over their usual ones, each weighted by the lower score
    of its ends: a torso alone is foreshortened too easily.

    Args:
        joints: positions in score-map cells; not NaN.
        scores: peaks of their maps.
        bones: both ends of each.
        lengths: usual ones, in cells, above 0.

    Returns:
        Within :data:`SCALES`; 1 where no bone is seen.

    Example:
        >>> joints = torch.tensor([[[0.0, 0], [0, 3], [4, 3]]])
        >>> body_scale(joints, torch.ones(1, 3), [(0, 1), (1, 2)], [6.0, 8.0])
        tensor([2.])
    """
    starts, ends = [start for start, _ in bones], [end for _, end in bones]
    joints, scores = joints.detach(), scores.detach()
    ratios = (joints[:, starts] - joints[:, ends]).norm(dim=-1) / joints.new_tensor(lengths)
    weights = torch.minimum(scores[:, starts], scores[:, ends])
    size = (weights * ratios).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6)
    seen = (size > 0) & (weights.amax(dim=1) >= MIN_SCORE)
    return torch.where(seen, 1 / size.clamp(min=1e-6), 1.0).clamp(*SCALES)


def rotate_joints(joints: Float[Tensor, "b k 2"], rotation: Rotation) -> Float[Tensor, "b k 2"]:
    """Move joints as :func:`rotate_maps` moves their maps; NaN stays NaN."""
    cos, sin = rotation.angle.cos()[:, None], rotation.angle.sin()[:, None]
    x, y = (joints - rotation.center[:, None]).unbind(dim=-1)
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    if rotation.scale is not None:
        turned = turned * rotation.scale[:, None, None]
    return turned + rotation.target[:, None]


def rotate_maps(
    maps: Float[Tensor, "b c h w"],
    rotation: Rotation,
    size: tuple[int, int] | None = None,
    *,
    background: bool = False,
    flow: bool = False,
) -> Float[Tensor, "b c _ _"]:
    """Turn score maps by one bilinear resampling; gradients flow through the values only.

    One pass: the places to read are found once for all channels of a person.

    Args:
        maps: any channels.
        rotation: cells of these maps -> cells of the result.
        size: ``(h, w)`` of the result; the input's by default.
        background: the last channel is background: outside the input it is 1, joints are 0.
        flow: let gradients flow through the rotation, too (SPEC 6.4).

    Returns:
        Maps whose cell ``x'`` holds the input's value at ``rotation.inverse()`` of ``x'``.
        The identity returns the same bits.

    Paper: Sec. 3.2, Eq. 1; SPEC 1.8, 1.12, 1.13.
    """
    values = full_precision(maps)
    padded = _padded(values)
    height, width = padded.shape[-2:]
    if not flow:
        rotation = rotation.detached()
    grid = _grid(rotation, size or (maps.shape[-2], maps.shape[-1]), (height, width), values)
    turned = functional.grid_sample(padded, grid, padding_mode="zeros", align_corners=False)
    if background:
        x, y = grid.unbind(dim=-1)
        inside = _inside(x, width, maps.shape[-1]) * _inside(y, height, maps.shape[-2])
        turned[:, -1] += 1 - inside
    return turned.to(maps.dtype)


def _grid(
    rotation: Rotation, size: tuple[int, int], source: tuple[int, int], like: Tensor
) -> Float[Tensor, "b i j 2"]:
    """Return where each cell of the result lies in the maps, as ``grid_sample`` counts.

    That is ``s R x + (t - s R c)``, with -1 and 1 at the outer edges of ``source``: what a column
    adds and what a row adds. In this order the identity keeps whole cells whole.
    """
    back = rotation.inverse()
    angle, center, target = (v.to(like) for v in (back.angle, back.center, back.target))
    y, x = (torch.arange(side, device=like.device, dtype=like.dtype)[:, None] for side in size)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    start = _linear(center, angle)
    if back.scale is not None:
        scale = back.scale.to(like)[:, None]
        cos, sin, start = cos * scale, sin * scale, start * scale
    shift = target - start
    cells = like.new_tensor([source[1], source[0]])
    columns = torch.stack([cos, sin], dim=-1) * x + shift[:, None]
    rows = torch.stack([-sin, cos], dim=-1) * y * (2 / cells)
    return (columns * (2 / cells) + (1 / cells - 1))[:, None] + rows[:, :, None]


def _padded(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
    """Append zeros so that sides are powers of two: then ``grid_sample``'s places are exact.

    It takes places as shares of the map. A power of two divides whole cells without rounding;
    another side would turn 5 into 5.000001, and the identity would blur.
    """
    below, beside = ((1 << (side - 1).bit_length()) - side for side in maps.shape[-2:])
    return functional.pad(maps, (0, beside, 0, below)) if below or beside else maps


def _inside(places: Float[Tensor, "b i j"], side: int, own: int) -> Float[Tensor, "b i j"]:
    """Return how much of a bilinear reading comes from the map along one axis, 0 to 1.

    Args:
        places: of :func:`_grid`.
        side: cells from -1 to 1.
        own: cells of the map.
    """
    edge = (places + 1) * (side / 2)
    return torch.minimum(edge + HALF, own + HALF - edge).clamp(0, 1)


def _linear(points: Float[Tensor, "b 2"], angle: Float[Tensor, " b"]) -> Float[Tensor, "b 2"]:
    """Turn vectors about the origin."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack(
        [cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]], dim=1
    )


def _turn(points: Float[Tensor, "b 2"], rotation: Rotation) -> Float[Tensor, "b 2"]:
    return rotate_joints(points[:, None], rotation)[:, 0]
