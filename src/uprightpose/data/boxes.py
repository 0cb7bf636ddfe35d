"""Given person boxes: read from a COCO JSON file (``--boxes``), and checked."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy import ndarray

from uprightpose.errors import InputError

Box = tuple[float, float, float, float]
"""``(x, y, w, h)`` in edge coordinates: a whole picture is ``(0, 0, w, h)``, as in COCO."""


LONGEST_SIDE = 1e5
"""Pixels: longer boxes are no people, and their crops no longer have numbers."""


def read_boxes(path: Path, pictures: Sequence[Path]) -> dict[Path, list[Box]]:
    """Return the person boxes of each picture, matched by the name of its file.

    Crowds (``iscrowd``) are left out. If the file has a category called ``person``, only its
    boxes count; if not, all do. Detections (a bare list) are not enough: the file says which
    image is which.

    Args:
        path: has ``images`` (``id``, ``file_name``) and ``annotations`` (``image_id``,
            ``bbox`` as x, y, w, h in edge coordinates).
        pictures: of files; folders before the name do not matter.

    Returns:
        For each picture its boxes in the file's order; an empty list where it has none.

    Raises:
        InputError: if the file is missing or no such JSON, a box is not four finite numbers or
            of no image there, none of the pictures is in it, or a name is there twice.
    """
    content = _load(path)
    try:
        names = {image["id"]: Path(str(image["file_name"])).name for image in content["images"]}
        boxes: dict[str, list[Box]] = {name: [] for name in names.values()}
        people = _people(content)
        for annotation in content["annotations"]:
            if _counts(annotation, people):
                boxes[names[_known(annotation, names, path)]].append(_box(annotation, path))
    except (KeyError, TypeError, AttributeError) as error:
        found = f"no {error.args[0]}" if isinstance(error, KeyError) else "another structure"
        raise InputError(
            f"{path}: expected COCO JSON with images (id, file_name) and annotations "
            f"(image_id, bbox), found {found}"
        ) from error
    _check_match(path, list(names.values()), pictures)
    return {picture: boxes.get(picture.name, []) for picture in pictures}


def check_boxes(boxes: Sequence[Any] | ndarray, size: tuple[int, int], name: str = "") -> list[Box]:
    """Return given boxes as tuples of four numbers.

    Args:
        boxes: ``(x, y, w, h)`` each, in edge coordinates.
        size: ``(h, w)`` of the picture.
        name: begins the error.

    Raises:
        InputError: naming the first box that is none, is not finite, has no area, is longer
            than :data:`LONGEST_SIDE`, or lies entirely outside the picture.

    Example:
        >>> check_boxes([(10, -5, 20, 30)], (100, 100))
        [(10.0, -5.0, 20.0, 30.0)]
    """
    return [
        _checked(box, size, f"{name}box {number} of {len(boxes)}")
        for number, box in enumerate(boxes, 1)
    ]


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: the boxes cannot be read ({reason})") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise InputError(f"{path}: expected boxes as COCO JSON, found no JSON ({error})") from error


def _people(content: dict[str, Any]) -> set[Any]:
    """Return the ids of the category of people; none if the file names no such category."""
    categories = content.get("categories") or []
    return {category["id"] for category in categories if category.get("name") == "person"}


def _counts(annotation: dict[str, Any], people: set[Any]) -> bool:
    return not annotation.get("iscrowd") and (not people or annotation.get("category_id") in people)


def _known(annotation: dict[str, Any], names: dict[Any, str], path: Path) -> Any:
    """Return the id of an annotation's image, or refuse one that is not there."""
    found = annotation["image_id"]
    if found not in names:
        raise InputError(
            f"{path}: annotation {annotation.get('id', '(without id)')}: expected the id of one of "
            f"the images as image_id, found {found!r}"
        )
    return found


def _box(annotation: dict[str, Any], path: Path) -> Box:
    name = f"{path}: annotation {annotation.get('id', '(without id)')}"
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
    except (TypeError, ValueError):
        found = annotation["bbox"]
        raise InputError(f"{name}: expected bbox of x, y, w, h, found {found}") from None
    box = (x, y, width, height)
    if not all(map(math.isfinite, box)):
        raise InputError(f"{name}: expected a finite bbox, found {list(box)}")
    return box


def _check_match(path: Path, names: list[str], pictures: Sequence[Path]) -> None:
    wanted = [picture.name for picture in pictures]
    often = [Counter(names), Counter(wanted)]
    if not often[0].keys() & often[1].keys():
        raise InputError(
            f"{path}: expected boxes of {wanted[0]}{' ...' if len(wanted) > 1 else ''}, found "
            f"none of the pictures among its {len(names)} images: names must agree"
        )
    for listed, place in zip(often, (f"{path}", "the given pictures"), strict=True):
        twice = sorted(name for name in often[0].keys() & often[1].keys() if listed[name] > 1)
        if twice:
            raise InputError(f"{path}: cannot tell boxes apart, {twice[0]} is twice in {place}")


def _checked(box: Any, size: tuple[int, int], name: str) -> Box:
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected four numbers (x, y, w, h), found {box!r}") from None
    if len(values) != 4:
        raise InputError(f"{name}: expected four numbers (x, y, w, h), found {len(values)}: {box}")
    x, y, width, height = values
    name = f"{name} ({x:g}, {y:g}, {width:g}, {height:g})"
    if not all(map(math.isfinite, values)):
        raise InputError(f"{name}: expected finite numbers (x, y, w, h)")
    if width <= 0 or height <= 0 or not 1 <= max(width, height) <= LONGEST_SIDE:
        raise InputError(f"{name}: expected w and h above 0, the longer of 1 to 100000 pixels")
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        raise InputError(f"{name}: lies outside the picture of {size[1]} x {size[0]} pixels")
    return (x, y, width, height)
