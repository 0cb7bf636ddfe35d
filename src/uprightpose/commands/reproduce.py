"""``uprightpose reproduce``: datasets -> a figure or table of the paper, with its numbers."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import read_draws
from uprightpose.errors import InputError

if TYPE_CHECKING:
    from uprightpose.reproduce.report import Report


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Reproduce a figure of the paper: writes NAME.md, NAME.json and NAME.png."
    )
    parser.add_argument("name", type=Literal[tuple(_EXPERIMENTS)], help=", ".join(_EXPERIMENTS))
    parser.add_argument(
        "--out", type=str, default="reproduced", metavar="DIR", help="for the results"
    )
    parser.add_argument(
        "--data",
        type=str,
        metavar="FOLDER",
        help="holds lsp/, lspet/, mpii/; by default what UPRIGHTPOSE_DATA names",
    )
    parser.add_argument(
        "--intervals",
        type=str,
        default="1000",
        metavar="N|off",
        help="bootstrap draws of people for the intervals of 95 percent, or off",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    subcommands.add_subcommand(
        "reproduce", parser, help="datasets -> a figure of the paper, with its numbers"
    )


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.writing import make_folder
    from uprightpose.reproduce.report import write_report

    if arguments.seed < 0:
        raise InputError(f"--seed: expected a number from 0, found {arguments.seed}")
    out = Path(arguments.out)
    make_folder(out)
    report = _EXPERIMENTS[arguments.name](arguments)
    command = shlex.join(["uprightpose", *sys.argv[1:]])
    files = write_report(report, out, arguments.name, command)
    print("\n".join([*report.findings, "", *(f"caveat: {line}" for line in report.caveats), ""]))
    print(f"results: {', '.join(map(str, files))}")


def _figure(arguments: Namespace) -> "Report":
    try:
        from uprightpose.reproduce.figures import FIGURES
    except ModuleNotFoundError as error:
        raise InputError(
            f"figures need {error.name}: pip install 'uprightpose[reproduce]'"
        ) from error
    draws = read_draws(arguments.intervals)
    return FIGURES[arguments.name](_data_folder(arguments.data), draws, arguments.seed)


def _data_folder(option: str | None) -> Path:
    folder = option or os.environ.get("UPRIGHTPOSE_DATA")
    if not folder:
        raise InputError(
            "no data folder: give --data FOLDER, or set UPRIGHTPOSE_DATA to the folder that holds "
            "lsp/, lspet/ and mpii/"
        )
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; --data or UPRIGHTPOSE_DATA must name one")
    return Path(folder)


_EXPERIMENTS: dict[str, Callable[[Namespace], "Report"]] = {
    "figure1": _figure,
    "figure4": _figure,
    "figure8": _figure,
}
