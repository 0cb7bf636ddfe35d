"""Write ``predictions.json``: predicted people in the layout of COCO keypoints.

:mod:`uprightpose.data.joint_files` reads it back for scoring, ``pycocotools`` opens it.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from uprightpose.data.person import Person
from uprightpose.data.writing import whole_file
from uprightpose.skeletons import Skeleton

PERSON = 1
"""COCO's category of people."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The people of one picture.

    Attributes:
        file_name: of the picture.
        size: ``(h, w)`` of the picture as the viewer sees it.
        people: maybe none.
    """

    file_name: str
    size: tuple[int, int]
    people: Sequence[Person]


def write_predictions(path: Path, predictions: Iterable[Prediction], skeleton: Skeleton) -> None:
    """Write ``images``, ``categories`` and ``annotations`` of COCO keypoints, one by one.

    Nothing is kept in memory: annotations, which stand last, wait in a file of their own.

    Beyond COCO, the third number of a keypoint is its score, and an annotation has ``score``
    and ``body_angle`` (degrees, or null; see :class:`Person`). Pixels are 0-based, of the
    picture as the viewer sees it; ids count from 1.

    Raises:
        InputError: if the file cannot be written.
    """
    ids = count(1)
    with whole_file(path) as file, TemporaryFile(dir=path.parent) as annotations:
        file.write(b'{"images": [')
        for number, prediction in enumerate(predictions, 1):
            height, width = prediction.size
            name = prediction.file_name
            image = {"id": number, "file_name": name, "width": width, "height": height}
            _append(file, image, first=number == 1)
            for person, own in zip(prediction.people, ids, strict=False):
                _append(annotations, _annotation(person, own, number), first=own == 1)
        file.write(b'], "categories": ')
        file.write(json.dumps([category(skeleton)]).encode())
        file.write(b', "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write(b"]}")


def _append(file: BinaryIO, value: dict[str, Any], *, first: bool) -> None:
    """Write one more value of a list, as ``json.dumps`` writes a whole one."""
    text = json.dumps(value, allow_nan=False)
    file.write((text if first else f", {text}").encode())


def category(skeleton: Skeleton) -> dict[str, Any]:
    """Return COCO's description of a skeleton; its edges count joints from 1.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> category(LSP)["keypoints"][9], category(LSP)["skeleton"][0]
        ('left_shoulder', [10, 11])
    """
    return {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
    }


def _annotation(person: Person, number: int, image: int) -> dict[str, Any]:
    triples = zip(person.joints.tolist(), person.scores.tolist(), strict=True)
    keypoints = [v for (x, y), s in triples for v in (round(x, 3), round(y, 3), round(s, 6))]
    return {
        "id": number,
        "image_id": image,
        "category_id": PERSON,
        "bbox": [round(value, 3) for value in person.box],
        "area": round(person.box[2] * person.box[3], 3),
        "iscrowd": 0,
        "num_keypoints": sum(score > 0 for score in keypoints[2::3]),
        "score": round(person.score, 6),
        "keypoints": keypoints,
        "body_angle": None if person.body_angle is None else round(person.body_angle, 3),
    }
