"""Score maps in frames of their own, and how the parts of one person are merged.

:class:`FramedMaps` carries a frame along with its maps, so that a chain of refiners resamples
once per branch (SPEC 1.12). Several parts may show one joint; the merge settles which is
believed (SPEC 1.11).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uprightpose.normalize import Rotation, rotate_joints, rotate_maps
from uprightpose.score_maps import Decoded, Subcell, decode

Mapping = Literal["sigmoid", "softmax", "clip"]
"""How scores come to lie in [0, 1] (SPEC 1.5, 1.6); a softmax goes over all channels."""

Merge = Literal["average", "limb"]
"""Where several parts show a joint: the mean of their maps, or the last one, the limb's."""


@dataclass(frozen=True, eq=False)
class FramedMaps:
    """Score maps of some joints, in a frame of their own.

    Attributes:
        scores: ``(b, c, h, w)`` logits; one channel per joint, then background if any.
        rotation: cells of the image maps -> cells of these maps.
        joints: skeleton indices of the first ``len(joints)`` channels; a joint may stand here
            several times (type supervision, SPEC 1.14).
        mapping: how scores come to lie in [0, 1].
    """

    scores: Float[Tensor, "b c h w"]
    rotation: Rotation
    joints: tuple[int, ...]
    mapping: Mapping = "sigmoid"

    @property
    def maps(self) -> Float[Tensor, "b c h w"]:
        """Scores in [0, 1]."""
        match self.mapping:
            case "sigmoid":
                return self.scores.sigmoid()
            case "softmax":
                return self.scores.softmax(dim=1)
            case "clip":
                return self.scores.clamp(0, 1)

    @property
    def shown(self) -> tuple[int, ...]:
        """Each joint of ``joints`` once, in the order of its first channel."""
        return tuple(dict.fromkeys(self.joints))

    @property
    def background(self) -> bool:
        """Whether a background map follows the joints' maps."""
        return self.scores.shape[1] > len(self.joints)

    @property
    def size(self) -> tuple[int, int]:
        """``(h, w)`` of the maps."""
        return (self.scores.shape[-2], self.scores.shape[-1])

    def decode(self, *, sigma: float = 1.0, subcell: Subcell = True, upsample: int = 1) -> Decoded:
        """Find the joints in this frame and turn them back exactly, without resampling.

        A joint of several channels is where the highest of them has its peak.

        Args:
            sigma: see :func:`uprightpose.score_maps.decode`, as for the others.
            subcell: see there.
            upsample: see there.

        Returns:
            ``(b, len(shown), 2)`` cells of the image maps, and scores.
        """
        maps = self.maps[:, : len(self.joints)]
        return self.placed(decode(maps, sigma=sigma, subcell=subcell, upsample=upsample))

    def placed(self, found: Decoded) -> Decoded:
        """Turn back what was found in this frame; a joint of several channels is at the highest.

        Args:
            found: one joint for each of ``joints``, in this frame's cells.

        Returns:
            As :meth:`decode`.
        """
        best = self._best(found.scores)
        joints = found.joints.gather(1, best[..., None].expand(-1, -1, 2))
        scores = found.scores.gather(1, best)
        return Decoded(rotate_joints(joints, self.rotation.inverse()), scores)

    def to_image(self, size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
        """Turn the maps back to the image's ``(h, w)`` cells by one resampling (SPEC 1.12)."""
        return _turned([self], [self.rotation.inverse()], size)[0]

    def map_of(self, joint: int, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
        """Return one joint's map out of these ``maps``: the highest of its channels, per cell."""
        channels = [channel for channel, one in enumerate(self.joints) if one == joint]
        return maps[:, channels].amax(dim=1)

    def _best(self, scores: Float[Tensor, "b c"]) -> Int[Tensor, "b n"]:
        """Return the channel of the highest score for each joint shown; ties to the first."""
        own = [[one == joint for one in self.joints] for joint in self.shown]
        others = ~torch.tensor(own, device=scores.device)
        return scores[:, None].masked_fill(others, -torch.inf).argmax(dim=2)


def merge_maps(
    parts: Sequence[FramedMaps], joints: int, size: tuple[int, int], *, merge: Merge = "average"
) -> Float[Tensor, "b k h w"]:
    """Turn every part's maps back to the image's cells and take each joint from its parts.

    Args:
        parts: that together show all joints.
        joints: of the skeleton.
        size: ``(h, w)`` of the image maps.
        merge: what to do with a joint that several parts show (SPEC 1.11).
    """
    turned = _turned(parts, [part.rotation.inverse() for part in parts], size)
    return _merged(range(joints), parts, turned, merge)


def merge_joints(
    parts: Sequence[FramedMaps],
    joints: int,
    *,
    merge: Merge = "average",
    subcell: Subcell = True,
    upsample: int = 1,
) -> Decoded:
    """Decode each joint in its own part's frame and turn it back exactly.

    A joint that several parts show is averaged as a map and then decoded: two estimates that
    disagree leave two peaks of which the higher wins, where the mean of two positions would lie
    on neither. The average is taken in the frame of the first part that shows the joint (the
    body's), so that only the others' maps are resampled; ``merge="limb"`` decodes the last part.

    Args:
        parts: that together show all joints.
        joints: of the skeleton.
        merge: what to do with a joint that several parts show (SPEC 1.11).
        subcell: see :func:`uprightpose.score_maps.decode`, as for ``upsample``.
        upsample: see there.
    """
    alone = _averaged(parts) if merge == "average" else parts
    found = _decoded(alone, subcell, upsample)
    place = {joint: at for at, joint in enumerate(j for part in alone for j in part.shown)}
    order = [place[joint] for joint in range(joints)]  # of several places, the last
    return Decoded(
        torch.cat([one.joints for one in found], dim=1)[:, order],
        torch.cat([one.scores for one in found], dim=1)[:, order],
    )


def _merged(
    joints: Iterable[int], parts: Sequence[FramedMaps], maps: Sequence[Tensor], merge: Merge
) -> Float[Tensor, "b k h w"]:
    """Merge maps that lie in one frame, ``maps[i]`` with the channels of ``parts[i]``."""

    def one(joint: int) -> Tensor:
        shown = zip(parts, maps, strict=True)
        found = [part.map_of(joint, own) for part, own in shown if joint in part.joints]
        return torch.stack(found).mean(dim=0) if merge == "average" else found[-1]

    return torch.stack([one(joint) for joint in joints], dim=1)


def _averaged(parts: Sequence[FramedMaps]) -> list[FramedMaps]:
    """Return parts that share no joint: each is averaged in the first part that shows it."""
    alone: list[FramedMaps] = []
    for at, part in enumerate(parts):
        before = {joint for one in parts[:at] for joint in one.joints}
        own = tuple(joint for joint in part.shown if joint not in before)
        sharing = [one for one in parts[at:] if set(own) & set(one.joints)]
        if own == part.shown and len(sharing) == 1:
            alone.append(part)
        elif own:
            maps = _seen_from(part, sharing)
            scores = _merged(own, sharing, maps, "average")
            alone.append(FramedMaps(scores, part.rotation, own, "clip"))
    return alone


def _seen_from(here: FramedMaps, parts: Sequence[FramedMaps]) -> list[Float[Tensor, "b c _ _"]]:
    """Return the parts' maps in one part's frame, the others' by one resampling."""
    others = [part for part in parts if part is not here]
    turns = [part.rotation.inverse().then(here.rotation) for part in others]
    turned = iter(_turned(others, turns, here.size))
    return [here.maps if part is here else next(turned) for part in parts]


def _turned(
    parts: Sequence[FramedMaps], rotations: Sequence[Rotation], size: tuple[int, int]
) -> list[Float[Tensor, "b c _ _"]]:
    """Turn every part's maps by its rotation; parts of one shape turn as one batch."""
    turned: dict[int, Tensor] = {}
    for alike in _grouped([(part.scores.shape, part.background) for part in parts]):
        alone = len(alike) == 1
        maps = parts[alike[0]].maps if alone else torch.cat([parts[at].maps for at in alike])
        rotation = Rotation.joined([rotations[at] for at in alike])
        background = parts[alike[0]].background
        found = rotate_maps(maps, rotation, size, background=background).chunk(len(alike))
        turned.update(zip(alike, found, strict=True))
    return [turned[at] for at in range(len(parts))]


def _decoded(parts: Sequence[FramedMaps], subcell: Subcell, upsample: int) -> list[Decoded]:
    """Decode every part; the maps of parts of one size are read together."""
    found: dict[int, Decoded] = {}
    for alike in _grouped([part.size for part in parts]):
        maps = torch.cat([parts[at].maps[:, : len(parts[at].joints)] for at in alike], dim=1)
        read = decode(maps, subcell=subcell, upsample=upsample)
        counts = [len(parts[at].joints) for at in alike]
        pairs = zip(*(torch.split(one, counts, dim=1) for one in read), strict=True)
        for at, pair in zip(alike, pairs, strict=True):
            found[at] = parts[at].placed(Decoded(*pair))
    return [found[at] for at in range(len(parts))]


def _grouped(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the places of equal keys together, in the order of the first of them.

    Example:
        >>> _grouped(["body", "limb", "limb"])
        [[0], [1, 2]]
    """
    places: dict[Hashable, list[int]] = {}
    for at, key in enumerate(keys):
        places.setdefault(key, []).append(at)
    return list(places.values())
