"""Picture files -> RGB arrays as the viewer sees them, square crops of them, and back."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.writing import write_whole
from uprightpose.errors import InputError
from uprightpose.frames import compose_affine, inside_square, shrink_matrix, turn_matrices
from uprightpose.process_setting import ProcessSetting

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean in RGB: what a crop shows where the picture ends."""

SHRINK = 0.5
"""Below this size factor :func:`crop_image` averages a picture down first."""

_LOG_LEVEL = ProcessSetting(cv2.utils.logging.getLogLevel, cv2.utils.logging.setLogLevel)


def read_image(path: Path) -> UInt8[ndarray, "h w 3"]:
    """Read any still picture as 8-bit RGB, turned as its EXIF orientation says.

    Grey, alpha, CMYK and 16-bit pictures are converted; transparency is dropped.

    Raises:
        InputError: if the file is missing, empty, truncated or no picture.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data.size:
        raise InputError(f"{path}: the file is empty; expected a picture")
    return decode_image(data, str(path))


def decode_image(data: UInt8[ndarray, " n"], name: str = "picture") -> UInt8[ndarray, "h w 3"]:
    """Decode the bytes of a picture file; see :func:`read_image`."""
    content = data.tobytes()
    kind = next((kind for kind, start in _STARTS.items() if content.startswith(start)), None)
    if kind and not _ENDS[kind](content):
        raise InputError(f"{name}: the {kind} is truncated; its end is missing, copy it again")
    try:
        with quiet():
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: is no picture that can be decoded (JPEG, PNG, WebP, TIFF, BMP)")
    return _swapped(image)


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and for a folder the pictures directly in it, by name.

    In folders, a picture is a file whose suffix is in :data:`SUFFIXES`, in any case, and
    whose name does not start with a dot; folders within are left alone. A file that is
    found twice is kept once. Given files are taken at their word.

    Raises:
        InputError: if a path is missing, or a folder cannot be listed or has no pictures.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for picture in _listed(path) if path.is_dir() else [path]:
            if not picture.exists():
                raise InputError(f"{picture}: no such file or folder; expected pictures")
            found.setdefault(picture.resolve(), picture)
    return list(found.values())


def write_image(path: Path, image: UInt8[ndarray, "h w 3"]) -> None:
    """Write an RGB picture, whole or not at all; the suffix names the format.

    Raises:
        InputError: if the file cannot be written.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix.lower() in (".jpg", ".jpeg") else []
    _, data = cv2.imencode(path.suffix, _swapped(image), quality)
    write_whole(path, data.tobytes())


def crop_image(
    image: UInt8[ndarray, "h w 3"], matrix: Float[ndarray, "2 3"], size: int
) -> UInt8[ndarray, "s s 3"]:
    """Cut a square crop out of a picture by one affine map and one bilinear resampling.

    Where the map shrinks the picture below :data:`SHRINK`, it is averaged down first, so that
    fine texture does not alias.

    Args:
        image: RGB.
        matrix: image pixels -> crop pixels (:func:`uprightpose.frames.crop_matrix`).
        size: side of the crop.
    """
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < SHRINK:
        height, width = image.shape[:2]
        small = (max(1, round(width * shrink * 1.5)), max(1, round(height * shrink * 1.5)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
        back = shrink_matrix(width / small[0], height / small[1])
        matrix = compose_affine(back, matrix)
    crop = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=MEAN_COLOR,
    )
    return crop.astype(np.uint8, copy=False)


def crop_turned(
    image: UInt8[ndarray, "h w 3"],
    matrix: Float[ndarray, "2 3"],
    size: int,
    turn: float,
    *,
    alone: bool = False,
) -> UInt8[ndarray, "s s 3"]:
    """Cut a square crop out of a picture, turned about its middle, by one resampling.

    Args:
        image: RGB.
        matrix: image pixels -> pixels of the crop that is not turned.
        size: side of the crop.
        turn: radians, positive clockwise as displayed.
        alone: show nothing beyond the crop that is not turned, whatever the picture holds there.
    """
    if not turn:
        return crop_image(image, matrix, size)
    turned = turn_matrices(matrix[None], np.array([turn]), size)[0]
    crop = crop_image(image, turned, size)
    if alone:
        crop[~inside_square(turn, size)] = MEAN_COLOR
    return crop


def _swapped(image: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    """Return RGB as OpenCV's BGR, or the other way round."""
    swapped: UInt8[ndarray, "h w 3"] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return swapped


def _listed(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    pictures = [
        path
        for path in inside
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not pictures:
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{folder}: expected pictures ({known}) in this folder, found none")
    return pictures


def _jpeg_ends(content: bytes) -> bool:
    """Walk the JPEG's segments to its own end-of-image marker.

    Looking for the marker's bytes alone is fooled by a thumbnail, which is a JPEG within a
    segment, and by what phones append.
    """
    place = 2
    while marker := _JPEG_MARKER.search(content, place):
        if marker[1] == b"\xd9":
            return True
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        place = marker.end() + max(length, 2)
    return False


def _png_ends(content: bytes) -> bool:
    """Walk the PNG's chunks to its last, IEND."""
    place = 8
    while place + 12 <= len(content):
        if content[place + 4 : place + 8] == b"IEND":
            return True
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return False


_STARTS = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG\r\n\x1a\n"}
_ENDS = {"JPEG": _jpeg_ends, "PNG": _png_ends}
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
"""A marker with a segment behind it, or the end of the image: no stuffing, no restart."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep OpenCV's log off the terminal: what it has to say is in our error.

    The level is the whole process's; it is as before when no thread is within any more.
    """
    with _LOG_LEVEL.kept():
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        yield
