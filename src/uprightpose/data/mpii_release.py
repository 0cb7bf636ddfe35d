"""MPII's official file ``mpii_human_pose_v1_u12_1.mat`` (SPEC 4.5)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.annotation_files import expecting, load_variable, number, structs
from uprightpose.skeletons import MPII

HEAD_SHARE = 0.6
"""The reference length of PCKh over the head box's diagonal (SPEC 3.2)."""


@dataclass(frozen=True, eq=False)
class Rectangle:
    """One person, in the file's own pixels: the first one is 1.

    Attributes:
        name: of the picture file.
        image: number of the picture, 1-based.
        person: number of the person in the picture, 1-based.
        train: whether the picture is for training; labels of the others are withheld.
        points: ``(16, 2)``, NaN where not labeled.
        flags: ``(16,)`` 0 where occluded, 1 where visible or nothing is said.
        center: ``x, y`` of the person; NaN where withheld or forgotten.
        scale: height of the person in units of 200 pixels; NaN likewise.
        head_size: pixels, or ``None`` without a head box.
    """

    name: str
    image: int
    person: int
    train: bool
    points: Float[ndarray, "16 2"]
    flags: Float[ndarray, " 16"]
    center: tuple[float, float]
    scale: float
    head_size: float | None


def read_release(path: Path) -> Iterator[Rectangle]:
    """Yield all people, with whatever is known of each, in the file's order.

    Raises:
        InputError: if the file is missing, damaged or another one.
    """
    release = load_variable(path, "RELEASE")
    with expecting(path, "RELEASE with annolist and img_train (MPII)"):
        pictures = structs(release.annolist)
        train = np.atleast_1d(release.img_train).astype(bool)
        for image, (picture, known) in enumerate(zip(pictures, train, strict=True), 1):
            rectangles = structs(picture.annorect)
            for person, rectangle in enumerate(rectangles, 1):
                name = str(structs(picture.image)[0].name)
                yield _rectangle(rectangle, name, image, person, bool(known))


def _rectangle(rectangle: Any, name: str, image: int, person: int, train: bool) -> Rectangle:
    points, flags = _points(rectangle)
    objpos = structs(getattr(rectangle, "objpos", []))
    x, y = (number(objpos[0], axis) if objpos else float("nan") for axis in "xy")
    x1, y1, x2, y2 = (number(rectangle, corner) for corner in ("x1", "y1", "x2", "y2"))
    head = HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))
    return Rectangle(
        name=name,
        image=image,
        person=person,
        train=train,
        points=points,
        flags=flags,
        center=(x, y),
        scale=number(rectangle, "scale"),
        head_size=head if head > 0 else None,
    )


def _points(rectangle: Any) -> tuple[Float[ndarray, "16 2"], Float[ndarray, " 16"]]:
    """Put the labeled points, which come in any order, in their places.

    ``is_visible`` may be a number, a character, empty or not there at all.
    """
    points, flags = np.full((len(MPII.joints), 2), np.nan), np.ones(len(MPII.joints))
    for annotation in structs(getattr(rectangle, "annopoints", [])):
        for point in structs(getattr(annotation, "point", [])):
            joint = int(number(point, "id"))
            points[joint] = number(point, "x"), number(point, "y")
            flags[joint] = 0.0 if number(point, "is_visible") == 0 else 1.0
    return points, flags
