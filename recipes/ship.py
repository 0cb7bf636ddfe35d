"""Turn the weights of a finished run into a file that the package ships.

    python recipes/ship.py runs/compact/all.safetensors compact

writes ``src/uprightpose/shipped/compact.safetensors`` in half precision, after checking that every
number survives it and that the file is at most 20 MB. Its model card, ``compact.md``, stands beside
it and is written by hand from ``docs/results``.
"""

import sys
from pathlib import Path

import torch

from uprightpose.weights import count_parameters, load_weights, save_weights

LARGEST = 20_000_000
SHIPPED = Path(__file__).parents[1] / "src" / "uprightpose" / "shipped"


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


if __name__ == "__main__":
    ship(Path(sys.argv[1]), sys.argv[2])
