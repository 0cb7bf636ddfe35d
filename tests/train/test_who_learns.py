"""Recipes whose people are held out or turned upright, and that train the angle's posterior."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from uprightpose.data.loader import Batch
from uprightpose.errors import InputError
from uprightpose.metrics import axis_angle, body_angle
from uprightpose.skeletons import LSP
from uprightpose.train.angle import AngleModule
from uprightpose.train.module import StageModule
from uprightpose.train.recipe import Recipe
from uprightpose.train.run import train
from uprightpose.weights import load_angle_net

EVERYONE = set(range(12 + 11))
OUT = {8, 9, 10, 11, 20, 21, 22}
"""The last third of 12 people of LSP and of 11 of LSPET."""
NO_BODY_ANGLE = 12 + 3
"""One of LSPET's, whose hips are not known: no axis, either."""


@pytest.fixture
def recipe(stick_figures: Path, extended_sticks: Path, tmp_path: Path) -> Recipe:
    return Recipe(
        out=str(tmp_path / "run"),
        lsp=str(stick_figures),
        lspet=str(extended_sticks),
        cache=str(tmp_path / "cache"),
        trunk="test_resnet",
        trunk_weights="none",
        labels="pc",
        size=64,
        head_width=8,
        refine_width=3,
        kernels=(3, 3),
        batch=12,
        save_every=2,
        accelerator="cpu",
        threads=1,
    )


def watch(patch: pytest.MonkeyPatch) -> dict[str, list[Batch]]:
    """Return what will hold the batches of each stage."""
    seen: dict[str, list[Batch]] = {}
    for kind in (StageModule, AngleModule):
        step = kind.training_step

        def watched(self, batch: Batch, index: int, step=step) -> Tensor:
            name = self.trainer.checkpoint_callback.filename
            seen.setdefault(name, []).append(batch)
            return step(self, batch, index)

        patch.setattr(kind, "training_step", watched)
    return seen


def people(batches: list[Batch]) -> set[int]:
    return {item for batch in batches for item in batch.item.tolist()}


class TestHeldOut:
    """'Neither has seen the last part of LSP train and LSPET, whose maps teach the refiners.'"""

    def test_who_teaches_which_stage(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = watch(monkeypatch)
        steps = {"detector_steps": 2, "body_steps": 2, "limbs_steps": 2, "all_steps": 2}
        train(replace(recipe, held_out=3, angle_steps=2, **steps))
        taught = {name: people(batches) for name, batches in seen.items()}
        assert taught == {
            "angle": EVERYONE - OUT - {NO_BODY_ANGLE},
            "detector": EVERYONE - OUT,
            "body": OUT,
            "limbs": OUT,
            "all": EVERYONE,
        }

    def test_too_few_to_hold_out(self, recipe: Recipe) -> None:
        with pytest.raises(InputError, match="stage body: nobody is left"):
            train(replace(recipe, held_out=20, detector_steps=1, body_steps=1))


class TestUpright:
    """'A detector whose training pictures keep bodies within 30 degrees of upright' (SPEC 5.4)."""

    def test_bodies_are_upright_and_who_has_no_angle_teaches_nothing(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = watch(monkeypatch)
        keys = {"detector_steps": 2, "body_steps": 2, "all_steps": 2, "limbs_steps": 1}
        train(replace(recipe, upright=True, rotation=20.0, **keys))
        for stage in ("detector", "body", "all"):
            assert people(seen[stage]) == EVERYONE - {NO_BODY_ANGLE}
            turns = np.concatenate(
                [body_angle(batch.joints.double().numpy(), LSP) for batch in seen[stage]]
            )
            assert 10 < np.degrees(np.abs(turns)).max() < 20.01

    def test_without_it_they_are_as_they_were(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = watch(monkeypatch)
        train(replace(recipe, rotation=20.0, detector_steps=2))
        turns = [body_angle(one.joints.double().numpy(), LSP) for one in seen["detector"]]
        assert np.nanmax(np.abs(np.concatenate(turns))) > math.radians(90)
        assert people(seen["detector"]) == EVERYONE

    def test_out_of_fold_detectors_too(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = watch(monkeypatch)
        keys = {"detector_steps": 1, "body_steps": 1, "out_of_fold": 2, "fold_steps": 2}
        train(replace(recipe, upright=True, rotation=20.0, **keys))
        folds = people(seen["fold0"]), people(seen["fold1"])
        assert folds[0] | folds[1] == EVERYONE - {NO_BODY_ANGLE}
        assert not folds[0] & folds[1]


class TestAngle:
    """``angle_steps``: the posterior of the body angle from small pictures."""

    def interrupt(self, patch: pytest.MonkeyPatch, kind: type, at: int) -> None:
        step = kind.training_step

        def broken(self, batch: Batch, index: int) -> Tensor:
            if self.global_step == at:
                raise KeyboardInterrupt
            return step(self, batch, index)

        patch.setattr(kind, "training_step", broken)

    @pytest.mark.parametrize("at", [1, 3])
    def test_resumed_run_ends_with_the_same_bytes(
        self, recipe: Recipe, at: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        recipe = replace(recipe, angle_steps=4, frozen_trunk=("conv1", "layer1"), erase=0.3)
        whole = train(recipe)
        assert whole.name == "angle.safetensors"
        halved = replace(recipe, out=str(tmp_path / "halved"))
        with monkeypatch.context() as patch:
            self.interrupt(patch, AngleModule, at)
            with pytest.raises(KeyboardInterrupt):
                train(halved)
        assert not (tmp_path / "halved" / "angle.safetensors").exists()
        assert train(halved).read_bytes() == whole.read_bytes()

    def test_stages_after_it_start_alike_whether_or_not_it_was_there(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        recipe = replace(recipe, angle_steps=1, detector_steps=2)
        whole = train(recipe)
        halved = replace(recipe, out=str(tmp_path / "halved"))
        with monkeypatch.context() as patch:
            self.interrupt(patch, StageModule, at=0)  # before there is a checkpoint
            with pytest.raises(KeyboardInterrupt):
                train(halved)
        assert train(halved).read_bytes() == whole.read_bytes()
        alone = replace(recipe, out=str(tmp_path / "alone"), angle_steps=0)
        assert train(alone).read_bytes() == whole.read_bytes()

    def test_finished_it_is_not_trained_again(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train(replace(recipe, detector_steps=1))
        first = train(replace(recipe, detector_steps=1, angle_steps=1))  # may follow later
        seen = watch(monkeypatch)
        assert train(replace(recipe, detector_steps=1, angle_steps=1)) == first
        assert not seen
        with pytest.raises(InputError, match=r"another recipe.*angle_steps"):
            train(replace(recipe, detector_steps=1, angle_steps=2))

    def test_frozen_parts_stay_their_statistics_too(self, recipe: Recipe) -> None:
        short = replace(recipe, angle_steps=1, frozen_trunk=("conv1", "bn1"))
        longer = replace(short, out=recipe.out + "2", angle_steps=3)
        one, other = (load_angle_net(train(some)).state_dict() for some in (short, longer))
        changed = {key for key in one if not torch.equal(one[key], other[key])}
        fixed = {key for key in one if key.startswith(("trunk.conv1.", "trunk.bn1."))}
        assert fixed
        assert not fixed & changed
        assert {"logits.weight", "norm.running_mean", "trunk.layer2.0.bn1.running_mean"} <= changed

    def test_it_learns_the_turns_of_what_it_sees(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        losses = []
        step = AngleModule.training_step

        def watched(self, batch: Batch, index: int) -> Tensor:
            losses.append(step(self, batch, index))
            return losses[-1]

        monkeypatch.setattr(AngleModule, "training_step", watched)
        still = {"rotation": 0.0, "flip": 0.0, "scale_low": 1.0, "scale_high": 1.0}
        train(replace(recipe, angle_steps=40, **still, rate=3e-3))
        assert losses[-1] < 0.7 * losses[0]

    def test_cropped_on_the_device(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = watch(monkeypatch)
        train(replace(recipe, angle_steps=1, augment_on="device"))
        (batch,) = seen["angle"]
        assert batch.images.shape == (12, 3, 64, 64)
        assert np.isfinite(axis_angle(batch.joints.double().numpy(), LSP)).all()
