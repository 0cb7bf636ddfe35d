"""Staged training: what learns, what stays, and that stopping changes nothing."""

import re
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file
from torch import Tensor, nn

from uprightpose.data.coco import read_coco, write_coco
from uprightpose.data.loader import Batch, SampleStream
from uprightpose.data.sample import Sample
from uprightpose.data.warp import TOLERANCE
from uprightpose.errors import InputError
from uprightpose.frames import Crop
from uprightpose.model import STAGES as STAGE_NAMES
from uprightpose.model import decode_stage
from uprightpose.settings import Settings
from uprightpose.skeletons import COCO, LSP
from uprightpose.train.module import StageData, StageModule
from uprightpose.train.recipe import Recipe
from uprightpose.train.run import _samples, train
from uprightpose.train.stages import STAGES
from uprightpose.weights import build, load_weights, save_weights


@pytest.fixture
def recipe(stick_figures: Path, tmp_path: Path) -> Recipe:
    return Recipe(
        out=str(tmp_path / "run"),
        lsp=str(stick_figures),
        cache=str(tmp_path / "cache"),
        trunk="test_resnet",
        trunk_weights="none",
        size=64,
        head_width=8,
        fc6_kernel=1,
        stacks=1,
        refine_width=3,
        kernels=(3, 5, 5),
        detector_steps=4,
        body_steps=4,
        limbs_steps=4,
        all_steps=4,
        batch=3,
        save_every=2,
        accelerator="cpu",
        threads=1,
    )


class TestInterrupted:
    """'Interrupt train in the middle and resume: the same weights, byte for byte on CPU.'"""

    @pytest.mark.parametrize(
        ("stage", "keys"),
        [
            ("detector", {"optimizer": "sgd"}),
            ("body", {"baseline": "multi-branch", "optimizer": "rmsprop"}),
            ("all", {}),
            ("detector", {"detector": "fcn"}),  # it has dropout, and phases
            ("all", {"detector": "fcn"}),
        ],
        ids=str,
    )
    def test_resumed_run_ends_with_the_same_bytes(
        self,
        recipe: Recipe,
        stage: str,
        keys: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        last = [one.name for one in STAGES].index(stage)
        ahead = {f"{one.name}_steps": 0 for one in STAGES[last + 1 :]}
        recipe = replace(recipe, **keys, **ahead)
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

    @pytest.mark.parametrize("detector", ["compact", "fcn", "resnet", "hourglass"])
    def test_each_stage_changes_only_what_learns(self, recipe: Recipe, detector: str) -> None:
        train(replace(recipe, detector=detector))
        out = Path(recipe.out)
        names = [stage.name for stage in STAGES]
        states = [load_file(out / f"{name}.safetensors") for name in names]
        for before, after, stage in zip(states, states[1:], STAGES[1:], strict=False):
            for part in ("detector", "body", "limbs"):
                keys = [key for key in before if key.startswith(f"{part}.")]
                same = all(torch.equal(before[key], after[key]) for key in keys)
                learned = part in stage.learns
                assert same != learned or not keys, (stage.name, part)

    def test_heads_of_later_phases_wait(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """'Minimise L_D1, then L_D1+L_D2+L_F1, then ...': what no loss reaches has no gradient,
        and an optimizer passes it by, weight decay and all."""
        seen = _watch(monkeypatch, lambda module: _state(module.model.detector))
        recipe = replace(recipe, detector="fcn", weight_decay=0.1, detector_steps=6)
        train(replace(recipe, body_steps=0, limbs_steps=0, all_steps=0))
        first = [
            next(step for step in range(6) if not torch.equal(seen[step][key], seen[0][key]))
            for key in ("scores.0.weight", "scores.1.weight", "scores.2.weight",
                        "heads.fusions.LF1.weight", "heads.fusions.LF2.weight")
        ]  # fmt: skip
        assert first == [1, 3, 5, 3, 5]  # what each step made, the next one sees

    @pytest.mark.parametrize("detector", ["compact", "fcn", "resnet", "hourglass"])
    def test_frozen_norms_stay(
        self, recipe: Recipe, detector: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """'Frozen batch norm' (SPEC 1.4), its statistics too."""
        seen = _watch(monkeypatch, lambda module: _state(module.model.detector))
        alone = replace(recipe, detector=detector, body_steps=0, limbs_steps=0, all_steps=0)
        after = load_file(train(replace(alone, freeze_norms=True)))
        model = build(Settings(**{f.name: getattr(alone, f.name) for f in fields(Settings)}))
        kinds = dict(model.detector.named_modules())
        norm = {key: isinstance(kinds[key.rpartition(".")[0]], nn.BatchNorm2d) for key in seen[0]}
        assert sum(norm.values()) > 10
        moved = {key for key in norm if not torch.equal(seen[0][key], after[f"detector.{key}"])}
        assert not any(norm[key] for key in moved)
        assert len(moved) > 5

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
            frozen, out=recipe.out + "2", detector_steps=6, all_steps=0, schedule="drops"
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


class TestData:
    """'Packed cache and batched augmentation so that decoding is the only wall' (issue 4)."""

    def test_each_stage_says_how_long_it_waited(
        self, recipe: Recipe, capfd: pytest.CaptureFixture[str]
    ) -> None:
        train(replace(recipe, detector_steps=10, limbs_steps=0, all_steps=0))
        said = capfd.readouterr()
        pattern = r"stage (\w+): (\d+) images/s, waited (\d+\.\d)% for data; weights in "
        found = re.findall(pattern, said.out)
        assert [name for name, *_ in found] == ["detector", "body"]
        assert all(int(speed) > 0 and float(share) < 100 for _, speed, share in found)
        assert re.search(r"waited=\d+%", said.err)  # in the bar

    @pytest.mark.parametrize("keys", [{"workers": 2}, {"threads": 3}], ids=str)
    def test_the_same_bytes_whoever_reads(self, recipe: Recipe, keys: dict[str, int]) -> None:
        short = replace(recipe, body_steps=0, limbs_steps=0, all_steps=0, batch=5, erase=0.5)
        plain = train(short).read_bytes()
        other = replace(short, out=recipe.out + "2", **keys)
        if "threads" in keys:  # of the network they change sums: only those that read may differ
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("torch.set_num_threads", lambda _: None)
                patch.setattr("torch.get_num_threads", lambda: 3)
                assert train(other).read_bytes() == plain
        else:
            assert train(other).read_bytes() == plain

    def test_nothing_reads_on_after_ctrl_c(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = set(threading.enumerate())  # other tests' readers may wait to be collected
        _interrupt(monkeypatch, "detector", at=1)
        with pytest.raises(KeyboardInterrupt):
            train(recipe)
        left = set(threading.enumerate()) - before
        assert not [thread.name for thread in left if thread.name.startswith("background")]

    @pytest.mark.parametrize("workers", [0, 1])
    def test_warped_on_the_device(
        self, recipe: Recipe, workers: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same people, joints and turns as on the CPU; values within a grey level."""
        keys = {"detector_steps": 3, "body_steps": 0, "limbs_steps": 0, "all_steps": 0}
        short = replace(recipe, **keys, erase=0.5, shift=0.1)
        seen: list[Batch] = []
        step = StageModule.training_step

        def noting(self: StageModule, batch: Batch, index: int) -> Tensor:
            seen.append(batch)
            return step(self, batch, index)

        monkeypatch.setattr(StageModule, "training_step", noting)
        train(short)
        train(replace(short, out=recipe.out + "2", augment_on="device", workers=workers))
        for here, there in zip(seen[:3], seen[3:], strict=True):
            assert there.images.shape == here.images.shape == (3, 3, 64, 64)
            assert 0 < (there.images - here.images).abs().max() < TOLERANCE
            assert torch.equal(there.item, here.item)
            assert torch.equal(there.joints, here.joints)
            assert torch.equal(there.state, here.state)

    def test_interrupted_with_the_device(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        keys = {"body_steps": 0, "limbs_steps": 0, "all_steps": 0, "augment_on": "device"}
        recipe = replace(recipe, **keys)
        whole = train(recipe).read_bytes()
        halved = replace(recipe, out=str(tmp_path / "halved"))
        with monkeypatch.context() as patch:
            _interrupt(patch, "detector", at=3)
            with pytest.raises(KeyboardInterrupt):
                train(halved)
        assert train(halved).read_bytes() == whole


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

    @pytest.mark.parametrize(
        ("last", "key", "value"),
        [
            ("detector", "labels", "oc"),
            ("detector", "size", 128),
            ("detector", "content", 48),
            ("detector", "resize", "stretch"),
            ("detector", "detector", "resnet"),
            ("detector", "trunk", "resnet18"),
            ("detector", "head_width", 12),
            ("detector", "variant", "16s-extra"),
            ("detector", "loss_stride", 1),
            ("detector", "fc6_kernel", 3),
            ("detector", "stacks", 2),
            ("body", "baseline", "type-supervision"),
            ("body", "refine_width", 4),
            ("body", "kernels", (3, 3)),
            ("body", "large_layers", 3),
            ("body", "pairs", "per map"),
            ("body", "canvas", 1.25),
            ("body", "normalize", False),
            ("body", "residual", True),
            ("body", "blur", 0.5),
            ("body", "subcell", False),
            ("limbs", "limb_canvas", 1.0),
            ("limbs", "normalize_limbs", False),
            ("limbs", "semi_global", "b"),
            ("limbs", "limb_inputs", "all"),
            ("limbs", "merge", "limb"),
            ("limbs", "share_sides", True),
        ],
    )
    def test_start_of_another_build(
        self, recipe: Recipe, tmp_path: Path, last: str, key: str, value: object
    ) -> None:
        first, names = tmp_path / "first.safetensors", [field.name for field in fields(Settings)]
        theirs = Settings(**{**{name: getattr(recipe, name) for name in names}, "last": last})
        save_weights(build(theirs), theirs, first)
        other = replace(recipe, start=str(first), detector_steps=0, body_steps=2)
        with pytest.raises(InputError, match=rf"trained with other {key}: {key} "):
            train(replace(other, **{key: value}))
        assert not list(Path(recipe.out).glob("*"))

    @pytest.mark.parametrize(
        "stages", [["detector"], ["all"], ["body"], ["limbs"], ["body", "all"], ["limbs", "all"]]
    )
    def test_learning_on_at_another_size(
        self, recipe: Recipe, tmp_path: Path, stages: list[str]
    ) -> None:
        """Networks are convolutional, but a frozen detector's maps would be new to all."""
        theirs = replace(recipe, content=48).settings("limbs")
        save_weights(build(theirs), theirs, tmp_path / "first.safetensors")
        ours = replace(recipe, start=str(tmp_path / "first.safetensors"), size=96, content=0)
        steps = {f"{name}_steps": int(name in stages) for name in (*STAGE_NAMES, "all")}
        ours = replace(ours, **steps)
        if stages[0] in ("detector", "all"):
            settings = load_weights(train(ours))[1]
            last = "limbs" if stages == ["all"] else "detector"
            assert (settings.size, settings.last) == (96, last)
            return
        with pytest.raises(InputError, match=r"other size, content: size 64, .*may differ where"):
            train(ours)
        assert not list(Path(ours.out).glob("*"))

    def test_start_whose_own_width_is_spelled_out(self, recipe: Recipe, tmp_path: Path) -> None:
        """0 stands for the detector's own: 64 for compact, and both build the same."""
        first = tmp_path / "first.safetensors"
        theirs = replace(recipe, detector="compact", head_width=64).settings("detector")
        save_weights(build(theirs), theirs, first)
        ours = replace(recipe, detector="compact", head_width=0, start=str(first), body_steps=1)
        weights = train(replace(ours, detector_steps=0, limbs_steps=0, all_steps=0))
        assert weights.stem == "body"

    def test_start_of_another_skeleton(self, recipe: Recipe, tmp_path: Path) -> None:
        theirs = Settings(skeleton="flic", trunk="test_resnet", head_width=8, last="detector")
        save_weights(build(theirs), theirs, tmp_path / "w.safetensors")
        with pytest.raises(InputError, match="for skeleton lsp, found flic"):
            train(replace(recipe, start=str(tmp_path / "w.safetensors"), detector_steps=0))

    def test_refinement_of_nothing(self, recipe: Recipe) -> None:
        with pytest.raises(InputError, match="gives no detector"):
            train(replace(recipe, detector_steps=0))

    def test_a_refused_recipe_claims_no_folder(self, recipe: Recipe, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="expected a dataset"):
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

    def test_another_number_of_processes(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each process of torchrun would think that it is alone, and write the same files."""
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("WORLD_SIZE", "3")
        with pytest.raises(InputError, match=r"need 1 processes, found 3 of torchrun; set devices"):
            train(recipe)

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

    @pytest.mark.parametrize("keys", [{"frozen_trunk": ("stem",)}, {"trunk_weights": "arrays"}])
    def test_a_detector_without_a_trunk(
        self, recipe: Recipe, keys: dict[str, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "arrays").mkdir()
        np.save(tmp_path / "arrays" / "conv1.weight.npy", np.zeros((4, 3, 7, 7)))
        if "trunk_weights" in keys:
            keys = {"trunk_weights": str(tmp_path / "arrays")}
        with pytest.raises(InputError, match="has no trunk"):
            train(replace(recipe, detector="hourglass", **keys))

    def test_unset_variable(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("UPRIGHTPOSE_DATA", raising=False)
        with pytest.raises(InputError, match="UPRIGHTPOSE_DATA"):
            train(replace(recipe, lsp="$UPRIGHTPOSE_DATA/lsp"))


class TestOutOfFold:
    """'Refinement trained on score maps of images the detector was fitted to sees too clean
    maps. Provide out-of-fold score maps (5 folds) as an option' (SPEC 1.16)."""

    @pytest.fixture
    def folded(self, recipe: Recipe) -> Recipe:
        """Three folds of four people: two steps of four show each detector its other eight."""
        keys = {"batch": 4, "out_of_fold": 3, "fold_steps": 2, "limbs_steps": 2, "all_steps": 0}
        return replace(recipe, **keys, rate=0.03, schedule="constant")  # folds that differ

    def test_a_persons_maps_come_from_a_detector_that_never_saw_them(
        self, folded: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        learned: dict[str, set[int]] = {}
        checked: list[int] = []
        step, make = StageModule.training_step, StageModule._out_of_fold

        def noting(self: StageModule, batch: Batch, index: int) -> Tensor:
            name = self.trainer.checkpoint_callback.filename
            learned.setdefault(name, set()).update(batch.item.tolist())
            return step(self, batch, index)

        def checking(self: StageModule, images: Tensor, item: Tensor) -> dict[str, Tensor]:
            levels = make(self, images, item)
            for row, person in enumerate(item.tolist()):
                (own,) = [n for n in range(3) if person not in learned[f"fold{n}"]]
                for number in range(3):
                    file = Path(folded.out) / f"fold{number}.safetensors"
                    (alone,) = load_weights(file)[0].detector(images[[row]])["stride4"]
                    error = (levels["stride4"][row] - alone).abs().max().item()
                    assert error < 1e-4 if number == own else error > 0.01
                checked.append(own)
            return levels

        monkeypatch.setattr(StageModule, "training_step", noting)
        monkeypatch.setattr(StageModule, "_out_of_fold", checking)
        train(folded)
        everyone = set(range(12))
        assert learned["fold0"] == everyone - {0, 1, 2, 3}
        assert learned["fold1"] == everyone - {4, 5, 6, 7}
        assert learned["fold2"] == everyone - {8, 9, 10, 11}
        assert learned["detector"] == everyone
        assert len(checked) == 4 * (4 + 2)  # body and limbs
        assert set(checked) == {0, 1, 2}

    def test_runs_share_them(
        self, folded: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The rows of a table refine the maps of one detector: its folds are trained once."""
        shared = replace(folded, folds=str(tmp_path / "folds"))
        alone = train(replace(folded, out=str(tmp_path / "alone"))).read_bytes()
        assert train(shared).read_bytes() == alone
        assert not list(Path(shared.out).glob("fold*"))
        seen = _count_steps(monkeypatch)
        other = replace(shared, out=str(tmp_path / "other"), normalize=False, limbs_steps=0)
        train(other)
        assert not [step for name, step in seen if name == "fold"]
        for key, value in {"seed": 7, "fold_steps": 3, "rotation": 5.0}.items():
            strange = replace(shared, out=str(tmp_path / key), **{key: value})
            with pytest.raises(InputError, match=rf"folds of another recipe \(differs in {key}\)"):
                train(strange)

    @pytest.mark.parametrize(("stage", "at"), [("fold", 1), ("body", 3)])
    def test_interrupted(
        self,
        folded: Recipe,
        stage: str,
        at: int,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        folded = replace(folded, save_every=1)
        whole = train(folded)
        halved = replace(folded, out=str(tmp_path / "halved"))
        with monkeypatch.context() as patch:
            _interrupt(patch, stage, at=at, file="fold1" if stage == "fold" else None)
            with pytest.raises(KeyboardInterrupt):
                train(halved)
        files = [tmp_path / "halved" / f"fold{number}.safetensors" for number in range(3)]
        there = [file.exists() for file in files]
        assert there == ([True, False, False] if stage == "fold" else [True] * 3)
        seen = _count_steps(monkeypatch)
        assert train(halved).read_bytes() == whole.read_bytes()
        folds = [step for name, step in seen if name == "fold"]
        assert folds == ([1, 0, 1] if stage == "fold" else [])

    def test_the_detector_itself_learns_from_everyone(self, folded: Recipe) -> None:
        """Folds change what refinement reads, not the detector that a picture meets."""
        plain = replace(folded, out=folded.out + "2", out_of_fold=0, fold_steps=0)
        train(folded)
        train(plain)
        same = {
            name: (Path(folded.out) / f"{name}.safetensors").read_bytes()
            == (Path(plain.out) / f"{name}.safetensors").read_bytes()
            for name in ("detector", "body")
        }
        assert same == {"detector": True, "body": False}


class TestDatasets:
    """Several datasets at once, each in its own skeleton (SPEC 4.7)."""

    @pytest.fixture
    def coco(self, stick_figures: Path, tmp_path: Path) -> Path:
        """The sticks as COCO knows people: 17 joints, no neck, no head top."""
        random = np.random.default_rng(3)
        people = []
        for number in range(3):
            joints = random.uniform(10, 50, (17, 2)).round()
            image = stick_figures / "images" / f"im{number + 1:04d}.jpg"
            box = (0.0, 0.0, 60.0, 64.0)
            state = np.full(17, 2, np.uint8)
            people.append(Sample(image, joints, state, "pc", box, "train", "coco", number, COCO))
        path = tmp_path / "coco" / "person_keypoints_train.json"
        path.parent.mkdir()
        write_coco(path, people)
        return path

    def test_people_of_all_become_one_skeleton(self, recipe: Recipe, coco: Path) -> None:
        samples = _samples(replace(recipe, coco=str(coco.parent)))
        assert [sample.source for sample in samples] == ["lsp"] * 12 + ["coco"] * 3
        assert {sample.skeleton for sample in samples} == {LSP}
        original = read_coco(coco)[0].joints
        names = dict(zip(LSP.joints, samples[12].joints, strict=True))
        assert np.isnan(names["head_top"]).all()
        assert_array_equal(names["left_wrist"], original[COCO.joints.index("left_wrist")])
        shoulders = [COCO.joints.index(f"{side}_shoulder") for side in ("left", "right")]
        assert_array_equal(names["neck"], original[shoulders].mean(axis=0))

    @pytest.mark.parametrize("skeleton", ["lsp", "coco"])
    def test_they_train_together(self, recipe: Recipe, coco: Path, skeleton: str) -> None:
        keys = {"coco": str(coco.parent), "skeleton": skeleton, "batch": 15}
        short = replace(recipe, **keys, detector_steps=1, body_steps=1, limbs_steps=0, all_steps=0)
        _, settings = load_weights(train(short))
        assert settings.skeleton == skeleton

    def test_only_people_for_training(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("uprightpose.data.lsp.LSP_TRAIN", 5)
        assert [sample.id for sample in _samples(recipe)] == [1, 2, 3, 4, 5]

    def test_stretched_pictures_with_a_margin(self, recipe: Recipe) -> None:
        """'All input images are resized to 340 x 340', padded to 352 (SPEC 1.2, 1.8)."""
        short = replace(
            recipe, content=60, resize="stretch", body_steps=0, limbs_steps=0, all_steps=0
        )
        _, settings = load_weights(train(short))
        assert settings.crop == Crop(64, 60, "stretch")


class TestBaselines:
    """'The same data, schedule and detector' for every row of Table 1 (SPEC 1.14)."""

    @pytest.mark.parametrize("baseline", ["type-supervision", "multi-branch"])
    def test_all_stages(self, recipe: Recipe, baseline: str) -> None:
        model, settings = load_weights(train(replace(recipe, baseline=baseline)))
        assert settings.baseline == baseline
        assert model.body.centers.shape == (3, 14, 2)
        assert model.body.centers.abs().sum() > 1

    def test_types_are_balanced_for_refinement_alone(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """'Both get extra augmentation so that each type has as many samples'."""
        balanced: dict[str, bool] = {}
        make = StageData.__init__

        def noting(self: StageData, stream: SampleStream, stage: StageModule) -> None:
            balanced[stage.stage.name] = stream.centers is not None
            make(self, stream, stage)

        monkeypatch.setattr(StageData, "__init__", noting)
        train(replace(recipe, baseline="type-supervision", limbs_steps=0, all_steps=0))
        assert balanced == {"detector": False, "body": True}


def _interrupt(patch: pytest.MonkeyPatch, stage: str, at: int, file: str | None = None) -> None:
    step = StageModule.training_step

    def broken(self: StageModule, batch: Batch, index: int) -> Tensor:
        running = self.trainer.checkpoint_callback.filename
        if self.stage.name == stage and self.global_step == at and file in (None, running):
            raise KeyboardInterrupt
        return step(self, batch, index)

    patch.setattr(StageModule, "training_step", broken)


def _watch(patch: pytest.MonkeyPatch, look: Callable[[StageModule], Any]) -> list[Any]:
    """Return a list that will hold what ``look`` sees before each step."""
    step, seen = StageModule.training_step, []

    def watched(self: StageModule, batch: Batch, index: int) -> Tensor:
        seen.append(look(self))
        return step(self, batch, index)

    patch.setattr(StageModule, "training_step", watched)
    return seen


def _count_steps(patch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    return _watch(patch, lambda module: (module.stage.name, module.global_step))


def _state(part: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in part.state_dict().items()}
