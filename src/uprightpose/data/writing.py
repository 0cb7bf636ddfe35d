"""Files that are there whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from uprightpose.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there; a file of that name is replaced.

    Raises:
        InputError: if it cannot be written; what was there before stays.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside its place for writing; it is moved there when all has gone well.

    Raises:
        InputError: if it cannot be written; what was there before stays, as it does after any
            other error.
    """
    partial = path.with_name(f".{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise InputError(f"{path}: cannot be written ({reason})") from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder if needed, and make sure that files can be written into it.

    Raises:
        InputError: if they cannot.
    """
    probe = folder / f".probe.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = "a file of this name exists" if folder.is_file() else error.strerror or error
        raise InputError(f"{folder}: cannot write into this folder ({reason})") from error
