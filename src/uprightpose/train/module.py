"""The LightningModule of one stage; Lightning runs the loop."""

import math
from collections.abc import Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from uprightpose.data.loader import Batch, SampleStream, Steps, collate
from uprightpose.losses import framed_loss, truth
from uprightpose.model import STAGES, Outputs, PoseNet
from uprightpose.normalize import Rotation
from uprightpose.refine import FramedMaps
from uprightpose.train.recipe import Recipe
from uprightpose.train.stages import Stage


class StageModule(lightning.LightningModule):
    """Trains what one stage learns; everything else stays fixed, its norms included.

    Args:
        model: the whole network; changed in place.
        stage: what learns and which losses count.
        recipe: rates, optimizer, targets.
        frozen: parts that never learn.
    """

    def __init__(
        self, model: PoseNet, stage: Stage, recipe: Recipe, frozen: Iterable[nn.Module] = ()
    ) -> None:
        """Mark what learns."""
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.stage, self.recipe = stage, recipe
        self.steps: int = getattr(recipe, f"{stage.name}_steps")
        self._fixed = [getattr(model, name) for name in STAGES if name not in stage.learns]
        self._fixed = [part for part in (*self._fixed, *frozen) if part is not None]
        model.requires_grad_(True)
        for part in self._fixed:
            part.requires_grad_(False)

    def on_train_start(self) -> None:
        """Keep the running statistics of fixed parts fixed, in a resumed stage too."""
        self.train()
        for part in self._fixed:
            part.eval()

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the sum of the stage's losses."""
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        outputs = self.model(images, last=self.stage.losses[-1])
        with torch.autocast(self.device.type, enabled=False):
            losses = self._losses(outputs, batch)
        for name, loss in losses.items():
            self.log(name, loss)
        return torch.stack(list(losses.values())).sum()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer over what learns, and its schedule by step."""
        recipe = self.recipe
        rate = recipe.fine_tune_rate if self.stage.fine_tune else recipe.rate
        learning = [value for value in self.parameters() if value.requires_grad]
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            optimizer = torch.optim.AdamW(learning, rate, weight_decay=recipe.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                learning, rate, momentum=0.9, weight_decay=recipe.weight_decay
            )
        factor = {"cosine": cosine, "steps": drops}[recipe.schedule]
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: factor(step / self.steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        recipe, skeleton, stride = self.recipe, self.model.skeleton, self.model.stride
        everyone = truth(batch.joints, batch.state, visible_only=False)
        losses = {}
        for name in self.stage.losses:
            parts = list(outputs.parts(name))
            goal = everyone
            strides = [stride] * len(parts)
            if name == "detector":
                goal = truth(batch.joints, batch.state, visible_only=recipe.visible_only)
                parts = [self._framed(level) for level in outputs.levels]
                strides = [batch.images.shape[-1] // p.scores.shape[-1] for p in parts]
            terms = [
                framed_loss(part, goal, s, skeleton, recipe.target, recipe.sigma)
                for part, s in zip(parts, strides, strict=True)
            ]
            losses[name] = torch.stack(terms).sum()
        return losses

    def _framed(self, scores: Tensor) -> FramedMaps:
        joints = tuple(range(len(self.model.skeleton.joints)))
        return FramedMaps(scores, Rotation.none(scores), joints)


def cosine(progress: float) -> float:
    """Return the factor of the rate: a warm-up of 5 %, then half a cosine to 0."""
    warm = 0.05
    if progress < warm:
        return (progress + 1e-3) / (warm + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm)))


def drops(progress: float) -> float:
    """Return the factor of the rate: a tenth after 70 %, a hundredth after 90 % (SPEC 1.16)."""
    return 1.0 if progress < 0.7 else 0.1 if progress < 0.9 else 0.01


class StageData(lightning.LightningDataModule):
    """Batches of one stage from the step where training stands to its last.

    Each batch is a function of the recipe's seed, the stage and the step alone; the step is
    saved with the checkpoint.
    """

    def __init__(self, stream: SampleStream, stage: StageModule) -> None:
        """Feed ``stage`` from ``stream``."""
        super().__init__()
        self.stream, self.stage, self.start = stream, stage, 0

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return what is left of the stage, in order."""
        workers = self.stage.recipe.workers
        return DataLoader(
            self.stream,
            batch_sampler=Steps(self.start, self.stage.steps, self.stage.recipe.batch),
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def state_dict(self) -> dict[str, int]:
        """Return the step that comes next."""
        assert self.trainer is not None
        return {"step": self.trainer.global_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on at the saved step."""
        self.start = state["step"]


class Progress(lightning.Callback):
    """A bar over all steps of a stage, with the time left; a resumed stage starts in its middle."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: StageModule) -> None:  # type: ignore[override]
        """Open the bar at the step where training stands."""
        self._bar = tqdm(
            desc=f"stage {pl_module.stage.name}",
            total=pl_module.steps,
            initial=trainer.global_step,
            unit="step",
            mininterval=1.0,
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        *_: object,
    ) -> None:
        """Count the step and show the last losses."""
        if trainer.global_step % 10 == 0:
            losses = {name: float(loss) for name, loss in trainer.logged_metrics.items()}
            self._bar.set_postfix(losses, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, *_: object) -> None:
        """Close the bar."""
        self._bar.close()
