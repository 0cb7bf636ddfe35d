"""Samples -> what a model says about them, as their pictures are or turned over the full circle.

The turned copy of a dataset shows every picture turned about its middle by a fixed angle, drawn
once over the full circle; the person keeps its size and what leaves the square is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from tqdm import tqdm

from uprightpose.data.images import crop_image, crop_turned, read_image
from uprightpose.data.sample import Sample
from uprightpose.frames import Crop, apply_affine, invert_affine, map_to_image, whole_image_box
from uprightpose.looks import Look, See, take_looks
from uprightpose.model import STAGES, PoseNet, decode_stage
from uprightpose.score_maps import Subcell
from uprightpose.scout import Scout, turn_points, weighted_axis

TURN_SEED = 2017
"""Of the angles of the turned copy."""

READINGS: dict[str, tuple[Subcell, bool]] = {
    "parabola": (True, False),
    "gaussian": ("gaussian", False),
    "quarter": ("quarter", False),
    "paper": (False, True),
}
"""How joints are read: sub-cell, and whether maps are enlarged to the crop (SPEC 1.18)."""


@dataclass(frozen=True)
class Predictions:
    """What one model says about one set of pictures.

    Attributes:
        joints: for each stage of the model ``(n, k, 2)`` picture pixels.
        truth: ``(n, k, 2)`` in the same pixels, NaN where absent.
    """

    joints: dict[str, Float[ndarray, "n k 2"]]
    truth: Float[ndarray, "n k 2"]


def turn_angles(count: int) -> Float[ndarray, " n"]:
    """Return the turns of the turned copy in radians: fixed, over the full circle.

    Example:
        >>> turn_angles(3).round(3)
        array([2.777, 0.218, 1.981])
    """
    return np.random.default_rng(TURN_SEED).uniform(-np.pi, np.pi, count)


def predict_samples(
    model: PoseNet,
    crop: Crop,
    samples: Sequence[Sample],
    turns: Float[ndarray, " n"] | None = None,
    *,
    batch: int = 32,
    title: str = "",
    reading: str = "parabola",
    scout: Scout | None = None,
    turn_first: bool = True,
) -> Predictions:
    """Run a model on the box of every sample, the whole picture if it has none.

    Args:
        model: in evaluation mode, on any device.
        crop: how it sees a person.
        samples: with true joints in the model's skeleton.
        turns: radians, one per sample: each crop is turned about its middle.
        batch: crops at a time.
        title: of the progress bar.
        reading: a key of :data:`READINGS`.
        scout: says which way bodies point.
        turn_first: see :func:`~uprightpose.looks.take_looks`.

    Returns:
        Joints in picture pixels (of the turned pictures, if they are).
    """
    upright, truth = [], []
    found: dict[str, list[Float[ndarray, "b k 2"]]] = {}
    squares: list[Square] = []
    for i, sample in enumerate(tqdm(samples, desc=title or "pictures", disable=None)):
        image = read_image(sample.image)
        box = sample.box or whole_image_box((image.shape[0], image.shape[1]))
        matrix = crop.matrix(box, angle=0.0 if turns is None else float(turns[i]))
        squares.append((image, matrix))
        upright.append(invert_affine(crop.matrix(box)))
        truth.append(apply_affine(upright[-1], apply_affine(matrix, sample.joints)))
        if len(squares) == batch or i == len(samples) - 1:
            alone = turns is not None  # the square is the picture of the turned copy
            see = partial(_look, model, squares, crop.size, reading, alone)
            seen = _seen(see, squares, crop.size, scout, turn_first=turn_first)
            for stage, joints in seen.items():
                pixels = [apply_affine(m, j) for m, j in zip(upright, joints, strict=True)]
                found.setdefault(stage, []).append(np.stack(pixels))
            squares, upright = [], []
    return Predictions({k: np.concatenate(v) for k, v in found.items()}, np.stack(truth))


Square = tuple[UInt8[ndarray, "h w 3"], Float[ndarray, "2 3"]]
"""A picture, and the map of its pixels to those of a person's square."""


def _seen(
    see: See, squares: Sequence[Square], size: int, scout: Scout | None, *, turn_first: bool
) -> dict[str, Float[ndarray, "b k 2"]]:
    """Return each stage's joints in pixels of the squares, seen upright if there is a scout."""
    if scout is None:
        return see(np.arange(len(squares)), np.zeros(len(squares))).found
    crops = np.stack([crop_image(image, matrix, size) for image, matrix in squares])
    return take_looks(scout(crops).turns, see, turn_first=turn_first).found


def _look(
    model: PoseNet,
    squares: Sequence[Square],
    size: int,
    reading: str,
    alone: bool,
    places: Int[ndarray, " m"],
    turns: Float[ndarray, " m"],
) -> Look:
    """Look at some people, turned; what is found are each stage's joints, turned back.

    Args:
        model: that looks.
        squares: of all people.
        size: of the squares.
        reading: a key of :data:`READINGS`.
        alone: nothing is shown beyond the squares.
        places: of the people.
        turns: radians.
    """
    device = next(model.parameters()).device
    shown = [(*squares[place], turn) for place, turn in zip(places, turns.tolist(), strict=True)]
    crops = [crop_turned(image, matrix, size, turn, alone=alone) for image, matrix, turn in shown]
    decoded = _run(model, torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device), reading)
    last, scores = list(decoded.values())[-1]
    found = {stage: turn_points(joints, -turns, size) for stage, (joints, _) in decoded.items()}
    return Look(scores.mean(axis=1), weighted_axis(last, scores, model.skeleton), found)


@torch.inference_mode()
def _run(
    model: PoseNet, images: torch.Tensor, reading: str
) -> dict[str, tuple[Float[ndarray, "b k 2"], Float[ndarray, "b k"]]]:
    """Return each stage's joints in crop pixels, and scores."""
    outputs = model(images.float())
    subcell, enlarged = READINGS[reading]
    factor = model.stride if enlarged else 1
    decoded = {
        stage: decode_stage(outputs, stage, subcell=subcell, upsample=factor) for stage in STAGES
    }
    return {
        stage: (
            map_to_image(found.joints.double(), model.stride).cpu().numpy(),
            found.scores.double().cpu().numpy(),
        )
        for stage, found in decoded.items()
        if found is not None
    }
