"""Each case agrees and is timed; who does something else is caught."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from uprightpose.bench import augmentation
from uprightpose.bench.augmentation import CASES, augment_batch, augment_device, pack_photos
from uprightpose.bench.machine import Machine
from uprightpose.bench.timing import Comparison, compare
from uprightpose.errors import InputError

MACHINE = Machine("any", 1, 1, 0.0, 10.0, 10.0, {})


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "PEOPLE", 6)
    monkeypatch.setattr(augmentation, "PLACES", list(range(6)))
    monkeypatch.setattr(augmentation, "PHOTO", (90, 160))
    monkeypatch.delenv("UPRIGHTPOSE_DATA", raising=False)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cases_run(case: Callable[[int], Comparison]) -> None:
    outcome = compare(case(1), MACHINE, rounds=1)
    assert set(outcome.timings) == set(outcome.comparison.contenders)
    assert any(letter.isdigit() for letter in outcome.agreement)


@pytest.mark.parametrize(
    ("contender", "said"),
    [("item by item", "levels"), ("opencv loop", "levels"), ("torchvision affine", "levels")],
)
def test_other_pictures_are_caught(contender: str, said: str) -> None:
    case = augment_batch(1)
    if contender not in case.contenders:
        pytest.skip(f"{contender} is not installed")
    work = case.contenders[contender]

    def other() -> object:
        images, joints = work()[:2]
        return images.flip(-1), joints

    wrong = replace(case, contenders={**case.contenders, contender: other})
    with pytest.raises(InputError, match=rf"{contender}: .*{said}"):
        compare(wrong, MACHINE, rounds=1)


def test_other_joints_are_caught() -> None:
    case = augment_device(1)
    work = case.contenders["uprightpose, OpenCV"]
    moved = {"uprightpose, OpenCV": lambda: work()._replace(joints=work().joints + 0.01)}
    with pytest.raises(InputError, match=r"joints differ by 0\.01"):
        compare(replace(case, contenders={**case.contenders, **moved}), MACHINE, rounds=1)


def test_other_packs_are_caught() -> None:
    case = pack_photos(1)
    work = case.contenders["one thread"]
    wrong = {**case.contenders, "one thread": lambda: work() ^ 1}
    with pytest.raises(InputError, match="threads change the pack"):
        compare(replace(case, contenders=wrong), MACHINE, rounds=1)


def test_peers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kornia.geometry", "kornia.augmentation", "albumentations"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2.functional", None)
    missing = augment_batch(1).missing
    names = {"kornia warp_affine", "kornia.augmentation", "torchvision affine", "albumentations"}
    assert missing == dict.fromkeys(names, "not installed")
