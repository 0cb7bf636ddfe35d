"""A recipe, stage by stage: weights out, resumable at any point with the same result."""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from uprightpose.data.augment import Augmentation
from uprightpose.data.loader import Pack, SampleStream, collate, pack_samples
from uprightpose.data.lsp import read_lsp, read_lspet
from uprightpose.data.sample import Sample
from uprightpose.detectors.compact import CompactDetector, load_folded
from uprightpose.errors import InputError
from uprightpose.model import STAGES as STAGE_NAMES
from uprightpose.model import PoseNet
from uprightpose.skeletons import LSP
from uprightpose.train.module import Progress, StageData, StageModule
from uprightpose.train.recipe import Recipe, folder
from uprightpose.train.stages import STAGES, Stage
from uprightpose.weights import Settings, build, load_weights, read_folded, save_weights

STATISTICS = 64
"""Pictures that set the batch statistics of a folded trunk."""

EXPECTED = (
    ".*does not have many workers",  # decoding is done once, for the pack
    r".*module\(s\) in eval mode at the start",  # stages before are fixed
    ".*Checkpoint directory .* exists and is not empty",  # a resumed stage
    ".*your dataloader is not resumable",  # it is: batches are a function of the step
    ".*treespec, LeafSpec",  # Lightning's own, with a newer torch
)
"""Warnings of Lightning that say what is meant to be."""


def train(recipe: Recipe) -> Path:
    """Run every stage of a recipe that is not finished yet.

    The folder ``recipe.out`` holds ``recipe.json``, one ``STAGE.safetensors`` per finished
    stage (single precision), Lightning's checkpoint of the running stage, and logs. Called
    again with the same recipe it goes on where it stopped, and on the CPU ends with the same
    bytes.

    Returns:
        The weights of the last stage.

    Raises:
        InputError: if the folder belongs to another recipe, or data or weights are missing.
    """
    out = folder(recipe.out)
    _claim(out, recipe)
    stages = [stage for stage in STAGES if _steps(recipe, stage)]
    if not stages:
        raise InputError("recipe: every stage has 0 steps; set detector_steps or another above 0")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.set_flush_denormal(True)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(recipe.seed, verbose=False)
    pack = pack_samples(_samples(recipe), recipe.size, folder(recipe.cache))
    model, settings = _start(recipe, pack)
    for stage in stages:
        finished = out / f"{stage.name}.safetensors"
        if finished.exists():
            _copy_parts(load_weights(finished)[0], model, STAGE_NAMES)
            continue
        _run_stage(model, stage, recipe, pack, out)
        trained = replace(settings, last=stage.losses[-1])
        save_weights(model, trained, finished, half=False)
        print(f"stage {stage.name}: weights in {finished}", flush=True)
    return finished


def _steps(recipe: Recipe, stage: Stage) -> int:
    return int(getattr(recipe, f"{stage.name}_steps"))


def _last(recipe: Recipe) -> str:
    """Return the last stage of the network that the recipe needs."""
    needed = [stage.losses[-1] for stage in STAGES if _steps(recipe, stage)]
    return max(needed, key=STAGE_NAMES.index)


def _claim(out: Path, recipe: Recipe) -> None:
    """Write the recipe beside its results, or check that they are of the same one."""
    path = out / "recipe.json"
    text = json.dumps(asdict(recipe), indent=1)
    if path.exists() and path.read_text() != text:
        old, new = json.loads(path.read_text()), json.loads(text)
        changed = sorted(key for key in new if old.get(key) != new[key])
        raise InputError(
            f"{out} holds a run of another recipe (differs in {', '.join(changed)}); "
            "choose another `out` or delete the folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from error


def _samples(recipe: Recipe) -> list[Sample]:
    samples: list[Sample] = []
    if recipe.lsp is not None:
        people = read_lsp(folder(recipe.lsp), recipe.labels)
        samples += [sample for sample in people if sample.split == "train"]
    if recipe.lspet is not None:
        samples += read_lspet(folder(recipe.lspet), recipe.labels)
    return samples


def _start(recipe: Recipe, pack: Pack) -> tuple[PoseNet, Settings]:
    """Build the network with the weights that it starts from."""
    settings = Settings(
        skeleton=LSP.name,
        labels=recipe.labels,
        size=recipe.size,
        trunk=recipe.trunk,
        head_width=recipe.head_width,
        refine_width=recipe.refine_width,
        kernels=recipe.kernels,
        canvas=recipe.canvas,
        limb_canvas=recipe.limb_canvas,
        normalize=recipe.normalize,
        residual=recipe.residual,
        last=_last(recipe),
    )
    model = build(settings, pretrained=recipe.trunk_weights == "timm" and recipe.start is None)
    if recipe.start is not None:
        loaded, _ = load_weights(folder(recipe.start), LSP)
        kept = [s.name for s in STAGES if not _steps(recipe, s) and not s.fine_tune]
        _copy_parts(loaded, model, kept)
    elif recipe.trunk_weights not in ("none", "timm"):
        arrays = read_folded(folder(recipe.trunk_weights))
        stream = _stream(recipe, pack, augment=False)
        count = min(STATISTICS, len(pack.joints))
        images = collate([stream[i] for i in range(count)]).images.float()
        detector = _detector(model)
        load_folded(detector.trunk, arrays, (images - detector.mean) / detector.std)
    return model, settings


def _detector(model: PoseNet) -> CompactDetector:
    assert isinstance(model.detector, CompactDetector)
    return model.detector


def _copy_parts(source: PoseNet, target: PoseNet, names: Sequence[str]) -> None:
    """Copy the weights of the named parts that both networks have."""
    for name in names:
        found, wanted = getattr(source, name), getattr(target, name)
        if found is not None and wanted is not None:
            wanted.load_state_dict(found.state_dict())


def _stream(recipe: Recipe, pack: Pack, *, augment: bool = True, offset: int = 0) -> SampleStream:
    augmentation = Augmentation(
        rotation=recipe.rotation,
        upright_share=recipe.upright_share,
        scale=(recipe.scale_low, recipe.scale_high),
        shift=recipe.shift,
        flip=recipe.flip,
    )
    seed = recipe.seed * len(STAGES) + offset
    return SampleStream(pack, LSP.mirror, recipe.size, augmentation if augment else None, seed)


def _run_stage(model: PoseNet, stage: Stage, recipe: Recipe, pack: Pack, out: Path) -> None:
    """Fit one stage, from its checkpoint if there is one."""
    frozen = _frozen(_detector(model).trunk, recipe.frozen_trunk)
    module = StageModule(model, stage, recipe, frozen)
    data = StageData(_stream(recipe, pack, offset=STAGES.index(stage)), module)
    checkpoints = out / "checkpoints"
    trainer = lightning.Trainer(
        max_steps=module.steps,
        max_epochs=-1,
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        precision=recipe.precision,  # type: ignore[arg-type]
        gradient_clip_val=recipe.clip,
        logger=CSVLogger(out, name="logs", version=_unused(out / "logs", stage.name)),
        log_every_n_steps=1 if module.steps < 100 else 50,
        callbacks=[
            Progress(),
            ModelCheckpoint(
                checkpoints,
                filename=stage.name,
                every_n_train_steps=recipe.save_every,
                enable_version_counter=False,
                save_on_train_epoch_end=False,
            ),
        ],
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    last = checkpoints / f"{stage.name}.ckpt"
    resume = last if last.exists() else None
    try:
        with warnings.catch_warnings():
            for expected in EXPECTED:
                warnings.filterwarnings("ignore", message=expected)
            trainer.fit(module, data, ckpt_path=resume, weights_only=False)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error
    last.unlink(missing_ok=True)


def _unused(logs: Path, stage: str) -> str:
    """Return a name for a stage's log that overwrites none, when the stage is resumed."""
    earlier = len(list(logs.glob(f"{stage}*")))
    return f"{stage}-{earlier}" if earlier else stage


def _frozen(trunk: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the trunk's children of these names.

    Raises:
        InputError: if one of them does not exist.
    """
    children = dict(trunk.named_children())
    unknown = [name for name in names if name not in children]
    if unknown:
        raise InputError(
            f"recipe: frozen_trunk names {', '.join(unknown)}; the trunk has {', '.join(children)}"
        )
    return [children[name] for name in names]
