"""COCO person keypoints: the official files, and samples of any dataset in their layout.

COCO counts pixels from 0; ``v`` is 0 not labeled, 1 occluded, 2 visible (SPEC 4.6), which are
the values of :class:`~uprightpose.data.sample.State`. What :func:`write_coco` writes has a few
fields more, so that reading it gives back every sample.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uprightpose.data.annotation_files import expecting, load_json
from uprightpose.data.lsp import square_about
from uprightpose.data.picture_size import picture_size
from uprightpose.data.predictions import PERSON, category
from uprightpose.data.sample import Sample, State
from uprightpose.data.writing import write_whole
from uprightpose.errors import InputError
from uprightpose.skeletons import SKELETONS, Skeleton

WRITER = "uprightpose"
"""In ``info`` of our files; there the names of pictures are relative to the file's folder."""


def read_coco(path: Path) -> list[Sample]:
    """Read people with labeled joints, crowds left out; of our own files, every sample.

    Args:
        path: a folder with ``person_keypoints*.json``, in it or in ``annotations``, or one file.
            Pictures are looked for in ``images``, ``train2017`` or the like, and beside the file.

    Returns:
        Samples in the order of the files. Of official files: ``id`` is the annotation's, the box
        the square about ``bbox`` that shows the person as large as LSP does (SPEC 1.18), the
        split is said by the file's name, train if it does not, and labels are person-centric.

    Raises:
        InputError: if files are missing, damaged or others, hold several skeletons or one that
            is not known, or hold predictions.
    """
    files = coco_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} is no COCO folder: expected person_keypoints*.json in it")
    return [sample for file in files for sample in _read(file)]


def coco_files(folder: Path) -> list[Path]:
    """Return COCO's files of people's joints in a folder, or in ``annotations`` in it."""
    here = sorted(folder.glob("person_keypoints*.json"))
    return here or sorted((folder / "annotations").glob("person_keypoints*.json"))


def write_coco(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as COCO keypoints, so that :func:`read_coco` gives them back.

    Beyond COCO, an annotation has ``box`` (or null), ``source``, ``split``, ``labels``,
    ``head_size`` and ``sample_id``. The names of pictures are relative to the folder of
    ``path``. Pictures that are there have ``width`` and ``height``.

    Raises:
        InputError: if there are no samples or several skeletons, or the file cannot be written.
    """
    skeletons = {sample.skeleton for sample in samples}
    if len(skeletons) != 1:
        names = ", ".join(sorted(skeleton.name for skeleton in skeletons)) or "no samples"
        raise InputError(f"{path}: expected samples of one skeleton, found {names}")
    pictures = dict.fromkeys(sample.image for sample in samples)
    images = {file: _image(file, number, path) for number, file in enumerate(pictures, 1)}
    annotations = [_annotation(s, images[s.image], n) for n, s in enumerate(samples, 1)]
    content = {
        "info": {"contributor": WRITER},
        "images": list(images.values()),
        "categories": [category(skeletons.pop())],
        "annotations": annotations,
    }
    write_whole(path, json.dumps(content, allow_nan=False).encode())


def _image(file: Path, number: int, path: Path) -> dict[str, Any]:
    name = Path(os.path.relpath(file, path.parent)).as_posix()
    if not file.is_file():
        return {"id": number, "file_name": name}
    height, width = picture_size(file)
    return {"id": number, "file_name": name, "width": width, "height": height}


def _annotation(sample: Sample, image: dict[str, Any], number: int) -> dict[str, Any]:
    known = sample.state > State.ABSENT
    joints = np.where(known[:, None], sample.joints, 0.0)
    triples = zip(joints.tolist(), sample.state.tolist(), strict=True)
    box = sample.box or _extent(sample, image)
    return {
        "id": number,
        "image_id": image["id"],
        "category_id": PERSON,
        "bbox": list(box),
        "area": box[2] * box[3],
        "iscrowd": 0,
        "num_keypoints": int(known.sum()),
        "keypoints": [value for (x, y), v in triples for value in (x, y, v)],
        "box": list(sample.box) if sample.box else None,
        "source": sample.source,
        "split": sample.split,
        "labels": sample.labels,
        "head_size": sample.head_size,
        "sample_id": sample.id,
    }


def _extent(sample: Sample, image: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return the picture as a box, or the extent of the joints where it is not there."""
    if "width" in image:
        return (0.0, 0.0, float(image["width"]), float(image["height"]))
    known = sample.joints[sample.state > State.ABSENT]
    if not len(known):
        return (0.0, 0.0, 0.0, 0.0)
    (x, y), (width, height) = known.min(axis=0), known.max(axis=0) - known.min(axis=0) + 1
    return (float(x), float(y), float(width), float(height))


def _read(path: Path) -> Iterator[Sample]:
    content = load_json(path)
    with expecting(path, "COCO keypoints (images, categories, annotations)"):
        skeleton, person = _skeleton(content["categories"], path)
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        ours = content.get("info", {}).get("contributor") == WRITER
        folder = path.parent if ours else _pictures(path, next(iter(names.values()), ""))
        for annotation in content["annotations"]:
            people = annotation["category_id"] == person and not annotation.get("iscrowd")
            if ours or (people and any(annotation["keypoints"][2::3])):
                file = Path(os.path.normpath(folder / names[annotation["image_id"]]))
                yield _sample(annotation, file, skeleton, path)


def _skeleton(categories: list[dict[str, Any]], path: Path) -> tuple[Skeleton, int]:
    """Return the one skeleton of a file, known by its joints, and its category's id."""
    named = [category for category in categories if category.get("keypoints")]
    if len(named) != 1:
        raise InputError(f"{path}: expected one category with keypoints, found {len(named)}")
    joints = tuple(named[0]["keypoints"])
    for skeleton in SKELETONS.values():
        if skeleton.joints == joints:
            return skeleton, named[0]["id"]
    raise InputError(
        f"{path}: expected the joints of {', '.join(SKELETONS)}, found {len(joints)} others: "
        f"{', '.join(joints[:4])} ..."
    )


def _pictures(path: Path, name: str) -> Path:
    """Return the folder with the pictures of an official file, found by one of them."""
    year = path.stem.rpartition("_")[2]
    roots = [path.parent, *([path.parent.parent] if path.parent.name == "annotations" else [])]
    places = [root / folder for root in roots for folder in ("images", year, f"images/{year}", "")]
    usual = roots[-1] / (year if path.parent.name == "annotations" else "images")
    return next((place for place in places if (place / name).is_file()), usual)


def _sample(annotation: dict[str, Any], file: Path, skeleton: Skeleton, path: Path) -> Sample:
    values = np.array(annotation["keypoints"], dtype=np.float64).reshape(len(skeleton.joints), 3)
    flags = values[:, 2]
    if not np.isin(flags, list(State)).all():
        raise InputError(
            f"{path}: annotation {annotation.get('id')}: expected v of 0, 1 or 2, found "
            f"{flags[~np.isin(flags, list(State))][0]:g}: is it a file of predictions?"
        )
    box = annotation["box"] if "sample_id" in annotation else _view(annotation["bbox"])
    return Sample(
        image=file,
        joints=np.where(flags[:, None] > 0, values[:, :2], np.nan),
        state=flags.astype(np.uint8),
        labels=annotation.get("labels", "pc"),
        box=(box[0], box[1], box[2], box[3]) if box else None,
        split=annotation.get("split") or _split(path),
        source=annotation.get("source", "coco"),
        id=annotation.get("sample_id", annotation["id"]),
        skeleton=skeleton,
        head_size=annotation.get("head_size"),
    )


def _view(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    low = np.array(bbox[:2], dtype=np.float64)
    return square_about(low, low + np.array(bbox[2:], dtype=np.float64))


def _split(path: Path) -> str:
    return next((split for part, split in _SPLITS.items() if part in path.stem), "train")


_SPLITS = {"train": "train", "val": "valid", "test": "test"}
