"""One row of a table: train what is not trained yet, predict once, keep.

A row's files are named by its training, not by its table, so that tables share them. What is
there whole is not made again: an interrupted table goes on where it stopped.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.sample import Sample
from uprightpose.data.writing import make_folder, write_whole
from uprightpose.errors import InputError, install
from uprightpose.reproduce.machine import describe_machine
from uprightpose.reproduce.scales import Scale
from uprightpose.reproduce.tables import Experiment, Place, Row, Training, recipes, weights_of
from uprightpose.train.recipe import DATASETS, Recipe

Pictures = Literal["natural", "turned"]
"""The test set, and its copy turned over the full circle (:mod:`uprightpose.evaluate`)."""


@dataclass(frozen=True, eq=False)
class Joints:
    """What a row's network says about the test people.

    Attributes:
        predicted: ``(n, k, 2)`` picture pixels.
        truth: ``(n, k, 2)`` in the same pixels; NaN where absent.
    """

    predicted: Float[ndarray, "n k 2"]
    truth: Float[ndarray, "n k 2"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished row with one seed.

    Attributes:
        title: of the row.
        seed: of its recipes.
        facts: its weights, parameters, steps, seconds, machine; as in the row's JSON.
        joints: on natural, and maybe on turned, pictures.
    """

    title: str
    seed: int
    facts: dict[str, Any]
    joints: dict[Pictures, Joints]


def finish_row(
    row: Row,
    experiment: Experiment,
    scale: Scale,
    place: Place,
    people: Sequence[Sample],
    seed: int = 0,
) -> Outcome:
    """Return a row's outcome; does only what is not done yet.

    Args:
        row: of ``experiment``.
        experiment: its table.
        scale: sizes and steps.
        place: where results are.
        people: to be tested on.
        seed: of everything random.

    Raises:
        InputError: if training needs what is not there.
    """
    chain = recipes(row.training, experiment, scale, place, seed)
    weights = train_chain(chain)
    folder = place.out / "rows"
    make_folder(folder)
    stem = f"{weights.parent.name}-{experiment.test}"
    copies: tuple[Pictures, ...] = ("natural", "turned") if experiment.turned else ("natural",)
    facts = folder / f"{stem}.json"
    ready, joints = facts.is_file(), {}
    for pictures in copies:
        path = folder / f"{stem}-{pictures}.npz"
        if not path.is_file():
            ready = False
            _write_joints(path, _predict(weights, row.training, people, pictures, place))
        joints[pictures] = _read_joints(path)
    if ready:
        print(f"  was ready: {facts}", flush=True)
    if not facts.is_file():
        text = json.dumps(_facts(chain, weights, place), indent=1)
        write_whole(facts, f"{text}\n".encode())
    return Outcome(row.title, seed, json.loads(facts.read_text()), joints)


def train_chain(chain: Sequence[Recipe]) -> Path:
    """Train every stage that has no weights yet and return the weights of the last one.

    Raises:
        InputError: if Lightning is not installed, or as :func:`uprightpose.train.run.train`.
    """
    for recipe in chain:
        if not weights_of(recipe).is_file():
            train_counted(recipe)
    return weights_of(chain[-1])


def train_counted(recipe: Recipe) -> None:
    """Train, or go on, and add the time to the run's ``seconds.json``.

    Raises:
        InputError: if Lightning is not installed, or as :func:`uprightpose.train.run.train`.
    """
    try:
        from uprightpose.train.run import train
    except ModuleNotFoundError as error:
        raise InputError(f"training needs {error.name}: {install('reproduce')}") from error
    with _counted(Path(recipe.out) / "seconds.json"):
        train(recipe)


@contextmanager
def _counted(path: Path) -> Iterator[None]:
    """Add the time spent to a file, also when it ends early."""
    start = time.monotonic()
    try:
        yield
    finally:
        if path.parent.is_dir():
            total = _seconds(path) + time.monotonic() - start
            write_whole(path, json.dumps(round(total, 1)).encode())


def _seconds(path: Path) -> float:
    return float(json.loads(path.read_text())) if path.is_file() else 0.0


def _predict(
    weights: Path, training: Training, people: Sequence[Sample], pictures: Pictures, place: Place
) -> Joints:
    from uprightpose.predict import choose_device
    from uprightpose.sample_predictions import predict_samples, turn_angles
    from uprightpose.weights import load_weights

    model, settings = load_weights(weights)
    turns = None if pictures == "natural" else turn_angles(len(people))
    title = f"{weights.parent.name}, {pictures}"
    network = model.to(choose_device(place.device))
    found = predict_samples(network, settings.crop, people, turns, title=title)
    return Joints(found.joints[training.stage], found.truth)


def _write_joints(path: Path, joints: Joints) -> None:
    stream = BytesIO()
    np.savez_compressed(stream, predicted=joints.predicted, truth=joints.truth)
    write_whole(path, stream.getvalue())


def _read_joints(path: Path) -> Joints:
    with np.load(path) as arrays:
        return Joints(arrays["predicted"], arrays["truth"])


def _facts(chain: Sequence[Recipe], weights: Path, place: Place) -> dict[str, Any]:
    from uprightpose.weights import count_parameters, load_weights

    steps = {weights_of(one).stem: _steps(one) for one in chain}
    seconds = {weights_of(one).stem: _seconds(Path(one.out) / "seconds.json") for one in chain}
    places = ("out", "start", "cache", "trunk_weights", "threads", "accelerator", *DATASETS)
    defaults = {field.name: field.default for field in fields(Recipe)}
    keys = {key: value for key, value in asdict(chain[-1]).items() if value != defaults[key]}
    return {
        "runs": [Path(one.out).name for one in chain],
        "weights": str(weights.relative_to(place.out)),
        "parameters": count_parameters(load_weights(weights)[0]),
        "steps": steps,
        "pictures": sum(_steps(one) * one.batch for one in chain),
        "seconds": seconds,
        "machine": describe_machine(place.threads),
        "recipe": {key: value for key, value in keys.items() if key not in places},
    }


def _steps(recipe: Recipe) -> int:
    return int(getattr(recipe, f"{weights_of(recipe).stem}_steps"))
