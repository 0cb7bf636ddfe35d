"""PoseNet: detector, body refiner, limb refiner; returns the maps of every stage (Fig. 2)."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.normalize import Rotation
from uprightpose.refine import BodyRefiner, FramedMaps, LimbRefiner, merge_joints
from uprightpose.score_maps import Decoded
from uprightpose.skeletons import Skeleton

STAGES = ("detector", "body", "limbs")
"""Of the network, in the order of Fig. 2."""


class Outputs(NamedTuple):
    """The score maps of every stage.

    Attributes:
        levels: the detector's logits, coarse to fine.
        detector: the finest of them, in the image's cells.
        body: stage 1 in the body frame; ``None`` if the network has none.
        limbs: stage 2, one part for the joints of no limb and one per limb; may be empty.
    """

    levels: list[Tensor]
    detector: FramedMaps
    body: FramedMaps | None
    limbs: tuple[FramedMaps, ...]

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
        detector: images ``(b, 3, h, w)`` -> logits of joints and background, coarse to
            fine; has ``stride``, that of the finest.
        body: stage 1, if any.
        limbs: stage 2, if any; needs stage 1.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        detector: nn.Module,
        body: BodyRefiner | None = None,
        limbs: LimbRefiner | None = None,
    ) -> None:
        """Chain the stages."""
        super().__init__()
        if limbs is not None and body is None:
            raise ValueError("limb refinement follows body refinement: expected a BodyRefiner")
        self.skeleton, self.detector, self.body, self.limbs = skeleton, detector, body, limbs

    @property
    def stride(self) -> int:
        """Crop pixels per cell of the image maps."""
        return int(self.detector.stride)  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "b 3 h w"], last: str = "limbs") -> Outputs:
        """Run the stages up to ``last``.

        Args:
            images: RGB, 0 to 255; sides are multiples of 16.
            last: a name of :data:`STAGES`.
        """
        levels = [scores.float() for scores in self.detector(images)]
        joints = tuple(range(len(self.skeleton.joints)))
        detector = FramedMaps(levels[-1], Rotation.none(levels[-1]), joints)
        body: FramedMaps | None = None
        limbs: tuple[FramedMaps, ...] = ()
        wanted = STAGES.index(last)
        if self.body is not None and wanted >= 1:
            body = self.body.refine(detector.maps)
        if self.limbs is not None and body is not None and wanted >= 2:
            size = (levels[-1].shape[-2], levels[-1].shape[-1])
            limbs = self.limbs.refine(body.maps, body.rotation, size)
        return Outputs(levels, detector, body, limbs)


def decode_stage(outputs: Outputs, stage: str) -> Decoded | None:
    """Return a stage's joints in the image's cells, ``(b, k, 2)``, or ``None`` if it is off."""
    parts = outputs.parts(stage)
    joints = outputs.levels[-1].shape[1] - 1
    return merge_joints(parts, joints) if parts else None
