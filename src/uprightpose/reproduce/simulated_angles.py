"""How wrong the simulation's angles are: what stages 1 and 2 read, against the true joints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from uprightpose.body_frame import read_rotation
from uprightpose.metrics import angle_bins
from uprightpose.normalize import body_rotation, limb_rotation, rotate_joints
from uprightpose.reproduce.arms import angle_errors, true_turns
from uprightpose.reproduce.hypotheses import Pictures
from uprightpose.reproduce.simulated_people import Batch
from uprightpose.reproduce.simulated_runs import Finished
from uprightpose.score_maps import decode
from uprightpose.skeletons import LSP

WRONG = 30.0
"""Degrees beyond which an angle counts as wrong."""


@dataclass(frozen=True)
class AngleError:
    """How wrong one kind of angle is.

    Attributes:
        title: whose angle, read from what.
        count: of angles.
        median: degrees.
        wrong: percent that are off by more than :data:`WRONG`.
    """

    title: str
    count: int
    median: float
    wrong: float


def angle_table(
    batch: Batch, limb_arms: Sequence[Finished], pictures: Pictures
) -> list[AngleError]:
    """Return the errors of body and limb angles on a test set.

    The body's, and the limbs' of the drawn maps, are alike in all arms and seeds; the limbs' of
    the maps that stage 1 makes are those of all seeds together. A limb's angle is compared in
    the body frame into which the person was turned.

    Args:
        batch: the test set.
        limb_arms: the arm "limb" by seed.
        pictures: which of its errors.
    """
    body, limbs = drawn_errors(batch)
    rows = [_row("body, all", body)]
    for who, chosen in angle_bins(batch.joints, LSP).items():
        rows.append(_row(f"body, true angle {who} degrees", body[chosen]))
    refined = np.concatenate([one.limb_errors[pictures] for one in limb_arms])
    for group, columns in (("arms", [0, 1]), ("legs", [2, 3])):
        rows.append(_row(f"{group}, from the drawn maps", limbs[:, columns]))
        rows.append(_row(f"{group}, from the maps of stage 1", refined[:, columns]))
    return [row for row in rows if row.count]


def drawn_errors(batch: Batch) -> tuple[Float[ndarray, " n"], Float[ndarray, "n l"]]:
    """Return the errors in degrees of body and limb angles that are read from the drawn maps."""
    maps, truth = batch.simulated.maps, torch.from_numpy(batch.joints).float()
    read = read_rotation(maps, LSP)
    body = angle_errors(read.angle, body_rotation(truth, LSP.torso, LSP.neck).angle)
    joints = rotate_joints(decode(maps[:, : len(LSP.joints)]).joints, read)
    found = [limb_rotation(joints, limb) for limb in LSP.limbs]
    pairs = zip(found, true_turns(read, truth), strict=True)
    limbs = torch.stack([angle_errors(one.angle, true.angle) for one, true in pairs], dim=1)
    return body.numpy(), limbs.numpy()


def _row(title: str, errors: Float[ndarray, "*any"]) -> AngleError:
    if not errors.size:
        return AngleError(title, 0, np.nan, np.nan)
    wrong = 100 * float((errors > WRONG).mean())
    return AngleError(title, int(errors.size), float(np.median(errors)), wrong)
