"""Predictions + samples -> the paper's tables: every stage, by body angle, also on turned pictures.

The turned copy of a dataset shows every picture turned about its middle by a fixed angle, drawn
once over the full circle; the person keeps its size and what leaves the square is lost.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from tqdm import tqdm

from uprightpose.data.images import crop_image, read_image
from uprightpose.data.sample import Labels, Sample
from uprightpose.errors import InputError
from uprightpose.frames import (
    apply_affine,
    crop_matrix,
    invert_affine,
    map_to_image,
    whole_image_box,
)
from uprightpose.metrics import (
    DRAWS,
    Difference,
    PckTable,
    angle_bins,
    as_json,
    format_tables,
    pck_difference,
    pck_table,
)
from uprightpose.model import STAGES, PoseNet, decode_stage
from uprightpose.skeletons import LSP
from uprightpose.weights import load_weights

TURN_SEED = 2017
"""Of the angles of the turned copy."""

Row = tuple[str, str]
"""Title of a model and name of its stage."""

Rows = dict[Row, Float[ndarray, "n k 2"]]


@dataclass(frozen=True)
class Predictions:
    """What one model says about one set of pictures.

    Attributes:
        joints: for each stage of the model ``(n, k, 2)`` picture pixels.
        truth: ``(n, k, 2)`` in the same pixels, NaN where absent.
    """

    joints: dict[str, Float[ndarray, "n k 2"]]
    truth: Float[ndarray, "n k 2"]


def turn_angles(count: int) -> Float[ndarray, " n"]:
    """Return the turns of the turned copy in radians: fixed, over the full circle.

    Example:
        >>> turn_angles(3).round(3)
        array([2.777, 0.218, 1.981])
    """
    return np.random.default_rng(TURN_SEED).uniform(-np.pi, np.pi, count)


def predict_samples(
    model: PoseNet,
    size: int,
    samples: Sequence[Sample],
    turns: Float[ndarray, " n"] | None = None,
    *,
    batch: int = 32,
    title: str = "",
) -> Predictions:
    """Run a model on the box of every sample, the whole picture if it has none.

    Args:
        model: in evaluation mode, on any device.
        size: side of its crops.
        samples: with true joints in the model's skeleton.
        turns: radians, one per sample: each crop is turned about its middle.
        batch: crops at a time.
        title: of the progress bar.

    Returns:
        Joints in picture pixels (of the turned pictures, if they are).
    """
    device = next(model.parameters()).device
    crops, back, truth = [], [], []
    found: dict[str, list[Float[ndarray, "b k 2"]]] = {}
    for i, sample in enumerate(tqdm(samples, desc=title or "pictures", disable=None)):
        image = read_image(sample.image)
        box = sample.box or whole_image_box((image.shape[0], image.shape[1]))
        upright = invert_affine(crop_matrix(box, size))
        matrix = crop_matrix(box, size, angle=0.0 if turns is None else float(turns[i]))
        crops.append(torch.from_numpy(crop_image(image, matrix, size)).permute(2, 0, 1))
        back.append(upright)
        truth.append(apply_affine(upright, apply_affine(matrix, sample.joints)))
        if len(crops) == batch or i == len(samples) - 1:
            for stage, joints in _run(model, torch.stack(crops).to(device)).items():
                pixels = [apply_affine(m, j) for m, j in zip(back, joints, strict=True)]
                found.setdefault(stage, []).append(np.stack(pixels))
            crops, back = [], []
    return Predictions({k: np.concatenate(v) for k, v in found.items()}, np.stack(truth))


@torch.inference_mode()
def _run(model: PoseNet, images: torch.Tensor) -> dict[str, Float[ndarray, "b k 2"]]:
    """Return each stage's joints in crop pixels."""
    outputs = model(images.float())
    decoded = {stage: decode_stage(outputs, stage) for stage in STAGES}
    return {
        stage: map_to_image(found.joints.double(), model.stride).cpu().numpy()
        for stage, found in decoded.items()
        if found is not None
    }


def evaluate(
    weights: Mapping[str, Path], samples: Sequence[Sample], labels: Labels, *, draws: int = DRAWS
) -> dict[str, object]:
    """Evaluate models on samples and on their turned copy.

    Args:
        weights: row title -> weights file; the first is the one that others are compared with.
        samples: with true joints.
        labels: of the samples; must be those that the weights were trained on.
        draws: of the bootstrap over people.

    Returns:
        A report of plain values: for ``"natural"`` and ``"turned"`` pictures, all people and
        each range of body angles, one row per stage; and paired differences.

    Raises:
        InputError: if there are no samples, or weights were trained on other labels.
    """
    if not samples or not weights:
        raise InputError("expected samples to evaluate on and weights, found none")
    models = {title: load_weights(path, LSP) for title, path in weights.items()}
    for title, (_, settings) in models.items():
        if settings.labels != labels:
            raise InputError(
                f"{weights[title]}: expected weights trained on {labels} labels, found "
                f"{settings.labels}; the two are different tests: choose --labels {settings.labels}"
            )
    report: dict[str, object] = {"people": len(samples), "labels": labels, "draws": draws}
    for pictures, turns in (("natural", None), ("turned", turn_angles(len(samples)))):
        rows: Rows = {}
        for title, (model, settings) in models.items():
            name = f"{title}, {pictures}"
            found = predict_samples(model, settings.size, samples, turns, title=name)
            rows |= {(title, stage): joints for stage, joints in found.joints.items()}
        report[pictures] = _tables(rows, found.truth, labels, draws)
    return report


def _tables(
    rows: Rows, truth: Float[ndarray, "n k 2"], labels: Labels, draws: int
) -> dict[str, object]:
    """Return the tables of all people and by angle, and the paired differences."""
    everyone = np.ones(len(truth), dtype=bool)
    tables, differences = {}, {}
    for who, chosen in {"all": everyone, **angle_bins(truth, LSP)}.items():
        if not chosen.any():
            continue
        tables[who] = {
            ": ".join(row): pck_table(joints[chosen], truth[chosen], LSP, labels, draws=draws)
            for row, joints in rows.items()
        }
        differences[who] = {
            f"{': '.join(row)} - {': '.join(base)}": pck_difference(
                rows[row][chosen], rows[base][chosen], truth[chosen], LSP, draws=draws
            )
            for row, base in _pairs(rows)
        }
    return {"tables": tables, "differences": differences}


def _pairs(rows: Rows) -> list[tuple[Row, Row]]:
    """Return what is compared: refined rows with their detector, the first model with others."""
    first = next(iter(rows))[0]
    last = dict(rows.keys())
    pairs = [((t, s), (t, "detector")) for t, s in rows if s != "detector"]
    pairs += [((first, last[first]), (title, last[title])) for title in last if title != first]
    return pairs


def format_report(report: Mapping[str, object]) -> str:
    """Lay out a report of :func:`evaluate` as Markdown with the tables as text."""
    people, labels, draws = report["people"], report["labels"], report["draws"]
    lines = [
        f"PCK@0.2 and AUC in percent; {people} people; labels {labels}; reference length",
        "|left shoulder - right hip|; every labeled joint counts, also where a turn takes it out",
        "of the picture; the ball includes its edge.",
    ]
    if draws:
        lines.append(f"`from` and `to`: 95 % intervals, {draws} draws of people, seed 0.")
    for pictures in ("natural", "turned"):
        found = report[pictures]
        assert isinstance(found, dict)
        for who, tables in found["tables"].items():
            title = "all people" if who == "all" else f"true body angle {who} degrees"
            lines += ["", f"## {pictures} pictures, {title}", "", "```text"]
            lines += [format_tables(tables), "```", "", "Paired differences:", ""]
            for pair, columns in found["differences"][who].items():
                texts = (_with_interval(columns[name], name) for name in ("Total", "AUC"))
                lines.append(f"- {pair}: {', '.join(texts)}")
    return "\n".join(lines) + "\n"


def _with_interval(difference: Difference, name: str) -> str:
    text = f"{name} {difference.value:+.2f}"
    known = difference.low <= difference.high  # False for NaN, without draws
    return f"{text} [{difference.low:+.2f}, {difference.high:+.2f}]" if known else text


def report_json(report: Mapping[str, object]) -> str:
    """Return a report of :func:`evaluate` as JSON, numbers not rounded."""

    def plain(value: object) -> object:
        if isinstance(value, PckTable):
            return as_json(value)
        if isinstance(value, Difference):
            return {key: number for key, number in value._asdict().items() if number == number}
        return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value

    return json.dumps(plain(report), indent=1, allow_nan=False) + "\n"
