"""Files that are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from uprightpose.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there; a file of that name is replaced.

    Raises:
        InputError: if it cannot be written; what was there before stays.
    """
    partial = path.with_name(f".{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


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
