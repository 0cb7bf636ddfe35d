"""Picture files -> RGB arrays as the viewer sees them, and square crops of them."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.errors import InputError
from uprightpose.frames import compose_affine, shrink_matrix

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean in RGB: what a crop shows where the picture ends."""


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
    if data[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in data[-65536:].tobytes():
        raise InputError(f"{name}: the JPEG is truncated; expected an end-of-image marker")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: is no picture that can be decoded (JPEG, PNG, WebP, TIFF, BMP)")
    return np.ascontiguousarray(image[:, :, ::-1])


def crop_image(
    image: UInt8[ndarray, "h w 3"], matrix: Float[ndarray, "2 3"], size: int
) -> UInt8[ndarray, "s s 3"]:
    """Cut a square crop out of a picture by one affine map and one bilinear resampling.

    Where the map shrinks the picture by more than two, it is averaged down first, so that
    fine texture does not alias.

    Args:
        image: RGB.
        matrix: image pixels -> crop pixels (:func:`uprightpose.frames.crop_matrix`).
        size: side of the crop.
    """
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < 0.5:
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
