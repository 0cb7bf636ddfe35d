"""Predictions + samples -> the paper's tables: every stage, by body angle, also on turned pictures.

What is said of the pictures is made by :mod:`uprightpose.sample_predictions`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.data.folders import to_skeleton
from uprightpose.data.sample import Sample
from uprightpose.error_types import error_types, overall_shares, type_shares
from uprightpose.errors import InputError
from uprightpose.metrics import angle_bins
from uprightpose.model import PoseNet
from uprightpose.protocols import PROTOCOLS, REFERENCES, Protocol
from uprightpose.sample_predictions import predict_samples, turn_angles
from uprightpose.scout import Scout
from uprightpose.settings import Settings
from uprightpose.statistics import DRAWS
from uprightpose.table_text import as_json, difference_json, format_shares, format_tables
from uprightpose.tables import Difference, Table, pck_difference, pck_table

PROTOCOL_OF = {"flic": "flic", "mpii": "mpii-valid"}
"""Protocols that belong to a dataset; ``lsp`` else."""

TOTALS = ("Total", "Mean", "AUC")
"""Columns whose differences a report prints."""

ERRORS = (
    "Joints by type of error, in percent: within the radius of the true joint (good), of its",
    "mirror twin (inversion), of another joint of the person (swap), within twice the radius",
    "(jitter), or none of these (miss):",
)
"""See :mod:`uprightpose.error_types`."""

Network = tuple[PoseNet, Settings]

Row = tuple[str, str]
"""Title of a model and name of its stage."""

Rows = dict[Row, Float[ndarray, "n k 2"]]


def protocol_of(samples: Sequence[Sample]) -> str:
    """Return the name of the protocol that belongs to the samples' dataset."""
    return PROTOCOL_OF.get(samples[0].source, "lsp")


def held_out(samples: Sequence[Sample]) -> list[Sample]:
    """Return the test people, the validation people if there are none, or else everyone."""
    splits = {sample.split for sample in samples}
    chosen = next((name for name in ("test", "valid") if name in splits), None)
    return [sample for sample in samples if chosen in (None, sample.split)]


def evaluate(
    networks: Mapping[str, Network],
    samples: Sequence[Sample],
    protocol: str = "lsp",
    *,
    draws: int = DRAWS,
    reading: str = "parabola",
    scout: Scout | None = None,
    scout_all: bool = False,
) -> dict[str, Any]:
    """Evaluate models on samples and on their turned copy.

    Args:
        networks: row title -> network in evaluation mode and its settings; the first is the
            one that others are compared with.
        samples: with true joints.
        protocol: name of a protocol, any but ``coco``.
        draws: of the bootstrap over pictures and of the permutation.
        reading: a key of :data:`READINGS`.
        scout: lets networks that learned upright people see them upright.
        scout_all: the others, too, where they see people weakly as they are.

    Returns:
        A report of plain values: for ``"natural"`` and ``"turned"`` pictures, all people and
        each range of body angles, one row per stage; paired differences; and the types of
        error of all people.

    Raises:
        InputError: if there are no samples, or a network was trained on other labels or joints.
    """
    if not samples or not networks:
        raise InputError("expected samples to evaluate on and weights, found none")
    rules = PROTOCOLS[protocol]
    samples = [to_skeleton(sample, rules.skeleton) for sample in samples]
    for title, (model, settings) in networks.items():
        _check(title, model, settings, samples[0], rules)
    report: dict[str, Any] = {
        "people": len(samples),
        "labels": samples[0].labels,
        "draws": draws,
        "protocol": protocol,
        "reading": reading,
    }
    for pictures, turns in (("natural", None), ("turned", turn_angles(len(samples)))):
        rows: Rows = {}
        for title, (model, settings) in networks.items():
            name = f"{title}, {pictures}"
            found = predict_samples(
                model,
                settings.crop,
                samples,
                turns,
                title=name,
                reading=reading,
                scout=scout if settings.upright or scout_all else None,
                turn_first=settings.upright,
            )
            rows |= {(title, stage): joints for stage, joints in found.joints.items()}
        report[pictures] = _tables(rows, found.truth, samples, rules, draws)
    return report


def _check(
    title: str, model: PoseNet, settings: Settings, sample: Sample, protocol: Protocol
) -> None:
    """Refuse a network that another test belongs to.

    Raises:
        InputError: saying what differs.
    """
    if model.skeleton != protocol.skeleton:
        raise InputError(
            f"{title}: expected a network for skeleton {protocol.skeleton.name} (protocol "
            f"{protocol.name}), found {model.skeleton.name}"
        )
    if settings.labels != sample.labels:
        raise InputError(
            f"{title}: expected weights trained on {sample.labels} labels, found "
            f"{settings.labels}; the two are different tests: choose --labels {settings.labels}"
        )
    if protocol.norm == "head" and sample.head_size is None:
        raise InputError(f"protocol {protocol.name}: expected people with head boxes, found none")


def _tables(
    rows: Rows,
    truth: Float[ndarray, "n k 2"],
    samples: Sequence[Sample],
    protocol: Protocol,
    draws: int,
) -> dict[str, object]:
    """Return the tables of all people and by angle, paired differences, and error types."""
    heads = np.array([sample.head_size or np.nan for sample in samples])
    pictures = _numbered([str(sample.image) for sample in samples])
    everyone = np.ones(len(truth), dtype=bool)
    tables, differences = {}, {}
    for who, chosen in {"all": everyone, **angle_bins(truth, protocol.skeleton)}.items():
        if not chosen.any():
            continue
        options: dict[str, Any] = {
            "lengths": heads[chosen] if protocol.norm == "head" else None,
            "images": pictures[chosen],
            "draws": draws,
        }
        tables[who] = {
            ": ".join(row): pck_table(
                joints[chosen], truth[chosen], protocol, samples[0].labels, **options
            )
            for row, joints in rows.items()
        }
        differences[who] = {
            f"{': '.join(row)} - {': '.join(base)}": pck_difference(
                rows[row][chosen], rows[base][chosen], truth[chosen], protocol, **options
            )
            for row, base in _pairs(rows)
        }
    lengths = heads if protocol.norm == "head" else None
    errors = {
        ": ".join(row): type_shares(error_types(joints, truth, protocol, lengths), protocol)
        for row, joints in rows.items()
    }
    return {"tables": tables, "differences": differences, "errors": errors}


def _numbered(names: Sequence[str]) -> Int[ndarray, " n"]:
    """Return a number for each name, the same for equal ones."""
    return np.unique(names, return_inverse=True)[1]


def _pairs(rows: Rows) -> list[tuple[Row, Row]]:
    """Return what is compared: refined rows with their detector, the first model with others."""
    first = next(iter(rows))[0]
    last = dict(rows.keys())
    pairs = [((t, s), (t, "detector")) for t, s in rows if s != "detector"]
    pairs += [((first, last[first]), (title, last[title])) for title in last if title != first]
    return pairs


def format_report(report: Mapping[str, Any]) -> str:
    """Lay out a report of :func:`evaluate` as Markdown with the tables as text."""
    protocol, draws = PROTOCOLS[report["protocol"]], report["draws"]
    lines = [
        f"Protocol {protocol.name}: {protocol.about};",
        f"{report['people']} people; labels {report['labels']}; reference length "
        f"{REFERENCES[protocol.norm]};",
        f"threshold {protocol.radius}; every labeled joint counts, also where a turn takes it out",
        f"of the picture. Joints are read by: {report['reading']}.",
    ]
    if draws:
        lines.append(f"`from` and `to`: 95 % intervals, {draws} draws of pictures, seed 0;")
        lines.append("p: sign-flip permutation, as many draws.")
    for pictures in ("natural", "turned"):
        found = report[pictures]
        for who, tables in found["tables"].items():
            title = "all people" if who == "all" else f"true body angle {who} degrees"
            lines += ["", f"## {pictures} pictures, {title}", "", "```text"]
            lines += [format_tables(tables), "```"]
            lines += _difference_lines(found["differences"][who])
            if who == "all":
                shares = {row: overall_shares(one) for row, one in found["errors"].items()}
                lines += ["", *ERRORS, "", "```text", format_shares(shares), "```"]
    return "\n".join(lines) + "\n"


def _difference_lines(differences: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    lines = ["", "Paired differences:", ""] if differences else []
    for pair, columns in differences.items():
        texts = (_with_interval(columns[name], name) for name in TOTALS if name in columns)
        lines.append(f"- {pair}: {', '.join(texts)}")
    return lines


def _with_interval(difference: Difference, name: str) -> str:
    text = f"{name} {difference.value:+.2f}"
    if difference.low != difference.low:  # NaN, without draws
        return text
    return f"{text} [{difference.low:+.2f}, {difference.high:+.2f}] p {difference.p:.4f}"


def report_json(report: Mapping[str, Any]) -> str:
    """Return a report of :func:`evaluate` as JSON, numbers not rounded."""

    def plain(value: Any) -> Any:
        if isinstance(value, Table):
            return as_json(value)
        if isinstance(value, dict) and value and isinstance(next(iter(value.values())), Difference):
            return difference_json(value)
        return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value

    return json.dumps(plain(report), indent=1, allow_nan=False) + "\n"
