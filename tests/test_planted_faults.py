"""Five faults that anyone could make, planted in a copy of the package: each fails a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Name: file, what stands there once, what is planted instead, the tests that must see it.
FAULTS = {
    "sign": (
        "normalize.py",
        "torch.atan2(-up[:, 0], -up[:, 1])",
        "torch.atan2(up[:, 0], -up[:, 1])",
        "test_normalize.py",
    ),
    "side": (
        "data/augment.py",
        "return moved[list(mirror)] if np.linalg.det(matrix[:, :2]) < 0 else moved",
        "return moved",
        "data/test_augment.py",
    ),
    "height and width": (
        "normalize.py",
        "height, width = size or (maps.shape[-2], maps.shape[-1])",
        "width, height = size or (maps.shape[-2], maps.shape[-1])",
        "test_normalize.py",
    ),
    "half a pixel": ("frames.py", "HALF = 0.5", "HALF = 0.0", "test_frames.py"),
    "direction": (
        "normalize.py",
        "back = rotation.inverse()",
        "back = Rotation(rotation.target, rotation.angle, rotation.center)",
        "test_normalize.py",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
class TestPlantedFaults:
    """'Five planted faults (sign, side, swapped height and width, half pixel, direction) each
    fail a test' (issue 2)."""

    def test_is_caught(self, fault, tmp_path):
        name, right, wrong, tests = FAULTS[fault]
        package = tmp_path / "uprightpose"
        ignored = shutil.ignore_patterns("__pycache__", "weights", "*.safetensors")
        shutil.copytree(ROOT / "src" / "uprightpose", package, ignore=ignored)
        source = (package / name).read_text(encoding="utf-8")
        assert source.count(right) == 1, f"{name} has changed: plant the fault elsewhere"
        (package / name).write_text(source.replace(right, wrong), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--exitfirst", "-p", "no:cacheprovider"]
            + ["-p", "no:xdist", "-p", "no:randomly", str(ROOT / "tests" / tests)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 1, done.stdout + done.stderr  # 1: tests ran, and one failed
        assert str(package) in done.stdout + done.stderr, "not the copy was tested"
