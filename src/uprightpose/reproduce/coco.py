"""The shipped model on people that nothing was trained on: COCO's photos with given boxes.

Predictions come by the way of ``uprightpose predict --boxes``. Of LSP's joints COCO labels
twelve; its neck is the middle of the shoulders, for the body angle alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from tqdm import tqdm

from uprightpose.data.annotation_files import expecting, load_json
from uprightpose.data.boxes import Box
from uprightpose.data.coco import coco_files, read_coco
from uprightpose.data.folders import to_skeleton
from uprightpose.data.person import Person
from uprightpose.data.sample import Sample
from uprightpose.error_types import TYPES, error_types, overall_shares, type_shares
from uprightpose.errors import InputError
from uprightpose.metrics import angle_bins
from uprightpose.predict import Predictor
from uprightpose.protocols import PROTOCOLS, REFERENCES, Protocol
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.skeletons import LSP
from uprightpose.table_text import as_json, difference_json, format_tables
from uprightpose.tables import Difference, Table, pck_difference, pck_table

LIMBS = tuple(sorted(joint for limb in LSP.limbs for joint in limb.joints))
"""LSP's joints that COCO labels too: wrists, elbows, shoulders, hips, knees, ankles."""


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


@dataclass(frozen=True, eq=False)
class CocoPeople:
    """People who are scored, and how many others there are.

    Attributes:
        samples: with LSP's joints, in the order of COCO's ids of their annotations.
        boxes: COCO's, one per sample.
        left_out: reason -> number of annotations.
    """

    samples: list[Sample]
    boxes: list[Box]
    left_out: dict[str, int]

    @property
    def truth(self) -> Float[ndarray, "n 14 2"]:
        """True joints in picture pixels, NaN where not labeled."""
        return np.stack([sample.joints for sample in self.samples])

    @property
    def images(self) -> Int[ndarray, " n"]:
        """A number for the picture of each person."""
        names = [str(sample.image) for sample in self.samples]
        return np.unique(names, return_inverse=True)[1]


def read_coco_people(data: Path) -> CocoPeople:
    """Read the people whose two shoulders and two hips are labeled.

    Args:
        data: folder that holds ``coco/``.

    Raises:
        InputError: if there is no such folder, or nobody in it.
    """
    folder = data / "coco"
    files = coco_files(folder)
    if not files:
        raise InputError(
            f"expected COCO's person_keypoints*.json in {folder}, found none; --data or "
            "UPRIGHTPOSE_DATA names the folder above it"
        )
    annotations: dict[int, dict[str, Any]] = {}
    for file in files:
        content = load_json(file)
        with expecting(file, "COCO keypoints (annotations with id, bbox, iscrowd)"):
            annotations |= {one["id"]: one for one in content["annotations"]}
    labeled = [to_skeleton(one, LSP) for one in read_coco(folder)]
    torso = list(LSP.torso)
    chosen = [one for one in labeled if np.isfinite(one.joints[torso]).all()]
    chosen.sort(key=lambda one: one.id)
    if not chosen:
        raise InputError(f"{folder}: expected people with labeled shoulders and hips, found none")
    crowds = sum(bool(one.get("iscrowd")) for one in annotations.values())
    return CocoPeople(
        chosen,
        [_box(annotations[one.id]["bbox"]) for one in chosen],
        {
            "crowds": crowds,
            "people without labeled joints": len(annotations) - crowds - len(labeled),
            "people without all of shoulders and hips": len(labeled) - len(chosen),
        },
    )


def predict_people(predictor: Predictor, people: CocoPeople) -> dict[str, list[Person]]:
    """Return the people as each stage sees them: the way of ``uprightpose predict --boxes``.

    Args:
        predictor: finds LSP's joints.
        people: ``n`` of them; those of one picture go through the network together.

    Raises:
        InputError: if a picture cannot be read or a box is none.
    """
    by_picture: dict[Path, list[int]] = {}
    for number, sample in enumerate(people.samples):
        by_picture.setdefault(sample.image, []).append(number)
    found: dict[str, dict[int, Person]] = {stage: {} for stage in predictor.stages}
    for picture, numbers in tqdm(by_picture.items(), desc="photos", disable=None):
        stages = predictor.predict_stages(picture, [people.boxes[number] for number in numbers])
        for stage, seen in stages.items():
            found[stage] |= dict(zip(numbers, seen, strict=True))
    return {stage: [seen[n] for n in range(len(people.boxes))] for stage, seen in found.items()}


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
    rules, truth = limb_protocol(), people.truth
    joints = {stage: np.stack([one.joints for one in seen]) for stage, seen in found.items()}
    everyone = np.ones(len(truth), dtype=bool)
    groups = {"all": everyone, **angle_bins(truth, LSP)}
    tables: dict[str, dict[str, Table]] = {}
    differences: dict[str, dict[str, dict[str, Difference]]] = {}
    for who, chosen in groups.items():
        if not chosen.any():
            continue
        options: dict[str, Any] = {"images": people.images[chosen], "draws": draws}
        tables[who] = {
            stage: pck_table(one[chosen], truth[chosen], rules, "pc", **options)
            for stage, one in joints.items()
        }
        first, *refined = joints
        differences[who] = {
            f"{stage} - {first}": pck_difference(
                joints[stage][chosen], joints[first][chosen], truth[chosen], rules, **options
            )
            for stage in refined
        }
    types = {stage: error_types(one, truth, rules) for stage, one in joints.items()}
    shares = {stage: type_shares(one, rules) for stage, one in types.items()}
    last = list(joints)[-1]
    whole = tables["all"][last]
    lines = [
        [str(at), *_looked_at(people.samples[number], types[last][number])]
        for at, number in enumerate(shown, 1)
    ]
    return Report(
        title=f"COCO photos, which nothing was trained on: {weights}",
        facts=_facts(people, whole, weights, draws),
        findings=tuple(_findings(tables, differences, last)),
        sections={
            "Rows": _rows(tables),
            "Differences": _differences(differences),
            "Error types": markdown_table(
                ["row", *TYPES],
                [
                    [stage, *(f"{value:.2f}" for value in overall_shares(one).values())]
                    for stage, one in shares.items()
                ],
            ),
            "People on the sheet": markdown_table(
                ["", "annotation", "picture", "right", "wrong joints of the last stage"], lines
            ),
        },
        caveats=(
            "COCO labels what its annotators saw: people have fewer labeled joints, may be cut "
            "off, covered or in company, and were not chosen as one athlete per picture.",
            f"{whole.people} people: the intervals are wide, those by body angle most of all.",
            "Given boxes are the annotated ones: a detector of people would give worse.",
        ),
        numbers={
            "weights": weights,
            "draws": draws,
            "left_out": people.left_out,
            "tables": {
                who: {stage: as_json(one) for stage, one in rows.items()}
                for who, rows in tables.items()
            },
            "differences": {
                who: {pair: difference_json(one) for pair, one in rows.items()}
                for who, rows in differences.items()
            },
            "errors": shares,
            "sheet": [people.samples[number].id for number in shown],
        },
    )


def _box(bbox: Sequence[Any]) -> Box:
    x, y, width, height = map(float, bbox)
    return (x, y, width, height)


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


def _findings(
    tables: Mapping[str, Mapping[str, Table]],
    differences: Mapping[str, Mapping[str, Mapping[str, Difference]]],
    last: str,
) -> list[str]:
    lines = []
    for who, rows in tables.items():
        table = rows[last]
        low, high = (table.intervals or {}).get("Total", (None, None))
        bounds = "" if low is None else f" [{low:.2f}, {high:.2f}]"
        title = "all" if who == "all" else f"body angle {who} degrees"
        lines.append(
            f"{title}: PCK@0.2 {table.scores['Total']:.2f}{bounds}, AUC {table.scores['AUC']:.2f}, "
            f"{table.people} people"
        )
    lines += [f"{pair}: {_points(one['Total'])}" for pair, one in differences["all"].items()]
    return lines


def _rows(tables: Mapping[str, Mapping[str, Table]]) -> str:
    parts = []
    for who, rows in tables.items():
        title = "All people" if who == "all" else f"True body angle {who} degrees"
        parts.append(f"{title}:\n\n```text\n{format_tables(rows)}\n```")
    return "\n\n".join(parts)


def _differences(differences: Mapping[str, Mapping[str, Mapping[str, Difference]]]) -> str:
    return markdown_table(
        ["people", "rows", "Total", "AUC"],
        [
            [who, pair, _points(one["Total"]), _points(one["AUC"])]
            for who, rows in differences.items()
            for pair, one in rows.items()
        ],
    )


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
