"""People in COCO's JSON for average precision: true ones, and results in either layout.

Results are COCO's list (``image_id``, ``keypoints``, ``score``) or a file like our
``predictions.json``, whose pictures are matched by file name. Both get the 17 joints in COCO's
order, 0-based.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uprightpose.errors import InputError
from uprightpose.skeletons import COCO

Content = dict[str, Any]

_MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError)


def read_coco_truth(path: Path) -> Content:
    """Return ``images``, ``categories`` and ``annotations`` of the people of a file.

    Annotations are numbered anew from 1, as ``pycocotools`` takes a 0 for "no match".

    Raises:
        InputError: if the file is missing, damaged or no COCO keypoints.
    """
    expected = "COCO keypoints (images, categories, annotations)"
    truth: Content = _reading(path, expected, _truth)
    return truth


def read_coco_results(path: Path, truth: Content, base: int = 0) -> list[Content]:
    """Return results as ``pycocotools`` takes them.

    Args:
        path: a list of results, or images, categories and annotations.
        truth: of :func:`read_coco_truth`.
        base: number of the first pixel.

    Raises:
        InputError: if the file is missing, damaged, holds no results or has pictures that are
            not in the truth.
    """

    def results(content: Any, path: Path) -> list[Content]:
        listed = content if isinstance(content, list) else _by_file_name(content, truth, path)
        return [_result(one, truth, base, path) for one in listed]

    found: list[Content] = _reading(path, "COCO results or our predictions.json", results)
    if not found:
        raise InputError(f"expected predicted people, found none in {path}: predict first")
    return found


def _reading(path: Path, expected: str, convert: Callable[[Any, Path], Any]) -> Any:
    """Return ``convert(content, path)`` with whatever is wrong as one message."""
    if path.suffix.lower() != ".json":
        raise InputError(f"protocol coco: expected .json files, found {path}: convert it")
    try:
        return convert(json.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError as error:
        raise InputError(f"expected {expected}, found nothing at {path}: check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"expected JSON, found a damaged file {path} ({error})") from error
    except _MALFORMED as error:
        raise InputError(
            f"expected {expected} in {path}, found otherwise: {type(error).__name__} {error}"
        ) from error


def _truth(content: Any, path: Path) -> Content:
    category = _person(content)
    columns = _columns(category, path)
    people = [one for one in content["annotations"] if one["category_id"] == category["id"]]
    annotations = []
    for number, one in enumerate(people, 1):
        joints = _joints(one, len(category["keypoints"]))[columns]
        annotations.append(
            {
                "id": number,
                "image_id": one["image_id"],
                "category_id": category["id"],
                "keypoints": joints.ravel().tolist(),
                "num_keypoints": int((joints[:, 2] > 0).sum()),
                "bbox": [float(number) for number in one["bbox"]],
                "area": float(one["area"]),
                "iscrowd": int(one.get("iscrowd", 0)),
            }
        )
    images = [{"id": one["id"], "file_name": str(one["file_name"])} for one in content["images"]]
    return {
        "images": images,
        "categories": [{"id": category["id"], "name": "person", "keypoints": list(COCO.joints)}],
        "annotations": annotations,
    }


def _person(content: Any) -> Content:
    for one in content["categories"]:
        if one.get("keypoints"):
            found: Content = one
            return found
    raise ValueError("no category has keypoints")


def _columns(category: Content, path: Path) -> list[int]:
    names = list(category["keypoints"])
    absent = [joint for joint in COCO.joints if joint not in names]
    if absent:
        raise InputError(
            f"protocol coco: expected COCO's 17 joints in {path}, found none called "
            f"{', '.join(absent)}"
        )
    return [names.index(joint) for joint in COCO.joints]


def _joints(annotation: Content, count: int) -> np.ndarray:
    numbers = annotation["keypoints"]
    if len(numbers) != 3 * count:
        raise ValueError(f"expected {3 * count} keypoint numbers, found {len(numbers)}")
    return np.array(numbers, dtype=np.float64).reshape(count, 3)


def _by_file_name(content: Any, truth: Content, path: Path) -> list[Content]:
    """Return the annotations of a file with pictures as results of the truth's pictures."""
    columns = _columns(_person(content), path)
    ids = {Path(image["file_name"]).name: image["id"] for image in truth["images"]}
    names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
    absent = sorted(set(names.values()) - set(ids))
    if absent:
        raise InputError(
            f"expected pictures of the truth, found {len(absent)} others in {path}, e.g. "
            f"{absent[0]}: score the truth of these pictures"
        )
    return [
        {
            "image_id": ids[names[one["image_id"]]],
            "score": one["score"],
            "keypoints": _joints(one, len(_person(content)["keypoints"]))[columns].ravel().tolist(),
        }
        for one in content["annotations"]
    ]


def _result(one: Content, truth: Content, base: int, path: Path) -> Content:
    joints = _joints(one, len(COCO.joints))
    joints[:, :2] -= base
    score = one["score"]
    if not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"expected a finite number as score, found {score!r}")
    if not np.isfinite(joints).all():
        raise ValueError("expected finite keypoints, found others")
    if one["image_id"] not in {image["id"] for image in truth["images"]}:
        raise InputError(
            f"expected pictures of the truth, found image_id {one['image_id']} in {path}: score "
            f"the truth of these pictures"
        )
    return {
        "image_id": one["image_id"],
        "category_id": truth["categories"][0]["id"],
        "keypoints": joints.ravel().tolist(),
        "score": float(score),
    }
