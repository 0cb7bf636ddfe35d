"""Turn the weights of a finished run into files that the package ships.

    python recipes/ship.py runs/compact/all.safetensors compact

writes ``src/uprightpose/shipped/compact.safetensors`` in half precision, after checking that every
number survives it and that the file is at most 20 MB. Then, once
``uprightpose evaluate ... --out docs/results/compact`` has scored it as ``compact``,

    python recipes/ship.py --facts compact

writes ``compact.json``, what ``uprightpose models`` says of it: the numbers of
``docs/results/compact.json`` and the speed on this machine. The model card, ``compact.md``, stands
beside them and is written by hand from ``docs/results``.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from uprightpose.data.writing import write_whole
from uprightpose.predict import load
from uprightpose.prediction_speed import measure_speed
from uprightpose.reproduce.machine import describe_machine
from uprightpose.weights import count_parameters, load_weights, save_weights

LARGEST = 20_000_000
ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "src" / "uprightpose" / "shipped"

WORDS = {
    "compact": {
        "trained_on": "LSP train (1000 pictures) and LSP Extended (10 000); trunk from ImageNet",
        "use": "Apache-2.0 as far as we are concerned; LSP and LSPET are for research: research "
        "and evaluation only",
    },
    "upright": {
        "trained_on": "LSP train (1000 pictures) and LSP Extended (10 000), whoever has a known "
        "body angle, turned upright by it; begun from compact",
        "use": "Apache-2.0 as far as we are concerned; LSP and LSPET are for research: research "
        "and evaluation only",
    },
}
"""What no file of results says."""


def ship(source: Path, name: str) -> Path:
    """Halve the weights of ``source`` and return the new file."""
    model, settings = load_weights(source)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value.half()).all():
            raise SystemExit(f"{key} does not fit into half precision")
    target = SHIPPED / f"{name}.safetensors"
    save_weights(model, settings, target, half=True)
    size = target.stat().st_size
    if size > LARGEST:
        target.unlink()
        raise SystemExit(f"{size} bytes are more than {LARGEST}")
    print(f"{target}: {size} bytes, {count_parameters(model)} parameters")
    return target


def ship_facts(name: str) -> Path:
    """Write what was measured of shipped weights and return the file."""
    report = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
    predictor = load(name, "cpu")
    speed = {**asdict(measure_speed(predictor)), "machine": describe_machine()}
    facts = {"accuracy": accuracy(report, f"{name}: {predictor.stages[-1]}"), "speed": speed}
    target = SHIPPED / f"{name}.json"
    write_whole(target, f"{json.dumps({**facts, **WORDS[name]}, indent=1)}\n".encode())
    print(target)
    return target


def accuracy(report: dict[str, Any], row: str) -> dict[str, Any]:
    """Return the numbers of one row of a report of ``evaluate`` on LSP's test pictures."""
    natural, turned = (report[pictures]["tables"]["all"][row] for pictures in ("natural", "turned"))
    return {
        "data": "LSP 1001-2000",
        "people": natural["people"],
        "labels": natural["labels"],
        "reference_length": natural["reference_length"],
        "threshold": natural["threshold"],
        "pck": natural["scores"]["Total"],
        "interval": natural["intervals"]["Total"],
        "auc": natural["scores"]["AUC"],
        "turned_pck": turned["scores"]["Total"],
        "turned_interval": turned["intervals"]["Total"],
    }


if __name__ == "__main__":
    if sys.argv[1] == "--facts":
        ship_facts(sys.argv[2])
    else:
        ship(Path(sys.argv[1]), sys.argv[2])
