"""Joint files for scoring: truth and predictions of many people, in one frame.

============  ==============================================  ======================
file          array                                           first pixel is number
============  ==============================================  ======================
``.mat``      ``K x d x N``, ``d x K x N`` or ``N x K x d``   1 (MATLAB)
``.npy``      the same                                        0
``.npz``      the same, one array by name                     0
``.json``     COCO keypoints, as our ``predictions.json``     0
============  ==============================================  ======================

``d`` is 2 or 3. The skeleton's ``K`` tells the layouts apart. With 2 or 3 people two may fit,
e.g. 3 x 14 x 2: then MATLAB files have people last and numpy files first, as each is written.
An array of two dimensions holds one person.

Of a third number truth keeps what it says about annotation (:func:`read_truth`); in
predictions it is a score and is dropped. Sides are not changed: the file's labels are
the caller's word.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.sample import Labels
from uprightpose.errors import InputError
from uprightpose.skeletons import Skeleton

Base = Literal[0, 1]
LSP_TEST = range(1001, 2001)
"""The numbers of the LSP test pictures (SPEC 4.1)."""

_FIRST_PIXEL: dict[str, Base] = {".mat": 1, ".npy": 0, ".npz": 0, ".json": 0}
_NAMES: dict[Labels, tuple[str, ...]] = {
    "pc": ("joints", "pc_joints", "joints_pc"),
    "oc": ("oc_joints", "joints_oc"),
}


@dataclass(frozen=True)
class JointTable:
    """The joints of the people of one file.

    Attributes:
        path: the file.
        joints: ``(n, k, 2)`` float64, image pixels, 0-based; NaN where absent.
        ids: the numbers in the names of the pictures, where the file says them.
    """

    path: Path
    joints: Float[ndarray, "n k 2"]
    ids: tuple[int, ...] | None = None


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
    values, ids, _ = _read(path, skeleton, labels)
    return JointTable(path, values[..., :2] - first_pixel(path, base), ids)


def read_truth(
    path: Path, skeleton: Skeleton, labels: Labels, base: Base | None = None
) -> JointTable:
    """Read true joints; those that the third number calls absent become NaN.

    The layout says what that number means (SPEC 4.1, 4.2): in LSP's ``3 x K x N`` 1 is
    *occluded*, and occluded joints count; elsewhere (LSPET's ``K x 3 x N``, COCO's triples)
    0 is *not annotated*.

    Args:
        path: as in :func:`read_predictions`, like the other arguments.
        skeleton: as there.
        labels: as there.
        base: as there.

    Raises:
        InputError: as there, and if the third number is not a flag.
    """
    values, ids, layout = _read(path, skeleton, labels)
    joints = values[..., :2] - first_pixel(path, base)
    if values.shape[2] == 3:
        flags = values[..., 2]
        allowed = (0, 1) if layout != "N x K x d" else (0, 1, 2)
        wrong = flags[~np.isin(flags, allowed) & ~np.isnan(flags)]
        if wrong.size:
            raise InputError(
                f"expected flags {allowed} as third number of the truth, found {wrong[0]:g} "
                f"in {path}: is it a file of predictions with scores?"
            )
        if layout != "d x K x N":
            joints[~(flags > 0)] = np.nan
    return JointTable(path, joints, ids)


def lsp_test(table: JointTable) -> Float[ndarray, "1000 k 2"]:
    """Return the joints of the LSP test pictures 1001-2000 (SPEC 3.1).

    Pictures are found by number where the file has names, else by position in a file
    of all 2000 or of just these 1000 people.

    Raises:
        InputError: if the file does not hold them.

    Example:
        >>> everyone = np.arange(2000.0)[:, None, None] + np.zeros((2000, 14, 2))
        >>> lsp_test(JointTable(Path("joints.mat"), everyone))[0, 0]
        array([1000., 1000.])
    """
    count = len(table.joints)
    if table.ids is not None:
        place = {number: row for row, number in enumerate(table.ids)}
        absent = [number for number in LSP_TEST if number not in place]
        if absent:
            raise InputError(
                f"expected pictures im1001 to im2000, found {len(LSP_TEST) - len(absent)} of them "
                f"in {table.path} (im{absent[0]:04d} is missing): predict all test pictures"
            )
        return table.joints[[place[number] for number in LSP_TEST]]
    if count not in (len(LSP_TEST), LSP_TEST.stop - 1):
        raise InputError(
            f"expected joints of all 2000 LSP people or of the test people 1001-2000, "
            f"found {count} people in {table.path}: give the file of one of these sets"
        )
    return table.joints[-len(LSP_TEST) :]


def _read(
    path: Path, skeleton: Skeleton, labels: Labels
) -> tuple[Float[ndarray, "n k d"], tuple[int, ...] | None, str]:
    """Return float64 values ``(n, k, d)``, picture numbers and the layout of the file."""
    first_pixel(path)  # refuses other formats
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"expected a joint file, found {found} at {path}: check the path")
    if path.suffix.lower() == ".json":
        return (*_read_coco(path, skeleton), "N x K x d")
    people_last = path.suffix.lower() == ".mat"
    found_arrays = _load_arrays(path)
    layouts = {name: _layout(a.shape, skeleton, people_last) for name, a in found_arrays.items()}
    name = _choose(path, found_arrays, layouts, skeleton, labels)
    array, layout = found_arrays[name].astype(np.float64), layouts[name] or ""
    array = array[..., None] if array.ndim == 2 else array
    order = {"N x K x d": (0, 1, 2), "K x d x N": (2, 0, 1), "d x K x N": (2, 1, 0)}[layout]
    return array.transpose(order), None, layout


def _load_arrays(path: Path) -> dict[str, ndarray]:
    """Return the arrays of numbers in a ``.mat``, ``.npy`` or ``.npz`` file."""
    try:
        if path.suffix.lower() == ".mat":
            from scipy.io import loadmat

            content = loadmat(path)
        else:
            with path.open("rb") as stream:  # numpy leaves damaged files open
                loaded = np.load(stream, allow_pickle=False)
                content = {"array": loaded} if isinstance(loaded, ndarray) else dict(loaded)
    except NotImplementedError as error:
        raise InputError(f"expected MATLAB 5 to 7, found 7.3 in {path}: save with -v7") from error
    except Exception as error:  # scipy and numpy raise what they please on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"expected arrays, found a damaged file {path} ({reason})") from error
    arrays = {name: array for name, array in content.items() if isinstance(array, ndarray)}
    return {name: array for name, array in arrays.items() if array.dtype.kind in "uif"}


def _layout(shape: tuple[int, ...], skeleton: Skeleton, people_last: bool) -> str | None:
    """Return what the axes are, or ``None`` if these are not joints of the skeleton."""
    k, d = len(skeleton.joints), (2, 3)
    if len(shape) == 2:
        return _layout((*shape, 1), skeleton, people_last=True)
    if len(shape) != 3:
        return None
    fits = {
        "K x d x N": shape[0] == k and shape[1] in d,
        "d x K x N": shape[0] in d and shape[1] == k,
        "N x K x d": shape[1] == k and shape[2] in d,
    }
    found = [layout for layout, fit in fits.items() if fit]
    if not found:
        return None
    return found[0] if people_last else found[-1]


def _choose(
    path: Path,
    arrays: dict[str, ndarray],
    layouts: dict[str, str | None],
    skeleton: Skeleton,
    labels: Labels,
) -> str:
    """Return the name of the one joint array, by its labels if there are several."""
    k = len(skeleton.joints)
    names = [name for name, layout in layouts.items() if layout]
    if not names:
        raise InputError(
            f"expected joints of {k} x 2 or 3 x people, found {_list(arrays)} in {path}: "
            f"the {skeleton.name} skeleton has {k} joints"
        )
    other = _NAMES["oc" if labels == "pc" else "pc"]
    if len(names) == 1 and (names[0] == "joints" or names[0] not in other):
        return names[0]
    named = [name for name in names if name in _NAMES[labels]]
    if len(named) != 1:
        wanted = " or ".join(_NAMES[labels])
        raise InputError(
            f"expected one joint array, or one called {wanted} for labels {labels}, found "
            f"{_list({name: arrays[name] for name in names})} in {path}: save the one you mean"
        )
    return named[0]


def _list(arrays: dict[str, ndarray]) -> str:
    shapes = (f"{name} {' x '.join(map(str, a.shape))}" for name, a in arrays.items())
    return ", ".join(shapes) or "no array of numbers"


def _read_coco(
    path: Path, skeleton: Skeleton
) -> tuple[Float[ndarray, "n k 3"], tuple[int, ...] | None]:
    """Return ``x, y, score`` by picture; NaN where a picture has no annotation."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images: list[dict[str, Any]] = content["images"]
        names: list[str] = content["categories"][0]["keypoints"]
        columns = [names.index(joint) for joint in skeleton.joints if joint in names]
        if len(columns) < len(skeleton.joints):
            absent = [joint for joint in skeleton.joints if joint not in names]
            raise InputError(
                f"expected the joints of the {skeleton.name} skeleton in "
                f"{path}, found none called {', '.join(absent)}"
            )
        best = _best_annotations(content["annotations"], len(names))
        blank = np.full((len(names), 3), np.nan)
        people = [best.get(image["id"], (0.0, blank))[1] for image in images]
        numbers = _numbers([str(image["file_name"]) for image in images])
    except json.JSONDecodeError as error:
        raise InputError(f"expected JSON, found a damaged file {path} ({error})") from error
    except (OSError, KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise InputError(
            f"expected COCO keypoints (images, categories, annotations) in {path}, "
            f"found otherwise: {type(error).__name__} {error}"
        ) from error
    except _WrongCountError as error:
        raise InputError(f"{error} in {path}: write x, y, score for each joint") from error
    values = np.array(people).reshape(len(people), len(names), 3)[:, columns]
    if numbers is None:
        return values, None
    order = np.argsort(numbers)
    return values[order], tuple(numbers[i] for i in order)


class _WrongCountError(ValueError):
    """An annotation whose numbers are not triples of the joints."""


def _best_annotations(
    annotations: list[dict[str, Any]], joints: int
) -> dict[Any, tuple[float, Float[ndarray, "k 3"]]]:
    """Return the annotation of highest score of each picture, as ``(score, triples)``.

    An annotation without ``score`` has the mean of its joints' scores.
    """
    best: dict[Any, tuple[float, Float[ndarray, "k 3"]]] = {}
    for annotation in annotations:
        try:
            triples = np.array(annotation["keypoints"], dtype=np.float64).reshape(joints, 3)
        except ValueError as error:
            found = f"found {len(annotation['keypoints'])} values"
            raise _WrongCountError(f"expected {3 * joints} numbers, {found}") from error
        score = float(annotation.get("score", triples[:, 2].mean()))
        picture = annotation["image_id"]
        if picture not in best or score > best[picture][0]:
            best[picture] = (score, triples)
    return best


def _numbers(names: list[str]) -> list[int] | None:
    """Return the numbers of pictures named like ``im0001.jpg``, or ``None`` if one is not."""
    matches = [re.fullmatch(r"im(\d+)\.\w+", Path(name).name) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    whole = len(numbers) == len(names) == len(set(numbers))
    return numbers if whole and numbers else None
