"""Several processes share each batch and end with the weights of one; slow to start."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from uprightpose.train.recipe import Recipe
from uprightpose.train.run import train

pytestmark = pytest.mark.slow

# Each process runs this first: two would drop other values than one does; and Ctrl-C comes at a
# known step.
BEFORE = """
import os, sys
if "torch.distributed.run" not in sys.orig_argv:
    import torch
    from uprightpose.train.module import StageModule

    step = StageModule.training_step

    def broken(self, batch, index):
        if os.environ.get("STOP") == f"{self.stage.name} {self.global_step}":
            raise KeyboardInterrupt
        return step(self, batch, index)

    StageModule.training_step = broken
    torch.nn.Dropout.forward = lambda self, values: values
"""

KEYS = {
    "trunk": "test_convnext",  # no batch norm
    "trunk_weights": "none",
    "detector": "fcn",
    "size": 64,
    "head_width": 8,
    "fc6_kernel": 1,
    "refine_width": 3,
    "kernels": [3, 5],
    "detector_steps": 6,
    "body_steps": 4,
    "batch": 4,
    "save_every": 2,
    "precision": "32-true",
    "accelerator": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, stick_figures: Path) -> Path:
    """A folder with a recipe and what each process runs first."""
    folder = tmp_path_factory.mktemp("processes")
    keys = {**KEYS, "lsp": str(stick_figures), "cache": str(folder / "cache")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**keys, "out": str(folder / "one")}))
    (folder / "sitecustomize.py").write_text(BEFORE)
    return folder


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    """What one process makes of the recipe, here."""
    keys = yaml.safe_load((place / "recipe.yaml").read_text())
    recipe = Recipe(**{**keys, "kernels": tuple(keys["kernels"])})
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Dropout, "forward", lambda _, values: values)
        train(recipe)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    return place / "one"


def run(place: Path, out: str, *launch: str, stop: str = "") -> int:
    """Train by the recipe with two processes and return the exit code."""
    arguments = ["train", str(place / "recipe.yaml"), "--devices", "2", "--out", str(place / out)]
    known = {key: value for key, value in os.environ.items() if key != "LOCAL_RANK"}
    path = os.pathsep.join([str(place), *filter(None, [known.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *launch, "-m", "uprightpose", *arguments],
        env={**known, "PYTHONPATH": path, "STOP": stop, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def losses(out: Path, stage: str) -> list[float]:
    with (out / "logs" / stage / "metrics.csv").open() as file:
        return [float(row[stage]) for row in csv.DictReader(file) if row[stage]]


def assert_same(out: Path, alone: Path) -> None:
    for stage in ("detector", "body"):
        one, two = (load_file(path / f"{stage}.safetensors") for path in (alone, out))
        for name, value in one.items():
            assert_close(two[name], value, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_two_processes_learn_what_one_does(place: Path, alone: Path) -> None:
    """'Training gives the same loss curve on one process and on two' (same global batch)."""
    assert run(place, "two") == 0
    assert_same(place / "two", alone)
    for stage, steps in (("detector", 6), ("body", 4)):
        expected = losses(alone, stage)
        assert len(expected) == steps
        assert losses(place / "two", stage) == pytest.approx(expected, rel=1e-4)


def test_started_by_torchrun(place: Path, alone: Path) -> None:
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    assert run(place, "torchrun", *launch) == 0
    assert_same(place / "torchrun", alone)


def test_stopped_and_resumed(place: Path, alone: Path) -> None:
    """'Interrupt and resume: the same weights', also with several processes."""
    assert run(place, "halved", stop="detector 3") == 130
    assert not (place / "halved" / "detector.safetensors").exists()
    assert run(place, "halved") == 0
    assert_same(place / "halved", alone)
