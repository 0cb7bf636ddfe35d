"""Joint files for scoring: truth and predictions of many people, in one frame.

============  ==============================================  ======================
file          array                                           first pixel is number
============  ==============================================  ======================
``.mat``      ``K x d x N``, ``d x K x N`` or ``N x K x d``   1 (MATLAB)
``.npy``      the same                                        0
``.npz``      the same, one array by name                     0
``.h5``       the same; hourglass ``preds`` or ``part``       1 (made from MATLAB's)
``.json``     COCO keypoints, as our ``predictions.json``     0
============  ==============================================  ======================

``d`` is 2 or 3; :mod:`uprightpose.data.joint_arrays` says which array it is, and how. Of a
third number truth keeps what it says about annotation (:func:`read_truth`); in predictions it
is a score and is dropped. Sides are not changed: the file's labels are the caller's word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from uprightpose.data.joint_arrays import (
    ARRAYS,
    FLIC_FILE,
    FoundJoints,
    Role,
    find_joints,
    flic_ten,
    load_arrays,
)
from uprightpose.data.joint_json import read_named_joints
from uprightpose.data.sample import Labels
from uprightpose.errors import InputError
from uprightpose.skeletons import FLIC, MPII, Skeleton

Base = Literal[0, 1]
HEAD = 0.6
"""Of the diagonal of MPII's head box: the head size (SPEC 3.2)."""

_FIRST_PIXEL: dict[str, Base] = {".mat": 1, ".npy": 0, ".npz": 0, ".h5": 1, ".json": 0}


@dataclass(frozen=True)
class JointTable:
    """The joints of the people of one file.

    Attributes:
        path: the file.
        joints: ``(n, k, 2)`` float64, image pixels, 0-based; NaN where absent.
        images: the names of their pictures, where the file says them.
        lengths: ``(n,)`` head sizes in pixels, where the file has them.
    """

    path: Path
    joints: Float[ndarray, "n k 2"]
    images: tuple[str, ...] | None = None
    lengths: Float[ndarray, " n"] | None = None


def first_pixel(path: Path, base: Base | None = None) -> Base:
    """Return the number of a file's first pixel: ``base`` if given, else its format's.

    Example:
        >>> first_pixel(Path("joints.mat")), first_pixel(Path("joints.npy"))
        (1, 0)
    """
    if base is not None:
        return base
    if path.suffix.lower() not in _FIRST_PIXEL:
        known = ", ".join(_FIRST_PIXEL)
        raise InputError(f"expected a joint file ending in {known}, found {path}: convert it")
    return _FIRST_PIXEL[path.suffix.lower()]


def read_predictions(
    path: Path, skeleton: Skeleton, labels: Labels, base: Base | None = None
) -> JointTable:
    """Read predicted joints; a third number, the score, is dropped.

    Args:
        path: one of the formats above.
        skeleton: its joints in the order of the array; a ``.json`` file is matched by name.
        labels: chooses between ``joints`` and ``oc_joints`` in a file that holds both.
        base: number of the file's first pixel, if its format's habit does not hold.

    Raises:
        InputError: if the file is missing, damaged or holds no or several joint arrays.
    """
    found, arrays = _read(path, skeleton, labels, "predictions")
    joints = found.values[..., :2] - first_pixel(path, base)
    return JointTable(path, _known_joints(joints, skeleton), _image_names(arrays))


def read_truth(
    path: Path, skeleton: Skeleton, labels: Labels, base: Base | None = None
) -> JointTable:
    """Read true joints; those that the file calls absent become NaN.

    Absent are those of ``jnt_missing`` (MPII's ``.mat``), those at (0, 0) in ``part``
    (hourglass, FLIC) and those whose third number says so. The layout says what that means
    (SPEC 4.1, 4.2): in LSP's ``3 x K x N`` 1 is *occluded*, and occluded joints count;
    elsewhere (LSPET's ``K x 3 x N``, COCO's triples) 0 is *not annotated*. Head sizes come
    from ``headboxes_src``, in MPII's ``.h5`` from ``normalize`` (SPEC 4.5) and in ``.json``
    from ``head_size``.

    Args:
        path: as in :func:`read_predictions`, like the other arguments.
        skeleton: as there.
        labels: as there.
        base: as there.

    Raises:
        InputError: as there, and if the third number is not a flag or arrays of one file
            differ in their people.
    """
    found, arrays = _read(path, skeleton, labels, "truth")
    joints = found.values[..., :2] - first_pixel(path, base)
    joints[_absent(path, found, arrays)] = np.nan
    lengths = _head_sizes(path, arrays, len(joints)) if skeleton.name == MPII.name else None
    return JointTable(path, _known_joints(joints, skeleton), _image_names(arrays), lengths)


def _read(
    path: Path, skeleton: Skeleton, labels: Labels, role: Role
) -> tuple[FoundJoints, Mapping[str, ndarray]]:
    """Return the joints as they stand in the file, and the arrays that stand beside them."""
    first_pixel(path)  # refuses other formats
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected a joint file, found {found} at {path}: check the path")
    if path.suffix.lower() in ARRAYS:
        arrays = load_arrays(path)
        return find_joints(path, arrays, skeleton, labels, role), arrays
    people = read_named_joints(path, skeleton, best=role == "predictions")
    names = np.array([name.encode() for name in people.images], dtype="S")
    known = not np.isnan(people.lengths).all()
    beside = {"imgname": names, **({"normalize": people.lengths} if known else {})}
    return FoundJoints("keypoints", people.values, "N x K x d"), beside


def _known_joints(joints: Float[ndarray, "n j 2"], skeleton: Skeleton) -> Float[ndarray, "n k 2"]:
    eleven = skeleton.name == FLIC.name and joints.shape[1] == len(FLIC_FILE)
    return flic_ten(joints) if eleven else joints


def _absent(path: Path, found: FoundJoints, arrays: Mapping[str, ndarray]) -> Bool[ndarray, "n k"]:
    """Return which joints of the truth are not annotated."""
    absent: Bool[ndarray, "n k"] = np.zeros(found.values.shape[:2], dtype=bool)
    if found.name == "part":
        absent |= (found.values[..., :2] == 0).all(axis=2)
    if "jnt_missing" in arrays:
        missing = arrays["jnt_missing"].T
        if missing.shape != absent.shape:
            raise InputError(
                f"expected jnt_missing of {absent.shape[1]} x {absent.shape[0]} people, found "
                f"{' x '.join(map(str, missing.T.shape))} in {path}: the file is damaged"
            )
        absent |= missing != 0
    if found.values.shape[2] == 3:
        absent |= _flagged_absent(path, found)
    return absent


def _flagged_absent(path: Path, found: FoundJoints) -> Bool[ndarray, "n k"]:
    flags = found.values[..., 2]
    allowed = (0, 1) if found.layout != "N x K x d" else (0, 1, 2)
    wrong = flags[~np.isin(flags, allowed) & ~np.isnan(flags)]
    if wrong.size:
        raise InputError(
            f"expected flags {allowed} as third number of the truth, found {wrong[0]:g} "
            f"in {path}: is it a file of predictions with scores?"
        )
    occlusion = found.layout == "d x K x N"
    return np.zeros(flags.shape, dtype=bool) if occlusion else ~(flags > 0)


def _head_sizes(
    path: Path, arrays: Mapping[str, ndarray], people: int
) -> Float[ndarray, " n"] | None:
    """Return 0.6 of the diagonals of ``headboxes_src`` (corner, x or y, person)."""
    name = "headboxes_src" if "headboxes_src" in arrays else "normalize"
    if name not in arrays:
        return None
    numbers = arrays[name].astype(np.float64)
    if numbers.size != people * (4 if name == "headboxes_src" else 1):
        shape = " x ".join(map(str, numbers.shape))
        raise InputError(
            f"expected {name} for each of {people} people, found {shape} in {path}: the file is "
            f"damaged"
        )
    if name == "normalize":
        return numbers.reshape(people)
    corners = numbers.reshape(2, 2, people)
    sizes: Float[ndarray, " n"] = HEAD * np.hypot(*(corners[1] - corners[0]))
    return sizes


def _image_names(arrays: Mapping[str, ndarray]) -> tuple[str, ...] | None:
    names = arrays.get("imgname")
    if names is None or names.dtype.kind != "S" or names.ndim != 1:
        return None
    return tuple(name.decode(errors="replace") for name in names.tolist())
