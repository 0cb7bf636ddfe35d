"""``uprightpose models``: the weights in the package, how good and how fast they are."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

if TYPE_CHECKING:
    from uprightpose.shipped_models import ShippedModel

SIDES = {"pc": "person-centric", "oc": "observer-centric"}


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="List the weights that come with the package: size, speed, accuracy, training "
        "data, and what they may be used for."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument(
        "--speed",
        action="store_true",
        help="measure the speed here; by default that of the model's own measurement is told",
    )
    parser.add_argument(
        "--device", type=str, default="auto", help="with --speed: auto, cpu, cuda, ..."
    )
    subcommands.add_subcommand("models", parser, help="the shipped weights: size, speed, accuracy")


def run(arguments: Namespace) -> None:
    """Run the command."""
    from uprightpose.shipped_models import SHIPPED, read_shipped

    models = [read_shipped(name) for name in SHIPPED]
    if arguments.speed:
        for model in models:
            model.facts["speed"] = _measured(model.name, arguments.device)
    print(_json(models) if arguments.json else _text(models))


def _measured(name: str, device: str) -> dict[str, object]:
    from uprightpose.predict import load
    from uprightpose.prediction_speed import measure_speed
    from uprightpose.reproduce.machine import describe_machine

    return {**asdict(measure_speed(load(name, device))), "machine": describe_machine()}


def _json(models: "Sequence[ShippedModel]") -> str:
    plain = [asdict(model) for model in models]
    lines = [{**one.pop("facts"), **one, "card": str(one["card"])} for one in plain]
    return json.dumps(lines, indent=1, allow_nan=False)


def _text(models: "Sequence[ShippedModel]") -> str:
    header = ["model", "labels", "parameters", "MB", "input", "PCK@0.2 [95 %]", "AUC", "ms"]
    rows = [header, *map(_row, models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*table, *(line for model in models for line in ("", *_lines(model)))])


def _row(model: "ShippedModel") -> list[str]:
    accuracy, speed = model.facts["accuracy"], model.facts["speed"]
    low, high = accuracy["interval"]
    return [
        model.name,
        f"{model.skeleton} {model.labels}",
        f"{model.parameters:,}".replace(",", " "),
        f"{model.megabytes:.1f}",
        f"{model.input} x {model.input}",
        f"{accuracy['pck']:.2f} [{low:.2f}, {high:.2f}]",
        f"{accuracy['auc']:.2f}",
        f"{speed['alone']:.1f}, {speed['together']:.1f}",
    ]


def _lines(model: "ShippedModel") -> list[str]:
    """Say what the numbers are of, and the rest."""
    accuracy, speed = model.facts["accuracy"], model.facts["speed"]
    machine = "CPU {cpu}, {cores} cores, threads: {threads}; GPU {gpu}; PyTorch {torch}".format(
        **speed["machine"]
    )
    facts = {
        "accuracy": f"{accuracy['data']}, {accuracy['people']} people, {SIDES[model.labels]}, of "
        f"{accuracy['reference_length']}; turned over the full circle: "
        f"{accuracy['turned_pck']:.2f}",
        "ms": "per person, alone in a picture and 16 together, with all but reading the file; on "
        f"{speed['device']} at load {speed['load']:.1f}: {machine}",
        "trained on": model.facts["trained_on"],
        "use": model.facts["use"],
        "card": str(model.card),
    }
    return [model.name, *(f"  {name + ':':12}{fact}" for name, fact in facts.items())]
