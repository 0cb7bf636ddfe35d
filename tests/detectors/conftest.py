"""Two stick figures and the disks at their joints, drawn on the spot."""

import cv2
import numpy as np
import pytest
import torch

from uprightpose.frames import image_to_map
from uprightpose.score_maps import encode_disks

JOINTS = torch.tensor(
    [
        [[40.0, 8.0], [40, 30], [26, 54], [52, 56]],
        [[84, 50], [60, 40], [30, 52], [36, 20]],
    ]
)
EDGES = ((0, 1), (1, 2), (1, 3))


@pytest.fixture(scope="session")
def figures():
    """Return a function: stride -> images ``(2, 3, 64, 128)`` and disks of 4 joints."""
    images = np.full((2, 64, 128, 3), 200, np.uint8)
    for image, joints in zip(images, JOINTS.int().tolist(), strict=True):
        for number, (a, b) in enumerate(EDGES):
            cv2.line(image, joints[a], joints[b], (40, 110 * number, 220 - 110 * number), 3)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()

    def at(stride):
        size = (64 // stride, 128 // stride)
        radius = torch.full((2,), max(6.0 / stride, 0.75))
        return pixels, encode_disks(image_to_map(JOINTS, stride), size, radius)

    return at
