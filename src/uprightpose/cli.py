"""The command line: one function declares each command, one runs it.

A new command is a pair ``_add_x(subcommands)`` and ``_x(arguments)`` and its line in
``_COMMANDS``. What a command needs it imports inside: asking for help loads no torch.

Exit codes: 0 done; 1 done for some of several pictures, each other one said in a line on
stderr; 2 something the user can mend, said in one line on stderr; 130 interrupted; 141 the
reader of the output went away (as of a process ended by SIGPIPE).
"""

import json
import os
import re
import shlex
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
    argv = _name_recipe(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(argv)
        code = _COMMANDS[arguments.command][1](arguments[arguments.command]) or 0
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except ArgumentError as error:
        recipe = f"{argv[2]}: " if argv[:2] == ["train", "--recipe"] else ""
        return _fail(f"{recipe}{_plain(str(error))} (uprightpose --help explains)")
    except KeyboardInterrupt:
        print("uprightpose: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141
    return code


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
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    message = re.sub(r"Subcommand 'train' does not accept option", "a recipe has no key", message)
    message = re.sub(r'Parser key "(\w+)":\s*Expected an? ', r"\1: expected ", message)
    message = re.sub(r"\b(?:" + "|".join(_COMMANDS) + r")\.(?=\w)", "", message)
    return re.sub(r"\.\s+Got value: ", ", found ", message)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="uprightpose",
        description="Refine the joints of people who are not standing upright.",
        version=_version(),
        exit_on_error=False,
        allow_abbrev=False,
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


def _name_recipe(argv: list[str]) -> list[str]:
    """Let ``train RECIPE`` stand for ``train --recipe RECIPE``: a file that options override.

    Example:
        >>> _name_recipe(["train", "recipes/compact.yaml", "--seed", "1"])
        ['train', '--recipe', 'recipes/compact.yaml', '--seed', '1']
    """
    if argv[:1] == ["train"] and len(argv) > 1 and not argv[1].startswith("-"):
        return ["train", "--recipe", *argv[1:]]
    return argv


def _add_train(subcommands: Any) -> None:
    from uprightpose.train.recipe import Recipe

    parser = ArgumentParser(
        usage="uprightpose train RECIPE [--KEY VALUE ...]",
        description="Train by a recipe, stage by stage; called again, it goes on where it stopped.",
    )
    parser.add_argument("--recipe", action="config", help="YAML file; options override its keys")
    parser.add_class_arguments(Recipe, fail_untyped=False)
    subcommands.add_subcommand("train", parser, help="recipe -> weights")


def _train(arguments: Namespace) -> None:
    try:
        from uprightpose.train.run import train
    except ModuleNotFoundError as error:
        raise InputError(
            f"training needs {error.name}: pip install -e '.[train]' in the project's folder"
        ) from error
    from uprightpose.train.recipe import Recipe

    values = {key: value for key, value in arguments.items() if key != "recipe"}
    print(f"weights: {train(Recipe(**values))}")


def _add_evaluate(subcommands: Any) -> None:
    from uprightpose.metrics import DRAWS

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
    parser.add_argument(
        "--intervals",
        type=str,
        default=str(DRAWS),
        metavar="N|off",
        help="bootstrap draws of people for the intervals of 95 percent, or off",
    )
    parser.add_argument("--out", type=str, help="also write OUT.md and OUT.json")
    subcommands.add_subcommand("evaluate", parser, help="model + dataset -> the paper's tables")


def _evaluate(arguments: Namespace) -> None:
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
    draws = _draws(arguments.intervals)
    report = evaluate(weights, samples, arguments.labels, draws=draws)
    text = format_report(report)
    print(text)
    if arguments.out:
        command = shlex.join(["uprightpose", *sys.argv[1:]])
        page, numbers = (Path(f"{arguments.out}.{kind}") for kind in ("md", "json"))
        write_whole(page, f"Made by `{command}`\n\n{text}".encode())
        write_whole(numbers, report_json(report).encode())
        print(f"results: {page}, {numbers}")


def _add_predict(subcommands: Any) -> None:
    parser = ArgumentParser(
        description="Find the joints of people in photos: writes an overlay NAME.jpg per photo, "
        "before_after.png of the first one and predictions.json (COCO keypoints). Exits with 1 "
        "if some of several photos could not be done, and with 2 if none could.",
    )
    parser.add_argument(
        "paths",
        type=str,
        nargs="+",
        metavar="PATH",
        help="photos, and folders whose photos (not those of folders within) are taken",
    )
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="for the results")
    parser.add_argument(
        "--weights", type=str, default="compact", metavar="NAME|PATH", help="compact or a file"
    )
    parser.add_argument(
        "--boxes",
        type=str,
        metavar="FILE",
        help="COCO JSON of person boxes, matched by file name; else each photo is one person",
    )
    parser.add_argument(
        "--stages",
        action="store_true",
        help="also draw NAME_stages.jpg: detector, body and limbs side by side (Fig. 5)",
    )
    parser.add_argument(
        "--device", type=str, default="auto", help="auto (a GPU if there is one), cpu, cuda, ..."
    )
    subcommands.add_subcommand("predict", parser, help="photos -> joints and pictures of them")


def _predict(arguments: Namespace) -> int:
    from uprightpose.data.boxes import read_boxes
    from uprightpose.data.images import find_pictures
    from uprightpose.data.writing import make_folder

    paths, out = [Path(path) for path in arguments.paths], Path(arguments.out)
    if out.resolve() in [path.resolve() for path in paths]:
        raise InputError(f"--out {out}: is one of the folders to read photos from; name another")
    pictures = find_pictures(paths)
    boxes = read_boxes(Path(arguments.boxes), pictures) if arguments.boxes else None
    make_folder(out)

    from uprightpose.predict import load
    from uprightpose.predict_files import predict_files

    predictor = load(arguments.weights, arguments.device)
    outcome = predict_files(predictor, pictures, out, boxes, stages=arguments.stages)
    print(f"done: {_count(outcome.pictures, 'photo')}, {_count(outcome.people, 'person')}")
    if outcome.without_boxes:
        print(f"without people: {_count(outcome.without_boxes, 'photo')} not in {arguments.boxes}")
    if outcome.failed:
        print(f"failed: {_count(outcome.failed, 'photo')}")
    print(f"predictions: {outcome.predictions}")
    if outcome.before_after:
        print(f"before and after: {outcome.before_after}")
    return 1 if outcome.failed else 0


def _count(number: int, noun: str) -> str:
    """Say a number of things.

    Example:
        >>> _count(1, "photo"), _count(2, "person")
        ('1 photo', '2 people')
    """
    plural = "people" if noun == "person" else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


_COMMANDS: dict[str, tuple[Callable[[Any], None], Callable[[Namespace], int | None]]] = {
    "predict": (_add_predict, _predict),
    "score": (_add_score, _score),
    "evaluate": (_add_evaluate, _evaluate),
    "train": (_add_train, _train),
}
