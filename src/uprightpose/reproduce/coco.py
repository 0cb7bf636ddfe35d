"""The shipped model on people that nothing was trained on: COCO's photos with given boxes.

Of LSP's joints COCO labels twelve: these are scored, by body angle and by type of error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from uprightpose.data.person import Person
from uprightpose.data.sample import Sample
from uprightpose.error_types import TYPES, Shares, error_types, overall_shares, type_shares
from uprightpose.metrics import angle_bins
from uprightpose.protocols import PROTOCOLS, REFERENCES, Protocol
from uprightpose.reproduce.coco_people import LIMBS, CocoPeople
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.skeletons import LSP
from uprightpose.table_text import as_json, difference_json, format_tables
from uprightpose.tables import Difference, Table, pck_difference, pck_table


def limb_protocol() -> Protocol:
    """Return LSP's protocol for the twelve limb joints.

    Example:
        >>> [column.title for column in limb_protocol().columns]
        ['Shoulder', 'Elbow', 'Wrist', 'Hip', 'Knee', 'Ankle', 'Total', 'AUC']
    """
    rules = PROTOCOLS["lsp"]
    columns = tuple(
        replace(one, joints=LIMBS) if one.title in ("Total", "AUC") else one
        for one in rules.columns
        if one.title != "Head"
    )
    about = "the lsp protocol on the 12 limb joints; only labeled joints count"
    return replace(rules, name="lsp-limbs", about=about, labels=("pc",), columns=columns)


def coco_report(
    people: CocoPeople,
    found: Mapping[str, Sequence[Person]],
    shown: Sequence[int],
    weights: str,
    draws: int,
) -> Report:
    """Score the stages and lay out the report.

    Args:
        people: who is scored.
        found: of :func:`predict_people`.
        shown: numbers of the people on the sheet, in its order.
        weights: name or file.
        draws: of the intervals; 0 for none.
    """
    scores = _score(people, found, draws)
    last = list(found)[-1]
    whole = scores.tables["all"][last]
    lines = [
        [str(at), *_looked_at(people.samples[number], scores.types[last][number])]
        for at, number in enumerate(shown, 1)
    ]
    shares = {stage: type_shares(one, whole.protocol) for stage, one in scores.types.items()}
    return Report(
        title=f"COCO photos, which nothing was trained on: {weights}",
        facts=_facts(people, whole, weights, draws),
        findings=tuple(_findings(scores, last)),
        sections={
            "Rows": _rows(scores),
            "Differences": _differences(scores),
            "Error types": _errors(shares),
            "People on the sheet": markdown_table(
                ["", "annotation", "picture", "right", "wrong joints of the last stage"], lines
            ),
        },
        caveats=(
            "COCO labels what its annotators saw: people have fewer labeled joints, may be cut "
            "off, covered or in company, and were not chosen as one athlete per picture.",
            f"{whole.people} people: the intervals are wide, those by body angle most of all.",
            "Intervals redraw photos: of a single one there is nothing to redraw, and no interval.",
            "Given boxes are the annotated ones: a detector of people would give worse.",
        ),
        numbers={
            "weights": weights,
            "draws": draws,
            "left_out": people.left_out,
            "tables": {
                who: {stage: as_json(one) for stage, one in rows.items()}
                for who, rows in scores.tables.items()
            },
            "differences": {
                who: {pair: difference_json(one) for pair, one in rows.items()}
                for who, rows in scores.differences.items()
            },
            "errors": shares,
            "sheet": [people.samples[number].id for number in shown],
        },
    )


@dataclass(frozen=True, eq=False)
class _Scores:
    """Of all people and each range of body angles that has any; types of all, by stage."""

    tables: dict[str, dict[str, Table]]
    differences: dict[str, dict[str, dict[str, Difference]]]
    types: dict[str, Int[ndarray, "n 14"]]


def _score(people: CocoPeople, found: Mapping[str, Sequence[Person]], draws: int) -> _Scores:
    rules, truth = limb_protocol(), people.truth
    joints = {stage: np.stack([one.joints for one in seen]) for stage, seen in found.items()}
    first, *refined = joints
    types = {stage: error_types(one, truth, rules) for stage, one in joints.items()}
    scores = _Scores({}, {}, types)
    for who, chosen in {"all": np.full(len(truth), True), **angle_bins(truth, LSP)}.items():
        if not chosen.any():
            continue
        options: dict[str, Any] = {"images": people.images[chosen], "draws": draws}
        parts, right = {stage: one[chosen] for stage, one in joints.items()}, truth[chosen]
        scores.tables[who] = {
            stage: pck_table(one, right, rules, "pc", **options) for stage, one in parts.items()
        }
        scores.differences[who] = {
            f"{stage} - {first}": pck_difference(
                parts[stage], parts[first], right, rules, **options
            )
            for stage in refined
        }
    return scores


def _facts(people: CocoPeople, table: Table, weights: str, draws: int) -> dict[str, str]:
    rules = table.protocol
    left_out = ", ".join(f"{count} {why}" for why, count in people.left_out.items())
    return {
        "weights": weights,
        "test data": f"coco/ of the data folder: {table.people} people in {table.images} photos, "
        f"{table.joints} labeled joints",
        "left out": left_out,
        "boxes": "the annotations' own",
        "labels": "person-centric (pc)",
        "protocol": f"{rules.name}: {rules.about}",
        "reference length": REFERENCES[rules.norm],
        "threshold": rules.radius,
        "body angle": "of the true joints, the neck being the middle of the shoulders",
        "intervals": f"95 %, {draws} draws of photos, seed 0" if draws else "off",
    }


def _findings(scores: _Scores, last: str) -> list[str]:
    lines = []
    for who, rows in scores.tables.items():
        table = rows[last]
        low, high = (table.intervals or {}).get("Total", (None, None))
        known = low is not None and table.images > 1
        bounds = f" [{low:.2f}, {high:.2f}]" if known else ""
        title = "all" if who == "all" else f"body angle {who} degrees"
        lines.append(
            f"{title}: PCK@0.2 {table.scores['Total']:.2f}{bounds}, AUC {table.scores['AUC']:.2f}, "
            f"{table.people} people"
        )
    lines += [f"{pair}: {_points(one['Total'])}" for pair, one in scores.differences["all"].items()]
    return lines


def _rows(scores: _Scores) -> str:
    parts = []
    for who, rows in scores.tables.items():
        title = "All people" if who == "all" else f"True body angle {who} degrees"
        parts.append(f"{title}:\n\n```text\n{format_tables(rows)}\n```")
    return "\n\n".join(parts)


def _differences(scores: _Scores) -> str:
    return markdown_table(
        ["people", "rows", "Total", "AUC"],
        [
            [who, pair, _points(one["Total"]), _points(one["AUC"])]
            for who, rows in scores.differences.items()
            for pair, one in rows.items()
        ],
    )


def _errors(shares: Mapping[str, Shares]) -> str:
    rows = {stage: overall_shares(one).values() for stage, one in shares.items()}
    lines = [[stage, *(f"{value:.2f}" for value in one)] for stage, one in rows.items()]
    return markdown_table(["row", *TYPES], lines)


def _points(one: Difference) -> str:
    bounds = "" if np.isnan(one.low) else f" [{one.low:+.2f}, {one.high:+.2f}] p {one.p:.4f}"
    return f"{one.value:+.2f}{bounds}"


def _looked_at(sample: Sample, types: Int[ndarray, " 14"]) -> list[str]:
    """Return annotation, picture, right joints, and the others with their types."""
    names = [TYPES[kind] if kind >= 0 else "" for kind in types.tolist()]
    pairs = list(zip(LSP.joints, names, strict=True))
    wrong = [f"{joint} {kind}" for joint, kind in pairs if kind not in ("", "good")]
    right = f"{names.count('good')} of {sum(map(bool, names))}"
    return [str(sample.id), sample.image.name, right, ", ".join(wrong) or "-"]
