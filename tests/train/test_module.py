"""One stage of training: which losses count when, what stays, and how rates fall."""

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uprightpose.data.loader import Batch
from uprightpose.detectors.fcn import PHASES
from uprightpose.framed import FramedMaps
from uprightpose.losses import Truth
from uprightpose.model import Outputs
from uprightpose.settings import Settings
from uprightpose.train.module import StageModule, constant, cosine, drops
from uprightpose.train.recipe import Recipe
from uprightpose.train.stages import FOLD, STAGES, Stage
from uprightpose.weights import build

DETECTOR, BODY, LIMBS, ALL = STAGES
CENTERS = np.random.default_rng(0).normal(size=(3, 14, 2))


def stage_module(stage: Stage = DETECTOR, folds: Sequence[nn.Module] = (), **keys: object):
    tiny = {"trunk": "test_resnet", "head_width": 8, "fc6_kernel": 1, "stacks": 1, "size": 64}
    recipe = Recipe(out="x", lsp="x", refine_width=2, kernels=(3,), **{**tiny, **keys})
    settings = Settings(**{field.name: getattr(recipe, field.name) for field in fields(Settings)})
    model = build(settings, centers=CENTERS)
    return StageModule(model, stage, recipe, folds=folds, people=12)


@pytest.fixture
def batch() -> Batch:
    joints = 8 + 48 * torch.rand(3, 14, 2)
    state = torch.randint(1, 3, (3, 14)).byte()
    return Batch(torch.zeros(3, 3, 64, 64).byte(), joints, state, torch.tensor([7, 0, 11]))


def at_step(patch: pytest.MonkeyPatch, step: int, rank: int = 0) -> None:
    patch.setattr(StageModule, "global_step", property(lambda _: step))
    patch.setattr(StageModule, "global_rank", property(lambda _: rank))


class TestPhases:
    """'Minimise L_D1, then L_D1+L_D2+L_F1, then L_D1+L_D2+L_D3+L_F1+L_F2' (SPEC 1.16)."""

    def counted(self, module: StageModule, batch: Batch, patch: pytest.MonkeyPatch) -> list[str]:
        """Return the names of the levels whose losses count."""
        seen: list[str] = []

        def spy(part: FramedMaps, goal: Truth, stride: float) -> Tensor:
            seen.extend(name for name, scores in levels.items() if scores is part.scores)
            assert stride * part.scores.shape[-1] == 64
            return part.scores.mean()

        levels = module.model.detect(batch.images.float())
        outputs = Outputs(levels, module.model.framed(list(levels.values())[-1]), None, ())
        patch.setattr(module, "_loss", spy)
        module._detector_losses(outputs, batch)
        return seen

    @pytest.mark.parametrize("loss_stride", [8, 1])
    def test_the_papers_three(
        self, loss_stride: int, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = stage_module(detector="fcn", loss_stride=loss_stride, detector_steps=6)
        one, two = ["LD1"], ["LD1", "LD2", "LF1"]
        three = ["LD1", "LD2", "LD3", "LF1", "LF2"]
        for step, expected in enumerate((one, one, two, two, three, three)):
            at_step(monkeypatch, step)
            assert self.counted(module, batch, monkeypatch) == expected, step

    def test_a_long_last_one(self, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
        """'Iterations: not given': each of the first two may take a tenth."""
        module = stage_module(detector="fcn", phase_share=0.1, detector_steps=20)
        expected = [1, 1, 3, 3, *[5] * 16]
        for step, count in enumerate(expected):
            at_step(monkeypatch, step)
            assert len(self.counted(module, batch, monkeypatch)) == count, step

    @pytest.mark.parametrize("variant", PHASES)
    def test_each_variant_has_its_own(
        self, variant: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A row of Table 11 each; the last phase reaches to the last step."""
        phases = PHASES[variant]
        module = stage_module(detector="fcn", variant=variant, detector_steps=7)
        at_step(monkeypatch, 0)
        assert set(self.counted(module, batch, monkeypatch)) == set(phases[0])
        at_step(monkeypatch, 6)
        assert set(self.counted(module, batch, monkeypatch)) == set(phases[-1])

    def test_everything_together_starts_with_the_last(
        self, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """'Fine-tuning loss: sum of all active losses' (SPEC 1.15)."""
        module = stage_module(ALL, detector="fcn", all_steps=6)
        at_step(monkeypatch, 0)
        assert len(self.counted(module, batch, monkeypatch)) == 5

    def test_folds_have_phases_of_their_own_length(
        self, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = stage_module(FOLD, detector="fcn", detector_steps=300, out_of_fold=2, fold_steps=3)
        at_step(monkeypatch, 1)
        assert self.counted(module, batch, monkeypatch) == ["LD1", "LD2", "LF1"]

    @pytest.mark.parametrize("detector", ["compact", "resnet", "hourglass"])
    def test_other_detectors_have_one(
        self, detector: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = stage_module(detector=detector, stacks=2, detector_steps=4)
        for step in (0, 3):
            at_step(monkeypatch, step)
            assert len(self.counted(module, batch, monkeypatch)) == 2


class TestLosses:
    """'Detector supervised on visible joints only; refinement on visible and occluded'; 'sum of
    all active losses, weight 1 each' (SPEC 1.15)."""

    @pytest.mark.parametrize("occluded", ["background", "ignored", "drawn"])
    def test_occluded_joints(
        self, occluded: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module, goals = stage_module(ALL, all_steps=1, occluded=occluded), []

        def spy(part: FramedMaps, goal: Truth, stride: float) -> Tensor:
            goals.append(goal)
            return part.scores.mean()

        monkeypatch.setattr(module, "_loss", spy)
        outputs = module.model(batch.images.float())
        assert list(module._losses(outputs, batch, None)) == ["detector", "body", "limbs"]
        visible, known = batch.state == 2, batch.state >= 1
        assert len(goals) == 2 + 1 + 5
        for goal in goals[:2]:
            assert torch.equal(goal.drawn, known if occluded == "drawn" else visible)
            assert torch.equal(goal.counted, visible if occluded == "ignored" else known)
        for goal in goals[2:]:
            assert torch.equal(goal.drawn, known)
            assert torch.equal(goal.counted, known)

    @pytest.mark.parametrize(
        ("keys", "drawn", "error"),
        [
            ({"detector": "compact"}, "gaussians", "entropy"),
            ({"detector": "fcn"}, "disks", "entropy"),
            ({"detector": "resnet"}, "disks", "entropy"),
            ({"detector": "hourglass"}, "gaussians", "squared"),
            ({"detector": "hourglass", "target": "disks"}, "disks", "squared"),
            ({"detector": "fcn", "target": "gaussians", "loss": "squared"}, "gaussians", "squared"),
        ],
        ids=str,
    )
    def test_each_detectors_own(
        self, keys: dict, drawn: str, error: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """'Disc targets for FCN and ResNet; hourglass: 2-D Gaussian; MSE on Gaussians'."""
        seen = []

        def spy(part, goal, stride, skeleton, target, *, sigma, loss) -> Tensor:
            seen.append((target, sigma, loss, stride))
            return part.scores.mean()

        monkeypatch.setattr("uprightpose.train.module.framed_loss", spy)
        module = stage_module(BODY, body_steps=1, sigma=1.25, **keys)
        module._losses(module.model(batch.images.float(), "body"), batch, None)
        assert seen == [(drawn, 1.25, error, module.model.stride)]

    def test_the_step_is_their_sum(self, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
        module, logged = stage_module(ALL, all_steps=1), {}
        monkeypatch.setattr(
            module, "log", lambda name, value, **_: logged.update({name: value.item()})
        )
        found = module.training_step(batch, 0).item()
        assert list(logged) == ["detector", "body", "limbs"]
        assert found == pytest.approx(sum(logged.values()))

    @pytest.mark.parametrize("baseline", ["none", "type-supervision", "multi-branch"])
    def test_true_types_where_a_baseline_asks(self, baseline: str, batch: Batch) -> None:
        """'A person of type t supervises only its K maps' (SPEC 1.14)."""
        module = stage_module(BODY, body_steps=1, baseline=baseline)
        joints = torch.tensor(8.0 * CENTERS[[2, 0, 1]] + 30).float()
        found = module._types(batch._replace(joints=joints))
        if baseline == "none":
            assert found is None
        else:
            assert found.tolist() == [2, 0, 1]

    def test_types_reach_the_loss_and_the_branches(
        self, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = stage_module(BODY, body_steps=1, baseline="multi-branch")
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        monkeypatch.setattr(module, "_types", lambda _: torch.tensor([1, 1, 1]))
        module.training_step(batch, 0).backward()
        learned = [net.layers[0].weight.grad.any().item() for net in module.model.body.nets]
        assert learned == [False, True, False]

    @pytest.mark.parametrize("baseline", ["type-supervision", "multi-branch"])
    def test_baselines_may_be_fine_tuned_with_limbs(
        self, baseline: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = stage_module(ALL, all_steps=1, baseline=baseline)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        assert module.training_step(batch, 0).isfinite()


class TestWhatStays:
    """'(2) freeze it, train the body refinement; (3) freeze both' (Sec. 3.4)."""

    @pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
    def test_parts_that_do_not_learn(self, stage: Stage) -> None:
        module = stage_module(stage, **{f"{stage.name}_steps": 3})
        module.on_train_start()
        for name in ("detector", "body", "limbs"):
            part = getattr(module.model, name)
            learns = name in stage.learns
            assert part.training == learns
            assert all(value.requires_grad == learns for value in part.parameters())
        (group,) = module.configure_optimizers()["optimizer"].param_groups
        expected = [v for name in stage.learns for v in getattr(module.model, name).parameters()]
        assert {id(v) for v in group["params"]} == {id(v) for v in expected}

    @pytest.mark.parametrize("detector", ["compact", "resnet", "hourglass", "fcn"])
    def test_norms_may_be_frozen_alone(self, detector: str) -> None:
        """'Frozen batch norm' (SPEC 1.4)."""
        module = stage_module(ALL, detector=detector, all_steps=1, freeze_norms=True)
        module.on_train_start()
        norms = [m for m in module.model.detector.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        for norm in norms:
            assert not norm.training
            assert not norm.weight.requires_grad
            assert not norm.bias.requires_grad
        others = [
            m for m in module.model.detector.modules() if isinstance(m, nn.Conv2d | nn.Dropout)
        ]
        assert all(m.training for m in others)
        assert all(v.requires_grad for m in others for v in m.parameters())


class TestOutOfFold:
    """'Out-of-fold score maps (5 folds)' (SPEC 1.16)."""

    class Number(nn.Module):
        """A detector whose maps say its number and the picture's brightness."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            assert not self.training
            brightness = images.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1)
            scores = self.number + brightness.expand(-1, 15, 8, 8).half()
            return {"coarse": scores[..., :4, :4], "fine": scores}

    def test_each_person_by_the_detector_of_its_fold(self) -> None:
        folds = [self.Number(number) for number in range(3)]
        module = stage_module(BODY, folds, body_steps=1, out_of_fold=3, fold_steps=1)
        module.on_train_start()
        items = torch.tensor([11, 0, 4, 3, 8, 7, 5])
        images = torch.arange(7.0).view(7, 1, 1, 1).expand(7, 3, 64, 64) / 16
        levels = module._out_of_fold(images, items)
        assert list(levels) == ["coarse", "fine"]
        assert levels["fine"].dtype == torch.float32
        expected = torch.tensor([2, 0, 1, 0, 2, 1, 1]) + torch.arange(7) / 16
        for scores in levels.values():
            assert torch.equal(scores, expected.view(7, 1, 1, 1).expand_as(scores))
            assert not scores.requires_grad

    def test_they_are_no_part_of_the_checkpoint(self) -> None:
        module = stage_module(BODY, [self.Number(0)], body_steps=1)
        assert all(name.startswith("model.") for name in module.state_dict())

    def test_the_network_itself_is_not_asked(
        self, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folds = [self.Number(number) for number in range(2)]
        module = stage_module(BODY, folds, body_steps=1, out_of_fold=2, fold_steps=1)
        module.on_train_start()
        monkeypatch.setattr(module, "log", lambda *_, **__: None)

        def refuse(*_: object) -> None:
            raise AssertionError("a person's maps come from the detector that learned them")

        monkeypatch.setattr(module.model, "detect", refuse)
        assert module.training_step(batch, 0).isfinite()


class TestOptimizers:
    """'SGD momentum 0.9, decay 5e-4, rate /10 at 70 % and 90 %; `adam` preset' (SPEC 1.16);
    'RMSprop 2.5e-4 (alpha 0.99)' (SPEC 1.5)."""

    @pytest.mark.parametrize(
        ("name", "kind", "settings", "factors"),
        [
            ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 5e-4}, (1, 1, 0.1, 0.01)),
            ("adam", torch.optim.AdamW, {"weight_decay": 1e-4}, None),
            (
                "rmsprop",
                torch.optim.RMSprop,
                {"alpha": 0.99, "weight_decay": 0, "momentum": 0},
                (1, 1, 1, 1),
            ),
        ],
    )
    def test_presets(self, name, kind, settings, factors) -> None:
        module = stage_module(detector_steps=10, optimizer=name, rate=0.02)
        found = module.configure_optimizers()
        assert type(found["optimizer"]) is kind
        (group,) = found["optimizer"].param_groups
        assert {key: group[key] for key in settings} == settings
        rate = found["lr_scheduler"]["scheduler"].lr_lambdas[0]
        rates = [rate(step) for step in (0, 6, 7, 9)]
        if factors is None:
            factors = tuple(cosine(step / 10) for step in (0, 6, 7, 9))
        assert rates == pytest.approx(factors)
        assert group["initial_lr"] == 0.02
        assert found["lr_scheduler"]["interval"] == "step"

    def test_a_recipe_may_say_otherwise(self) -> None:
        keys = {"optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0}
        found = stage_module(detector_steps=10, **keys).configure_optimizers()
        assert found["optimizer"].param_groups[0]["weight_decay"] == 0
        assert found["lr_scheduler"]["scheduler"].lr_lambdas[0](9) == 1

    def test_everything_together_has_its_own_rate(self) -> None:
        """'Fine-tune everything at 0.0002' (Sec. 3.4)."""
        for stage, rate in ((LIMBS, 1e-3), (ALL, 2e-4)):
            module = stage_module(stage, **{f"{stage.name}_steps": 10})
            (group,) = module.configure_optimizers()["optimizer"].param_groups
            assert group["initial_lr"] == rate

    def test_drops(self) -> None:
        assert [drops(p) for p in (0, 0.69, 0.7, 0.89, 0.9, 1)] == [1, 1, 0.1, 0.1, 0.01, 0.01]

    def test_cosine_warms_up_and_ends_at_zero(self) -> None:
        values = [cosine(step / 1000) for step in range(1001)]
        assert 0 < values[0] < 0.1
        assert max(values) == pytest.approx(1)
        assert values[-1] == pytest.approx(0, abs=1e-9)
        assert values.index(max(values)) == 50

    def test_constant(self) -> None:
        assert {constant(p) for p in (0, 0.5, 1)} == {1.0}


class TestDropout:
    """Dropout is drawn by seed, step and process: a resumed stage drops what it would have."""

    def drawn(self, patch: pytest.MonkeyPatch, batch: Batch, seed: int, step: int, rank: int):
        module = stage_module(detector_steps=9, seed=seed)
        at_step(patch, step, rank)
        module.on_train_batch_start(batch, 0)
        return tuple(torch.rand(4).tolist())

    def test_by_seed_step_and_process(self, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
        places = [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (5, 3, 1)]
        first = [self.drawn(monkeypatch, batch, *place) for place in places]
        assert len(set(first)) == len(places)
        assert [self.drawn(monkeypatch, batch, *place) for place in reversed(places)] == first[::-1]


@pytest.mark.parametrize("detector", ["compact", "fcn", "resnet", "hourglass"])
def test_the_detector_learns_from_the_limbs_loss_alone(
    detector: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'A parameter of the detector receives a nonzero gradient from the stage-2 loss alone'
    (SPEC 5.1)."""
    only = Stage("all", learns=("detector", "body", "limbs"), losses=("limbs",))
    module = stage_module(only, detector=detector, all_steps=1)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    if detector == "fcn":  # they start at zero, and nothing would come past them
        for score in module.model.detector.scores:
            nn.init.normal_(score.weight, std=0.01)
    pictures = torch.randint(0, 256, batch.images.shape).byte()
    module.training_step(batch._replace(images=pictures), 0).backward()
    found = {name: v.grad for name, v in module.model.detector.named_parameters()}
    reached = [name for name, grad in found.items() if grad is not None and grad.any()]
    assert any(name.startswith("score") for name in reached)
    assert len(reached) > 10
    assert all(math.isfinite(found[name].norm()) for name in reached)


def test_a_stage_learns_what_its_losses_name() -> None:
    for stage in (*STAGES, FOLD):
        assert set(stage.losses) <= set(stage.learns), stage
