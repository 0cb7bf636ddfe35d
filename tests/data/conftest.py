"""Five packed people whose left wrists are dots."""

import cv2
import numpy as np
import pytest

from uprightpose.data.images import MEAN_COLOR
from uprightpose.data.pack import pack_samples
from uprightpose.data.sample import Sample, State


def dotted(path, size, dot):
    """Write an even picture with a soft dark dot at ``(x, y)``."""
    y, x = np.mgrid[: size[0], : size[1]]
    bump = np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * 3.0**2))
    image = np.round(np.array(MEAN_COLOR) * (1 - 0.95 * bump[..., None])).astype(np.uint8)
    cv2.imwrite(str(path), image[:, :, ::-1])


@pytest.fixture
def draw_dot():
    return dotted


@pytest.fixture
def place_of_dot():
    """A function that finds a dark dot on an even picture."""

    def find(image: np.ndarray) -> np.ndarray:
        dark = np.clip(np.array(MEAN_COLOR) - image.astype(float) - 4, 0, None).sum(axis=2)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        return np.array([(x * dark).sum(), (y * dark).sum()]) / dark.sum()

    return find


@pytest.fixture
def samples(tmp_path):
    """Five people; a dot marks the left wrist, joint 11; sizes and boxes differ."""
    found = []
    for number in range(5):
        size = (80 + 10 * number, 120 - 9 * number)
        random = np.random.default_rng(number)
        joints = random.uniform(35, 60, size=(14, 2))
        joints[number] = np.nan
        state = random.integers(1, 3, size=14).astype(np.uint8)
        state[number] = State.ABSENT
        path = tmp_path / f"{number}.png"
        dotted(path, size, joints[11])
        box = None if number % 2 else (10.0, 5.5, 70.0, 70.0)
        found.append(Sample(path, joints, state, "pc", box, "train", "lsp", number + 1))
    return found


@pytest.fixture
def pack(samples, tmp_path):
    return pack_samples(samples, 64, tmp_path / "cache")
