"""Tables 1-11 as experiments: which rows, what each has learned, what is compared (SPEC 2.3).

A row is a chain of trainings. Rows that share the beginning of their chain share its weights: a
training is named by all that decides its result, so that Table 11's "FCN 8s" is Table 1's FCN.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from uprightpose.data.sample import Labels
from uprightpose.reproduce.scales import FOLDED, ROTATIONS, Keys, Scale
from uprightpose.train.recipe import Recipe

StageName = Literal["detector", "body", "limbs", "all"]
TestSet = Literal["lsp", "flic", "mpii"]

PROTOCOLS: Mapping[TestSet, tuple[str, ...]] = {
    "lsp": ("lsp",),
    "flic": ("flic",),
    "mpii": ("mpii-official", "mpii-valid"),
}
"""Names of protocols; the first is the one of the paper's table."""

MORE_SAMPLES = 3
"""Steps of the baselines over those of the normalized network: each of the three types learns
from as many pictures as that network does ("extra augmentation", SPEC 1.14)."""


@dataclass(frozen=True)
class Step:
    """One stage of a training: its name and the keys that are its own."""

    stage: StageName
    keys: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Training:
    """What a network has learned, one stage after the other.

    Attributes:
        detector: key of :attr:`Scale.detectors`.
        steps: at least one; each starts from the weights of those before.
    """

    detector: str
    steps: tuple[Step, ...]

    def then(self, stage: StageName, **keys: Any) -> "Training":
        """Return this training and one stage more.

        Example:
            >>> [step.stage for step in start("fcn").then("body").steps]
            ['detector', 'body']
        """
        return replace(self, steps=(*self.steps, Step(stage, tuple(keys.items()))))

    @property
    def stage(self) -> str:
        """The stage of the network whose joints are its result: the last one it has."""
        last = self.steps[-1].stage
        return "limbs" if last == "all" else last


def start(detector: str, **keys: Any) -> Training:
    """Return a training of a detector alone."""
    return Training(detector, (Step("detector", tuple(keys.items())),))


@dataclass(frozen=True)
class Row:
    """A row of ours.

    Attributes:
        title: of the paper's row that it stands beside.
        training: its network's.
    """

    title: str
    training: Training


@dataclass(frozen=True)
class Experiment:
    """A table: rows trained alike, tested alike, and what is compared.

    Attributes:
        name: of the paper's table.
        datasets: to train on, a key of :data:`~uprightpose.reproduce.scales.LONGER`.
        labels: of training and test.
        test: whose test people are predicted.
        rows: in the printed order.
        contrasts: pairs of titles, first minus second.
        turned: also test on turned pictures.
    """

    name: str
    datasets: tuple[str, ...]
    labels: Labels
    test: TestSet
    rows: tuple[Row, ...]
    contrasts: tuple[tuple[str, str], ...]
    turned: bool = False


@dataclass(frozen=True)
class Place:
    """Where and how trainings run; none of it is meant to change what they learn.

    Attributes:
        data: folder of the datasets.
        out: folder of the results.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: of the CPU; 0 for PyTorch's default.
        times: factor of all steps.
    """

    data: Path
    out: Path
    device: str = "auto"
    threads: int = 0
    times: float = 1.0


def recipes(
    training: Training, experiment: Experiment, scale: Scale, place: Place, seed: int = 0
) -> list[Recipe]:
    """Return a recipe for each stage, in order; each starts from the one before.

    Args:
        training: of a row.
        experiment: the row's table: datasets, labels and test set decide the crops.
        scale: sizes and steps.
        place: where they run.
        seed: of the recipes.

    Raises:
        InputError: if the scale's keys do not fit together.
    """
    keys: dict[str, Any] = {
        **scale.common,
        **scale.test_sets[experiment.test],
        **scale.detectors[training.detector],
        "detector": training.detector,
        "skeleton": experiment.test,
        "labels": experiment.labels,
        "rotation": ROTATIONS[experiment.test],
        "seed": seed,
    }
    found: list[Recipe] = []
    before = ""
    for step in training.steps:
        refinement = {} if step.stage == "detector" else scale.refinement
        keys |= {**refinement, **dict(step.keys)}
        times = place.times
        if step.stage == "body" and keys.get("baseline", "none") != "none":
            times *= MORE_SAMPLES
        count = scale.steps_of(step.stage, experiment.datasets, times)
        own = {**keys, f"{step.stage}_steps": count}
        if scale.folds and step.stage in ("body", "limbs"):
            seen = scale.steps_of("detector", experiment.datasets, place.times)
            own |= {"out_of_fold": scale.folds, "fold_steps": seen}
        name = f"{training.detector}-{step.stage}-{_digest(own, experiment.datasets, before)}"
        given = str(weights_of(found[-1])) if found else None
        if "out_of_fold" in own:  # beside the detector: its rows share them
            own["folds"] = f"{found[0].out}-folds"
        found.append(_recipe(own, experiment.datasets, place, name, given))
        before = name
    return found


def weights_of(recipe: Recipe) -> Path:
    """Return the file that :func:`uprightpose.train.run.train` writes for a recipe of one stage."""
    stages = ("detector", "body", "limbs", "all")
    stage = next(stage for stage in stages if getattr(recipe, f"{stage}_steps"))
    return Path(recipe.out) / f"{stage}.safetensors"


def _digest(keys: Keys, datasets: Sequence[str], before: str) -> str:
    """Name what decides a training's result, whatever folders it happens in."""
    known = {field.name: field.default for field in fields(Recipe)}
    own = {key: keys[key] for key in sorted(keys) if keys[key] != known[key]}
    text = json.dumps([own, sorted(datasets), before])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _recipe(
    keys: Keys, datasets: Sequence[str], place: Place, name: str, given: str | None
) -> Recipe:
    folders = {dataset: str(place.data / dataset) for dataset in datasets}
    trunk = keys["trunk_weights"]
    return Recipe(
        **{
            **keys,
            **folders,
            "trunk_weights": str(place.data / FOLDED) if trunk == FOLDED else trunk,
            "out": str(place.out / "runs" / name),
            "start": given,
            "accelerator": "gpu" if place.device == "cuda" else place.device,
            "threads": place.threads,
        }
    )


_FCN = start("fcn", variant="8s-fusion")
_RESNET, _HOURGLASS = start("resnet"), start("hourglass")
_PLAIN = start("fcn", variant="8s")


def _refined(detector: Training) -> Training:
    """Return the whole system: both stages, then everything together (Sec. 3.4)."""
    return detector.then("body").then("limbs").then("all")


def _pair(name: str, labels: Labels, datasets: tuple[str, ...]) -> Experiment:
    rows = (Row("FCN", _FCN), Row("FCN+Refine", _refined(_FCN)))
    return Experiment(name, datasets, labels, "lsp", rows, (("FCN+Refine", "FCN"),))


def _stages(name: str, datasets: tuple[str, ...]) -> Experiment:
    """Return Table 9 or 10: staged, without fine-tuning; both limb rows on stage 1 with norm."""
    body = _FCN.then("body")
    return Experiment(
        name,
        datasets,
        "oc",
        "lsp",
        rows=(
            Row("FCN", _FCN),
            Row("Stage 1 without body norm.", _FCN.then("body", normalize=False)),
            Row("Stage 1 with body norm.", body),
            Row("Stage 2 without limb norm.", body.then("limbs", normalize_limbs=False)),
            Row("Stage 2 with limb norm.", body.then("limbs")),
        ),
        contrasts=(
            ("Stage 1 with body norm.", "Stage 1 without body norm."),
            ("Stage 2 with limb norm.", "Stage 2 without limb norm."),
            ("Stage 2 with limb norm.", "FCN"),
        ),
        turned=True,
    )


_BASELINES = ("Type supervision", "Multi-branch")
_VARIANTS = {
    "FCN 32s": "32s",
    "FCN 16s": "16s",
    "FCN 8s": "8s",
    "FCN 16s (Extra)": "16s-extra",
    "FCN 16s (Fusion)": "16s-fusion",
    "FCN 8s (Extra)": "8s-extra",
    "FCN 8s (Fusion)": "8s-fusion",
}
_ALL = ("mpii", "lspet", "lsp")

_EXPERIMENTS = (
    Experiment(
        "table1",
        ("lsp",),
        "oc",
        "lsp",
        rows=(
            Row("FCN", _PLAIN),
            Row("Type supervision", _PLAIN.then("body", baseline="type-supervision")),
            Row("Multi-branch", _PLAIN.then("body", baseline="multi-branch")),
            Row("Global normalization", _PLAIN.then("body")),
        ),
        contrasts=(
            *((title, "FCN") for title in (*_BASELINES, "Global normalization")),
            *(("Global normalization", title) for title in _BASELINES),
        ),
        turned=True,
    ),
    _pair("table2", "oc", ("lsp",)),
    _pair("table3", "oc", _ALL),
    _pair("table4", "pc", ("lsp",)),
    _pair("table5", "pc", ("lsp", "lspet")),
    Experiment(
        "table6",
        _ALL,
        "pc",
        "lsp",
        rows=(
            Row("ResNet-152", _RESNET),
            Row("ResNet+Refine", _refined(_RESNET)),
            Row("Hourglass", _HOURGLASS),
            Row("Hg+Refine", _refined(_HOURGLASS)),
        ),
        contrasts=(("ResNet+Refine", "ResNet-152"), ("Hg+Refine", "Hourglass")),
    ),
    Experiment(
        "table7",
        ("flic",),
        "oc",
        "flic",
        rows=(Row("ResNet-152", _RESNET), Row("Refine", _refined(_RESNET))),
        contrasts=(("Refine", "ResNet-152"),),
    ),
    Experiment(
        "table8",
        ("mpii",),
        "pc",
        "mpii",
        rows=(Row("Hourglass", _HOURGLASS), Row("Hourglass+Refine", _refined(_HOURGLASS))),
        contrasts=(("Hourglass+Refine", "Hourglass"),),
    ),
    _stages("table9", ("lsp",)),
    _stages("table10", ("lsp", "lspet")),
    Experiment(
        "table11",
        ("lsp",),
        "oc",
        "lsp",
        rows=tuple(Row(title, start("fcn", variant=kind)) for title, kind in _VARIANTS.items()),
        contrasts=tuple((title, "FCN 8s") for title in _VARIANTS if title != "FCN 8s"),
        turned=True,
    ),
)

EXPERIMENTS = {experiment.name: experiment for experiment in _EXPERIMENTS}
"""By name, ``"table1"`` to ``"table11"``."""
