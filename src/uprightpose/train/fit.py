"""Fit one module by Lightning, from its checkpoint if there is one."""

import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from uprightpose.data.loader import SampleStream
from uprightpose.errors import InputError
from uprightpose.train.angle import AngleModule
from uprightpose.train.module import Progress, StageData, StageModule
from uprightpose.train.recipe import Recipe

EXPECTED = (
    ".*does not have many workers",  # decoding is done once, for the pack
    r".*module\(s\) in eval mode at the start",  # stages before are fixed
    ".*Checkpoint directory .* exists and is not empty",  # a resumed stage
    ".*your dataloader is not resumable",  # it is: batches are a function of the step
    ".*treespec, LeafSpec",  # Lightning's own, with a newer torch
)
"""Warnings of Lightning that say what is meant to be."""


def fit(
    module: StageModule | AngleModule, stream: SampleStream, recipe: Recipe, finished: Path
) -> tuple[lightning.Trainer, str]:
    """Fit a module, from its checkpoint if there is one; return how fast data came, too.

    Raises:
        InputError: if it diverged.
    """
    data = StageData(stream, module)
    checkpoint = checkpoint_of(finished)
    trainer = _trainer(module, recipe, checkpoint)
    resume = checkpoint if checkpoint.exists() else None
    try:
        with warnings.catch_warnings():
            for expected in EXPECTED:
                warnings.filterwarnings("ignore", message=expected)
            trainer.fit(module, data, ckpt_path=resume, weights_only=False)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error
    finally:
        data.close()
    if not all(value.isfinite().all() for value in module.model.parameters()):
        raise InputError(f"stage {module.title} diverged: its weights are no numbers; lower rate")
    return trainer, data.report()


def checkpoint_of(finished: Path) -> Path:
    """Return the checkpoint of a module whose weights will be ``finished``."""
    return finished.parent / "checkpoints" / f"{finished.stem}.ckpt"


def _trainer(
    module: StageModule | AngleModule, recipe: Recipe, checkpoint: Path
) -> lightning.Trainer:
    """Return Lightning's trainer of one stage.

    Raises:
        InputError: if this machine has no such accelerator or precision.
    """
    logs = checkpoint.parent.parent / "logs"
    try:
        return lightning.Trainer(
            max_steps=module.steps,
            max_epochs=-1,
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            num_nodes=recipe.nodes,
            strategy=_strategy(module, recipe),
            use_distributed_sampler=False,  # each process reads its part of every batch itself
            sync_batchnorm=recipe.processes > 1 and torch.cuda.is_available(),
            precision=recipe.precision,  # type: ignore[arg-type]
            gradient_clip_val=recipe.clip,
            logger=CSVLogger(logs.parent, name=logs.name, version=_unused(logs, checkpoint.stem)),
            log_every_n_steps=1 if module.steps < 100 else 50,
            callbacks=[
                Progress(),
                ModelCheckpoint(
                    checkpoint.parent,
                    filename=checkpoint.stem,
                    every_n_train_steps=recipe.save_every,
                    enable_version_counter=False,
                    save_on_train_epoch_end=False,
                ),
            ],
            enable_model_summary=False,
            enable_progress_bar=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(
            f"recipe: accelerator {recipe.accelerator}, precision {recipe.precision}: {error}"
        ) from error


def _strategy(module: StageModule | AngleModule, recipe: Recipe) -> str:
    """Return how processes work together; in a phase some parts may get no gradient."""
    if recipe.processes == 1:
        return "auto"
    if isinstance(module, AngleModule):
        return "ddp"
    detector: Any = module.model.detector
    return "ddp_find_unused_parameters_true" if len(detector.phases) > 1 else "ddp"


def _unused(logs: Path, stage: str) -> str:
    """Return a name for a stage's log that overwrites none, when the stage is resumed."""
    earlier = len(list(logs.glob(f"{stage}*")))
    return f"{stage}-{earlier}" if earlier else stage
