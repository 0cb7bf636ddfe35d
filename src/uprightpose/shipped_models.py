"""The weights that come with the package: what each is, read without loading any network.

``shipped/NAME.safetensors`` knows how it is built, ``NAME.json`` what was measured (both written
by ``recipes/ship.py``), and ``NAME.md``, the model card, says all of it in words.
"""

import json
import math
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uprightpose.errors import InputError
from uprightpose.settings import Settings

_FOLDER = Path(__file__).parent / "shipped"

SHIPPED = {name: _FOLDER / f"{name}.safetensors" for name in ("compact", "upright")}
"""Weights in the package, by name."""

SCOUT = _FOLDER / "scout.safetensors"
"""Weights of the scout in the package."""

FORMAT = "uprightpose-1"
"""Names the settings in every file; a file without it is refused."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # of norms: not learned


@dataclass(frozen=True)
class ShippedModel:
    """What a user asks before taking a model.

    Attributes:
        name: to load it by.
        skeleton: whose joints it finds.
        labels: sides it was trained on.
        input: side of its square crops in pixels.
        parameters: learnable ones.
        megabytes: of the file, 10 ** 6 bytes each.
        card: the model card.
        facts: ``accuracy``, ``speed``, ``trained_on`` and ``use``, as in ``NAME.json``.
    """

    name: str
    skeleton: str
    labels: str
    input: int
    parameters: int
    megabytes: float
    card: Path
    facts: dict[str, Any]


def read_shipped(name: str) -> ShippedModel:
    """Return what is known of shipped weights; reads a few kilobytes.

    Args:
        name: a key of :data:`SHIPPED`.

    Raises:
        InputError: if a file of the package is missing or damaged.

    Example:
        >>> read_shipped("compact").input
        176
    """
    weights = SHIPPED[name]
    facts = weights.with_suffix(".json")
    try:
        tensors = _header(weights)
        settings = {**asdict(Settings()), **json.loads(tensors.pop("__metadata__")[FORMAT])}
        found = json.loads(facts.read_text(encoding="utf-8"))
        return ShippedModel(
            name=name,
            skeleton=settings["skeleton"],
            labels=settings["labels"],
            input=settings["size"],
            parameters=_parameters(tensors),
            megabytes=weights.stat().st_size / 1e6,
            card=weights.with_suffix(".md"),
            facts={key: found[key] for key in ("accuracy", "speed", "trained_on", "use")},
        )
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise InputError(
            f"{name}: expected {weights.name} and {facts.name} in {weights.parent} as "
            f"recipes/ship.py writes them, found otherwise ({type(error).__name__} {error}): "
            "install the package again"
        ) from error


def _header(path: Path) -> dict[str, Any]:
    """Return names, shapes and notes of a safetensors file, without its numbers."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(min(length, path.stat().st_size)))
    return header


def _parameters(tensors: dict[str, Any]) -> int:
    learned = [one for name, one in tensors.items() if name.rpartition(".")[2] not in _BUFFERS]
    return sum(math.prod(one["shape"]) for one in learned)
