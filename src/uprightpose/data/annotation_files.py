"""Open the files of the datasets: what cannot be read is said in one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from uprightpose.errors import InputError


def load_variable(path: Path, name: str) -> Any:
    """Load one variable of a MATLAB file; structs become objects with the fields' names.

    Arrays are squeezed, as MATLAB's structs of one element are: see :func:`structs`.

    Raises:
        InputError: if the file is missing, damaged, of MATLAB 7.3 or has no such variable.
    """
    from scipy.io import loadmat

    with _matlab(path):
        content = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[name])
    if name not in content:
        found = ", ".join(shapes(path)) or "nothing"
        raise InputError(f"{path}: expected a MATLAB file with '{name}', found {found}")
    return content[name]


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name and shape of each variable of a MATLAB file, without loading them.

    Raises:
        InputError: if the file is missing, damaged or of MATLAB 7.3.
    """
    from scipy.io import whosmat

    with _matlab(path):
        return {name: shape for name, shape, _ in whosmat(path)}


@contextmanager
def _matlab(path: Path) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:
        raise InputError(f"{path}: expected MATLAB 5 to 7, found 7.3; save it with -v7") from error
    except Exception as error:  # scipy raises what it pleases on damaged files
        raise InputError(f"{path}: expected a MATLAB file: {error}") from error


def structs(value: Any) -> list[Any]:
    """Return the structs of an array, of a struct that stands alone, or of nothing at all."""
    return [item for item in np.atleast_1d(value).ravel() if hasattr(item, "_fieldnames")]


def number(struct: Any, field: str) -> float:
    """Return a number that may be stored as a character; NaN if it is empty or not there."""
    values = np.atleast_1d(getattr(struct, field, [])).ravel()
    return float(values[0]) if values.size and str(values[0]).strip() else float("nan")


def load_json(path: Path) -> Any:
    """Load a JSON file.

    Raises:
        InputError: if it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise InputError(f"{path}: expected JSON, found a damaged file ({error})") from error


@contextmanager
def expecting(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong in reading a file of another layout into an ``InputError``.

    Example:
        >>> with expecting(Path("joints.json"), "a list of people"):
        ...     {}["people"]
        Traceback (most recent call last):
        ...
        uprightpose.errors.InputError: joints.json: expected a list of people, found otherwise:
        KeyError 'people'
    """
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: expected {what}, found otherwise: {type(error).__name__} {error}"
        ) from error
