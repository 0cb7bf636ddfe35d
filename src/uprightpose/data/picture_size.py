"""How large a picture is, from its header where that tells."""

from pathlib import Path
from typing import BinaryIO

from uprightpose.data.images import read_image
from uprightpose.errors import InputError

_EXIF = 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers of a frame, whose segment holds height and width."""


def picture_size(path: Path) -> tuple[int, int]:
    """Return ``(h, w)`` of a picture as the viewer sees it.

    Of a JPEG without EXIF only the header is read; any other picture is decoded, for EXIF may
    turn it.

    Raises:
        InputError: if the file is missing or no picture.
    """
    try:
        with path.open("rb") as stream:
            size = _jpeg_size(stream)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size:
        return size
    height, width, _ = read_image(path).shape
    return (height, width)


def _jpeg_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Walk the segments of a JPEG to its frame; ``None`` where only decoding tells."""
    if stream.read(2) != b"\xff\xd8":
        return None
    while len(head := stream.read(4)) == 4 and head[0] == 0xFF and head[1] != _EXIF:
        if head[1] in _FRAMES:
            frame = stream.read(5)
            size = (int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"))
            return size if all(size) else None
        stream.seek(int.from_bytes(head[2:], "big") - 2, 1)
    return None
