"""``uprightpose score``: predictions + truth -> the numbers of a published protocol."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import add_intervals, read_draws
from uprightpose.errors import InputError

if TYPE_CHECKING:
    from uprightpose.data.joint_files import Base
    from uprightpose.data.sample import Labels
    from uprightpose.protocols import Protocol
    from uprightpose.tables import Difference, Table

SIDES = {"pc": "person-centric (pc)", "oc": "observer-centric (oc)"}


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Score predicted joints against the truth by a published protocol."
    )
    parser.add_argument(
        "predictions",
        type=list[str],
        nargs="+",
        help="joints as .mat, .npy, .npz, .h5 or predictions.json; two with --paired",
    )
    parser.add_argument("truth", type=str, help="true joints, e.g. LSP's joints.mat")
    parser.add_argument(
        "--protocol",
        type=Literal["lsp", "flic", "mpii-official", "mpii-valid", "mpii-hrnet", "coco"],
        default="lsp",
        help="lsp, flic: PCK@0.2 of left shoulder - right hip; mpii-...: PCKh@0.5 as the test "
        "server, validation scripts or HRNet; coco: average precision",
    )
    parser.add_argument(
        "--labels",
        type=Literal["pc", "oc"],
        help="sides of all files: person-centric or observer-centric, two different tests; "
        "needed for lsp, oc for flic, pc for the others",
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


class Scores(NamedTuple):
    """What is reported of some people: a table per model, and the difference of two."""

    tables: "dict[str, Table]"
    difference: "dict[str, Difference] | None"


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.joint_files import first_pixel
    from uprightpose.protocols import PROTOCOLS

    protocol = PROTOCOLS[arguments.protocol]
    labels, draws = _labels(protocol, arguments.labels), read_draws(arguments.intervals)
    files, truth = [Path(name) for name in arguments.predictions], Path(arguments.truth)
    _check_count(files, arguments.paired)
    pixels = [*(first_pixel(file, arguments.base) for file in files), first_pixel(truth)]
    if protocol.norm == "oks":
        if arguments.by_angle:
            raise InputError("--by-angle: protocol coco scores people, not joints: leave it out")
        found, unit = {"all": _score_people(files, truth, arguments.base or 0, draws)}, "images"
    else:
        found, unit = _score_joints(
            files, truth, protocol, labels, arguments.base, draws, arguments.by_angle
        )
    facts = _facts(found, [*files, truth], pixels, unit, draws)
    print(_as_json(found, facts, draws) if arguments.json else _as_text(found, facts))


def _labels(protocol: "Protocol", asked: "Labels | None") -> "Labels":
    """Return the labels to score; where the protocol leaves a choice it must be made."""
    sides = " or ".join(f"--labels {side}" for side in protocol.labels)
    if asked is None and len(protocol.labels) > 1:
        raise InputError(
            f"protocol {protocol.name}: expected {sides}, found neither: person-centric and "
            f"observer-centric are two different tests"
        )
    if asked is not None and asked not in protocol.labels:
        raise InputError(
            f"protocol {protocol.name}: expected {sides}, found --labels {asked}: published "
            f"numbers are of the former"
        )
    return asked or protocol.labels[0]


def _check_count(files: list[Path], paired: bool) -> None:
    wanted = 2 if paired else 1
    if len(files) != wanted:
        hint = "compare two files with --paired" if len(files) == 2 else "give PREDICTIONS TRUTH"
        hint = "give A B TRUTH --paired" if paired else hint
        raise InputError(
            f"score: expected {wanted} file{'s' * paired} of predictions and one of truth, found "
            f"{len(files)} of predictions: {hint}"
        )


def _score_people(files: list[Path], truth: Path, base: int, draws: int) -> Scores:
    from uprightpose.data.coco_people import read_coco_results, read_coco_truth
    from uprightpose.oks import oks_difference, oks_table

    people = read_coco_truth(truth)
    models = [read_coco_results(file, people, base) for file in files]
    tables = {
        name: oks_table(people, model, draws=draws)
        for name, model in zip(_names(files), models, strict=True)
    }
    paired = len(models) == 2
    return Scores(tables, oks_difference(people, *models, draws=draws) if paired else None)


def _score_joints(
    files: list[Path],
    truth: Path,
    protocol: "Protocol",
    labels: "Labels",
    base: "Base | None",
    draws: int,
    by_angle: bool,
) -> tuple[dict[str, Scores], str]:
    """Return the scores of all people, then by angle, and the unit of the bootstrap."""
    import numpy as np

    from uprightpose.data.joint_files import read_predictions, read_truth
    from uprightpose.data.joint_matching import lsp_test, match_people
    from uprightpose.metrics import angle_bins
    from uprightpose.tables import pck_difference, pck_table

    people = read_truth(truth, protocol.skeleton, labels)
    models = [read_predictions(file, protocol.skeleton, labels, base) for file in files]
    if protocol.name == "lsp":
        people, models = lsp_test(people), [lsp_test(model) for model in models]
    else:
        models = [match_people(model, people) for model in models]
    _check_truth(protocol, people)
    names = people.images or models[0].images
    images = np.unique(names, return_inverse=True)[1] if names else np.arange(len(people.joints))

    def score(who: np.ndarray) -> Scores:
        options = {"images": images[who], "draws": draws}
        if people.lengths is not None:
            options["lengths"] = people.lengths[who]
        joints, true = [model.joints[who] for model in models], people.joints[who]
        tables = {
            name: pck_table(one, true, protocol, labels, **options)
            for name, one in zip(_names(files), joints, strict=True)
        }
        paired = len(joints) == 2
        return Scores(
            tables, pck_difference(*joints, true, protocol, **options) if paired else None
        )

    groups = {"all": np.ones(len(people.joints), dtype=bool)}
    if by_angle:
        groups |= angle_bins(people.joints, protocol.skeleton)
    unit = "images" if names or protocol.name == "lsp" else "people, as no file names pictures"
    return {name: score(who) for name, who in groups.items()}, unit
