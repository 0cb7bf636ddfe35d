"""``uprightpose evaluate``: model + dataset -> the paper's tables."""

import shlex
import sys
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import add_intervals, read_draws
from uprightpose.errors import InputError


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Run models on LSP's test pictures and print the paper's table, stage by "
        "stage, by body angle, and on pictures turned over the full circle."
    )
    parser.add_argument("folder", type=str, help="LSP: images/ and joints.mat")
    parser.add_argument(
        "--weights",
        type=str,
        nargs="+",
        default=["compact"],
        metavar="[TITLE=]WEIGHTS",
        help="names of shipped weights, or files; the first is compared with the others",
    )
    parser.add_argument(
        "--labels", type=Literal["pc", "oc"], default="pc", help="those of the training"
    )
    add_intervals(parser)
    parser.add_argument("--out", type=str, help="also write OUT.md and OUT.json")
    subcommands.add_subcommand("evaluate", parser, help="model + dataset -> the paper's tables")


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.lsp import read_lsp
    from uprightpose.data.writing import make_folder, write_whole
    from uprightpose.evaluate import evaluate, format_report, report_json
    from uprightpose.predict import weights_file

    if arguments.out:
        make_folder(Path(arguments.out).parent)
    samples = [s for s in read_lsp(Path(arguments.folder), arguments.labels) if s.split == "test"]
    weights: dict[str, Path] = {}
    for text in arguments.weights:
        title, _, name = ("", "", text) if Path(text).is_file() else text.rpartition("=")
        title = title or Path(name).stem
        if title in weights:
            raise InputError(f"--weights: two are called {title}; name them: TITLE={name}")
        weights[title] = weights_file(name)
    draws = read_draws(arguments.intervals)
    report = evaluate(weights, samples, arguments.labels, draws=draws)
    text = format_report(report)
    print(text)
    if arguments.out:
        command = shlex.join(["uprightpose", *sys.argv[1:]])
        page, numbers = (Path(f"{arguments.out}.{kind}") for kind in ("md", "json"))
        write_whole(page, f"Made by `{command}`\n\n{text}".encode())
        write_whole(numbers, report_json(report).encode())
        print(f"results: {page}, {numbers}")
