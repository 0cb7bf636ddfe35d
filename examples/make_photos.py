"""Make the photographs in ``examples/photos``: two free pictures, as they are and turned.

The pictures come with scikit-image, which is needed only here (``pip install scikit-image``);
``examples/photos/CREDITS.md`` names their authors and licences. Run it as
``python examples/make_photos.py``.
"""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

PHOTOS = Path(__file__).parent / "photos"
SIZE = 512
QUALITY = 92
TURNS = {"camera": (0, 90, 135, 180), "astronaut": (0, 90, 180, 225)}


def turn(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turn a square picture clockwise, as displayed, about its center.

    Quarter turns keep every pixel. Any other turn makes the canvas large enough for the whole
    picture; the corners that open are filled with its blurred border.

    Args:
        image: ``(h, h, 3)`` of type ``uint8``.
        degrees: clockwise angle.

    Returns:
        The turned picture, as large as its corners need.
    """
    if degrees % 90 == 0:
        return np.rot90(image, k=-(degrees // 90)).copy()
    height, width = image.shape[:2]
    angle = np.deg2rad(degrees)
    size = int(np.ceil(height * (abs(np.cos(angle)) + abs(np.sin(angle)))))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    matrix[:, 2] += (size - width) / 2, (size - height) / 2

    def warp(source: np.ndarray, border: int) -> np.ndarray:
        return cv2.warpAffine(
            source, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=border
        )

    inside = warp(np.ones_like(image, dtype=np.float32), cv2.BORDER_CONSTANT).clip(0, 1)
    surround = cv2.GaussianBlur(warp(image, cv2.BORDER_REPLICATE), (0, 0), sigmaX=size / 20)
    mixed = inside * warp(image, cv2.BORDER_REPLICATE) + (1 - inside) * surround
    return mixed.round().astype(np.uint8)


def main() -> None:
    """Write every photograph, at most ``SIZE`` pixels on a side."""
    PHOTOS.mkdir(exist_ok=True)
    sources = {
        "camera": cv2.cvtColor(data.camera(), cv2.COLOR_GRAY2BGR),
        "astronaut": cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR),
    }
    for name, angles in TURNS.items():
        for degrees in angles:
            picture = turn(sources[name], degrees)
            if max(picture.shape) > SIZE:
                picture = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            file = PHOTOS / (f"{name}_{degrees}.jpg" if degrees else f"{name}.jpg")
            cv2.imwrite(str(file), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
