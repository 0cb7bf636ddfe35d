"""A recipe, stage by stage: weights out, resumable at any point with the same result."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from uprightpose.angle_net import AngleNet
from uprightpose.data.folders import read_folder, to_skeleton
from uprightpose.data.pack import Pack, pack_samples
from uprightpose.data.sample import Sample
from uprightpose.data.writing import make_folder, write_whole
from uprightpose.detectors.trunks import load_folded
from uprightpose.errors import InputError
from uprightpose.metrics import axis_angle
from uprightpose.model import STAGES as STAGE_NAMES
from uprightpose.model import PoseNet
from uprightpose.settings import Settings
from uprightpose.skeletons import SKELETONS
from uprightpose.train.angle import AngleModule
from uprightpose.train.fit import checkpoint_of, fit
from uprightpose.train.module import StageModule
from uprightpose.train.people import learners
from uprightpose.train.recipe import DATASETS, Recipe, folder
from uprightpose.train.stages import FOLD, STAGES, Stage
from uprightpose.train.start import (
    BODY,
    LIMBS,
    copy_parts,
    first_pictures,
    frozen_parts,
    person_stream,
    pose_centers,
    start_network,
    trunk_of,
)
from uprightpose.weights import load_weights, read_folded, save_angle_net, save_weights

SAME_RESULT = ("out", *DATASETS, "cache", "start", "folds", "save_every", "workers", "threads")
"""Keys that may change when a run is resumed: where things are, not what is done."""

LATER = (
    *(*BODY, *LIMBS, "init", "fine_tune_rate", "angle_steps"),
    *(f"{stage.name}_steps" for stage in STAGES),
)
"""Keys that do not change the detectors of folds."""


def train(recipe: Recipe) -> Path:
    """Run every stage of a recipe that is not finished yet.

    The folder ``recipe.out`` holds ``recipe.json``, one ``STAGE.safetensors`` per finished
    stage (single precision), Lightning's checkpoint of the running stage, and logs. Called
    again with the same recipe it goes on where it stopped, and on the CPU ends with the same
    bytes. With ``devices`` or ``nodes`` above 1 several processes come here; the first writes.

    Returns:
        The weights of the last stage.

    Raises:
        InputError: if the folder belongs to another recipe, or data or weights are missing.
    """
    out = folder(recipe.out)
    stages = [stage for stage in STAGES if _steps(recipe, stage)]
    if not stages and not recipe.angle_steps:
        raise InputError("recipe: every stage has 0 steps; set detector_steps or another above 0")
    _check_processes(recipe)
    _check_claim(out, recipe)
    samples = _samples(recipe)
    make_folder(out)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.set_flush_denormal(True)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(recipe.seed, verbose=False)
    cache, threads = folder(recipe.cache), recipe.threads
    pack = pack_samples(samples, recipe.size, cache, recipe.resize, threads=threads)
    started = start_network(recipe, pack) if stages else None
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        write_whole(out / "recipe.json", json.dumps(asdict(recipe), indent=1).encode())
    sources = [sample.source for sample in samples]
    if recipe.angle_steps:
        finished = _train_angle(recipe, pack, sources)
        lightning.seed_everything(recipe.seed, verbose=False)  # whether or not it was there already
    if started is None:
        return finished
    model, settings = started
    turns = axis_angle(pack.joints, SKELETONS[recipe.skeleton]) if recipe.upright else None
    for stage in stages:
        finished = out / f"{stage.name}.safetensors"
        if finished.exists():
            copy_parts(load_weights(finished)[0], model, STAGE_NAMES)
            continue
        folds = _folds(recipe, settings, pack, turns) if stage.name in ("body", "limbs") else []
        trained = replace(settings, last=stage.losses[-1])
        items = learners(stage.name, sources, recipe.held_out, turns)
        _run_stage(
            model, stage, recipe, pack, finished, trained, folds=folds, items=items, turns=turns
        )
    return finished


def _train_angle(recipe: Recipe, pack: Pack, sources: Sequence[str]) -> Path:
    """Train the posterior of the body angle, if it is not there, and return its weights.

    It learns from those who teach the detector, and only from known angles.
    """
    finished = folder(recipe.out) / "angle.safetensors"
    if finished.exists():
        return finished
    timm = recipe.trunk_weights == "timm"
    net = AngleNet(recipe.trunk, recipe.size, pretrained=timm)
    if recipe.trunk_weights not in ("none", "timm"):
        arrays = read_folded(folder(recipe.trunk_weights))
        load_folded(net.trunk, arrays, (first_pictures(recipe, pack) - net.mean) / net.std)
    known = axis_angle(pack.joints, SKELETONS[recipe.skeleton])
    items = learners("detector", sources, recipe.held_out, known)
    frozen = frozen_parts(net.trunk, recipe.frozen_trunk) if recipe.frozen_trunk else []
    module = AngleModule(net, recipe, frozen)
    fit(module, person_stream(recipe, pack, offset=len(STAGES), items=items), recipe, finished)
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        save_angle_net(net, recipe.trunk, finished, half=False)
        checkpoint_of(finished).unlink(missing_ok=True)
    return finished


def _folds(
    recipe: Recipe, settings: Settings, pack: Pack, turns: Float[np.ndarray, " n"] | None
) -> list[nn.Module]:
    """Return one detector per fold, trained without its people; trains those not there yet.

    Raises:
        InputError: if the folder that runs share holds folds of another detector.
    """
    detectors: list[nn.Module] = []
    if not recipe.out_of_fold:
        return detectors
    where = folder(recipe.folds or recipe.out)
    _claim_folds(where, recipe)
    people = np.arange(len(pack.joints))
    for number in range(recipe.out_of_fold):
        finished = where / f"fold{number}.safetensors"
        alone = replace(settings, last="detector")
        if not finished.exists():
            lightning.seed_everything(recipe.seed, verbose=False)
            model, _ = start_network(replace(recipe, start=None), pack, alone)
            others = people[people * recipe.out_of_fold // len(people) != number]
            if turns is not None:
                others = others[np.isfinite(turns[others])]
            _run_stage(model, FOLD, recipe, pack, finished, alone, items=others, turns=turns)
        detectors.append(load_weights(finished)[0].detector)
    return detectors


def _claim_folds(where: Path, recipe: Recipe) -> None:
    """Write down what decides the folds, or compare with what another run wrote.

    Raises:
        InputError: naming the keys that differ.
    """
    path = where / "folds.json"
    decides = [f.name for f in fields(Recipe) if f.name not in (*SAME_RESULT, *LATER)]
    wanted = json.loads(json.dumps({key: getattr(recipe, key) for key in decides}))
    if path.exists():
        found = json.loads(path.read_text())
        changed = [key for key in decides if found.get(key) != wanted[key]]
        if changed:
            raise InputError(
                f"{where} holds folds of another recipe (differs in {', '.join(changed)}); "
                "choose another `folds` or delete the folder"
            )
    elif rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        make_folder(where)
        write_whole(path, json.dumps(wanted, indent=1).encode())


def _steps(recipe: Recipe, stage: Stage) -> int:
    return int(getattr(recipe, f"{stage.name}_steps"))


def _check_processes(recipe: Recipe) -> None:
    """Refuse another number of processes than the recipe's: each would think it is alone.

    Raises:
        InputError: if torchrun started more or fewer.
    """
    started = int(os.environ.get("WORLD_SIZE", 1))
    if torch.distributed.is_torchelastic_launched() and started != recipe.processes:
        raise InputError(
            f"recipe: devices {recipe.devices} on nodes {recipe.nodes} need {recipe.processes} "
            f"processes, found {started} of torchrun; set devices to its --nproc-per-node"
        )


def _check_claim(out: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run whose recipe would have given other weights so far.

    The steps of a stage that has not begun may still change.

    Raises:
        InputError: naming the keys that differ.
    """
    path = out / "recipe.json"
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete the folder") from error
    wanted = json.loads(json.dumps(asdict(recipe)))
    names = (*(stage.name for stage in STAGES), "angle")
    ahead = [f"{name}_steps" for name in names if not _begun(out, name)]
    changed = [
        field.name
        for field in fields(Recipe)
        if field.name not in (*SAME_RESULT, *ahead)
        and found.get(field.name, field.default) != wanted[field.name]
    ]
    if changed:
        raise InputError(
            f"{out} holds a run of another recipe (differs in {', '.join(changed)}); "
            "choose another `out` or delete the folder"
        )


def _begun(out: Path, name: str) -> bool:
    return any(out.glob(f"{name}.safetensors")) or any(out.glob(f"checkpoints/{name}.*"))


def _samples(recipe: Recipe) -> list[Sample]:
    """Return the training people of all datasets, in the recipe's skeleton."""
    skeleton = SKELETONS[recipe.skeleton]
    samples: list[Sample] = []
    for name in DATASETS:
        if getattr(recipe, name) is not None:
            people = read_folder(folder(getattr(recipe, name)), recipe.labels)
            if name != "coco" and people[0].source != name:  # any dataset converts to COCO's file
                raise InputError(f"recipe: {name}: expected {name}, found {people[0].source}")
            samples += [to_skeleton(one, skeleton) for one in people if one.split == "train"]
    return samples


def _run_stage(
    model: PoseNet,
    stage: Stage,
    recipe: Recipe,
    pack: Pack,
    finished: Path,
    settings: Settings,
    *,
    folds: Sequence[nn.Module] = (),
    items: Int[np.ndarray, " m"] | None = None,
    turns: Float[np.ndarray, " n"] | None = None,
) -> None:
    """Fit one stage, from its checkpoint if there is one, and save its weights."""
    frozen = frozen_parts(trunk_of(model), recipe.frozen_trunk) if recipe.frozen_trunk else []
    module = StageModule(model, stage, recipe, frozen, folds, len(pack.joints))
    centers = pose_centers(recipe, pack) if stage.name == "body" else None
    offset = STAGES.index(stage) if stage in STAGES else 0
    stream = person_stream(recipe, pack, offset=offset, items=items, upright=turns, centers=centers)
    trainer, report = fit(module, stream, recipe, finished)
    if trainer.is_global_zero:
        save_weights(model, settings, finished, half=False)
        checkpoint_of(finished).unlink(missing_ok=True)  # only now: the weights are safe
        print(f"stage {finished.stem}: {report}; weights in {finished}", flush=True)
    trainer.strategy.barrier()
