"""Ways from a picture to joints, on planted maps: no detector is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uprightpose.frames import image_to_map
from uprightpose.reproduce.credible import Credibility
from uprightpose.reproduce.found_joints import Found, read_maps
from uprightpose.reproduce.refiner_arms import Arm
from uprightpose.reproduce.study import COPIES, QUARTERS, Study
from uprightpose.reproduce.study_plan import LARGER, Plan
from uprightpose.reproduce.variants import (
    LOOKS,
    Chooser,
    alone,
    best_of_quarters,
    mean_of_quarters,
    refined,
)
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.scout import turn_points

SIDE, PEOPLE = 32, 5
CELLS = np.random.default_rng(0).uniform(6, 25, (PEOPLE, 14, 2))
JOINTS = 4 * CELLS + 1.5


def planted(cells: np.ndarray, peak: np.ndarray | float = 1.0) -> np.ndarray:
    maps = encode_gaussians(torch.from_numpy(cells).float(), (SIDE, SIDE), 1.5)
    scaled = maps * torch.as_tensor(peak).float().reshape(-1, 1, 1, 1)
    return with_background(scaled).numpy().astype(np.float16)


def study_of(**answers: Any) -> Study:
    """Return a study that answers some questions itself."""
    study = Study(Path(), Path(), Plan(seeds=3))
    for name, answer in answers.items():
        setattr(study, name, answer)
    return study


class Unseen:
    """Pictures that nobody looks at: their maps are there."""

    def __len__(self) -> int:
        return PEOPLE

    def crops(self, places: np.ndarray, angle: np.ndarray) -> np.ndarray:
        raise AssertionError((places, angle))


def turned(best: np.ndarray, wrong: bool) -> Study:
    """Return a study whose detector sees each person better in one quarter than in others."""
    views = []
    for number, turn in enumerate(QUARTERS):
        good = best == number
        shown = np.where(good[:, None, None] | (not wrong), CELLS, CELLS[:, ::-1])
        cells = turn_points(shown, np.full(PEOPLE, turn), SIDE)
        views.append(planted(cells, np.where(good, 0.9, 0.5)))
    return study_of(quarters=lambda *_: views)


def test_joints_of_larger_pictures_are_pixels_of_the_usual_square(tmp_path: Path) -> None:
    """'Joints are pixels of the unturned square, so that rows of one table share their truth.'"""
    side = LARGER // 4
    cells = image_to_map(JOINTS, 4 * 128 / LARGER)
    maps = encode_gaussians(torch.from_numpy(cells).float(), (side, side), 1.5)
    (tmp_path / "maps").mkdir()
    np.save(
        tmp_path / "maps" / "larger-turned.npy", with_background(maps).numpy().astype(np.float16)
    )
    study = study_of(out=tmp_path, _copies=lambda _: {"turned": Unseen()})
    found = study.seen_larger("turned")
    assert np.abs(found.joints - JOINTS).max() < 0.5


@pytest.mark.parametrize("wrong", [False, True])
def test_best_of_quarters_takes_each_persons_highest_maps(wrong: bool) -> None:
    """'Several turned copies, the one of the highest scores' (SPEC 5.4), turned back."""
    found = best_of_quarters(turned(np.array([0, 1, 2, 3, 1]), wrong), "upright", "turned")
    assert np.abs(found.joints - JOINTS).max() < 2
    assert found.scores.min() > 0.7


def test_mean_of_quarters_adds_up_what_is_turned_back() -> None:
    found = mean_of_quarters(turned(np.array([0, 1, 2, 3, 1]), False), "upright", "natural")
    assert np.abs(found.joints - JOINTS).max() < 2
    assert np.allclose(found.scores, 0.6, atol=0.07)  # (0.9 + 3 * 0.5) / 4


def test_a_mean_is_outvoted() -> None:
    """Three quarters that see another joint there win against one of 0.9."""
    found = mean_of_quarters(turned(np.zeros(PEOPLE, int), True), "upright", "natural")
    assert np.median(np.abs(found.joints - JOINTS[:, ::-1])) < 0.5


class TestAlone:
    def test_one_seed_of_each_copy(self) -> None:
        found = {copy: Found(JOINTS + at, np.ones((PEOPLE, 14))) for at, copy in enumerate(COPIES)}
        one = alone("title", found.__getitem__, 2.0, ("scout",))
        assert one.joints["turned"].shape == (1, PEOPLE, 14, 2)
        assert (one.joints["turned"][0] == JOINTS + 1).all()
        assert one.passes == {"natural": 2.0, "turned": 2.0}
        each = alone("title", found.__getitem__, {"natural": 1.5, "turned": 1.2})
        assert each.passes == {"natural": 1.5, "turned": 1.2}

    def test_refined_stacks_seeds(self) -> None:
        def found(detector: str, view: str, arm: Arm, seed: int, copy: str) -> dict[str, Found]:
            assert (detector, view, arm.angle) == ("upright", "first", "maps")
            assert copy in COPIES
            return {
                stage: Found(JOINTS + 10 * seed + at, JOINTS[..., 0])
                for at, stage in enumerate(("body", "limbs"))
            }

        study = study_of(refined=found)
        one = refined(study, "title", "upright", "first", Arm("maps"), "limbs", 1.0)
        assert [(seed - JOINTS).mean() for seed in one.joints["natural"]] == pytest.approx(
            [1, 11, 21]
        )
        assert one.steps == ("scout", "limbs refinement")


class TestLooks:
    """'The weak are looked at again'; of several looks the most probable is believed."""

    ANGLES = (
        np.array([0.5, 0.5, 0.0, 0.5, 0.5]),
        np.zeros(PEOPLE),
        np.array([0.5, 0.9, 0.8, 0.5, 0.9]),
    )
    PEAKS = np.array(
        [[0.9, 0.2, 0.3], [0.2, 0.3, 0.6], [0.2, 0.9, 0.4], [0.3, 0.2, 0.9], [0.2, 0.7, 0.9]]
    )

    @pytest.fixture
    def chooser(self, monkeypatch: pytest.MonkeyPatch) -> Chooser:
        found = {
            name: Found(JOINTS + at, np.tile(self.PEAKS[:, [at]], (1, 14)))
            for at, name in enumerate(LOOKS)
        }
        study = study_of(
            seen=lambda _detector, _copy, name: found[name],
            angles=lambda name, *_: self.ANGLES[LOOKS.index(name)],
            view=lambda _detector, _copy, name, _angle: np.full(
                (PEOPLE, 15, 2, 3), LOOKS.index(name), np.float16
            ),
        )
        chooser = Chooser(study, "upright")
        monkeypatch.setitem(vars(chooser), "credibility", Credibility(np.array([9.0]), -5.0))
        return chooser

    def test_who_is_looked_at_again(self, chooser: Chooser) -> None:
        """Only while all looks are weak, and only if another would show anything new."""
        looks = chooser.looks("natural")
        assert looks.count.tolist() == [1, 3, 2, 2, 2]
        assert looks.passes == pytest.approx(10 / 5)

    def test_the_probability_is_that_of_the_believed_peak(self, chooser: Chooser) -> None:
        peaks = np.array([0.9, 0.6, 0.4, 0.3, 0.7])
        wanted = 1 / (1 + np.exp(5 - 9 * peaks))
        assert np.allclose(chooser.looks("natural").probability, wanted)

    def test_only_what_was_seen_is_believed(self, chooser: Chooser) -> None:
        looks = chooser.looks("natural")
        assert looks.choice.tolist() == [0, 2, 2, 0, 1]
        assert np.allclose((looks.best.joints - JOINTS).mean(axis=(1, 2)), [0, 2, 2, 0, 1])

    def test_maps_and_angles_are_those_of_the_believed(self, chooser: Chooser) -> None:
        maps, angle = chooser.maps("natural")
        assert maps[:, 0, 0, 0].tolist() == [0, 2, 2, 0, 1]
        assert angle.tolist() == [0.5, 0.9, 0.8, 0.5, 0.0]


def test_planted_maps_are_read() -> None:
    assert np.abs(read_maps(planted(CELLS)).joints - JOINTS).max() < 1
