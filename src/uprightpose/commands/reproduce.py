"""``uprightpose reproduce``: datasets -> a figure or table of the paper, with its numbers."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import read_draws
from uprightpose.errors import InputError, install

if TYPE_CHECKING:
    from uprightpose.reproduce.report import Report
    from uprightpose.reproduce.tables import Place


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Reproduce a table or figure of the paper: writes NAME.md, NAME.json and, for "
        "figures, NAME.png. Tables, figure5, normalization, together, rivals, beyond and "
        "simulation train networks; called again, they go on where they stopped. coco "
        "scores given weights on COCO's photos; coco_sheet.png, which it writes too, shows photos "
        "that may not be passed on."
    )
    parser.add_argument("name", type=Literal[tuple(_EXPERIMENTS)], help=", ".join(_EXPERIMENTS))
    parser.add_argument(
        "--out", type=str, default="reproduced", metavar="DIR", help="for the results"
    )
    parser.add_argument(
        "--data",
        type=str,
        metavar="FOLDER",
        help="holds lsp/, lspet/, mpii/, coco/; by default what UPRIGHTPOSE_DATA names",
    )
    parser.add_argument(
        "--intervals",
        type=str,
        metavar="N|off",
        help="bootstrap draws for the intervals of 95 percent, or off; by default 1000 for figures "
        "and 10000 for all else",
    )
    parser.add_argument("--seed", type=int, default=0, help="of a figure's draws")
    parser.add_argument(
        "--weights",
        type=str,
        default="compact",
        metavar="NAME|PATH",
        help="for coco to score; the detector that together begins with",
    )
    _add_training(parser)
    subcommands.add_subcommand(
        "reproduce", parser, help="datasets -> a table or figure of the paper, with its numbers"
    )


def _add_training(parser: ArgumentParser) -> None:
    """Declare the options of what trains networks."""
    group = parser.add_argument_group(
        "tables, figure5, normalization, together, rivals, beyond and the simulation (--scale, "
        "--device and --pictures: tables and figure5 alone)"
    )
    group.add_argument(
        "--scale",
        type=Literal["small", "paper"],
        default="small",
        help="small: minutes to an hour on a CPU; paper: full sizes, needs a GPU",
    )
    group.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="runs of each row; by default 1, 5 for the simulation, 3 for normalization, "
        "together, rivals and beyond",
    )
    group.add_argument("--times", type=float, default=1.0, help="factor of all training steps")
    group.add_argument("--threads", type=int, default=0, help="of the CPU; 0: PyTorch's default")
    group.add_argument("--device", type=Literal["auto", "cpu", "cuda"], default="auto")
    group.add_argument(
        "--pictures", type=str, nargs="+", default=[], metavar="PATH", help="for figure5 to draw"
    )


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.writing import make_folder
    from uprightpose.reproduce.report import write_report

    if arguments.seed < 0:
        raise InputError(f"--seed: expected a number from 0, found {arguments.seed}")
    out = Path(arguments.out)
    there = out.exists()
    make_folder(out)
    try:
        report = _EXPERIMENTS[arguments.name](arguments)
    except InputError:
        if not there and not any(out.iterdir()):
            out.rmdir()
        raise
    command = shlex.join(["uprightpose", *sys.argv[1:]])
    files = write_report(report, out, arguments.name, command)
    print("\n".join([*report.findings, "", *(f"caveat: {line}" for line in report.caveats), ""]))
    print(f"results: {', '.join(map(str, files))}")


def _figure(arguments: Namespace) -> "Report":
    try:
        from uprightpose.reproduce.figures import FIGURES
    except ModuleNotFoundError as error:
        raise InputError(f"figures need {error.name}: {install('reproduce')}") from error
    draws = read_draws(arguments.intervals or "1000")
    return FIGURES[arguments.name](_data_folder(arguments.data), draws, arguments.seed)


def _table(arguments: Namespace) -> "Report":
    from uprightpose.reproduce.experiment import reproduce_table
    from uprightpose.reproduce.scales import SCALES
    from uprightpose.reproduce.tables import EXPERIMENTS

    return reproduce_table(
        EXPERIMENTS[arguments.name],
        SCALES[arguments.scale],
        _place(arguments),
        seeds=_seeds(arguments, otherwise=1),
        draws=read_draws(arguments.intervals or "10000"),
    )


def _panels(arguments: Namespace) -> "Report":
    from uprightpose.reproduce.panels import reproduce_panels
    from uprightpose.reproduce.scales import SCALES

    pictures = [Path(picture) for picture in arguments.pictures]
    return reproduce_panels(SCALES[arguments.scale], _place(arguments), pictures)


def _simulation(arguments: Namespace) -> "Report":
    from uprightpose.reproduce.simulated_people import read_poses
    from uprightpose.reproduce.simulation import reproduce_simulation

    place = _place(arguments)
    _use_threads(place)
    return reproduce_simulation(
        read_poses(place.data),
        place.out,
        seeds=_seeds(arguments, otherwise=5),
        times=place.times,
        draws=read_draws(arguments.intervals or "10000"),
    )


def _study(arguments: Namespace) -> "Report":
    from uprightpose.reproduce.beyond import reproduce_beyond
    from uprightpose.reproduce.normalization import reproduce_normalization
    from uprightpose.reproduce.rivals import reproduce_rivals
    from uprightpose.reproduce.study import Study
    from uprightpose.reproduce.study_plan import Plan

    place = _place(arguments)
    _use_threads(place)
    plan = replace(Plan().times(place.times), seeds=_seeds(arguments, otherwise=3))
    study = Study(place.data, place.out / "study", plan, threads=place.threads)
    draws = read_draws(arguments.intervals or "10000")
    pages = {
        "beyond": reproduce_beyond,
        "normalization": reproduce_normalization,
        "rivals": reproduce_rivals,
    }
    return pages[arguments.name](study, draws)


def _together(arguments: Namespace) -> "Report":
    from uprightpose.predict import weights_file
    from uprightpose.reproduce.together import reproduce_together

    place = _place(arguments)
    _use_threads(place)
    return reproduce_together(
        place,
        weights_file(arguments.weights),
        seeds=_seeds(arguments, otherwise=3),
        draws=read_draws(arguments.intervals or "10000"),
    )


def _coco(arguments: Namespace) -> "Report":
    from uprightpose.data.images import write_image
    from uprightpose.predict import load, weights_file
    from uprightpose.reproduce.coco import coco_report
    from uprightpose.reproduce.coco_people import predict_people, read_coco_people
    from uprightpose.reproduce.coco_sheet import choose_people, draw_sheet
    from uprightpose.skeletons import LSP

    draws = read_draws(arguments.intervals or "10000")
    people = read_coco_people(_data_folder(arguments.data))
    found = predict_people(load(arguments.weights, arguments.device, skeleton=LSP), people)
    shown = choose_people(people)
    sheet = Path(arguments.out) / "coco_sheet.png"
    if shown:
        write_image(sheet, draw_sheet(people, list(found.values())[-1], shown))
        print(f"to look at, not to pass on: {sheet}")
    digest = sha256(weights_file(arguments.weights).read_bytes()).hexdigest()
    weights = f"{Path(arguments.weights).stem} (sha256 {digest[:12]})"
    return coco_report(people, found, shown, weights, draws)


def _use_threads(place: "Place") -> None:
    if place.threads:
        import torch

        torch.set_num_threads(place.threads)


def _seeds(arguments: Namespace, otherwise: int) -> int:
    """Return how many runs of each row are asked for."""
    seeds: int = otherwise if arguments.seeds is None else arguments.seeds
    if seeds < 1:
        raise InputError(f"--seeds: expected a number from 1, found {seeds}")
    return seeds


def _place(arguments: Namespace) -> "Place":
    from uprightpose.reproduce.tables import Place

    if not arguments.times > 0:
        raise InputError(f"--times: expected a factor above 0, found {arguments.times}")
    if arguments.threads < 0:
        raise InputError(f"--threads: expected a number from 0, found {arguments.threads}")
    return Place(
        data=_data_folder(arguments.data),
        out=Path(arguments.out),
        device=arguments.device,
        threads=arguments.threads,
        times=arguments.times,
    )


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
    "beyond": _study,
    "coco": _coco,
    "figure1": _figure,
    "figure4": _figure,
    "figure5": _panels,
    "figure8": _figure,
    "normalization": _study,
    "rivals": _study,
    "simulation": _simulation,
    "together": _together,
    **{f"table{number}": _table for number in range(1, 12)},
}
