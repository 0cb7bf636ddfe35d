"""``uprightpose predict``: photos -> joints and pictures of them."""

import sys
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from uprightpose.errors import InputError, check_amount


def add(subcommands: Any) -> None:
    """Declare the command."""
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
        "--weights",
        type=str,
        default="compact",
        metavar="NAME|PATH",
        help="compact, upright or a file",
    )
    parser.add_argument(
        "--scout",
        type=str,
        default="auto",
        metavar="NAME|PATH|none",
        help="what turns everybody upright first: scout, a file, or none; by default whatever the "
        "weights need",
    )
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="flip test: the detector sees everybody mirrored, too; a little better, slower",
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
    parser.add_argument(
        "--precision",
        choices=("float32", "bf16"),
        default="float32",
        help="bf16 is for processors and GPUs that compute in it; others are far slower with it",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="let torch.compile build the network, which takes a minute (for very many photos)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="people at a time in the network; by default what is fast and fits into memory",
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=2048,
        metavar="MB",
        help="for all large kernels together; less means smaller tiles or direct convolution",
    )
    subcommands.add_subcommand("predict", parser, help="photos -> joints and pictures of them")


def run(arguments: Namespace) -> int:
    """Run the command."""
    from uprightpose.data.boxes import read_boxes
    from uprightpose.data.images import find_pictures
    from uprightpose.data.writing import make_folder

    paths, out = [Path(path) for path in arguments.paths], Path(arguments.out)
    if out.resolve() in [path.resolve() for path in paths]:
        raise InputError(f"--out {out}: is one of the folders to read photos from; name another")
    pictures = find_pictures(paths)
    boxes = read_boxes(Path(arguments.boxes), pictures) if arguments.boxes else None
    check_amount("--memory", arguments.memory, "MB")
    make_folder(out)

    from uprightpose.predict import load
    from uprightpose.predict_files import predict_files

    with warnings.catch_warnings(record=True) as said:
        predictor = load(
            arguments.weights,
            arguments.device,
            scout=None if arguments.scout == "none" else arguments.scout,
            mirrored=arguments.mirrored,
            precision=arguments.precision,
            compile=arguments.compile,
            batch=arguments.batch,
            memory=arguments.memory << 20,
        )
    for warning in said:
        print(f"uprightpose: warning: {warning.message}", file=sys.stderr)
    outcome = predict_files(predictor, pictures, out, boxes, stages=arguments.stages)
    print(f"done: {_count(outcome.pictures, 'photo')}, {_count(outcome.people, 'person')}")
    if outcome.without_boxes:
        count = _count(outcome.without_boxes, "photo")
        print(f"without people: {count} without a box in {arguments.boxes}")
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
