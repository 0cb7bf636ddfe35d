"""Joint arrays in ``.mat``, ``.npy``, ``.npz`` and ``.h5``: which array, and what its axes are.

The skeleton's number of joints ``K`` tells the layouts apart. With 2 or 3 people two may fit,
e.g. 3 x 14 x 2: then MATLAB files have people last and the others first, as each is written.
An array of two dimensions holds one person. FLIC's joints may be 10 or the 11 of its files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.sample import Labels
from uprightpose.errors import InputError, install
from uprightpose.skeletons import FLIC, Skeleton

Role = Literal["predictions", "truth"]

ARRAYS = (".mat", ".npy", ".npz", ".h5")
FLIC_FILE = (
    *(f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")),
    *("left_hip", "right_hip", "left_eye", "right_eye", "nose"),
)
"""The joints of FLIC's files (SPEC 4.4)."""

_LABEL_NAMES: dict[Labels, tuple[str, ...]] = {
    "pc": ("joints", "pc_joints", "joints_pc"),
    "oc": ("oc_joints", "joints_oc"),
}
_ROLE_NAMES: dict[Role, tuple[str, ...]] = {
    "predictions": ("pos_pred_src", "preds"),
    "truth": ("pos_gt_src", "part"),
}
_ORDERS = {"N x K x d": (0, 1, 2), "K x d x N": (2, 0, 1), "d x K x N": (2, 1, 0)}


class FoundJoints(NamedTuple):
    """The joint array of a file.

    Attributes:
        name: of the array; ``"array"`` in ``.npy``.
        values: ``(n, k, d)`` float64, as they stand in the file.
        layout: what the axes were, e.g. ``"d x K x N"``.
    """

    name: str
    values: Float[ndarray, "n k d"]
    layout: str


def load_arrays(path: Path) -> dict[str, ndarray]:
    """Return the arrays of numbers of a file, and of an ``.h5`` those of names.

    Raises:
        InputError: if the file is damaged or its format not installed.
    """
    try:
        loaded = _LOADERS[path.suffix.lower()](path)
    except NotImplementedError as error:
        raise InputError(f"expected MATLAB 5 to 7, found 7.3 in {path}: save with -v7") from error
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: for .h5 files {install('data')}") from error
    except Exception as error:  # scipy, numpy and h5py raise what they please on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"expected arrays, found a damaged file {path} ({reason})") from error
    arrays = {name: array for name, array in loaded.items() if isinstance(array, ndarray)}
    return {name: array for name, array in arrays.items() if array.dtype.kind in "uifS"}


def find_joints(
    path: Path, arrays: Mapping[str, ndarray], skeleton: Skeleton, labels: Labels, role: Role
) -> FoundJoints:
    """Return the one joint array among the arrays of a file.

    Args:
        path: for messages and the habits of its format.
        arrays: of :func:`load_arrays`.
        skeleton: gives ``K``.
        labels: chooses between ``joints`` and ``oc_joints`` in a file that holds both.
        role: chooses between ``pos_pred_src`` and ``pos_gt_src``, ``preds`` and ``part``.

    Raises:
        InputError: if there is none, or if these words do not tell which of several it is.
    """
    last = path.suffix.lower() == ".mat"
    numbers = {name: array for name, array in arrays.items() if array.dtype.kind != "S"}
    layouts = {name: _layout(array.shape, skeleton, last) for name, array in numbers.items()}
    fitting = {name: array for name, array in numbers.items() if layouts[name]}
    if not fitting:
        raise InputError(
            f"expected joints of {' or '.join(map(str, _counts(skeleton)))} x 2 or 3 x people, "
            f"found {_list(numbers)} in {path}: the {skeleton.name} skeleton has "
            f"{len(skeleton.joints)} joints"
        )
    name = _choose(path, fitting, labels, role)
    array = fitting[name].astype(np.float64)
    array = array[..., None] if array.ndim == 2 else array
    layout = layouts[name] or ""
    return FoundJoints(name, array.transpose(_ORDERS[layout]), layout)


def flic_ten(joints: Float[ndarray, "n 11 2"]) -> Float[ndarray, "n 10 2"]:
    """Return FLIC's 10 joints from the 11 of its files: the neck is the shoulders' middle.

    The eyes are dropped, since files differ in whose left theirs is (SPEC 4.4).

    Example:
        >>> flic_ten(np.arange(22.0).reshape(1, 11, 2))[0, :2]  # nose, neck
        array([[20., 21.],
               [ 3.,  4.]])
    """
    named = {name: joints[:, i] for i, name in enumerate(FLIC_FILE)}
    named["neck"] = (named["left_shoulder"] + named["right_shoulder"]) / 2
    return np.stack([named[joint] for joint in FLIC.joints], axis=1)


def _load_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    loaded: dict[str, Any] = loadmat(path)
    return loaded


def _load_numpy(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:  # numpy leaves damaged files open
        loaded = np.load(stream, allow_pickle=False)
        return {"array": loaded} if isinstance(loaded, ndarray) else dict(loaded)


def _load_h5(path: Path) -> dict[str, Any]:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "r") as file:
        found = {name: one for name, one in file.items() if isinstance(one, h5py.Dataset)}
        arrays = {name: one[()] for name, one in found.items() if one.ndim in (1, 2, 3)}
        return {name: a.astype("S") if a.dtype.kind == "O" else a for name, a in arrays.items()}


_LOADERS = {".mat": _load_mat, ".npy": _load_numpy, ".npz": _load_numpy, ".h5": _load_h5}


def _counts(skeleton: Skeleton) -> tuple[int, ...]:
    own = len(skeleton.joints)
    return (own, len(FLIC_FILE)) if skeleton.name == FLIC.name else (own,)


def _layout(shape: tuple[int, ...], skeleton: Skeleton, people_last: bool) -> str | None:
    """Return what the axes are, or ``None`` if these are not joints of the skeleton."""
    k, d = _counts(skeleton), (2, 3)
    if len(shape) == 2:
        return _layout((*shape, 1), skeleton, people_last=True)
    if len(shape) != 3:
        return None
    fits = {
        "K x d x N": shape[0] in k and shape[1] in d,
        "d x K x N": shape[0] in d and shape[1] in k,
        "N x K x d": shape[1] in k and shape[2] in d,
    }
    found = [layout for layout, fit in fits.items() if fit]
    if not found:
        return None
    return found[0] if people_last else found[-1]


def _choose(path: Path, arrays: dict[str, ndarray], labels: Labels, role: Role) -> str:
    """Return the name of the one joint array, by role and labels if there are several."""
    for_role = [name for name in arrays if name in _ROLE_NAMES[role]]
    if len(for_role) == 1:
        return for_role[0]
    names = list(arrays)
    other = _LABEL_NAMES["oc" if labels == "pc" else "pc"]
    if len(names) == 1 and (names[0] == "joints" or names[0] not in other):
        return names[0]
    named = [name for name in names if name in _LABEL_NAMES[labels]]
    if len(named) != 1:
        wanted = " or ".join(_LABEL_NAMES[labels])
        raise InputError(
            f"expected one joint array, or one called {wanted} for labels {labels}, found "
            f"{_list(arrays)} in {path}: save the one you mean"
        )
    return named[0]


def _list(arrays: Mapping[str, ndarray]) -> str:
    shapes = (f"{name} {' x '.join(map(str, a.shape))}" for name, a in arrays.items())
    return ", ".join(shapes) or "no array of numbers"
