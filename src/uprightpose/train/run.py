"""A recipe, stage by stage: weights out, resumable at any point with the same result."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from uprightpose.angle_net import AngleNet
from uprightpose.data.augment import Augmentation
from uprightpose.data.folders import read_folder, to_skeleton
from uprightpose.data.loader import SampleStream
from uprightpose.data.pack import Pack, pack_samples
from uprightpose.data.sample import Sample
from uprightpose.data.writing import make_folder, write_whole
from uprightpose.detectors.trunks import load_folded
from uprightpose.errors import InputError
from uprightpose.metrics import axis_angle
from uprightpose.model import STAGES as STAGE_NAMES
from uprightpose.model import PoseNet
from uprightpose.pose_types import pose_clusters
from uprightpose.settings import Settings
from uprightpose.skeletons import SKELETONS
from uprightpose.train.angle import AngleModule
from uprightpose.train.fit import checkpoint_of, fit
from uprightpose.train.module import StageModule
from uprightpose.train.people import learners
from uprightpose.train.recipe import DATASETS, Recipe, folder
from uprightpose.train.stages import FOLD, STAGES, Stage
from uprightpose.weights import build, load_weights, read_folded, save_angle_net, save_weights

SAME_RESULT = ("out", *DATASETS, "cache", "start", "folds", "save_every", "workers", "threads")
"""Keys that may change when a run is resumed: where things are, not what is done."""

STATISTICS = 64
"""Pictures that set the batch statistics of a folded trunk."""

DETECTOR = (
    *("labels", "size", "content", "resize", "detector", "trunk", "head_width", "variant"),
    *("loss_stride", "fc6_kernel", "stacks"),
)
BODY = (
    *("baseline", "refine_width", "kernels", "large_layers", "pairs", "canvas", "in_place"),
    *("normalize", "residual", "blur", "subcell"),
)
LIMBS = ("limb_canvas", "normalize_limbs", "semi_global", "limb_inputs", "merge", "share_sides")
BUILT = {"detector": DETECTOR, "body": DETECTOR + BODY, "limbs": DETECTOR + BODY + LIMBS}
"""Keys that weights to start from must share, by their last stage."""

SIZES = ("size", "content", "resize")
"""Keys that a detector which learns on need not share with its start: it is convolutional."""

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
    started = _start(recipe, pack) if stages else None
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
            _copy_parts(load_weights(finished)[0], model, STAGE_NAMES)
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
        load_folded(net.trunk, arrays, (_first_pictures(recipe, pack) - net.mean) / net.std)
    known = axis_angle(pack.joints, SKELETONS[recipe.skeleton])
    items = learners("detector", sources, recipe.held_out, known)
    frozen = _frozen(net.trunk, recipe.frozen_trunk) if recipe.frozen_trunk else []
    module = AngleModule(net, recipe, frozen)
    fit(module, _stream(recipe, pack, offset=len(STAGES), items=items), recipe, finished)
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
            model, _ = _start(replace(recipe, start=None), pack, alone)
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


def _start(
    recipe: Recipe, pack: Pack, settings: Settings | None = None
) -> tuple[PoseNet, Settings]:
    """Build the network with the weights that it starts from.

    Args:
        recipe: says where weights come from.
        pack: pictures that settle the statistics of a folded trunk; poses for types.
        settings: of the network; by default what the recipe trains.
    """
    settings = settings or recipe.settings()
    timm = recipe.trunk_weights == "timm" and recipe.start is None
    model = build(settings, pretrained=timm, init=recipe.init, centers=_centers(recipe, pack))
    given = () if recipe.start is None else _take_over(model, settings, recipe)
    for name in STAGE_NAMES[: STAGE_NAMES.index(settings.last)]:
        if name not in given and not getattr(recipe, f"{name}_steps"):
            raise InputError(
                f"recipe: {name}_steps is 0 and `start` gives no {name}, but {settings.last} "
                "refines its maps; train it or name weights that have it"
            )
    if recipe.start is None and recipe.trunk_weights not in ("none", "timm"):
        arrays = read_folded(folder(recipe.trunk_weights))
        detector: Any = model.detector
        images = _first_pictures(recipe, pack)
        load_folded(_trunk(model), arrays, (images - detector.mean) / detector.std)
    return model, settings


def _first_pictures(recipe: Recipe, pack: Pack) -> Float[Tensor, "b 3 s s"]:
    """Return the upright pictures that settle the statistics of a folded trunk."""
    count = min(STATISTICS, len(pack.joints))
    stream = _stream(recipe, pack, augment=False)
    return stream.batch(range(count)).images.float().contiguous()


def _centers(recipe: Recipe, pack: Pack) -> Float[np.ndarray, "t k 2"] | None:
    """Return the pose types of the training people, where a baseline wants them (SPEC 1.14)."""
    if recipe.baseline == "none":
        return None
    return pose_clusters(pack.joints, seed=recipe.seed, skeleton=SKELETONS[recipe.skeleton])


def _take_over(model: PoseNet, settings: Settings, recipe: Recipe) -> tuple[str, ...]:
    """Copy the parts of the recipe's ``start`` and return their names.

    Raises:
        InputError: if a part was built or taught otherwise.
    """
    path = folder(str(recipe.start))
    loaded, theirs = load_weights(path, SKELETONS[recipe.skeleton])
    free = SIZES if recipe.detector_steps else ()
    wanted = [key for key in BUILT[theirs.last] if key not in free]
    differs = [key for key in wanted if _resolved(theirs, key) != _resolved(settings, key)]
    if differs:
        raise InputError(
            f"recipe: {path} was trained with other {', '.join(differs)}: "
            + ", ".join(f"{key} {getattr(theirs, key)}" for key in differs)
        )
    given = STAGE_NAMES[: STAGE_NAMES.index(theirs.last) + 1]
    _copy_parts(loaded, model, given)
    return given


def _resolved(settings: Settings, key: str) -> Any:
    """Return a key's value; 0 for the head's width stands for the detector's own."""
    return settings.width if key == "head_width" else getattr(settings, key)


def _trunk(model: PoseNet) -> nn.Module:
    """Return the detector's trunk.

    Raises:
        InputError: if it has none.
    """
    trunk = getattr(model.detector, "trunk", None)
    if trunk is None:
        raise InputError(
            "recipe: this detector has no trunk: set trunk_weights to none and frozen_trunk to []"
        )
    return trunk  # type: ignore[no-any-return]


def _copy_parts(source: PoseNet, target: PoseNet, names: Sequence[str]) -> None:
    """Copy the weights of the named parts that both networks have."""
    for name in names:
        found, wanted = getattr(source, name), getattr(target, name)
        if found is not None and wanted is not None:
            wanted.load_state_dict(found.state_dict())


def _stream(
    recipe: Recipe,
    pack: Pack,
    *,
    augment: bool = True,
    offset: int = 0,
    items: Int[np.ndarray, " m"] | None = None,
    upright: Float[np.ndarray, " n"] | None = None,
    centers: Float[np.ndarray, "t k 2"] | None = None,
) -> SampleStream:
    augmentation = Augmentation(
        rotation=recipe.rotation,
        upright_share=recipe.upright_share,
        scale=(recipe.scale_low, recipe.scale_high),
        shift=recipe.shift,
        flip=recipe.flip,
        erase=recipe.erase,
    )
    return SampleStream(
        pack,
        SKELETONS[recipe.skeleton],
        recipe.crop,
        augmentation if augment else None,
        recipe.seed * len(STAGES) + offset,
        items=items,
        upright=upright,
        centers=centers,
        warp=recipe.augment_on == "cpu" or not augment,
    )


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
    frozen = _frozen(_trunk(model), recipe.frozen_trunk) if recipe.frozen_trunk else []
    module = StageModule(model, stage, recipe, frozen, folds, len(pack.joints))
    centers = _centers(recipe, pack) if stage.name == "body" else None
    offset = STAGES.index(stage) if stage in STAGES else 0
    stream = _stream(recipe, pack, offset=offset, items=items, upright=turns, centers=centers)
    trainer, report = fit(module, stream, recipe, finished)
    if trainer.is_global_zero:
        save_weights(model, settings, finished, half=False)
        checkpoint_of(finished).unlink(missing_ok=True)  # only now: the weights are safe
        print(f"stage {finished.stem}: {report}; weights in {finished}", flush=True)
    trainer.strategy.barrier()


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
