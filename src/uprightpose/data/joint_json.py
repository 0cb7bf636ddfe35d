"""Joints from COCO keypoints: the best person of each picture, or every annotated one.

The first is for ``predictions.json``, the second for truth, such as ``write_coco`` of
:mod:`uprightpose.data.coco` writes it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.errors import InputError
from uprightpose.skeletons import Skeleton


class NamedJoints(NamedTuple):
    """People of a file.

    Attributes:
        values: ``(n, k, 3)``: x, y and the third number.
        images: the file names of their pictures.
        lengths: ``(n,)`` head sizes in pixels, NaN where not said.
    """

    values: Float[ndarray, "n k 3"]
    images: tuple[str, ...]
    lengths: Float[ndarray, " n"]


def read_named_joints(path: Path, skeleton: Skeleton, *, best: bool) -> NamedJoints:
    """Read people, joints matched by name.

    Args:
        path: images, categories and annotations.
        skeleton: all its joints must be there; others are left out.
        best: one person for each picture, the annotation of highest score (without ``score``
            it is the mean of its joints' scores), NaN where a picture has nobody; otherwise
            every annotation in the order of the file.

    Raises:
        InputError: if the file is damaged, is no COCO keypoints or lacks joints.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names: list[str] = content["categories"][0]["keypoints"]
        columns = _columns(path, names, skeleton)
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        people = content["annotations"]
        people = _best(people, images, [np.nan] * (3 * len(names))) if best else people
        values = [_triples(one["keypoints"], len(names)) for one in people]
        lengths = [np.nan if (s := one.get("head_size")) is None else float(s) for one in people]
        files = tuple(images[one["image_id"]] for one in people)
    except json.JSONDecodeError as error:
        raise InputError(f"expected JSON, found a damaged file {path} ({error})") from error
    except _WrongNumberError as error:
        raise InputError(f"{error} in {path}: write x, y, score for each joint") from error
    except (OSError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"expected COCO keypoints (images, categories, annotations) in {path}, "
            f"found otherwise: {type(error).__name__} {error}"
        ) from error
    stacked = np.array(values).reshape(len(values), len(names), 3)
    return NamedJoints(stacked[:, columns], files, np.array(lengths))


class _WrongNumberError(ValueError):
    """An annotation whose numbers are not triples of the joints or whose score is none."""


def _columns(path: Path, names: list[str], skeleton: Skeleton) -> list[int]:
    absent = [joint for joint in skeleton.joints if joint not in names]
    if absent:
        raise InputError(
            f"expected the joints of the {skeleton.name} skeleton in {path}, "
            f"found none called {', '.join(absent)}"
        )
    return [names.index(joint) for joint in skeleton.joints]


def _best(
    annotations: list[Any], images: Mapping[Any, str], blank: list[float]
) -> list[dict[str, Any]]:
    """Return the annotation of highest score of each picture, a blank one where none is."""
    best: dict[Any, tuple[float, dict[str, Any]]] = {}
    for one in annotations:
        picture, score = one["image_id"], _score(one)
        if picture not in best or score > best[picture][0]:
            best[picture] = (score, one)
    nobody = (0.0, {"keypoints": blank})
    return [{**best.get(picture, nobody)[1], "image_id": picture} for picture in images]


def _score(annotation: Mapping[str, Any]) -> float:
    score = annotation["score"] if "score" in annotation else np.mean(annotation["keypoints"][2::3])
    if not isinstance(score, int | float):
        raise _WrongNumberError(f"expected a number as score, found {score!r}")
    return float(score)


def _triples(numbers: list[Any], joints: int) -> Float[ndarray, "j 3"]:
    try:
        return np.array(numbers, dtype=np.float64).reshape(joints, 3)
    except ValueError as error:
        found = f"found {len(numbers)} values"
        raise _WrongNumberError(f"expected {3 * joints} numbers, {found}") from error
