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

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

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
