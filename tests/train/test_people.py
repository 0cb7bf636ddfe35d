"""'Refinement trained on maps of images the detector was fitted to sees too clean maps' (1.16)."""

import numpy as np
import pytest

from uprightpose.errors import InputError
from uprightpose.train.people import held_out, learners

SOURCES = ["lsp"] * 7 + ["lspet"] * 11
STAGES = ("detector", "body", "limbs", "all", "fold")


def places(stage: str, parts: int, turns: np.ndarray | None = None) -> list[int]:
    found = learners(stage, SOURCES, parts, turns)
    return list(range(18)) if found is None else found.tolist()


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_the_last_part_of_each_dataset_in_one_piece(parts: int) -> None:
    found = held_out(SOURCES, parts).tolist()
    assert found == [*range(7 - 7 // parts, 7), *range(18 - 11 // parts, 18)]


def test_nobody_teaches_both_the_detector_and_refinement() -> None:
    assert set(places("detector", 3)).isdisjoint(places("body", 3))
    assert sorted(places("detector", 3) + places("body", 3)) == list(range(18))
    assert places("body", 3) == places("limbs", 3) == held_out(SOURCES, 3).tolist()


@pytest.mark.parametrize("parts", [0, 3])
def test_everyone_teaches_all(parts: int) -> None:
    assert learners("all", SOURCES, parts, None) is None
    assert parts or all(learners(stage, SOURCES, parts, None) is None for stage in STAGES)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("parts", [0, 3])
def test_who_has_no_angle_teaches_nothing(stage: str, parts: int) -> None:
    turns = np.zeros(18)
    turns[[1, 6, 9, 17]] = np.nan
    assert places(stage, parts, turns) == [
        place for place in places(stage, parts) if place not in (1, 6, 9, 17)
    ]


def test_nobody_left_is_said() -> None:
    with pytest.raises(InputError, match=r"stage body: nobody is left .*\(held_out 12\)"):
        learners("body", SOURCES, 12, None)
    with pytest.raises(InputError, match="stage detector: nobody is left"):
        learners("detector", SOURCES, 0, np.full(18, np.nan))
