"""The arms of the simulation: one network in frames that differ in what the angle knows (SPEC 5.3).

All arms of a stage have the same network; they differ in the rotation that it is given.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from uprightpose.body_frame import read_rotation
from uprightpose.frames import middle
from uprightpose.normalize import Rotation, body_rotation, limb_rotation, rotate_joints
from uprightpose.skeletons import LSP

BodyFrame = Literal["raw", "center", "body", "oracle", "random"]
LimbFrame = Literal["none", "limb", "oracle", "other"]

OTHER_LIMB = (2, 3, 0, 1)
"""Arms take the angle of the leg of their side, legs that of the arm; left before right."""


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Attributes:
        title: as hypotheses name it.
        body: the frame of stage 1.
        limbs: the frames of stage 2, on top of the arm ``body``; ``None`` for stage 1.
        share: of the training poses.
        turned: training poses turn over the full circle.
        cost: of a step, in steps of stage 1: for the estimate of the time that remains.
    """

    title: str
    body: BodyFrame
    limbs: LimbFrame | None = None
    share: float = 1.0
    turned: bool = True
    cost: float = 1.0

    @property
    def name(self) -> str:
        """Of its files."""
        return "".join(one if one.isalnum() else "-" for one in self.title)


BODY = Arm("body", "body")
"""On top of which stage 2 learns."""

ARMS = (
    Arm("raw", "raw"),
    Arm("center only", "center"),
    BODY,
    Arm("oracle body", "oracle"),
    Arm("random angle", "random"),
    Arm("no limb normalization", "body", "none", cost=4.5),
    Arm("limb", "body", "limb", cost=3.5),
    Arm("oracle limb", "body", "oracle", cost=3.5),
    Arm("another limb's angle", "body", "other", cost=3.5),
    Arm("raw, 1/10 poses", "raw", share=0.1),
    Arm("body, 1/10 poses", "body", share=0.1),
    Arm("raw, no turns", "raw", turned=False),
    Arm("body, no turns", "body", turned=False),
)


def body_frame(
    frame: BodyFrame,
    maps: Float[Tensor, "b c h w"],
    truth: Float[Tensor, "b k 2"],
    spins: Float[Tensor, " b"],
) -> Rotation:
    """Return the turn that an arm gives its stage 1, in cells of the maps.

    Args:
        frame: of the arm.
        maps: drawn; all but the oracle read angle and center from these.
        truth: true cells, for the oracle.
        spins: radians, for random angles.
    """
    read, own = read_rotation(maps, LSP), middle((maps.shape[-2], maps.shape[-1]))
    match frame:
        case "raw":
            return Rotation.about(read.center.new_tensor(own).expand_as(read.center), 0 * spins)
        case "center":
            return Rotation.about(read.center, 0 * spins)
        case "body":
            return read
        case "oracle":
            return body_rotation(truth, LSP.torso, LSP.neck, otherwise=own)
        case "random":
            return Rotation.about(read.center, spins)


def limb_frames(
    frame: LimbFrame, read: list[Rotation], rotation: Rotation, truth: Float[Tensor, "b k 2"]
) -> list[Rotation]:
    """Return the turn that an arm gives each limb, in cells of the body frame.

    The root is always the one that was read: the true one would give a joint away.

    Args:
        frame: of the arm.
        read: from the maps of stage 1.
        rotation: image maps -> body frame.
        truth: true cells of the image maps.
    """
    match frame:
        case "oracle":
            true = true_turns(rotation, truth)
            return [replace(one, angle=of.angle) for one, of in zip(read, true, strict=True)]
        case "other":
            return [
                replace(one, angle=read[of].angle) for one, of in zip(read, OTHER_LIMB, strict=True)
            ]
        case _:
            return read


def true_turns(rotation: Rotation, truth: Float[Tensor, "b k 2"]) -> list[Rotation]:
    """Return each limb's true turn in the body frame; both as in :func:`limb_frames`."""
    placed = rotate_joints(truth, rotation)
    return [limb_rotation(placed, limb) for limb in LSP.limbs]


def angle_errors(
    found: Float[Tensor, "*any"], true: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Return by how many degrees two angles in radians differ, 0 to 180.

    Example:
        >>> angle_errors(torch.tensor([3.1]), torch.tensor([-3.1])).round()
        tensor([5.])
    """
    apart = found - true
    return torch.atan2(apart.sin(), apart.cos()).abs().rad2deg()
