"""``pred_keypoints_mpii.mat``, what MPII's test server scores (Table 8).

The server takes a copy of the test part of ``RELEASE.annolist``, in its order, in which every
person whose place was given has predicted points: 16 of them with ``id`` 0-15, in 1-based pixels.
Only people who stand apart (``single_person``) are scored.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.io import savemat

from uprightpose.data.annotation_files import load_variable, structs
from uprightpose.data.mpii import PEOPLE, read_mpii
from uprightpose.data.sample import Sample
from uprightpose.data.writing import write_whole
from uprightpose.reproduce.rows import Outcome
from uprightpose.reproduce.tables import Experiment, Place

RELEASE = "mpii_human_pose_v1_u12_1.mat"


def server_files(
    experiment: Experiment, outcomes: Mapping[str, Sequence[Outcome]], place: Place
) -> str:
    """Predict the test people with each row's first seed, write the files, and name them.

    Args:
        experiment: with MPII as its test set.
        outcomes: title -> the row's outcomes.
        place: where data and results are.

    Returns:
        Markdown; says what is missing where the official annotations or pictures are not there.
    """
    release = next(iter(sorted((place.data / "mpii").glob(f"**/{RELEASE}"))), None)
    if release is None:
        return f"None: they need `{RELEASE}` in `mpii/`."
    people = [one for one in read_mpii(release) if one.split == "test"]
    if not people or not all(one.image.is_file() for one in people):
        return "None: pictures of test people are not in `mpii/images`."
    lines = []
    for row in experiment.rows:
        outcome = outcomes[row.title][0]
        path = place.out / f"{experiment.name}-{outcome.facts['runs'][-1]}-pred_keypoints_mpii.mat"
        if not path.is_file():
            joints = _predict(
                place.out / outcome.facts["weights"], row.training.stage, people, place
            )
            write_predictions(release, people, joints, path)
        lines.append(f"- {row.title}, seed {outcome.seed}: `{path.name}`")
    return "\n".join(lines)


def write_predictions(
    release: Path, people: Sequence[Sample], joints: Float[ndarray, "n 16 2"], path: Path
) -> None:
    """Write predictions in the layout of MPII's test server.

    Args:
        release: MPII's official annotations, whose test pictures settle the order.
        people: of these pictures, as :func:`uprightpose.data.mpii.read_mpii` numbers them.
        joints: 0-based pixels.
        path: of the new file.

    Raises:
        InputError: if the annotations cannot be read or the file cannot be written.
    """
    found = {one.id: pose + 1.0 for one, pose in zip(people, joints, strict=True)}
    pictures = [
        (
            _struct(name=name),
            _rectangles([found.get(PEOPLE * number + one + 1) for one in range(n)]),
        )
        for number, name, n in _test_pictures(release)
    ]
    pred = np.zeros((1, len(pictures)), dtype=[("image", object), ("annorect", object)])
    for at, picture in enumerate(pictures):
        pred[0, at] = picture
    stream = BytesIO()
    savemat(stream, {"pred": pred}, do_compression=True)  # type: ignore[arg-type]
    write_whole(path, stream.getvalue())


def _test_pictures(release: Path) -> Iterator[tuple[int, str, int]]:
    """Yield number, name and count of rectangles of the test pictures, in order."""
    content = load_variable(release, "RELEASE")
    train = np.atleast_1d(content.img_train).astype(bool)
    for number, (picture, known) in enumerate(
        zip(structs(content.annolist), train, strict=True), 1
    ):
        if not known:
            rectangles = structs(getattr(picture, "annorect", []))
            yield number, str(structs(picture.image)[0].name), len(rectangles)


def _rectangles(poses: Sequence[Float[ndarray, "16 2"] | None]) -> ndarray:
    """Return ``annorect``: points where there is a prediction, nothing where there is none."""
    rectangles = np.zeros((1, len(poses)), dtype=[("annopoints", object)])
    for at, pose in enumerate(poses):
        rectangles[0, at] = (np.zeros((0, 0)) if pose is None else _struct(point=_points(pose)),)
    return rectangles


def _points(pose: Float[ndarray, "16 2"]) -> ndarray:
    points = np.zeros((1, len(pose)), dtype=[("x", object), ("y", object), ("id", object)])
    for joint, (x, y) in enumerate(pose.tolist()):
        points[0, joint] = (x, y, float(joint))
    return points


def _struct(**fields: Any) -> ndarray:
    struct = np.zeros((1, 1), dtype=[(name, object) for name in fields])
    struct[0, 0] = tuple(fields.values())
    return struct


def _predict(
    weights: Path, stage: str, people: Sequence[Sample], place: Place
) -> Float[ndarray, "n 16 2"]:
    from uprightpose.predict import choose_device
    from uprightpose.sample_predictions import predict_samples
    from uprightpose.weights import load_weights

    model, settings = load_weights(weights)
    network = model.to(choose_device(place.device))
    title = f"{weights.parent.name}, MPII test"
    return predict_samples(network, settings.crop, people, title=title).joints[stage]
