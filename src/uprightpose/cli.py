"""The command line: one function declares each command, one runs it.

A new command is a pair ``_add_x(subcommands)`` and ``_x(arguments)`` and its line in
``_COMMANDS``. What a command needs it imports inside: asking for help loads no torch.

Exit codes: 0 done; 2 something the user can mend, said in one line on stderr; 130 interrupted;
141 the reader of the output went away (as of a process ended by SIGPIPE).
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from uprightpose.errors import InputError

if TYPE_CHECKING:
    from uprightpose.metrics import PckTable

_SIDES = {"pc": "person-centric (pc)", "oc": "observer-centric (oc)"}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; those of the process if ``None``.

    Raises:
        SystemExit: with code 0 after ``--help`` and ``--version``.

    Example:
        >>> main(["score", "predictions.npy", "truth.npy", "--labels", "pc"])
        2
    """
    try:
        arguments = _parser().parse_args(argv)
        _COMMANDS[arguments.command][1](arguments[arguments.command])
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except ArgumentError as error:
        return _fail(f"{_plain(str(error))} (uprightpose --help explains)")
    except KeyboardInterrupt:
        print("uprightpose: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141
    return 0


def _fail(message: str) -> int:
    print("uprightpose: error:", " ".join(message.split()), file=sys.stderr)
    return 2


def _plain(message: str) -> str:
    """Say what jsonargparse means without its types' module names.

    Example:
        >>> _plain('Parser key "base": Expected a typing.Literal[0, 1]. Got value: 3')
        'base: expected 0, 1, found 3'
    """
    message = re.sub(r"typing\.Literal\[([^\]]*)\]", r"\1", message)
    message = re.sub(r'Parser key "(\w+)":\s*Expected an? ', r"\1: expected ", message)
    message = re.sub(r"\b(?:" + "|".join(_COMMANDS) + r")\.(?=\w)", "", message)
    return re.sub(r"\.\s+Got value: ", ", found ", message)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="uprightpose",
        description="Refine the joints of people who are not standing upright.",
        version=_version(),
        exit_on_error=False,
    )
    subcommands = parser.add_subcommands(dest="command")
    for add, _ in _COMMANDS.values():
        add(subcommands)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("uprightpose")
    except PackageNotFoundError:
        return "(not installed)"


def _add_score(subcommands: Any) -> None:
    from uprightpose.metrics import DRAWS

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
    parser.add_argument(
        "--intervals",
        type=str,
        default=str(DRAWS),
        metavar="N|off",
        help="bootstrap draws of people for the intervals of 95 percent, or off",
    )
    subcommands.add_subcommand("score", parser, help="predictions + truth -> PCK and AUC")


def _draws(text: str) -> int:
    """Read a number of bootstrap draws; ``off`` is 0.

    Example:
        >>> _draws("off"), _draws("500")
        (0, 500)
    """
    if text == "off":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"--intervals: expected a number of draws from 1, or off, found {text}")
    return int(text)


def _score(arguments: Namespace) -> None:
    from uprightpose.data.joint_files import first_pixel, lsp_test, read_predictions, read_truth
    from uprightpose.metrics import angle_bins, as_json, pck_table
    from uprightpose.skeletons import LSP

    labels, draws = arguments.labels, _draws(arguments.intervals)
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
        "labels": _SIDES[table.labels],
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


_COMMANDS: dict[str, tuple[Callable[[Any], None], Callable[[Namespace], None]]] = {
    "score": (_add_score, _score),
}
