"""A tiny dataset in LSP's layout: stick figures, drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from uprightpose.skeletons import LSP

LEGS = ((24, 58), (25, 46), (26, 35), (34, 35), (35, 46), (36, 58))
ARMS = ((18, 36), (20, 27), (24, 18), (36, 18), (40, 27), (42, 36))
STANDING = np.array([*LEGS, *ARMS, (30, 16), (30, 6)], dtype=float)


@pytest.fixture(scope="session")
def stick_figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 people of LSP's layout, 64 x 60 pixels each, turned by random angles."""
    folder = tmp_path_factory.mktemp("sticks")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    raw = np.zeros((3, 14, 12))
    for person in range(12):
        angle = random.uniform(-1, 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        joints = (STANDING - [30, 32]) @ turn.T + [30, 32] + random.normal(0, 0.5, (14, 2))
        image = np.full((64, 60, 3), 200, np.uint8)
        for a, b in LSP.edges:
            ends = [tuple(map(int, joints[joint].round())) for joint in (a, b)]
            color = (40, 40, 220) if LSP.joints[a].startswith("left") else (220, 40, 40)
            cv2.line(image, ends[0], ends[1], color, 2)
        cv2.imwrite(str(folder / "images" / f"im{person + 1:04d}.jpg"), image)
        raw[:2, :, person] = joints.T + 1
    scipy.io.savemat(folder / "joints.mat", {"joints": raw})
    return folder
