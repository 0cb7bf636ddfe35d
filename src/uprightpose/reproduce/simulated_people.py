"""Poses for the simulation: a stream of training batches, and two fixed test sets (SPEC 5.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.augment import (
    VALUES,
    Augmentation,
    augmented_matrices,
    draw_augmentations,
    move_joints,
)
from uprightpose.data.folders import read_folder
from uprightpose.data.picture_size import picture_size
from uprightpose.data.sample import Sample
from uprightpose.errors import InputError
from uprightpose.frames import Crop, apply_affine, whole_image_box
from uprightpose.reproduce.hypotheses import Pictures
from uprightpose.reproduce.simulated_maps import SimulatedMaps, draw_maps
from uprightpose.sample_predictions import turn_angles
from uprightpose.skeletons import LSP

SIDE = 24
"""Cells of the square score maps."""

CROP = Crop(SIDE)
_WHOLE = whole_image_box((SIDE, SIDE))

TEST_SEED = 5003
"""Of the test maps; training draws from (run's seed, step), which has another length."""

Poses = Float[ndarray, "n k 2"]
"""Cells of the 24 x 24 maps into which the whole picture is letter-boxed."""


@dataclass(frozen=True, eq=False)
class People:
    """Whom the arms learn from and are tested on.

    Attributes:
        train: poses to learn from.
        test: the test poses, upright or not, as they are.
    """

    train: Float[ndarray, "m k 2"]
    test: Float[ndarray, "n k 2"]


@dataclass(frozen=True, eq=False)
class Batch:
    """People with drawn maps.

    Attributes:
        joints: ``(b, k, 2)`` true cells.
        simulated: their maps.
        spins: ``(b,)`` radians over the full circle that mean nothing.
    """

    joints: Poses
    simulated: SimulatedMaps
    spins: Float[ndarray, " b"]

    def __getitem__(self, some: slice) -> "Batch":
        """Return some of the people."""
        drawn = SimulatedMaps(self.simulated.maps[some], self.simulated.failed[some])
        return Batch(self.joints[some], drawn, self.spins[some])


def read_poses(data: Path) -> People:
    """Read LSP's observer-centric poses.

    Args:
        data: folder that holds ``lsp/``.

    Raises:
        InputError: if it does not.
    """
    folder = data / "lsp"
    if not folder.is_dir():
        raise InputError(
            f"the simulation needs Leeds Sports Pose in {folder}, found no such folder; --data or "
            "UPRIGHTPOSE_DATA names the folder above it"
        )
    samples = read_folder(folder, "oc")
    train, test = ([one for one in samples if one.split == split] for split in ("train", "test"))
    return People(_cells(train), _cells(test))


def _cells(samples: Sequence[Sample]) -> Poses:
    boxes = [whole_image_box(picture_size(one.image)) for one in samples]
    moved = [
        apply_affine(CROP.matrix(box), one.joints) for box, one in zip(boxes, samples, strict=True)
    ]
    return np.stack(moved)


def order_of(poses: Float[ndarray, "n k 2"], seed: int, share: float) -> Float[ndarray, "m k 2"]:
    """Return a share of the poses in a seed's own order, so that a smaller one is its start."""
    order = np.random.default_rng((seed,)).permutation(len(poses))
    return poses[order[: max(1, round(share * len(poses)))]]


def training_batch(poses: Poses, seed: int, step: int, size: int, *, turned: bool) -> Batch:
    """Draw the batch of one step.

    Poses, augmentations, failures and noise are those of seed and step alone: with fewer poses
    others take their place, without turns the same people keep their angle.

    Args:
        poses: to learn from, see :func:`order_of`.
        seed: of the run.
        step: from 0.
        size: people.
        turned: over the full circle.
    """
    generator = np.random.default_rng((seed, step))
    chosen = poses[generator.integers(1 << 30, size=size) % len(poses)]
    draws = draw_augmentations(Augmentation(), generator.random((size, VALUES)))
    if not turned:
        draws = replace(draws, angle=np.zeros(size))
    matrices = augmented_matrices(_WHOLE, CROP, draws)
    return _drawn(move_joints(chosen, matrices, LSP.mirror), generator)


def draw_test_people(poses: Poses, pictures: Pictures) -> Batch:
    """Draw the test people's maps, always the same: of all arms and seeds.

    Args:
        poses: as they are.
        pictures: as they are, or each turned about the picture's middle.
    """
    generator = np.random.default_rng((TEST_SEED, 0, ("natural", "turned").index(pictures)))
    if pictures == "turned":
        count = len(poses)
        kept = np.zeros(count, dtype=bool)
        matrices = CROP.matrices(_WHOLE, turn_angles(count), np.ones(count), kept)
        poses = move_joints(poses, matrices, LSP.mirror)
    return _drawn(poses, generator)


def _drawn(joints: Poses, generator: np.random.Generator) -> Batch:
    spins = generator.uniform(-np.pi, np.pi, len(joints))
    return Batch(joints, draw_maps(joints, LSP, SIDE, generator), spins)
