"""``uprightpose score``: predictions + truth -> PCK and AUC."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import add_intervals, read_draws

if TYPE_CHECKING:
    from uprightpose.metrics import PckTable

SIDES = {"pc": "person-centric (pc)", "oc": "observer-centric (oc)"}


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Score predicted joints against the truth by a published protocol."
    )
    parser.add_argument(
        "predictions", type=str, help="joints as .mat, .npy, .npz or predictions.json"
    )
    parser.add_argument("truth", type=str, help="true joints, e.g. LSP's joints.mat")
    parser.add_argument(
        "--protocol",
        type=Literal["lsp"],
        default="lsp",
        help="lsp: PCK@0.2 of left shoulder - right hip, pictures 1001-2000",
    )
    parser.add_argument(
        "--labels",
        type=Literal["pc", "oc"],
        required=True,
        help="sides of both files: person-centric or observer-centric, two different tests",
    )
    parser.add_argument(
        "--base",
        type=Literal[0, 1],
        help="number of the first pixel in PREDICTIONS; by default 1 in .mat and 0 elsewhere",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--by-angle", action="store_true", help="also by the true angle of the body, in degrees"
    )
    add_intervals(parser)
    subcommands.add_subcommand("score", parser, help="predictions + truth -> PCK and AUC")


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.joint_files import first_pixel, lsp_test, read_predictions, read_truth
    from uprightpose.metrics import angle_bins, as_json, pck_table
    from uprightpose.skeletons import LSP

    labels, draws = arguments.labels, read_draws(arguments.intervals)
    files = (Path(arguments.predictions), Path(arguments.truth))
    pixels = (first_pixel(files[0], arguments.base), first_pixel(files[1]))
    predicted = lsp_test(read_predictions(files[0], LSP, labels, pixels[0]))
    truth = lsp_test(read_truth(files[1], LSP, labels, pixels[1]))
    tables = {"all": pck_table(predicted, truth, LSP, labels, draws=draws)}
    if arguments.by_angle:
        for name, who in angle_bins(truth, LSP).items():
            tables[name] = pck_table(predicted[who], truth[who], LSP, labels, draws=draws)
    if not arguments.json:
        print(_score_text(tables, pixels, draws))
        return
    report = {"protocol": "lsp", **as_json(tables.pop("all")), "draws": draws}
    report["first_pixel"] = dict(zip(("predictions", "truth"), pixels, strict=True))
    if tables:
        report["by_angle"] = {name: as_json(table) for name, table in tables.items()}
    print(json.dumps(report, allow_nan=False))


def _score_text(tables: dict[str, "PckTable"], pixels: tuple[int, int], draws: int) -> str:
    """Say what was measured, then the numbers: without the first the second mean nothing."""
    from uprightpose.metrics import format_tables

    table = tables["all"]
    facts = {
        "protocol": "lsp, pictures 1001-2000, PCK and AUC in percent",
        "labels": SIDES[table.labels],
        "reference length": table.reference,
        "threshold": f"{table.threshold:g} reference lengths, included",
        "count": f"{table.joints} joints of {table.people} people",
        "first pixel": f"{pixels[0]} in predictions, {pixels[1]} in truth",
    }
    if draws:
        facts["intervals"] = f"95 %, {draws} draws of people"
    if len(tables) > 1:
        facts["rows"] = "all, then by degrees between the true body and upright"
    lines = [f"{name:17} {fact}" for name, fact in facts.items()]
    return "\n".join([*lines, "", format_tables(tables)])
