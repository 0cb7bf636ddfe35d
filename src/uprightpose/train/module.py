"""The LightningModule of one stage; Lightning runs the loop."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from tqdm import tqdm

from uprightpose.data.loader import Batch, Batches, SampleStream, Steps
from uprightpose.data.warp import warp_on_device
from uprightpose.framed import FramedMaps
from uprightpose.losses import Truth, framed_loss, truth
from uprightpose.model import STAGES, Outputs, PoseNet
from uprightpose.train.recipe import Recipe
from uprightpose.train.stages import Stage


class StageModule(lightning.LightningModule):
    """Trains what one stage learns; everything else stays fixed, its norms included.

    Args:
        model: the whole network; changed in place.
        stage: what learns and which losses count.
        recipe: rates, optimizer, targets.
        frozen: parts that never learn.
        folds: detectors that make the maps of the people that they were not trained on, person
            ``i`` of ``n`` those of detector ``i * folds // n``; none for the network's own.
        people: ``n``.
    """

    def __init__(
        self,
        model: PoseNet,
        stage: Stage,
        recipe: Recipe,
        frozen: Iterable[nn.Module] = (),
        folds: Sequence[nn.Module] = (),
        people: int = 1,
    ) -> None:
        """Mark what learns."""
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.stage, self.recipe, self.title = stage, recipe, stage.name
        self.steps: int = getattr(recipe, f"{stage.name}_steps")
        self._fixed = [getattr(model, name) for name in STAGES if name not in stage.learns]
        self._fixed = [part for part in (*self._fixed, *frozen) if part is not None]
        self._folds, self._people = tuple(folds), people  # a tuple: no part of the checkpoint
        if recipe.freeze_norms:
            norms = nn.modules.batchnorm._BatchNorm
            self._fixed += [part for part in model.detector.modules() if isinstance(part, norms)]
        model.requires_grad_(True)
        for part in self._fixed:
            part.requires_grad_(False)

    def on_train_start(self) -> None:
        """Keep the running statistics of fixed parts fixed, in a resumed stage too."""
        self.train()
        for part in self._fixed:
            part.eval()
        for fold in self._folds:
            fold.to(self.device).eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Seed dropout by the step: a resumed stage drops what it would have dropped."""
        place = (self.recipe.seed, self.global_step, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the sum of the stage's losses."""
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        levels = self._out_of_fold(images, batch.item) if self._folds else self.model.detect(images)
        types = self._types(batch)
        outputs = self.model.refine(levels, self.stage.losses[-1], types)
        with torch.autocast(self.device.type, enabled=False):
            losses = self._losses(outputs, batch, types)
        for name, loss in losses.items():
            self.log(name, loss, sync_dist=self.recipe.processes > 1)
        return torch.stack(list(losses.values())).sum()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over what learns, and its schedule by step."""
        rate = self.recipe.fine_tune_rate if self.stage.fine_tune else self.recipe.rate
        learning = [value for value in self.parameters() if value.requires_grad]
        return scheduled_optimizer(self.recipe, learning, rate, self.steps)

    def _losses(self, outputs: Outputs, batch: Batch, types: Tensor | None) -> dict[str, Tensor]:
        """Return the sum of each stage's losses, by the name of the stage."""
        everyone = truth(batch.joints, batch.state, "drawn", types)
        losses = {}
        for name in self.stage.losses:
            if name == "detector":
                terms = self._detector_losses(outputs, batch)
            else:
                terms = [
                    self._loss(part, everyone, self.model.stride) for part in outputs.parts(name)
                ]
            losses[name] = torch.stack(terms).sum()
        return losses

    def _detector_losses(self, outputs: Outputs, batch: Batch) -> list[Tensor]:
        """Return the losses of the phase in which the detector's training stands (SPEC 1.16)."""
        phases: tuple[tuple[str, ...], ...] = self.model.detector.phases  # type: ignore[assignment]
        alone = self.stage.losses == ("detector",)
        share = self.recipe.phase_share
        passed = self.global_step / self.steps * (1 / share if share else len(phases))
        phase = min(int(passed), len(phases) - 1) if alone else len(phases) - 1
        goal = truth(batch.joints, batch.state, self.recipe.occluded)
        return [
            self._loss(self.model.framed(scores), goal, batch.images.shape[-1] / scores.shape[-1])
            for name, scores in outputs.levels.items()
            if name in phases[phase]
        ]

    def _loss(self, part: FramedMaps, goal: Truth, stride: float) -> Tensor:
        recipe, skeleton = self.recipe, self.model.skeleton
        return framed_loss(
            part, goal, stride, skeleton, recipe.drawn, sigma=recipe.sigma, loss=recipe.error
        )

    def _types(self, batch: Batch) -> Tensor | None:
        """Return the pose types of the true joints, for the baselines (SPEC 1.14)."""
        assign = getattr(self.model.body, "assign", None)
        return None if assign is None else assign(batch.joints)

    @torch.no_grad()
    def _out_of_fold(self, images: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return the maps of each person from the detector that did not learn this person."""
        fold = item * len(self._folds) // self._people
        levels: dict[str, Tensor] = {}
        for number in sorted(set(fold.tolist())):
            rows = (fold == number).nonzero()[:, 0]
            for name, scores in self._folds[number](images[rows]).items():
                if name not in levels:
                    levels[name] = scores.new_zeros(
                        len(images), *scores.shape[1:], dtype=torch.float32
                    )
                levels[name][rows] = scores.float()
        return levels


def scheduled_optimizer(
    recipe: Recipe, learning: list[nn.Parameter], rate: float, steps: int
) -> OptimizerLRSchedulerConfig:
    """Return the recipe's optimizer and its schedule over so many steps."""
    factor = {"cosine": cosine, "drops": drops, "constant": constant}[recipe.factor]
    optimizer = _optimizer(recipe, learning, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step / steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _optimizer(recipe: Recipe, learning: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(learning, rate, weight_decay=recipe.decay)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(learning, rate, alpha=0.99, weight_decay=recipe.decay)
    return torch.optim.SGD(learning, rate, momentum=0.9, weight_decay=recipe.decay)


def cosine(progress: float) -> float:
    """Return the factor of the rate: a warm-up of 5 %, then half a cosine to 0."""
    warm = 0.05
    if progress < warm:
        return (progress + 1e-3) / (warm + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm)))


def drops(progress: float) -> float:
    """Return the factor of the rate: a tenth after 70 %, a hundredth after 90 % (SPEC 1.16)."""
    return 1.0 if progress < 0.7 else 0.1 if progress < 0.9 else 0.01


def constant(_progress: float) -> float:
    """Return the factor of a rate that stays as it is."""
    return 1.0


@runtime_checkable
class Learner(Protocol):
    """What a run needs to know of a module that learns."""

    recipe: Recipe
    steps: int
    title: str


class StageData(lightning.LightningDataModule):
    """Batches of one stage from the step where training stands to its last.

    Each batch is a function of the recipe's seed, the stage and the step alone; the step is
    saved with the checkpoint.
    """

    def __init__(self, stream: SampleStream, stage: Learner) -> None:
        """Feed ``stage`` from ``stream``."""
        super().__init__()
        self.stream, self.stage, self.start = stream, stage, 0
        self.batches: Batches | None = None

    def train_dataloader(self) -> Batches:
        """Return what is left of the stage, in order."""
        workers, threads = self.stage.recipe.workers, torch.get_num_threads()
        self.batches = Batches(self.stream, self._steps(), workers=workers, threads=threads)
        return self.batches

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Crop the pictures where the network is, if they came whole."""
        if batch.grids is None or batch.covers is None:
            return batch
        size = self.stage.recipe.crop.size
        crops = warp_on_device(batch.images, batch.grids, batch.covers, size)
        return batch._replace(images=crops, grids=None, covers=None)

    def report(self) -> str:
        """Say how fast data came, over all processes, and how long this one waited for it."""
        if self.batches is None or not self.batches.made:
            return "no step was left"
        people = self.batches.speed * self.stage.recipe.processes
        return f"{people:.0f} images/s, waited {self.batches.waiting:.1%} for data"

    def close(self) -> None:
        """Stop reading ahead."""
        if self.batches is not None:
            self.batches.close()

    def _steps(self) -> Steps:
        """Return this process's part of every batch."""
        assert self.trainer is not None
        recipe, part = self.stage.recipe, self.trainer.global_rank
        return Steps(self.start, self.stage.steps, recipe.batch, part, self.trainer.world_size)

    def state_dict(self) -> dict[str, int]:
        """Return the step that comes next."""
        assert self.trainer is not None
        return {"step": self.trainer.global_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on at the saved step."""
        self.start = state["step"]


class Progress(lightning.Callback):
    """A bar over all steps of a stage, with the time left; a resumed stage starts in its middle."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Open the bar at the step where training stands; one process of several shows it."""
        self._bar = tqdm(
            desc=f"stage {pl_module.title}",
            total=pl_module.steps,
            initial=trainer.global_step,
            unit="step",
            mininterval=1.0,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        *_: object,
    ) -> None:
        """Count the step and show the last losses."""
        if trainer.global_step % 10 == 0:
            shown: dict[str, Any] = {
                name: float(loss) for name, loss in trainer.logged_metrics.items()
            }
            data: StageData = trainer.datamodule  # type: ignore[attr-defined]
            if data.batches is not None:
                shown["waited"] = f"{data.batches.waiting:.0%}"
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, *_: object) -> None:
        """Close the bar."""
        self._bar.close()
