"""What every test shares: modest threads, fixed seeds, the data folder.

The shapes in the package's signatures are checked in every test and doctest by
``--jaxtyping-packages`` in ``pyproject.toml``.
"""

import os
import random
from pathlib import Path

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
THREADS = max(1, (os.cpu_count() or 1) // WORKERS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # before torch is imported

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import scipy.io  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from uprightpose.skeletons import LSP  # noqa: E402

torch.set_num_threads(THREADS)
settings.register_profile("quick", max_examples=30, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random state, alone or among others."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed, on the CPU."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data; tests that need it are skipped where it is not given."""
    folder = os.environ.get("UPRIGHTPOSE_DATA")
    if not folder:
        pytest.skip("needs real data: set UPRIGHTPOSE_DATA to the folder of lsp, lspet, ...")
    if not Path(folder).is_dir():
        pytest.fail(f"UPRIGHTPOSE_DATA names no folder: {folder}")
    return Path(folder)


LEGS = ((24, 58), (25, 46), (26, 35), (34, 35), (35, 46), (36, 58))
ARMS = ((18, 36), (20, 27), (24, 18), (36, 18), (40, 27), (42, 36))
STANDING = np.array([*LEGS, *ARMS, (30, 16), (30, 6)], dtype=float)


@pytest.fixture(scope="session")
def stick_figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 people of LSP's layout, 64 x 60 pixels each, turned by random angles."""
    folder = tmp_path_factory.mktemp("sticks")
    raw = np.zeros((3, 14, 12))
    raw[:2] = _draw_sticks(folder, 12, 4, tilt=1, seed=0).transpose(2, 1, 0) + 1
    scipy.io.savemat(folder / "joints.mat", {"joints": raw})
    return folder


@pytest.fixture(scope="session")
def extended_sticks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 11 people of LSPET's layout at any angle; the fourth's hips are not known."""
    folder = tmp_path_factory.mktemp("extended")
    raw = np.ones((14, 3, 11))
    raw[:, :2] = _draw_sticks(folder, 11, 5, tilt=3, seed=1).transpose(1, 2, 0) + 1
    raw[2:4, 2, 3] = 0
    scipy.io.savemat(folder / "joints.mat", {"joints": raw})
    return folder


def _draw_sticks(folder: Path, people: int, digits: int, *, tilt: float, seed: int) -> np.ndarray:
    """Draw people into ``images/`` and return their joints: (people, 14, 2), the first pixel 0."""
    (folder / "images").mkdir()
    random = np.random.default_rng(seed)
    found = np.empty((people, 14, 2))
    for person in range(people):
        angle = random.uniform(-tilt, tilt)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        joints = (STANDING - [30, 32]) @ turn.T + [30, 32] + random.normal(0, 0.5, (14, 2))
        image = np.full((64, 60, 3), 200, np.uint8)
        for a, b in LSP.edges:
            ends = [tuple(map(int, joints[joint].round())) for joint in (a, b)]
            color = (40, 40, 220) if LSP.joints[a].startswith("left") else (220, 40, 40)
            cv2.line(image, ends[0], ends[1], color, 2)
        cv2.imwrite(str(folder / "images" / f"im{person + 1:0{digits}d}.jpg"), image)
        found[person] = joints
    return found
