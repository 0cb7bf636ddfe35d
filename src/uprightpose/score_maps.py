"""Encode joints as score maps, decode score maps as joints: each undoes the other.

All positions here are score-map cells ``(x, y)``; :mod:`uprightpose.frames` relates them to
pixels. Score maps lie in [0, 1]; a background map, if any, is the last channel.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from uprightpose.frames import image_to_map
from uprightpose.peaks import blur, find_peaks
from uprightpose.skeletons import Skeleton

Subcell = bool | Literal["quarter", "gaussian"]
"""How a peak is placed between cells: a parabola, not at all, a quarter cell (SPEC 1.5), or a
Gaussian (SPEC 6.2)."""

RADIUS_SHARE = 0.15
"""Disk radius over the reference length |left shoulder - right hip| (paper, Sec. 3.4)."""

MIN_RADIUS = 0.75
"""Smallest disk radius in cells, so that a disk is never empty (SPEC 1.15)."""

LEAST_SCORE = 1e-6
"""Below this a map's logarithm ends, where a Gaussian is fitted."""

FLAT = -1e-12
"""Curvature of a peak at least, so that a flat one divides by something."""

AT_A_TIME = 1 << 21
"""Cells that a CPU decodes at a time: more and they leave its caches between steps."""


class Decoded(NamedTuple):
    """Joints read from score maps.

    Attributes:
        joints: ``(b, k, 2)`` cells.
        scores: ``(b, k)`` value of each map at its peak.
    """

    joints: Float[Tensor, "b k 2"]
    scores: Float[Tensor, "b k"]


def encode_gaussians(
    joints: Float[Tensor, "b k 2"], size: tuple[int, int], sigma: float = 1.0
) -> Float[Tensor, "b k h w"]:
    """Draw a Gaussian of peak 1 at each joint (hourglass targets, SPEC 1.15).

    Args:
        joints: cells; a NaN joint gives an empty map.
        size: ``(h, w)`` of the maps.
        sigma: standard deviation in cells.
    """
    across, down = (
        torch.exp(-squares / (2 * sigma**2)).nan_to_num(0.0)
        for squares in _squared_offsets(joints, size)
    )
    return down[..., :, None] * across[..., None, :]


def encode_disks(
    joints: Float[Tensor, "b k 2"], size: tuple[int, int], radius: Float[Tensor, " b"]
) -> Float[Tensor, "b k h w"]:
    """Set the cells within ``radius`` of each joint to 1 (paper, Sec. 3.4).

    Args:
        joints: cells; a NaN joint gives an empty map.
        size: ``(h, w)`` of the maps.
        radius: cells, one per person.

    Example:
        >>> encode_disks(torch.tensor([[[1.0, 0.0]]]), (2, 3), torch.tensor([1.0]))
        tensor([[[[1., 1., 1.],
                  [0., 1., 0.]]]])
    """
    inside = _squared_distances(joints, size) <= radius[:, None, None, None] ** 2
    return inside.to(joints.dtype)


def encode_labels(
    joints: Float[Tensor, "b k 2"], size: tuple[int, int], radius: Float[Tensor, " b"]
) -> Int[Tensor, "b h w"]:
    """Name the class of each cell: the nearest joint within ``radius``, else background ``k``.

    One label per cell, as a softmax needs it: where disks overlap the nearest joint wins
    (SPEC 1.15).

    Args:
        joints: cells; a NaN joint is nowhere.
        size: ``(h, w)`` of the maps.
        radius: cells, one per person.

    Example:
        >>> joints = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
        >>> encode_labels(joints, (1, 5), torch.tensor([1.0]))
        tensor([[[0, 0, 1, 1, 2]]])
    """
    far = torch.inf
    nearest = _squared_distances(joints, size).nan_to_num(far, far).min(dim=1)
    inside = nearest.values <= radius[:, None, None] ** 2
    return torch.where(inside, nearest.indices, joints.shape[1])


def disk_radius(joints: Float[Tensor, "b k 2"], skeleton: Skeleton) -> Float[Tensor, " b"]:
    """Return ``r = 0.15 |left shoulder - right hip|`` per person, in the joints' unit.

    Foreshortened torsos, whose diagonal is under half of the other one, take the other
    (SPEC 1.15). A missing diagonal takes the other too; the floor is :data:`MIN_RADIUS`.
    """
    left_shoulder, right_shoulder, left_hip, right_hip = skeleton.torso
    main = (joints[:, left_shoulder] - joints[:, right_hip]).norm(dim=-1)
    other = (joints[:, right_shoulder] - joints[:, left_hip]).norm(dim=-1)
    short = main.isnan() | (main < other / 2)
    length = torch.where(short, other, main).nan_to_num(0.0)
    return (RADIUS_SHARE * length).clamp(min=MIN_RADIUS)


def with_background(maps: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k1 h w"]:
    """Append the background map, 1 - the largest joint map (SPEC 1.10)."""
    return torch.cat([maps, 1 - maps.amax(dim=1, keepdim=True)], dim=1)


def decode(
    maps: Float[Tensor, "b k h w"],
    *,
    sigma: float = 1.0,
    subcell: Subcell = True,
    upsample: int = 1,
) -> Decoded:
    """Find each map's joint: Gaussian blur, highest cell, parabola through its neighbors.

    Pass the joints' maps only, without background. Nothing flows back (SPEC 1.13).

    Args:
        maps: scores in [0, 1].
        sigma: blur in cells; 0 for none.
        subcell: refine the position by a parabola along x and y; ``"gaussian"`` by a paraboloid
            through the logarithms of the nine cells about the peak, which is exact where the
            peak is a Gaussian (DARK, SPEC 6.2); ``"quarter"`` shifts it by a quarter cell
            towards the higher neighbor; ``False`` is the paper's literal reading.
        upsample: enlarge the maps so many times first, bilinearly: with ``subcell=False`` and
            the stride this is how the paper reads joints (SPEC 1.18).

    Returns:
        Joints in cells and the unblurred scores there; ties go to the first cell.

    Paper: Sec. 3.2, normalization module (Fig. 7); SPEC 1.7.

    Example:
        >>> maps = encode_gaussians(torch.tensor([[[4.25, 4.0]]]), (9, 10))
        >>> decode(maps).joints
        tensor([[[4.2267, 4.0000]]])
        >>> decode(maps, subcell="gaussian").joints.round(decimals=3)
        tensor([[[4.2500, 4.0000]]])
    """
    if maps.device.type == "cpu" and not torch.compiler.is_compiling():
        people = max(1, AT_A_TIME // max(1, maps[:1].numel()))
        if len(maps) > people:
            parts = [
                decode(part, sigma=sigma, subcell=subcell, upsample=upsample)
                for part in torch.split(maps, people)
            ]
            return Decoded(*map(torch.cat, zip(*parts, strict=True)))
    maps = full_precision(maps.detach())
    with torch.autocast(maps.device.type, enabled=False):  # 8 bits of mantissa bend a peak
        if upsample > 1:
            maps = functional.interpolate(maps, scale_factor=upsample, mode="bilinear")
        x, y, around = find_peaks(maps, sigma * upsample)
    joints = torch.stack([x, y], dim=-1).to(maps.dtype)
    if subcell:
        joints = joints + _shift(around, subcell)
    best = y * maps.shape[-1] + x
    scores = maps.flatten(2).gather(2, best[..., None])[..., 0]
    return Decoded(image_to_map(joints, upsample), scores)


def soft_positions(
    maps: Float[Tensor, "b k h w"], *, sigma: float = 1.0, sharpness: float = 4.0
) -> Float[Tensor, "b k 2"]:
    """Return the mean place of each map, weighted by its scores; gradients flow (SPEC 6.4).

    The weights are powers of the blurred scores, so that how high a peak is does not matter, only
    how far it rises above the rest: the soft-argmax of their logarithms.

    Args:
        maps: scores in [0, 1].
        sigma: blur in cells; 0 for none.
        sharpness: the power; the larger, the nearer to the highest peak.

    Example:
        >>> maps = encode_gaussians(torch.tensor([[[4.25, 4.0]]]), (9, 10))
        >>> soft_positions(0.3 * maps).round(decimals=2)
        tensor([[[4.2500, 4.0000]]])
    """
    blurred = blur(full_precision(maps), sigma) if sigma > 0 else full_precision(maps)
    logs = blurred.clamp(min=LEAST_SCORE).log().flatten(2)
    shares = torch.softmax(sharpness * logs, dim=2).view(*maps.shape)
    y, x = (torch.arange(n, device=maps.device, dtype=shares.dtype) for n in maps.shape[-2:])
    return torch.stack([shares.sum(dim=2) @ x, shares.sum(dim=3) @ y], dim=-1)


def full_precision(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return half-precision values as float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _shift(around: Float[Tensor, "b k 3 3"], subcell: Subcell) -> Float[Tensor, "b k 2"]:
    """Return how far a peak lies beside its cell, ``(x, y)``; 0 at the border."""
    if subcell == "gaussian":
        return _gaussian_shift(around)
    axes = torch.stack([around[..., 1, :], around[..., :, 1]], dim=-2)
    low, here, high = axes.unbind(dim=-1)
    if subcell == "quarter":
        return (high - low).sign() / 4
    bend = (low + high - 2 * here).clamp(max=FLAT)
    return ((low - high) / (2 * bend)).clamp(-0.5, 0.5)  # the vertex of the parabola


def _gaussian_shift(around: Float[Tensor, "b k 3 3"]) -> Float[Tensor, "b k 2"]:
    """Return one Newton step on the logarithm, from the peak's cell to the Gaussian's center.

    Where noise makes a saddle of the nine cells, each axis steps by itself.
    """
    logs = around.clamp(min=LEAST_SCORE).log()
    (corner, up, other), (left, here, right), (third, down, fourth) = (
        row.unbind(dim=-1) for row in logs.unbind(dim=-2)
    )
    slope_x, slope_y = (right - left) / 2, (down - up) / 2
    bend_x = (left + right - 2 * here).clamp(max=FLAT)
    bend_y = (up + down - 2 * here).clamp(max=FLAT)
    twist = ((corner - other) + (fourth - third)) / 4  # exactly 0 at a border
    twist = torch.where(twist**2 < bend_x * bend_y, twist, 0.0)
    area = bend_x * bend_y - twist**2
    shift_x = (twist * slope_y - bend_y * slope_x) / area
    shift_y = (twist * slope_x - bend_x * slope_y) / area
    return torch.stack([shift_x, shift_y], dim=-1).clamp(-0.5, 0.5)


def _squared_offsets(
    joints: Float[Tensor, "b k 2"], size: tuple[int, int]
) -> tuple[Float[Tensor, "b k w"], Float[Tensor, "b k h"]]:
    """Return each column's and each row's squared distance from the joints."""
    y, x = (torch.arange(side, device=joints.device, dtype=joints.dtype) for side in size)
    return (x - joints[..., 0, None]) ** 2, (y - joints[..., 1, None]) ** 2


def _squared_distances(
    joints: Float[Tensor, "b k 2"], size: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    across, down = _squared_offsets(joints, size)
    return down[..., :, None] + across[..., None, :]
