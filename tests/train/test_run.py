"""Staged training: what learns, what stays, and that stopping changes nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uprightpose.errors import InputError
from uprightpose.model import decode_stage
from uprightpose.train.module import StageModule, cosine, drops
from uprightpose.train.recipe import Recipe
from uprightpose.train.run import train
from uprightpose.train.stages import STAGES
from uprightpose.weights import load_weights


@pytest.fixture
def recipe(stick_figures: Path, tmp_path: Path) -> Recipe:
    return Recipe(
        out=str(tmp_path / "run"),
        lsp=str(stick_figures),
        cache=str(tmp_path / "cache"),
        trunk="resnet10t",
        trunk_weights="none",
        size=64,
        head_width=4,
        refine_width=3,
        kernels=(3, 5, 5),
        target="gaussians",
        detector_steps=4,
        body_steps=4,
        limbs_steps=4,
        all_steps=4,
        batch=3,
        save_every=2,
        accelerator="cpu",
    )


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


class TestInterrupted:
    """'Interrupt train in the middle and resume: the same weights, byte for byte on CPU.'"""

    @pytest.mark.parametrize("stage", ["detector", "body", "all"])
    def test_resumed_run_ends_with_the_same_bytes(
        self, recipe: Recipe, stage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        whole = train(recipe)
        halved = replace(recipe, out=str(tmp_path / "halved"))
        with monkeypatch.context() as patch:
            _interrupt(patch, stage, at=3)
            with pytest.raises(KeyboardInterrupt):
                train(halved)
        assert not (tmp_path / "halved" / f"{stage}.safetensors").exists()
        seen = _count_steps(monkeypatch)
        resumed = train(halved)
        assert seen[0] == (stage, 2)  # from the checkpoint, not from the start
        assert resumed.read_bytes() == whole.read_bytes()

    def test_a_checkpoint_stays_until_the_weights_are_safe(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise InputError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr("uprightpose.train.run.save_weights", full)
            with pytest.raises(InputError, match="disk full"):
                train(recipe)
        seen = _count_steps(monkeypatch)
        train(recipe)
        assert ("detector", 0) not in seen

    def test_finished_run_is_not_run_again(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = train(recipe).read_bytes()
        seen = _count_steps(monkeypatch)
        assert train(recipe).read_bytes() == first
        assert not seen


class TestStages:
    """'(2) freeze it, train the body refinement; (3) freeze both' (Sec. 3.4, SPEC 1.16)."""

    def test_each_stage_changes_only_what_learns(self, recipe: Recipe) -> None:
        train(recipe)
        out = Path(recipe.out)
        names = [stage.name for stage in STAGES]
        states = [load_file(out / f"{name}.safetensors") for name in names]
        for before, after, stage in zip(states, states[1:], STAGES[1:], strict=False):
            for part in ("detector", "body", "limbs"):
                keys = [key for key in before if key.startswith(f"{part}.")]
                same = all(torch.equal(before[key], after[key]) for key in keys)
                learned = part in stage.learns
                assert same != learned or not keys, (stage.name, part)

    def test_a_stage_file_holds_a_model_that_ends_there(self, recipe: Recipe) -> None:
        train(recipe)
        out = Path(recipe.out)
        image = torch.zeros(1, 3, 64, 64)
        for name, known in (("detector", [1, 0, 0]), ("body", [1, 1, 0]), ("limbs", [1, 1, 1])):
            outputs = load_weights(out / f"{name}.safetensors")[0](image)
            stages = ("detector", "body", "limbs")
            assert [int(decode_stage(outputs, s) is not None) for s in stages] == known

    def test_frozen_children_of_the_trunk_stay(self, recipe: Recipe) -> None:
        frozen = replace(recipe, frozen_trunk=("conv1", "layer1"), body_steps=0, limbs_steps=0)
        longer = replace(
            frozen, out=recipe.out + "2", detector_steps=6, all_steps=0, schedule="steps"
        )
        states = [load_file(train(r)) for r in (replace(frozen, all_steps=0), longer)]
        for key in states[0]:
            fixed = key.startswith(("detector.trunk.conv1", "detector.trunk.layer1"))
            if fixed:
                assert torch.equal(states[0][key], states[1][key]), key
        assert not torch.equal(
            states[0]["detector.score4.weight"], states[1]["detector.score4.weight"]
        )

    def test_start_takes_over_another_runs_detector(self, recipe: Recipe) -> None:
        first = train(replace(recipe, body_steps=0, limbs_steps=0, all_steps=0))
        second = replace(
            recipe, out=recipe.out + "2", start=str(first), detector_steps=0, all_steps=0, seed=5
        )
        before, after = load_file(first), load_file(train(second))
        assert all(torch.equal(before[key], after[key]) for key in before)


class TestRefusals:
    def test_another_recipe_in_the_same_folder(self, recipe: Recipe) -> None:
        only = replace(recipe, body_steps=0, limbs_steps=0, all_steps=0)
        train(only)
        with pytest.raises(InputError, match=r"another recipe.*rate"):
            train(replace(only, rate=0.5))

    def test_steps_of_a_finished_stage_but_not_of_one_ahead(self, recipe: Recipe) -> None:
        only = replace(recipe, body_steps=0, limbs_steps=0, all_steps=0)
        train(only)
        train(replace(only, body_steps=2))
        with pytest.raises(InputError, match=r"another recipe.*detector_steps"):
            train(replace(only, detector_steps=9))

    def test_start_of_another_build(self, recipe: Recipe) -> None:
        first = train(replace(recipe, body_steps=0, limbs_steps=0, all_steps=0))
        other = replace(recipe, out=recipe.out + "2", start=str(first), detector_steps=0)
        with pytest.raises(InputError, match="other head_width"):
            train(replace(other, head_width=6))
        with pytest.raises(InputError, match="other labels"):
            train(replace(other, labels="oc"))

    def test_refinement_of_nothing(self, recipe: Recipe) -> None:
        with pytest.raises(InputError, match="gives no detector"):
            train(replace(recipe, detector_steps=0))

    def test_a_refused_recipe_claims_no_folder(self, recipe: Recipe, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no LSP folder"):
            train(replace(recipe, lsp=str(tmp_path)))
        train(replace(recipe, body_steps=0, limbs_steps=0, all_steps=0))

    def test_damaged_recipe(self, recipe: Recipe) -> None:
        Path(recipe.out).mkdir()
        (Path(recipe.out) / "recipe.json").write_text("")
        with pytest.raises(InputError, match="cannot be read"):
            train(recipe)

    def test_no_such_accelerator(self, recipe: Recipe) -> None:
        with pytest.raises(InputError, match="accelerator abacus"):
            train(replace(recipe, accelerator="abacus"))

    def test_diverged_weights_are_not_saved(self, recipe: Recipe) -> None:
        with pytest.raises(InputError, match="diverged"):
            train(replace(recipe, rate=1e30, clip=1e30, optimizer="sgd"))
        assert not list(Path(recipe.out).glob("*.safetensors"))

    def test_no_steps(self, recipe: Recipe) -> None:
        none = replace(recipe, detector_steps=0, body_steps=0, limbs_steps=0, all_steps=0)
        with pytest.raises(InputError, match="0 steps"):
            train(none)

    def test_unknown_frozen_child(self, recipe: Recipe) -> None:
        with pytest.raises(InputError, match="layer9"):
            train(replace(recipe, frozen_trunk=("layer9",)))

    def test_unset_variable(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("UPRIGHTPOSE_DATA", raising=False)
        with pytest.raises(InputError, match="UPRIGHTPOSE_DATA"):
            train(replace(recipe, lsp="$UPRIGHTPOSE_DATA/lsp"))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("batch", 0),
            ("size", 100),
            ("scale_low", 2.0),
            ("body_steps", -1),
            ("rate", -1.0),
            ("kernels", (3, 4)),
            ("kernels", ()),
            ("seed", -1),
            ("canvas", 0.0),
        ],
    )
    def test_values_that_cannot_work(self, recipe: Recipe, key: str, value: float) -> None:
        with pytest.raises(InputError, match=key):
            replace(recipe, **{key: value})


class TestSchedules:
    """'rate /10 at 70 % and 90 % of the steps' (SPEC 1.16)."""

    def test_drops(self) -> None:
        assert [drops(p) for p in (0, 0.69, 0.7, 0.89, 0.9, 1)] == [1, 1, 0.1, 0.1, 0.01, 0.01]

    def test_cosine_warms_up_and_ends_at_zero(self) -> None:
        values = [cosine(step / 1000) for step in range(1001)]
        assert 0 < values[0] < 0.1
        assert max(values) == pytest.approx(1)
        assert values[-1] == pytest.approx(0, abs=1e-9)
        assert values.index(max(values)) == 50


def _interrupt(patch: pytest.MonkeyPatch, stage: str, at: int) -> None:
    step = StageModule.training_step

    def broken(self: StageModule, batch: object, index: int) -> torch.Tensor:
        if self.stage.name == stage and self.global_step == at:
            raise KeyboardInterrupt
        return step(self, batch, index)

    patch.setattr(StageModule, "training_step", broken)


def _count_steps(patch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    step, seen = StageModule.training_step, []

    def counted(self: StageModule, batch: object, index: int) -> torch.Tensor:
        seen.append((self.stage.name, self.global_step))
        return step(self, batch, index)

    patch.setattr(StageModule, "training_step", counted)
    return seen
