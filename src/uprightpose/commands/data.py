"""``uprightpose data``: look into datasets, and turn them into COCO keypoints."""

import json
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace


def add(subcommands: Any) -> None:
    """Declare the command and its two actions."""
    parser = ArgumentParser(description="Look into a dataset's folder, or convert it.")
    subcommands.add_subcommand("data", parser, help="look into datasets and convert them")
    actions = parser.add_subcommands(dest="action")
    check = ArgumentParser(
        description="Count people, pictures, splits, absent and occluded joints, joints outside "
        "their pictures, tiny torsos, body angles and suspicious sides of a dataset."
    )
    _add_dataset(check)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    actions.add_subcommand("check", check, help="what is in a dataset, and what needs a look")
    convert = ArgumentParser(
        description="Write a dataset as COCO keypoints; every joint and state can be read back."
    )
    _add_dataset(convert)
    convert.add_argument("--out", type=str, required=True, metavar="FILE.json")
    actions.add_subcommand("convert", convert, help="a dataset -> COCO keypoints")


def run(arguments: Namespace) -> None:
    """Run one of the actions."""
    chosen = arguments[arguments.action]
    {"check": _check, "convert": _convert}[arguments.action](chosen)


def _add_dataset(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=str, help="LSP, LSPET, FLIC, MPII or COCO: a folder or its file of joints"
    )
    parser.add_argument(
        "--labels",
        type=Literal["pc", "oc"],
        default="pc",
        help="whose left: person-centric, or observer-centric, computed where needed",
    )


def _check(arguments: Namespace) -> None:
    from uprightpose.data.folders import read_folder
    from uprightpose.data.inspection import as_json, format_inspection, inspect_samples

    found = inspect_samples(read_folder(Path(arguments.folder), arguments.labels))
    text = json.dumps(as_json(found)) if arguments.json else format_inspection(found)
    print(text)


def _convert(arguments: Namespace) -> None:
    from uprightpose.data.coco import write_coco
    from uprightpose.data.folders import read_folder
    from uprightpose.data.writing import make_folder
    from uprightpose.errors import InputError

    out = Path(arguments.out)
    if out.suffix.lower() != ".json":
        raise InputError(f"--out {out}: expected a file ending in .json")
    samples = read_folder(Path(arguments.folder), arguments.labels)
    make_folder(out.parent)
    write_coco(out, samples)
    print(f"written: {len(samples)} people, {out}")
