"""Five faults that anyone could make, planted in a copy of the package: each fails a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IGNORED = shutil.ignore_patterns("__pycache__", "*.safetensors")

# Name: file, what stands there once, what is planted instead, the test that must see it. (Many
# others do, too; these need no search for the smallest example and fail at once.)
FAULTS = {
    "sign": (
        "normalize.py",
        "torch.atan2(-up[:, 0], -up[:, 1])",
        "torch.atan2(up[:, 0], -up[:, 1])",
        "test_normalize.py::TestBodyRotation::"
        "test_length_is_kept_and_the_angle_is_the_papers_up_to_its_sign",
    ),
    "side": (
        "data/augment.py",
        "return exchange_sides(moved, np.linalg.det(matrices[:, :, :2]) < 0, mirror)",
        "return moved",
        "data/test_augment.py::TestMoveJoints::test_flip_swaps_sides",
    ),
    "height and width": (
        "normalize.py",
        "[:, None] for side in size)",
        "[:, None] for side in size[::-1])",
        "test_normalize.py::TestRotateMaps::test_a_quarter_turn_is_rot90",
    ),
    "half a pixel": (
        "frames.py",
        "HALF = 0.5",
        "HALF = 0.0",
        "test_frames.py::TestStrides::test_first_cell_is_the_middle_of_its_pixels",
    ),
    "direction": (
        "normalize.py",
        "back = rotation.inverse()",
        "back = Rotation(rotation.target, rotation.angle, rotation.center)",
        "test_normalize.py::TestRotateMaps::test_a_quarter_turn_is_rot90",
    ),
}

# find_spec and not import: pytest's hook for shapes wants to be there first.
RUN = """
import importlib.util, sys, pytest
if not importlib.util.find_spec("uprightpose").origin.startswith(sys.argv[1]):
    sys.exit(99)
sys.exit(pytest.main(["--exitfirst", "-p", "no:cacheprovider", sys.argv[2]]))
"""


def run_against_copy(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, str(folder), str(ROOT / "tests" / test)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
class TestPlantedFaults:
    """'Five planted faults (sign, side, swapped height and width, half pixel, direction) each
    fail a test' (issue 2)."""

    def test_is_caught(self, fault, tmp_path):
        name, right, wrong, test = FAULTS[fault]
        shutil.copytree(ROOT / "src" / "uprightpose", tmp_path / "uprightpose", ignore=IGNORED)
        file = tmp_path / "uprightpose" / name
        source = file.read_text(encoding="utf-8")
        assert source.count(right) == 1, f"{name} has changed: plant the fault elsewhere"
        file.write_text(source.replace(right, wrong), encoding="utf-8")
        done = run_against_copy(tmp_path, test)
        assert done.returncode == 1, done.stdout + done.stderr  # 1: tests ran, and one failed
        assert "1 failed" in done.stdout


@pytest.mark.slow
def test_the_copy_without_a_fault_passes(tmp_path):
    shutil.copytree(ROOT / "src" / "uprightpose", tmp_path / "uprightpose", ignore=IGNORED)
    _, _, _, test = FAULTS["direction"]
    done = run_against_copy(tmp_path, test)
    assert done.returncode == 0, done.stdout + done.stderr
