"""Any dataset's folder or file -> samples; samples of one skeleton -> those of another."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from uprightpose.data.annotation_files import load_json, shapes
from uprightpose.data.coco import coco_files, read_coco
from uprightpose.data.flic import COLUMNS, flic_files, read_flic
from uprightpose.data.hourglass_file import count_joints
from uprightpose.data.lsp import read_lsp, read_lspet, with_labels
from uprightpose.data.mpii import mpii_files, read_mpii
from uprightpose.data.sample import Labels, Sample, State
from uprightpose.errors import InputError
from uprightpose.skeletons import FLIC, MPII, Skeleton

SOURCES = {
    "LSP, LSPET": ("images/ and joints.mat", "http://sam.johnson.io/research/lsp.html"),
    "FLIC": (
        "images/ and examples.mat (or train.h5, valid.h5)",
        "https://bensapp.github.io/flic-dataset.html",
    ),
    "MPII": (
        "images/ and mpii_human_pose_v1_u12_1.mat, mpii_annotations.json, or train and valid as "
        ".h5 or .json (in annot/)",
        "http://human-pose.mpi-inf.mpg.de",
    ),
    "COCO": ("person_keypoints*.json (in annotations/)", "https://cocodataset.org"),
}
"""What a dataset's folder holds, and where its owners give it out."""

Reader = Callable[[Path, Labels], list[Sample]]


def read_folder(path: Path, labels: Labels = "pc") -> list[Sample]:
    """Read a dataset that is known by what its folder holds, or one file of it.

    Args:
        path: a folder as in :data:`SOURCES`, or one ``.mat``, ``.h5`` or ``.json`` file.
        labels: person-centric or observer-centric sides.

    Returns:
        Samples of one skeleton, the dataset's own (FLIC: 10 joints).

    Raises:
        InputError: if it is none of the datasets, is damaged, or cannot have these labels.
    """
    if not path.exists():
        raise InputError(f"{path}: no such folder or file; expected a dataset: {_expected()}")
    reader = _of_folder(path) if path.is_dir() else _of_file(path)
    if not reader:
        raise InputError(f"{path}: found {_found(path)}, expected a dataset: {_expected()}")
    return reader(path, labels)


def to_skeleton(sample: Sample, skeleton: Skeleton) -> Sample:
    """Return a sample with the joints of another skeleton, matched by what they are.

    MPII's upper neck is LSP's neck (SPEC 4.5). Where there is no neck it is the middle of the
    shoulders (SPEC 4.6), which is what FLIC's neck always is (SPEC 1.8). Joints without a
    counterpart, such as COCO's head top, are absent.

    Example:
        >>> from uprightpose.skeletons import LSP, MPII
        >>> joints, state = np.arange(32.0).reshape(16, 2), np.full(16, 2, np.uint8)
        >>> person = Sample(Path("a.jpg"), joints, state, "pc", None, "train", "mpii", 1, MPII)
        >>> to_skeleton(person, LSP).joints[:, 0] / 2
        array([ 0.,  1.,  2.,  3.,  4.,  5., 10., 11., 12., 13., 14., 15.,  8.,  9.])
    """
    if sample.skeleton == skeleton:
        return sample
    names = {name: joint for joint, name in enumerate(sample.skeleton.joints)}
    parts = [[names[part] for part in _parts(name, names, skeleton)] for name in skeleton.joints]
    unknown = np.full(2, np.nan)
    joints = [sample.joints[part].mean(axis=0) if part else unknown for part in parts]
    state = [sample.state[part].min() if part else State.ABSENT for part in parts]
    return replace(
        sample,
        joints=np.stack(joints),
        state=np.array(state, dtype=np.uint8),
        skeleton=skeleton,
    )


_SHOULDERS = ("left_shoulder", "right_shoulder")


def _parts(name: str, names: dict[str, int], target: Skeleton) -> Sequence[str]:
    """Return the joints whose mean is the joint ``name`` of the target; none if unknown."""
    if name in ("neck", "upper_neck"):
        necks = [neck for neck in ("neck", "upper_neck") if neck in names]
        return necks if necks and target != FLIC else _SHOULDERS
    return [name] if name in names else []


def _of_folder(path: Path) -> Reader | None:
    if (path / "joints.mat").is_file():
        return _lsp_reader(path / "joints.mat")
    if flic_files(path):
        return read_flic
    if coco_files(path):
        return _read_coco
    return read_mpii if mpii_files(path) else None


def _of_file(path: Path) -> Reader | None:
    recognize = {".mat": _of_matlab, ".h5": _of_hourglass, ".json": _of_json}
    suffix = path.suffix.lower()
    return recognize[suffix](path) if suffix in recognize else None


def _of_matlab(path: Path) -> Reader | None:
    names = shapes(path)
    if "joints" in names and path.name == "joints.mat":
        reader = _lsp_reader(path)
        return lambda file, labels: reader(file.parent, labels)
    return read_flic if "examples" in names else read_mpii if "RELEASE" in names else None


def _of_hourglass(path: Path) -> Reader | None:
    return {len(COLUMNS): read_flic, len(MPII.joints): read_mpii}.get(count_joints(path))


def _of_json(path: Path) -> Reader | None:
    content = load_json(path)
    if isinstance(content, dict) and "annotations" in content:
        return _read_coco
    people = content.get("root") if isinstance(content, dict) else content
    return read_mpii if isinstance(people, list) else None


def _read_coco(path: Path, labels: Labels) -> list[Sample]:
    samples = read_coco(path)
    try:
        return [with_labels(sample, labels) for sample in samples]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _lsp_reader(file: Path) -> Reader:
    """Tell LSPET's 14 x 3 x N from LSP's 3 x 14 x N; LSP's reader refuses anything else."""
    return read_lspet if shapes(file).get("joints", ())[:2] == (14, 3) else read_lsp


def _found(path: Path) -> str:
    if path.is_file():
        return f"a file {path.name}"
    names = sorted(_entries(path))
    return (", ".join(names[:8]) + (" ..." if len(names) > 8 else "")) or "an empty folder"


def _entries(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as inside:
        for entry in inside:
            yield f"{entry.name}/" if entry.is_dir() else entry.name


def _expected() -> str:
    return "; ".join(f"{name}: {what} ({where})" for name, (what, where) in SOURCES.items())
