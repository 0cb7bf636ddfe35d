"""Tiny datasets in their owners' layouts, and a scale at which a row takes a second."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from uprightpose.reproduce import study as studies
from uprightpose.reproduce import turned_maps
from uprightpose.reproduce.refiner_arms import Size
from uprightpose.reproduce.scales import Scale
from uprightpose.reproduce.study import Study
from uprightpose.reproduce.study_plan import Plan
from uprightpose.reproduce.tables import Place
from uprightpose.skeletons import FLIC11, MPII
from uprightpose.train import on_maps

PARTS = {
    "ankle": (7, 60),
    "knee": (6, 47),
    "hip": (5, 36),
    "shoulder": (7, 18),
    "elbow": (11, 27),
    "wrist": (13, 36),
    "eye": (2, 9),
}
MIDDLE = {"pelvis": 36, "thorax": 19, "upper_neck": 15, "head_top": 6, "nose": 10}


TINY = Scale(
    name="small",
    common={
        "size": 64,
        "trunk": "test_resnet",
        "trunk_weights": "none",
        "refine_width": 3,
        "kernels": (3, 3),
        "rate": 1e-3,
        "batch": 3,
        "save_every": 1,
    },
    detectors={
        "fcn": {"head_width": 4, "fc6_kernel": 1},
        "resnet": {},
        "hourglass": {"stacks": 1, "head_width": 4, "optimizer": "rmsprop"},
    },
    test_sets={"lsp": {}, "flic": {}, "mpii": {}},
    steps={"detector": 2, "body": 1, "limbs": 2, "all": 1},
    folds=2,
)
"""Every key of the small scale that costs time, smaller."""


@pytest.fixture
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, and looking at pictures, is an error: all of a study is there."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(studies, "_train", never)
    monkeypatch.setattr(on_maps, "tqdm", never)
    monkeypatch.setattr(turned_maps, "tqdm", never)


@pytest.fixture(scope="session")
def tiny() -> Scale:
    """A scale at which a row takes a second."""
    return TINY


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, stick_figures: Path) -> Iterator[Place]:
    """Eight people of LSP to train on and four to test on; nothing is written at home."""
    root = tmp_path_factory.mktemp("reproduce")
    (root / "data").mkdir()
    (root / "data" / "lsp").symlink_to(stick_figures)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(root / "home"))
        patch.setattr("uprightpose.data.lsp.LSP_TRAIN", 8)
        yield Place(root / "data", root / "out", device="cpu", threads=1)
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def standing(names: tuple[str, ...], people: int) -> np.ndarray:
    """Return people who stand in pictures of 64 x 60 pixels: (people, joints, 2), 1-based."""
    random = np.random.default_rng(len(names))
    joints = random.normal(0, 1, (people, len(names), 2)) + 1
    for at, name in enumerate(names):
        side, _, part = name.partition("_")
        across, down = PARTS.get(part, (0, MIDDLE.get(name, 0)))
        joints[:, at] += (30 + across if side == "left" else 30 - across, down)
    return joints


def write_people(file: Path, names: tuple[str, ...], people: int, first: int) -> None:
    """Write joints in the hourglass's layout, and a picture of each person."""
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "images").mkdir(exist_ok=True)
    joints = standing(names, people)
    pictures = [f"{first + one:09d}.jpg" for one in range(people)]
    for name, pose in zip(pictures, joints, strict=True):
        image = np.full((64, 60, 3), 200, np.uint8)
        for x, y in pose.round().astype(int).tolist():
            cv2.circle(image, (x, y), 2, (40, 40, 220), -1)
        cv2.imwrite(str(file.parent / "images" / name), image)
    with h5py.File(file, "w") as content:
        content["part"] = joints
        content["visible"] = np.ones(joints.shape[:2])
        content["imgname"] = [name.encode() for name in pictures]
        content["center"] = np.full((people, 2), 32.0)
        content["scale"] = np.full(people, 0.32)
        content["normalize"] = np.full(people, 12.0)
        content["index"] = np.arange(first - 1.0, first - 1 + people)
        content["person"] = np.zeros(people)


@pytest.fixture(scope="module")
def flic(place: Place) -> Path:
    """FLIC with 6 people to train on and 3 to test on."""
    write_people(place.data / "flic" / "train.h5", FLIC11.joints, 6, 1)
    write_people(place.data / "flic" / "valid.h5", FLIC11.joints, 3, 7)
    return place.data / "flic"


@pytest.fixture(scope="module")
def mpii(place: Place) -> Path:
    """MPII with 6 people to train on and 3 to validate on."""
    write_people(place.data / "mpii" / "train.h5", MPII.joints, 6, 1)
    write_people(place.data / "mpii" / "valid.h5", MPII.joints, 3, 7)
    return place.data / "mpii"


@pytest.fixture(scope="module")
def study(place: Place, extended_sticks: Path) -> Study:
    """A study of 8 + 11 people to learn from, 3 of them held out, and 4 to test on."""
    (place.data / "lspet").symlink_to(extended_sticks)
    size = Size(width=2, kernels=(3, 3), body_steps=1, limbs_steps=1, batch=4)
    names = ("detector", "circle", "larger", "angle", "scout")
    steps = {f"{name}_steps": 1 for name in names}
    keys = {"trunk": "test_resnet", "trunk_weights": "none", "head_width": 4, "batch": 4}
    plan = Plan(**steps, rounds=2, refiners=size, seeds=2, keys=keys)
    return Study(place.data, place.out / "study", plan, threads=1)
