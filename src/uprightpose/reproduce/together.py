"""Detector and refinement learn together, turned upright or not; person-centric labels (SPEC 5.4).

From the same detector two networks are trained that differ in normalization alone: body and limbs
turn in one, nothing turns in the other. Both get every part the package's own weights got: the
body's refiner, the limbs', then everything at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.lsp import read_lsp
from uprightpose.data.sample import Sample
from uprightpose.data.writing import make_folder, write_whole
from uprightpose.errors import InputError
from uprightpose.reproduce.machine import machine_fact
from uprightpose.reproduce.report import Report
from uprightpose.reproduce.rows import train_counted
from uprightpose.reproduce.study import COPIES
from uprightpose.reproduce.study_page import Comparison, Pair, chain_finding
from uprightpose.reproduce.tables import Place
from uprightpose.reproduce.variants import Variant
from uprightpose.sample_predictions import predict_samples, turn_angles
from uprightpose.train.recipe import Recipe
from uprightpose.weights import load_weights

ARMS: Mapping[str, Mapping[str, Any]] = {
    "normalized": {},
    "unnormalized": {"normalize": False, "normalize_limbs": False},
}
"""What differs in the recipes."""

STAGES = {"detector": "detector", "body": "body refined", "limbs": "chain"}
"""Names of the stages in titles of rows."""

CHAIN, BODY, DETECTOR = (f"normalized, {STAGES[stage]}" for stage in ("limbs", "body", "detector"))
PLAIN, PLAIN_BODY, PLAIN_DETECTOR = (
    f"unnormalized, {STAGES[stage]}" for stage in ("limbs", "body", "detector")
)

PAIRS: tuple[Pair, ...] = (
    (CHAIN, DETECTOR),
    (CHAIN, PLAIN),
    (PLAIN, PLAIN_DETECTOR),
    (DETECTOR, PLAIN_DETECTOR),
    (BODY, DETECTOR),
    (BODY, PLAIN_BODY),
    (CHAIN, BODY),
)
"""Differences that are reported."""

CAVEATS = (
    "All runs begin from one detector, trained over the full circle on the same people: intervals "
    "redraw people and runs of what follows, not that detector.",
    "The detector goes on learning with its refiners: each chain has a detector of its own.",
    "The unnormalized refiners work on the image's maps, the normalized ones on canvases of their "
    "own, 1.25 times as large for bodies and 0.875 times for limbs.",
    "Refiners learn on maps of people whom the detector has learned from.",
    "Minutes of training on 2 CPU cores: contrasts count, not totals.",
)


STEPS = {"body_steps": 250, "limbs_steps": 150, "all_steps": 300}
"""Of the two refiners, and of everything at once."""


def reproduce_together(
    place: Place,
    start: Path,
    *,
    seeds: int = 3,
    draws: int,
    keys: Mapping[str, Any] | None = None,
) -> Report:
    """Train what is not trained yet, and make the page.

    Args:
        place: data with ``lsp/`` and ``lspet/``, results, threads, factor of steps.
        start: weights of a detector alone.
        seeds: runs of each arm.
        draws: of bootstrap and exchange; 0 for none.
        keys: of every recipe, in the place of this page's own.

    Raises:
        InputError: if data are missing, ``start`` is no detector alone, or the folder holds runs
            from another one, or of other steps.
    """
    settings = load_weights(start)[1]
    if settings.last != "detector" or settings.upright:
        raise InputError(
            f"{start}: expected weights of a detector alone that knows bodies at any angle "
            f"(recipes/compact-detector.yaml makes some), found weights up to {settings.last}"
            + settings.upright * ", of upright people only"
            + "; name others by --weights"
        )
    test = [one for one in read_lsp(place.data / "lsp", "pc") if one.split == "test"]
    own = ("size", "content", "resize", "trunk", "head_width")
    chosen = {**{key: getattr(settings, key) for key in own}, **(keys or {})}
    found: dict[str, list[dict[str, ndarray]]] = {copy: [] for copy in COPIES}
    for seed in range(seeds):
        for copy in COPIES:
            found[copy].append({})
        for arm in ARMS:
            recipe = replace(arm_recipe(place, start, arm, seed), **chosen)
            print(f"together, {arm}, seed {seed}: {recipe.out}", flush=True)
            weights = Path(recipe.out) / "all.safetensors"
            _claim(recipe, len(test))
            if not weights.is_file():
                train_counted(recipe)
            for copy in COPIES:
                found[copy][seed] |= _named(arm, _joints(weights, test, copy))
    truth = {copy: found[copy][0]["truth"] for copy in COPIES}
    comparison = Comparison(_variants(found), truth, draws)
    return Report(
        title="Detector and refinement trained together, with normalization and without",
        facts={
            "training data": "LSP train + LSPET",
            "test data": f"LSP test, {len(test)} people, and their turned copy",
            "labels": "person-centric (pc)",
            "reference length": "left shoulder - right hip; threshold 0.2, included",
            "detector": f"{start}, {settings.trunk}, {settings.size} pixels",
            "training": _training(replace(arm_recipe(place, start, "normalized", 0), **chosen)),
            "seeds": ", ".join(map(str, range(seeds))),
            "machine": machine_fact(),
        },
        findings=tuple(
            chain_finding(comparison, (CHAIN, DETECTOR), (CHAIN, PLAIN), copy) for copy in COPIES
        ),
        sections={
            **comparison.by_angle(),
            "Paired differences": comparison.contrasts(PAIRS),
            "Error types, % of joints": comparison.errors(),
            **comparison.groups(),
        },
        caveats=CAVEATS,
        numbers=comparison.numbers(PAIRS),
    )


def arm_recipe(place: Place, start: Path, arm: str, seed: int) -> Recipe:
    """Return the training of one of :data:`ARMS`.

    Args:
        place: data, results, threads, factor of steps.
        start: weights of the detector.
        arm: which.
        seed: of everything random.
    """
    steps: dict[str, Any] = {
        name: max(1, round(number * place.times)) for name, number in STEPS.items()
    }
    recipe = Recipe(
        out=str(place.out / "together" / f"{arm}-{seed}"),
        start=str(start),
        lsp=str(place.data / "lsp"),
        lspet=str(place.data / "lspet"),
        labels="pc",
        seed=seed,
        frozen_trunk=("conv1", "bn1", "layer1"),
        refine_width=8,
        canvas=1.25,
        limb_canvas=0.875,
        residual=True,
        target="gaussians",
        sigma=1.5,
        occluded="drawn",
        rotation=180.0,
        upright_share=0.5,
        shift=0.05,
        erase=0.3,
        batch=32,
        rate=1e-3,
        fine_tune_rate=5e-4,
        schedule="cosine",
        save_every=50,
        threads=place.threads,
    )
    return replace(recipe, **steps, **ARMS[arm])


def _claim(recipe: Recipe, people: int) -> None:
    """Write what a run is of into its folder, or see that it is the same.

    Raises:
        InputError: if it is another.
    """
    free = {"out", "threads", "lsp", "lspet", "start"}
    own = {key: value for key, value in asdict(recipe).items() if key not in free}
    start = sha256(Path(str(recipe.start)).read_bytes()).hexdigest()
    text = json.dumps({"start": start, "people": people, **own}, indent=1).encode()
    path = Path(recipe.out) / "claim.json"
    if path.is_file() and path.read_bytes() == text:
        return
    if path.is_file() or (path.parent / "all.safetensors").is_file():
        raise InputError(
            f"{path.parent}: holds a run from another detector, of other steps or people; go on "
            "with those, or choose another --out"
        )
    make_folder(path.parent)
    write_whole(path, text)


def _joints(weights: Path, test: Sequence[Sample], copy: str) -> dict[str, Float[ndarray, "n k 2"]]:
    """Return each stage's joints and the ``truth``; predicted once, then kept beside weights."""
    path = weights.parent / f"found-{copy}.npz"
    if not path.is_file():
        model, settings = load_weights(weights)
        turns = turn_angles(len(test)) if copy == "turned" else None
        title = f"{weights.parent.name}, {copy}"
        found = predict_samples(model, settings.crop, test, turns, title=title)
        stream = BytesIO()
        arrays: dict[str, Any] = {"truth": found.truth, **found.joints}
        np.savez_compressed(stream, **arrays)
        write_whole(path, stream.getvalue())
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}


def _named(arm: str, joints: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """Return joints by titles of rows."""
    return {
        f"{arm}, {STAGES[stage]}" if stage in STAGES else stage: own
        for stage, own in joints.items()
    }


def _variants(found: Mapping[str, Sequence[Mapping[str, ndarray]]]) -> list[Variant]:
    titles = [title for title in found["natural"][0] if title != "truth"]
    passes = dict.fromkeys(COPIES, 1.0)
    return [
        Variant(title, {c: np.stack([one[title] for one in found[c]]) for c in COPIES}, passes)
        for title in titles
    ]


def _training(recipe: Recipe) -> str:
    return (
        f"{recipe.body_steps} steps of the body's refiner, {recipe.limbs_steps} of the limbs', "
        f"{recipe.all_steps} of everything, batches of {recipe.batch}, rate {recipe.rate:g}, "
        f"then {recipe.fine_tune_rate:g}"
    )
