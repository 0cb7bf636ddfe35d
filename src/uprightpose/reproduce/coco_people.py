"""COCO's people as twelve joints of LSP and a box, and what a model says of them.

Predictions come by the way of ``uprightpose predict --boxes``. COCO's neck is the middle of the
shoulders, for the body angle alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from tqdm import tqdm

from uprightpose.data.annotation_files import expecting, load_json
from uprightpose.data.boxes import Box
from uprightpose.data.coco import coco_files, read_coco
from uprightpose.data.folders import to_skeleton
from uprightpose.data.person import Person
from uprightpose.data.sample import Sample
from uprightpose.errors import InputError
from uprightpose.predict import Predictor
from uprightpose.skeletons import LSP

LIMBS = tuple(sorted(joint for limb in LSP.limbs for joint in limb.joints))
"""LSP's joints that COCO labels too: wrists, elbows, shoulders, hips, knees, ankles."""


@dataclass(frozen=True, eq=False)
class CocoPeople:
    """People who are scored, and how many others there are.

    Attributes:
        samples: with LSP's joints, in the order of COCO's ids of their annotations.
        boxes: COCO's, one per sample.
        left_out: reason -> number of annotations.
    """

    samples: list[Sample]
    boxes: list[Box]
    left_out: dict[str, int]

    @property
    def truth(self) -> Float[ndarray, "n 14 2"]:
        """True joints in picture pixels, NaN where not labeled."""
        return np.stack([sample.joints for sample in self.samples])

    @property
    def images(self) -> Int[ndarray, " n"]:
        """A number for the picture of each person."""
        names = [str(sample.image) for sample in self.samples]
        return np.unique(names, return_inverse=True)[1]


def read_coco_people(data: Path) -> CocoPeople:
    """Read the people whose two shoulders and two hips are labeled.

    Args:
        data: folder that holds ``coco/``.

    Raises:
        InputError: if there is no such folder, or nobody in it.
    """
    folder = data / "coco"
    files = coco_files(folder)
    if not files:
        raise InputError(
            f"expected COCO's person_keypoints*.json in {folder}, found none; --data or "
            "UPRIGHTPOSE_DATA names the folder above it"
        )
    annotations: dict[int, dict[str, Any]] = {}
    for file in files:
        content = load_json(file)
        with expecting(file, "COCO keypoints (annotations with id, bbox, iscrowd)"):
            annotations |= {one["id"]: one for one in content["annotations"]}
    labeled = [to_skeleton(one, LSP) for one in read_coco(folder)]
    torso = list(LSP.torso)
    chosen = [one for one in labeled if np.isfinite(one.joints[torso]).all()]
    chosen.sort(key=lambda one: one.id)
    if not chosen:
        raise InputError(f"{folder}: expected people with labeled shoulders and hips, found none")
    crowds = sum(bool(one.get("iscrowd")) for one in annotations.values())
    return CocoPeople(
        chosen,
        [_box(annotations[one.id]["bbox"]) for one in chosen],
        {
            "crowds": crowds,
            "people without labeled joints": len(annotations) - crowds - len(labeled),
            "people without all of shoulders and hips": len(labeled) - len(chosen),
        },
    )


def predict_people(predictor: Predictor, people: CocoPeople) -> dict[str, list[Person]]:
    """Return the people as each stage sees them: the way of ``uprightpose predict --boxes``.

    Args:
        predictor: finds LSP's joints.
        people: ``n`` of them; those of one picture go through the network together.

    Raises:
        InputError: if a picture cannot be read or a box is none.
    """
    by_picture: dict[Path, list[int]] = {}
    for number, sample in enumerate(people.samples):
        by_picture.setdefault(sample.image, []).append(number)
    found: dict[str, dict[int, Person]] = {stage: {} for stage in predictor.stages}
    for picture, numbers in tqdm(by_picture.items(), desc="photos", disable=None):
        stages = predictor.predict_stages(picture, [people.boxes[number] for number in numbers])
        for stage, seen in stages.items():
            found[stage] |= dict(zip(numbers, seen, strict=True))
    return {stage: [seen[n] for n in range(len(people.boxes))] for stage, seen in found.items()}


def _box(bbox: Sequence[Any]) -> Box:
    x, y, width, height = map(float, bbox)
    return (x, y, width, height)
