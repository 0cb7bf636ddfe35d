"""The ``.h5`` files of the stacked hourglass's authors, for FLIC and MPII (SPEC 4.4, 4.5)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from uprightpose.data.annotation_files import expecting
from uprightpose.data.sample import State
from uprightpose.errors import InputError, install


@dataclass(frozen=True, eq=False)
class HourglassFile:
    """The ``n`` people of one file, with the file's own pixels: the first one is 1.

    Attributes:
        names: of the picture files.
        points: ``(n, k, 2)``, NaN where missing.
        state: ``(n, k)`` values of :class:`~uprightpose.data.sample.State`.
        center: ``(n, 2)`` of the crop.
        scale: ``(n,)`` side of the crop in units of 200 pixels.
        reference: ``(n,)`` reference lengths ("normalize"), -1 or NaN where withheld: for MPII
            0.6 of the head box's diagonal; for FLIC not the protocol's (SPEC 3.3).
        image: ``(n,)`` number of the picture in the dataset's ``.mat``, 1-based.
        person: ``(n,)`` number of the person in the picture, 1-based.
        train: ``(n,)`` whether the labels are published; ``None`` where the file does not say.
    """

    names: tuple[str, ...]
    points: Float[ndarray, "n k 2"]
    state: UInt8[ndarray, "n k"]
    center: Float[ndarray, "n 2"]
    scale: Float[ndarray, " n"]
    reference: Float[ndarray, " n"]
    image: Int[ndarray, " n"]
    person: Int[ndarray, " n"]
    train: Bool[ndarray, " n"] | None


def read_hourglass(path: Path) -> HourglassFile:
    """Read one ``.h5`` file.

    Raises:
        InputError: if h5py is not installed, or the file is missing, damaged or another one.
    """
    with _open(path) as file, expecting(path, "imgname, part, center, scale (hourglass)"):
        arrays = {name: np.asarray(file[name]) for name in file}
        numbers = {
            name: array.astype(np.float64)
            for name, array in arrays.items()
            if array.dtype.kind in "uifb"
        }
        people = len(numbers["part"])
        flags = numbers.get("visible", np.ones(numbers["part"].shape[:2]))
        points, state = settle_missing(numbers["part"], flags)
        index = numbers.get("index", np.arange(people))
        return HourglassFile(
            names=tuple(_name(row) for row in arrays["imgname"]),
            points=points,
            state=state,
            center=numbers["center"],
            scale=numbers["scale"],
            reference=numbers.get("normalize", np.full(people, np.nan)),
            image=index.astype(np.int64) + 1,
            person=numbers.get("person", np.zeros(people)).astype(np.int64) + 1,
            train=numbers["istrain"] > 0 if "istrain" in numbers else None,
        )


def count_joints(path: Path) -> int:
    """Return the number of joints of each person: FLIC has 11, MPII 16; 0 in other files."""
    with _open(path) as file:
        part = file.get("part")
        shape: tuple[int, ...] = getattr(part, "shape", ())
        return shape[1] if len(shape) == 3 else 0


def settle_missing(
    points: Float[ndarray, "*n 2"], flags: Float[ndarray, "*n"]
) -> tuple[Float[ndarray, "*n 2"], UInt8[ndarray, "*n"]]:
    """Tell missing joints from occluded ones, both of which may have flag 0 (SPEC 4.5).

    Missing is what lies at (0, 0), is flagged -1, or is flagged 0 at (-1, -1). A single 0 or
    negative coordinate is a joint at the border of its picture.

    Returns:
        The points with NaN where missing, and the states.

    Example:
        >>> points, state = settle_missing(np.array([[0.0, 0], [0, 7]]), np.array([0.0, 0]))
        >>> state.tolist()
        [0, 1]
    """
    withheld = (flags <= 0) & (points == -1).all(axis=-1)
    missing = withheld | (flags < 0) | (points == 0).all(axis=-1) | np.isnan(points).any(axis=-1)
    state = np.where(missing, State.ABSENT, np.where(flags == 0, State.OCCLUDED, State.VISIBLE))
    return np.where(missing[..., None], np.nan, points), state.astype(np.uint8)


def _open(path: Path) -> Any:
    try:
        import h5py  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: reading .h5 files needs h5py: {install('data')}") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: expected an .h5 file, cannot open it ({error})") from error


def _name(value: Any) -> str:
    """Return a picture's name, which Torch's files store as numbers of characters."""
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value
    return bytes(np.asarray(value).astype(np.uint8)).rstrip(b"\0").decode()
