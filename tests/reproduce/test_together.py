"""Two networks that differ in normalization alone, trained from one detector."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from uprightpose.errors import InputError
from uprightpose.reproduce import together
from uprightpose.reproduce.tables import Place
from uprightpose.reproduce.together import (
    CHAIN,
    DETECTOR,
    PAIRS,
    PLAIN,
    STAGES,
    arm_recipe,
    reproduce_together,
)
from uprightpose.settings import Settings
from uprightpose.weights import build, load_weights, save_weights

KEYS = {
    "frozen_trunk": (),
    "refine_width": 2,
    "kernels": (3, 3),
    "batch": 4,
    "body_steps": 1,
    "limbs_steps": 1,
    "all_steps": 1,
}


def write(path: Path, last: str) -> Path:
    """Write untrained weights of a tiny network up to a stage."""
    settings = Settings(
        size=64, trunk="test_resnet", head_width=4, refine_width=2, kernels=(3, 3), last=last
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(build(settings), settings, path)
    return path


@pytest.fixture(scope="module")
def both(place: Place, extended_sticks: Path) -> Place:
    """The place with both datasets that are learned from."""
    (place.data / "lspet").symlink_to(extended_sticks)
    return place


@pytest.fixture(scope="module")
def report(both: Place):
    start = write(both.out / "start" / "detector.safetensors", "detector")
    return reproduce_together(both, start, seeds=2, draws=20, keys=KEYS)


def test_recipes_differ_in_normalization_alone(both: Place) -> None:
    one, other = (
        asdict(arm_recipe(both, Path("detector.safetensors"), arm, 3))
        for arm in ("normalized", "unnormalized")
    )
    differ = {key for key in one if one[key] != other[key]}
    assert differ == {"out", "normalize", "normalize_limbs"}
    assert (one["normalize"], one["normalize_limbs"], one["seed"]) == (True, True, 3)
    assert (other["normalize"], other["normalize_limbs"], other["seed"]) == (False, False, 3)


def test_steps_are_multiplied(both: Place) -> None:
    recipe = arm_recipe(replace(both, times=0.1), Path("x"), "normalized", 0)
    assert (recipe.body_steps, recipe.limbs_steps, recipe.all_steps) == (25, 15, 30)
    assert recipe.detector_steps == 0
    least = arm_recipe(replace(both, times=0.001), Path("x"), "normalized", 0)
    assert (least.body_steps, least.limbs_steps, least.all_steps) == (1, 1, 1)


@pytest.mark.parametrize("last", ["body", "limbs"])
def test_a_network_that_knows_of_normalization_is_no_start(both: Place, last: str) -> None:
    start = write(both.out / last / "weights.safetensors", last)
    with pytest.raises(InputError, match="expected weights of a detector alone"):
        reproduce_together(both, start, seeds=1, draws=0)


def test_rows_are_stages_of_both_arms_with_every_seed(report) -> None:
    titles = [f"{arm}, {stage}" for arm in together.ARMS for stage in STAGES.values()]
    assert list(report.numbers["variants"]) == titles
    for scores in report.numbers["variants"].values():
        assert all(len(copy["seeds"]) == 2 for copy in scores.values())
    pairs = {(one["first"], one["second"]) for one in report.numbers["contrasts"]}
    assert pairs == set(PAIRS)


def test_findings_are_the_contrasts(report) -> None:
    for copy, sentence in zip(("natural", "turned"), report.findings, strict=True):
        assert sentence.startswith(copy)
        for pair in ((CHAIN, DETECTOR), (CHAIN, PLAIN)):
            value = next(
                one["Total"]["value"]
                for one in report.numbers["contrasts"]
                if (one["first"], one["second"], one["pictures"]) == (*pair, copy)
            )
            assert f"{value:+.2f} [" in sentence


def test_networks_were_trained_as_they_say(report, both: Place) -> None:
    folder = both.out / "together"
    assert sorted(run.name for run in folder.iterdir()) == [
        "normalized-0",
        "normalized-1",
        "unnormalized-0",
        "unnormalized-1",
    ]
    for run in folder.iterdir():
        settings = load_weights(run / "all.safetensors")[1]
        normalized = not run.name.startswith("un")
        assert (settings.normalize, settings.normalize_limbs) == (normalized, normalized)
        assert (settings.size, settings.trunk, settings.head_width) == (64, "test_resnet", 4)
        assert json.loads((run / "recipe.json").read_text())["seed"] == int(run.name[-1])


def test_the_same_truth_and_no_ends_of_another_arm(report, both: Place) -> None:
    folder = both.out / "together"
    found = {
        (run.name, copy): dict(np.load(run / f"found-{copy}.npz"))
        for run in folder.iterdir()
        for copy in ("natural", "turned")
    }
    for copy in ("natural", "turned"):
        truths = [one["truth"] for (_, where), one in found.items() if where == copy]
        for truth in truths[1:]:
            np.testing.assert_array_equal(truth, truths[0])
    chains = [found[f"{arm}-0", "natural"]["limbs"] for arm in together.ARMS]
    assert not np.array_equal(*chains)


def test_what_is_there_is_not_made_again(report, both: Place, monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("uprightpose.train.run.train", never)
    monkeypatch.setattr(together, "predict_samples", never)
    start = both.out / "start" / "detector.safetensors"
    again = reproduce_together(both, start, seeds=2, draws=20, keys=KEYS)
    assert again == report


@pytest.mark.parametrize("other", ["detector", "steps"])
def test_runs_from_another_detector_or_of_other_steps_are_refused(
    report, both: Place, other: str
) -> None:
    start = both.out / "start" / "detector.safetensors"
    keys = KEYS
    if other == "detector":
        start = write(both.out / "other" / "detector.safetensors", "detector")
    else:
        keys = {**KEYS, "all_steps": 2}
    with pytest.raises(InputError, match="holds a run from another detector"):
        reproduce_together(both, start, seeds=1, draws=0, keys=keys)
