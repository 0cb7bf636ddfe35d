"""Joints that were found in pictures of people, how they are read from maps, chosen and kept."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.data.writing import make_folder, write_whole
from uprightpose.frames import map_to_image
from uprightpose.metrics import body_angle
from uprightpose.normalize import MIN_SCORE
from uprightpose.score_maps import decode
from uprightpose.skeletons import LSP


class Found(NamedTuple):
    """Joints of people, and the scores of their maps.

    Attributes:
        joints: ``(n, k, 2)`` pixels of the squares, turned as the maps show them.
        scores: ``(n, k)``.
    """

    joints: Float[ndarray, "n k 2"]
    scores: Float[ndarray, "n k"]


def read_maps(maps: ndarray, stride: float = 4) -> Found:
    """Return the joints of maps in pixels of their squares, turned as seen, and the scores."""
    joints, scores = [], []
    for start in range(0, len(maps), 64):
        own = torch.from_numpy(maps[start : start + 64, : len(LSP.joints)].astype(np.float32))
        found = decode(own)
        joints.append(found.joints.double().numpy())
        scores.append(found.scores.double().numpy())
    return Found(map_to_image(np.concatenate(joints), stride), np.concatenate(scores))


def maps_angle(maps: ndarray) -> Float[ndarray, " n"]:
    """Return the body angles that maps show, as body normalization reads them; NaN for none."""
    found = read_maps(maps)
    axis = found.scores[:, [*LSP.torso, *LSP.neck]]
    angle = body_angle(found.joints, LSP)
    return np.where((axis >= MIN_SCORE).all(axis=1), angle, np.nan)


def choose(options: Sequence[Found], choice: Int[ndarray, " n"]) -> Found:
    """Return for each person what was found in one of several ways.

    Args:
        options: each of ``n`` people.
        choice: ``(n,)`` places of options.
    """
    rows = np.arange(len(choice))
    return Found(
        np.stack([one.joints for one in options], axis=1)[rows, choice],
        np.stack([one.scores for one in options], axis=1)[rows, choice],
    )


def kept(path: Path, find: Callable[[], Mapping[str, Found]]) -> dict[str, Found]:
    """Return what is found, by stage; only once, then from the file."""
    if not path.is_file():
        make_folder(path.parent)
        stream = BytesIO()
        arrays = {
            f"{stage} {name}": value
            for stage, one in find().items()
            for name, value in one._asdict().items()
        }
        np.savez_compressed(stream, **arrays)
        write_whole(path, stream.getvalue())
    return read_kept(path)


def read_kept(path: Path) -> dict[str, Found]:
    """Return what :func:`kept` wrote, by stage."""
    with np.load(path) as arrays:
        stages = dict.fromkeys(name.partition(" ")[0] for name in arrays)
        return {
            stage: Found(arrays[f"{stage} joints"], arrays[f"{stage} scores"]) for stage in stages
        }


def angle_errors(angle: Float[ndarray, " n"], truth: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Return the size of the difference of angles in degrees; no angle stands for upright."""
    difference = np.nan_to_num(angle) - truth
    error: ndarray = np.abs(np.degrees(np.arctan2(np.sin(difference), np.cos(difference))))
    return error
