"""FLIC, frames of films: ``examples.mat`` or the hourglass's ``.h5`` files (SPEC 4.4).

Both store MATLAB's 1-based pixels; here they become 0-based. The people of ``examples.mat`` are
labeled person-centric. The files ``train.h5`` and ``valid.h5`` are observer-centric already, and
``train_personcentric.h5`` and ``valid_personcentric.h5`` are what their names say.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.annotation_files import expecting, load_variable, structs
from uprightpose.data.hourglass_file import count_joints, read_hourglass
from uprightpose.data.lsp import person_box
from uprightpose.data.sample import Labels, Sample, State
from uprightpose.errors import InputError
from uprightpose.skeletons import FLIC, FLIC11, Skeleton

Layout = Literal["flic10", "flic11"]

COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)
"""Where ``coords`` (2 x 29) holds the joints of :data:`FLIC11`; its other columns are NaN."""

TORSO_HEIGHTS = 0.0110 * 368 / (41 / 35)
"""Side of the crop in heights of the torso box: what 368 pixels show in the code of Wei et al."""

FRAME_SCALE = 1.25
"""Crop of the ``.h5`` files over ``200 * scale``, which is 440 pixels for everyone: there 98.5 %
of the people lie inside with all their joints, with this factor 99.97 %, as with
:data:`TORSO_HEIGHTS`."""


def read_flic(path: Path, labels: Labels = "oc", layout: Layout = "flic10") -> list[Sample]:
    """Read the people of FLIC; the papers score observer-centric labels (SPEC 3.3).

    Args:
        path: a folder with ``images`` and ``examples.mat``, or with ``train.h5`` and ``valid.h5``
            in it or in ``annot``; or one of these files.
        labels: ``"oc"``: left and right are exchanged, eyes included, where the right shoulder
            lies right of the left one in the picture (this makes exactly ``valid.h5`` of
            ``valid_personcentric.h5``; other public files leave the eyes alone).
        layout: ``"flic10"`` for :data:`~uprightpose.skeletons.FLIC`, whose neck is the middle of
            the shoulders, or ``"flic11"`` for the joints of the file.

    Returns:
        Samples in the order of the files, train (3987 people) and test (1016). Examples that are
        neither are left out. The box is a square about the torso (SPEC 1.18).

    Raises:
        InputError: if files are missing or others, or ``labels`` cannot be had from them.
    """
    files = flic_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} is no FLIC folder: expected examples.mat or train.h5, valid.h5")
    found = [sample for file in files for sample in _read(file, labels)]
    settled = [_observer_centric(sample) if labels == "oc" else sample for sample in found]
    return [_in_layout(sample, layout) for sample in settled]


def flic_files(folder: Path) -> list[Path]:
    """Return the files to read: ``examples.mat``, else the ``.h5`` files of FLIC's joints."""
    if (folder / "examples.mat").is_file():
        return [folder / "examples.mat"]
    names = ("train.h5", "valid.h5")
    here = [place / name for place in (folder, folder / "annot") for name in names]
    return [file for file in here if file.is_file() and count_joints(file) == len(COLUMNS)]


def torso_crop(torso: Float[ndarray, " 4"]) -> tuple[float, float, float, float]:
    """Return the square ``(x, y, w, h)`` about a torso box, in edge coordinates (SPEC 1.18).

    Its center is (mid x, 0.7 y1 + 0.3 y2), its side :data:`TORSO_HEIGHTS` heights of the box.

    Args:
        torso: ``x1, y1, x2, y2`` in 1-based pixels.
    """
    x1, y1, x2, y2 = (float(value) for value in torso)
    return _square((x1 + x2) / 2, 0.7 * y1 + 0.3 * y2, TORSO_HEIGHTS * (y2 - y1))


def _read(file: Path, labels: Labels) -> Iterator[Sample]:
    """Yield people in the 11 joints of the files; sides are those of the file."""
    if file.suffix == ".mat":
        examples = structs(load_variable(file, "examples"))
        with expecting(file, "examples with coords (2 x 29), torsobox, istrain and istest"):
            for number, example in enumerate(examples, 1):
                if example.istrain or example.istest:
                    yield _example(example, number, file.parent / "images")
        return
    yield from _frames(_with_sides(file, labels))


def _example(example: Any, number: int, images: Path) -> Sample:
    joints = np.asarray(example.coords, dtype=np.float64)[:, list(COLUMNS)].T - 1.0
    box = torso_crop(np.asarray(example.torsobox, dtype=np.float64))
    split = "train" if example.istrain else "test"
    return _sample(images / str(example.filepath), joints, _state(joints), box, split, number, "pc")


def _frames(file: Path) -> Iterator[Sample]:
    if count_joints(file) != len(COLUMNS):
        raise InputError(f"{file}: expected FLIC's 11 joints, found {count_joints(file)}")
    people = read_hourglass(file)
    root = file.parent.parent if file.parent.name == "annot" else file.parent
    split = "train" if "train" in file.stem else "test"
    labels: Labels = "pc" if "personcentric" in file.stem else "oc"
    for i, name in enumerate(people.names):
        joints = people.points[i] - 1.0
        side = FRAME_SCALE * 200 * float(people.scale[i])
        box = _square(float(people.center[i, 0]), float(people.center[i, 1]), side)
        path, number = root / "images" / name, int(people.image[i])
        yield _sample(path, joints, people.state[i], box, split, number, labels)


def _with_sides(file: Path, labels: Labels) -> Path:
    """Return the file that has these labels."""
    if labels == "oc" or "personcentric" in file.stem:
        return file
    other = file.with_name(f"{file.stem}_personcentric.h5")
    if not other.is_file():
        raise InputError(
            f"{file}: its labels are observer-centric and {other.name} is not there: ask for "
            "oc (--labels oc), "
            "or name one file whose labels are person-centric"
        )
    return other


def _sample(
    image: Path,
    joints: Float[ndarray, "k 2"],
    state: UInt8[ndarray, " k"],
    box: tuple[float, float, float, float],
    split: str,
    number: int,
    labels: Labels,
) -> Sample:
    known = box if np.isfinite(box).all() else person_box(joints)
    return Sample(image, joints, state, labels, known, split, "flic", number, FLIC11)


def _square(x: float, y: float, side: float) -> tuple[float, float, float, float]:
    """Return a square about a 1-based pixel, in edge coordinates."""
    return (x - 0.5 - side / 2, y - 0.5 - side / 2, side, side)


def _state(joints: Float[ndarray, "k 2"]) -> UInt8[ndarray, " k"]:
    known = ~np.isnan(joints).any(axis=1)
    return np.where(known, State.VISIBLE, State.ABSENT).astype(np.uint8)


def _observer_centric(sample: Sample) -> Sample:
    """Exchange all sides where the right shoulder lies right of the left one (SPEC 4.4)."""
    left, right, _, _ = (sample.joints[joint] for joint in FLIC11.torso)
    order = list(FLIC11.mirror) if right[0] > left[0] else list(range(len(sample.joints)))
    joints, state = sample.joints[order], sample.state[order]
    return replace(sample, joints=joints, state=state, labels="oc")


def _in_layout(sample: Sample, layout: Layout) -> Sample:
    if layout == "flic11":
        return sample
    shoulders = list(FLIC11.torso[:2])
    joints = np.vstack([sample.joints, sample.joints[shoulders].mean(axis=0)])
    state = np.append(sample.state, sample.state[shoulders].min())
    order = _columns(FLIC)
    return replace(sample, joints=joints[order], state=state[order], skeleton=FLIC)


def _columns(skeleton: Skeleton) -> list[int]:
    names = (*FLIC11.joints, "neck")
    return [names.index(name) for name in skeleton.joints]
