"""``uprightpose evaluate``: model + dataset -> the paper's tables."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from uprightpose.commands.intervals import add_intervals, read_draws
from uprightpose.errors import InputError

if TYPE_CHECKING:
    from uprightpose.evaluate import Network
    from uprightpose.scout import Scout


RECIPE = (".yaml", ".yml")
"""Endings of a recipe."""


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Run models on a dataset's test pictures and print the paper's table, stage "
        "by stage, by body angle, and on pictures turned over the full circle."
    )
    parser.add_argument("folder", type=str, help="LSP, LSPET, FLIC, MPII or COCO")
    parser.add_argument(
        "--weights",
        type=str,
        nargs="+",
        default=["compact"],
        metavar="[TITLE=]WEIGHTS",
        help="names of shipped weights, files, or recipes (.yaml), whose networks are then "
        "untrained; the first is compared with the others",
    )
    parser.add_argument(
        "--labels", type=Literal["pc", "oc"], default="pc", help="those of the training"
    )
    parser.add_argument(
        "--protocol",
        type=Literal["lsp", "flic", "mpii-official", "mpii-valid", "mpii-hrnet"],
        help="by default the dataset's own; lsp for LSPET and COCO, whose joints are mapped",
    )
    parser.add_argument(
        "--reading",
        type=Literal["parabola", "gaussian", "quarter", "paper"],
        default="parabola",
        help="of joints between cells; paper: maps enlarged to the crop's pixels, highest one",
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument(
        "--scout",
        type=str,
        default="auto",
        metavar="NAME|PATH|none",
        help="what turns people upright for all weights: scout, a file, or none; by default the "
        "package's, for weights that learned upright people",
    )
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="add rows of each model with a flip test: its detector sees everybody mirrored, too",
    )
    add_intervals(parser)
    parser.add_argument("--out", type=str, help="also write OUT.md and OUT.json")
    subcommands.add_subcommand("evaluate", parser, help="model + dataset -> the paper's tables")


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.data.folders import read_folder
    from uprightpose.data.writing import make_folder, write_whole

    if arguments.out:
        make_folder(Path(arguments.out).parent)
    draws = read_draws(arguments.intervals)
    people = read_folder(Path(arguments.folder), arguments.labels)

    from uprightpose.evaluate import evaluate, format_report, held_out, protocol_of, report_json

    samples = held_out(people)
    networks = _networks(arguments.weights, arguments.device)
    if arguments.mirrored:
        networks |= _mirrored(networks)
    protocol = arguments.protocol or protocol_of(samples)
    scout = _scout(arguments, networks)
    report = evaluate(
        networks,
        samples,
        protocol,
        draws=draws,
        reading=arguments.reading,
        scout=scout,
        scout_all=arguments.scout != "auto",
    )
    text = f"{_untrained(arguments.weights)}{format_report(report)}"
    print(text)
    if arguments.out:
        command = shlex.join(["uprightpose", *sys.argv[1:]])
        page, numbers = (Path(f"{arguments.out}.{kind}") for kind in ("md", "json"))
        write_whole(page, f"Made by `{command}`\n\n{text}".encode())
        write_whole(numbers, report_json(report).encode())
        print(f"results: {page}, {numbers}")


def _networks(texts: Sequence[str], device: str) -> dict[str, "Network"]:
    """Return the network of every ``[TITLE=]WEIGHTS``, by its title."""
    networks: dict[str, Network] = {}
    for text in texts:
        title, _, name = ("", "", text) if Path(text).is_file() else text.rpartition("=")
        title = title or Path(name).stem
        if title in networks:
            raise InputError(f"--weights: two are called {title}; name them: TITLE={name}")
        networks[title] = _network(name, device)
    return networks


def _mirrored(networks: Mapping[str, "Network"]) -> dict[str, "Network"]:
    """Return a copy of each network that sees everybody mirrored, too."""
    found: dict[str, Network] = {}
    for title, (model, settings) in networks.items():
        other = copy(model)  # the same weights
        other.mirrored = True
        found[f"{title}, mirrored"] = (other, settings)
    return found


def _scout(arguments: Namespace, networks: dict[str, "Network"]) -> "Scout | None":
    """Return what turns people upright: what is asked for, or what a network needs."""
    from uprightpose.predict import load_scout

    if arguments.scout == "none":
        return None
    if arguments.scout != "auto":
        return load_scout(arguments.scout, arguments.device)
    needed = any(settings.upright for _, settings in networks.values())
    return load_scout(device=arguments.device) if needed else None


def _untrained(texts: Sequence[str]) -> str:
    """Say which networks have random weights: their numbers mean nothing."""
    recipes = [text for text in texts if text.endswith(RECIPE)]
    return f"Untrained, random weights: {', '.join(recipes)}.\n\n" if recipes else ""


def _network(name: str, device: str) -> "Network":
    from uprightpose.predict import choose_device, weights_file
    from uprightpose.weights import load_weights

    if not name.endswith(RECIPE):
        model, settings = load_weights(weights_file(name))
        return model.to(choose_device(device)), settings
    import torch

    from uprightpose.train.recipe import read_recipe
    from uprightpose.weights import build

    settings = read_recipe(Path(name)).settings()
    torch.manual_seed(0)
    return build(settings).to(choose_device(device)).eval(), settings
