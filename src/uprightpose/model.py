"""PoseNet: detector, body refiner, limb refiner; returns the maps of every stage (Fig. 2)."""

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from uprightpose.framed import FramedMaps, Merge, merge_joints
from uprightpose.normalize import Rotation
from uprightpose.refine import LimbRefiner
from uprightpose.score_maps import Decoded, Subcell, with_background
from uprightpose.skeletons import Skeleton

STAGES = ("detector", "body", "limbs")
"""Of the network, in the order of Fig. 2."""


class GlobalRefiner(Protocol):
    """Stage 1: the paper's :class:`~uprightpose.refine.BodyRefiner`, or a baseline of Table 1."""

    def refine(
        self, score_maps: Float[Tensor, "b c h w"], types: Int[Tensor, " b"] | None = None
    ) -> FramedMaps:
        """Refine maps in [0, 1]; ``types`` of the true poses matter to baselines in training."""


class Outputs(NamedTuple):
    """The score maps of every stage.

    Attributes:
        levels: the detector's scores by the name of their loss, coarse to fine.
        detector: the last of them, in the image's cells.
        body: stage 1 in the body frame; ``None`` if the network has none.
        limbs: stage 2, one part for the joints of no limb and one per limb; may be empty.
        merge: what to do with joints that several of these show.
    """

    levels: dict[str, Tensor]
    detector: FramedMaps
    body: FramedMaps | None
    limbs: tuple[FramedMaps, ...]
    merge: Merge = "average"

    def parts(self, stage: str) -> tuple[FramedMaps, ...]:
        """Return the framed maps of ``"detector"``, ``"body"`` or ``"limbs"``; maybe none."""
        if stage == "limbs":
            return self.limbs
        found = {"detector": self.detector, "body": self.body}[stage]
        return () if found is None else (found,)


class PoseNet(nn.Module):
    """Images -> score maps of every stage.

    Args:
        skeleton: whose joints the maps show.
        detector: images ``(b, 3, h, w)`` -> raw scores by the name of their loss, coarse to
            fine, of joints or of joints and background; has ``stride``, that of the last
            ones, and ``mapping``, how they come to lie in [0, 1] (SPEC 1.6).
        body: stage 1, if any.
        limbs: stage 2, if any; needs stage 1.

    Attributes:
        mirrored: :meth:`detect` gives the mean of the raw scores of the picture and of its mirror
            image, mirrored back (a flip test, SPEC 6.8): twice the detector's time. Off until
            somebody sets it.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        detector: nn.Module,
        body: nn.Module | None = None,
        limbs: LimbRefiner | None = None,
    ) -> None:
        """Chain the stages."""
        super().__init__()
        if limbs is not None and body is None:
            raise ValueError("limb refinement follows body refinement: expected a BodyRefiner")
        self.skeleton, self.detector, self.body, self.limbs = skeleton, detector, body, limbs
        self.mirrored = False

    @property
    def stride(self) -> int:
        """Crop pixels per cell of the image maps."""
        return int(self.detector.stride)  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "b 3 h w"], last: str = "limbs") -> Outputs:
        """Run the stages up to ``last``.

        Args:
            images: RGB, 0 to 255; sides are multiples of 16 or of what the detector asks for.
            last: a name of :data:`STAGES`.
        """
        return self.refine(self.detect(images), last)

    def detect(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """Return the detector's raw scores by the name of their loss, coarse to fine."""
        seen = self._scores(images)
        if not self.mirrored:
            return seen
        again = self._scores(images.flip(-1))
        return {name: (scores + self._back(again[name])) / 2 for name, scores in seen.items()}

    def _scores(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        return {name: scores.float() for name, scores in self.detector(images).items()}

    def _back(self, scores: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mirror scores of a mirror image back: the picture's places, the person's own sides."""
        joints = self.skeleton.mirror
        return scores.flip(-1)[:, [*joints, *range(len(joints), scores.shape[1])]]

    def refine(
        self,
        levels: dict[str, Tensor],
        last: str = "limbs",
        types: Int[Tensor, " b"] | None = None,
    ) -> Outputs:
        """Run the stages after the detector up to ``last``.

        Args:
            levels: of :meth:`detect`.
            last: a name of :data:`STAGES`.
            types: of the true poses, for baselines in training (SPEC 1.14).

        Raises:
            ValueError: if there is no such stage.
        """
        if last not in STAGES:
            raise ValueError(f"expected a stage of {', '.join(STAGES)}, found {last!r}")
        detector = self.framed(list(levels.values())[-1])
        body: FramedMaps | None = None
        limbs: tuple[FramedMaps, ...] = ()
        wanted = STAGES.index(last)
        if self.body is not None and wanted >= 1:
            refiner: GlobalRefiner = self.body  # type: ignore[assignment]
            body = refiner.refine(self.image_maps(detector), types)
        if self.limbs is not None and body is not None and wanted >= 2:
            size = (detector.scores.shape[-2], detector.scores.shape[-1])
            limbs = self.limbs.refine(shown_maps(body), body.rotation, size)
        merge = "average" if self.limbs is None else self.limbs.merge
        return Outputs(levels, detector, body, limbs, merge)

    def framed(self, scores: Float[Tensor, "b c h w"]) -> FramedMaps:
        """Return scores of the detector with all that is known of them."""
        joints = tuple(range(len(self.skeleton.joints)))
        mapping = self.detector.mapping
        return FramedMaps(scores, Rotation.none(scores), joints, mapping)  # type: ignore[arg-type]

    def image_maps(self, detector: FramedMaps) -> Float[Tensor, "b k1 h w"]:
        """Return what stage 1 reads: joints and background, added where missing (SPEC 1.4-1.6)."""
        maps = detector.maps
        return maps if maps.shape[1] > len(detector.joints) else with_background(maps)


def shown_maps(part: FramedMaps) -> Float[Tensor, "b c h w"]:
    """Return one map per joint, the highest of its channels, and the background if any."""
    maps = part.maps
    if len(part.shown) == len(part.joints):
        return maps
    joints = [part.map_of(joint, maps) for joint in part.shown]
    return torch.cat([torch.stack(joints, dim=1), maps[:, len(part.joints) :]], dim=1)


def decode_stage(
    outputs: Outputs, stage: str, *, subcell: Subcell = True, upsample: int = 1
) -> Decoded | None:
    """Return a stage's joints in the image's cells, ``(b, k, 2)``, or ``None`` if it is off.

    Args:
        outputs: of the network.
        stage: a name of :data:`STAGES`.
        subcell: see :func:`uprightpose.score_maps.decode`, as for ``upsample``.
        upsample: see there.
    """
    parts = outputs.parts(stage)
    joints = len(outputs.detector.joints)
    if not parts:
        return None
    return merge_joints(parts, joints, merge=outputs.merge, subcell=subcell, upsample=upsample)
