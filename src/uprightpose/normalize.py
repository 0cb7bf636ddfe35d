"""Body and limb normalization: turn score maps and joints so that the body part is upright.

Frames: *image maps* are the detector's cells; a normalized frame has cells of the same size
on a canvas of its own. Angles are radians, positive clockwise as displayed, so that
``R(t) = [[cos t, -sin t], [sin t, cos t]]`` acts on ``(x, y)`` with y down (Eq. 2).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from uprightpose.skeletons import Limb

MIN_LENGTH = 0.5
"""Cells: a shorter axis has no direction (SPEC 1.8)."""

MIN_SCORE = 0.05
"""A body angle needs each torso map and the neck's to peak at least this high (SPEC 1.8)."""


@dataclass(frozen=True, eq=False)
class Rotation:
    """A turn about ``center``, which then lies at ``target``: ``x' = R(angle)(x - c) + t``.

    With ``target == center`` this is the paper's turn in place (Eq. 1); another target puts
    the content on a canvas of its own without a second resampling.

    Attributes:
        center: ``(b, 2)`` cells ``(x, y)`` before the turn.
        angle: ``(b,)`` radians.
        target: ``(b, 2)`` cells after the turn; the center by default.
    """

    center: Float[Tensor, "b 2"]
    angle: Float[Tensor, " b"]
    target: Float[Tensor, "b 2"]

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

    def inverse(self) -> "Rotation":
        """Return the turn back."""
        return Rotation(self.target, -self.angle, self.center)

    def then(self, after: "Rotation") -> "Rotation":
        """Return this turn followed by ``after`` as one turn: one resampling, not two."""
        return Rotation(self.center, self.angle + after.angle, _turn(self.target, after))

    def placed(self, target: tuple[float, float]) -> "Rotation":
        """Return the same turn with the center brought to the fixed cell ``(x, y)``."""
        cell = self.center.new_tensor(target).expand_as(self.center)
        return Rotation(self.center, self.angle, cell)


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
    down = joints[:, limb.middle] - root
    supported = down.norm(dim=-1) >= MIN_LENGTH  # False for NaN
    angle = torch.where(supported, torch.atan2(down[:, 0], down[:, 1]), 0.0)
    known = root.isfinite().all(dim=1, keepdim=True)
    return Rotation.about(torch.where(known, root, root.new_tensor(otherwise)), angle)


def rotate_joints(joints: Float[Tensor, "b k 2"], rotation: Rotation) -> Float[Tensor, "b k 2"]:
    """Move joints as :func:`rotate_maps` moves their maps; NaN stays NaN."""
    cos, sin = rotation.angle.cos()[:, None], rotation.angle.sin()[:, None]
    x, y = (joints - rotation.center[:, None]).unbind(dim=-1)
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    return turned + rotation.target[:, None]


def rotate_maps(
    maps: Float[Tensor, "b c h w"],
    rotation: Rotation,
    size: tuple[int, int] | None = None,
    *,
    background: bool = False,
) -> Float[Tensor, "b c _ _"]:
    """Turn score maps by one bilinear resampling; gradients flow through the values only.

    Args:
        maps: any channels.
        rotation: cells of these maps -> cells of the result.
        size: ``(h, w)`` of the result; the input's by default.
        background: the last channel is background: outside the input it is 1, joints are 0.

    Returns:
        Maps whose cell ``x'`` holds the input's value at ``rotation.inverse()`` of ``x'``.
        The identity returns the same bits.

    Paper: Sec. 3.2, Eq. 1; SPEC 1.8, 1.12, 1.13.
    """
    height, width = size or (maps.shape[-2], maps.shape[-1])
    fill = maps.new_zeros(maps.shape[1])
    if background:
        fill[-1] = 1.0
    x = torch.arange(width, device=maps.device, dtype=maps.dtype)
    y = torch.arange(height, device=maps.device, dtype=maps.dtype)
    back = rotation.inverse()
    cos, sin = back.angle.cos()[:, None, None], back.angle.sin()[:, None, None]
    # R x + (t - R c), in this order: the identity keeps whole cells whole.
    shift = (back.target - _linear(back.center, back.angle))[:, :, None, None]
    source_x = cos * x - sin * y[:, None] + shift[:, 0]
    source_y = sin * x + cos * y[:, None] + shift[:, 1]
    return _sample(maps, source_x, source_y, fill)


def _sample(
    maps: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b i j"],
    y: Float[Tensor, "b i j"],
    fill: Float[Tensor, " c"],
) -> Float[Tensor, "b c i j"]:
    """Read ``maps`` at ``(x, y)`` bilinearly; a ring of ``fill`` surrounds them."""
    height, width = maps.shape[-2:]
    ringed = fill[:, None, None].repeat(len(maps), 1, height + 2, width + 2)
    ringed[:, :, 1:-1, 1:-1] = maps
    x, y = x.detach().clamp(-1, width) + 1, y.detach().clamp(-1, height) + 1
    left, top = x.floor().clamp(max=width), y.floor().clamp(max=height)
    right_share, low_share = ((t[:, None]).to(maps.dtype) for t in (x - left, y - top))
    corner = (top * (width + 2) + left).long().flatten(1)[:, None]
    flat = ringed.flatten(2)

    def at(step: int) -> Tensor:
        index = (corner + step).expand(-1, maps.shape[1], -1)
        return flat.gather(2, index).view(*maps.shape[:2], *x.shape[1:])

    upper = torch.lerp(at(0), at(1), right_share)
    lower = torch.lerp(at(width + 2), at(width + 3), right_share)
    return torch.lerp(upper, lower, low_share)


def _linear(points: Float[Tensor, "b 2"], angle: Float[Tensor, " b"]) -> Float[Tensor, "b 2"]:
    """Turn vectors about the origin."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack(
        [cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]], dim=1
    )


def _turn(points: Float[Tensor, "b 2"], rotation: Rotation) -> Float[Tensor, "b 2"]:
    return rotate_joints(points[:, None], rotation)[:, 0]
