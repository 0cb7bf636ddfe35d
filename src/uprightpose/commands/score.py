"""``uprightpose score``: predictions + truth -> the numbers of a published protocol."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import add_intervals, read_draws
from uprightpose.errors import InputError

if TYPE_CHECKING:
    from uprightpose.scoring import Scores

SIDES = {"pc": "person-centric (pc)", "oc": "observer-centric (oc)"}
MODELS = "AB"
"""How two files of predictions are called in tables."""


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Score predicted joints against the truth by a published protocol."
    )
    parser.add_argument(
        "predictions",
        type=str,
        nargs="+",
        help="joints as .mat, .npy, .npz, .h5 or predictions.json; two files with --paired",
    )
    parser.add_argument("truth", type=str, help="true joints, e.g. LSP's joints.mat")
    parser.add_argument(
        "--protocol",
        type=Literal["lsp", "flic", "mpii-official", "mpii-valid", "mpii-hrnet", "coco"],
        default="lsp",
        help="lsp, flic: PCK@0.2 of left shoulder - right hip; mpii-...: PCKh@0.5 as the test "
        "server, the validation scripts or HRNet; coco: average precision",
    )
    parser.add_argument(
        "--labels",
        type=Literal["pc", "oc"],
        help="sides of all files: person-centric or observer-centric, two different tests; "
        "must be said for lsp, is oc for flic and pc for the others",
    )
    parser.add_argument(
        "--base",
        type=Literal[0, 1],
        help="number of the first pixel in PREDICTIONS; by default 1 in .mat and .h5, else 0",
    )
    parser.add_argument(
        "--paired", action="store_true", help="compare two predictions on the same pictures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--by-angle", action="store_true", help="also by the true angle of the body, in degrees"
    )
    add_intervals(parser)
    subcommands.add_subcommand("score", parser, help="predictions + truth -> published numbers")


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.joint_files import first_pixel

    draws = read_draws(arguments.intervals)
    files, truth = [Path(name) for name in arguments.predictions], Path(arguments.truth)
    _check_count(files, arguments.paired)
    pixels = [*(first_pixel(file, arguments.base) for file in files), first_pixel(truth)]
    found, unit = _score(arguments, files, truth, draws)
    if arguments.json:
        print(json.dumps(_report(found, files, pixels, unit, draws), allow_nan=False))
    else:
        print(_text(found, files, pixels, unit, draws))


def _check_count(files: list[Path], paired: bool) -> None:
    if len(files) == (2 if paired else 1):
        return
    hint = "two files are compared with --paired" if len(files) == 2 else "give one"
    raise InputError(
        f"score: expected {'2 files' if paired else '1 file'} of predictions and one of truth, "
        f"found {len(files)} of predictions: {'give A B TRUTH --paired' if paired else hint}"
    )


def _score(
    arguments: Namespace, files: list[Path], truth: Path, draws: int
) -> "tuple[dict[str, Scores], str]":
    """Return the scores of all people, then by angle, and the units that are redrawn."""
    from uprightpose.protocols import PROTOCOLS
    from uprightpose.scoring import choose_labels, read_joints, score_people

    protocol = PROTOCOLS[arguments.protocol]
    labels = choose_labels(protocol, arguments.labels)
    if protocol.norm == "oks":
        if arguments.by_angle:
            raise InputError("--by-angle: expected a protocol of joints, found coco: leave it out")
        return {"all": score_people(files, truth, arguments.base, draws)}, "images"
    joints = read_joints(files, truth, protocol, labels, arguments.base)
    found = {"all": joints.scores(draws)}
    if arguments.by_angle:
        found |= {name: joints.scores(draws, who) for name, who in joints.groups().items()}
    named = joints.images is not None or protocol.name == "lsp"
    return found, "images" if named else "people (no file names their images)"


def _report(
    found: "Mapping[str, Scores]", files: list[Path], pixels: Sequence[int], unit: str, draws: int
) -> dict[str, object]:
    """Return all as plain numbers."""
    parts = {name: _plain(scores) for name, scores in found.items()}
    report = {**parts.pop("all"), "draws": draws, "units": unit}
    if len(files) == 2:
        report["files"] = dict(zip(MODELS, map(str, files), strict=True))
    titles = ("predictions", "truth") if len(files) == 1 else (*MODELS, "truth")
    report["first_pixel"] = dict(zip(titles, pixels, strict=True))
    return {**report, "by_angle": parts} if parts else report


def _plain(scores: "Scores") -> dict[str, object]:
    from uprightpose.table_text import as_json, difference_json

    if scores.difference is None:
        return as_json(scores.tables[0])
    models = dict(zip(MODELS, map(as_json, scores.tables), strict=True))
    return {"models": models, "difference": difference_json(scores.difference)}


def _text(
    found: "Mapping[str, Scores]", files: list[Path], pixels: Sequence[int], unit: str, draws: int
) -> str:
    """Say what was measured, then the numbers: without the first the second mean nothing."""
    from uprightpose.table_text import format_tables

    facts = _facts(found["all"], pixels, unit, draws)
    paired = len(files) == 2
    if len(found) > 1:
        rows = "all, then by degrees between the true body and upright"
        facts["blocks" if paired else "rows"] = rows
    if paired:
        facts |= {name: str(file) for name, file in zip(MODELS, files, strict=True)}
        blocks = []
        for who, scores in found.items():
            tables = dict(zip(MODELS, scores.tables, strict=True))
            title = f"{who}\n" if len(found) > 1 else ""
            blocks.append(title + format_tables(tables, scores.difference))
    else:
        blocks = [format_tables({who: scores.tables[0] for who, scores in found.items()})]
    return "\n\n".join(["\n".join(f"{name:17} {fact}" for name, fact in facts.items()), *blocks])


def _facts(scores: "Scores", pixels: Sequence[int], unit: str, draws: int) -> dict[str, str]:
    from uprightpose.protocols import REFERENCES

    table = scores.tables[0]
    protocol = table.protocol
    files = ("predictions",) if len(pixels) == 2 else MODELS
    facts = {
        "protocol": f"{protocol.name}, {protocol.about}",
        "labels": SIDES[table.labels],
        "reference length": REFERENCES[protocol.norm],
        "threshold": protocol.radius,
        "count": f"{table.joints} joints of {table.people} people",
        "first pixel": ", ".join(
            f"{pixel} in {name}" for pixel, name in zip(pixels, (*files, "truth"), strict=True)
        ),
    }
    if draws:
        facts["intervals"] = f"95 %, {draws} draws of {unit}"
    if draws and scores.difference:
        facts["p"] = f"{draws} exchanges of A and B by image; Holm over the row"
    return facts
