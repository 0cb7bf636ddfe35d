"""Pictures -> crops of their people, and what was decoded in the crops -> people."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.boxes import Box, check_boxes
from uprightpose.data.images import crop_image, read_image
from uprightpose.data.lsp import square_about
from uprightpose.data.person import Person
from uprightpose.errors import InputError
from uprightpose.frames import (
    Crop,
    apply_affine,
    invert_affine,
    map_to_image,
    turn_matrices,
    whole_image_box,
)
from uprightpose.metrics import body_angle
from uprightpose.normalize import MIN_LENGTH, MIN_SCORE
from uprightpose.score_maps import Decoded
from uprightpose.skeletons import Skeleton

Request = tuple[ndarray | str | Path, Sequence[Any] | ndarray | None]
"""A picture or its path, and the boxes of its people if it is not one person as a whole."""

_END: Any = object()


def pair(
    images: Iterable[ndarray | str | Path],
    boxes: Iterable[Sequence[Any] | ndarray | None] | None,
) -> Iterator[Request]:
    """Yield each picture with the boxes of its people.

    Args:
        images: as in :meth:`uprightpose.predict.Predictor.predict_many`.
        boxes: as there.

    Raises:
        InputError: if they are not as many: before the first where both have a length, else
            in the place where one of them ends.
    """
    if boxes is None:
        yield from ((image, None) for image in images)
        return
    if isinstance(images, Sized) and isinstance(boxes, Sized) and len(images) != len(boxes):
        raise _unequal(len(images), len(boxes))
    for done, (image, people) in enumerate(zip_longest(images, boxes, fillvalue=_END)):
        if image is _END:
            raise _unequal(done, f"more than {done}")
        if people is _END:
            raise _unequal(f"more than {done}", done)
        yield image, people


@dataclass(frozen=True, eq=False)
class View:
    """A picture whose people are ready for the network.

    Attributes:
        image: RGB.
        boxes: of its people.
        matrices: image pixels -> crop pixels, for each.
        crops: of each.
    """

    image: UInt8[ndarray, "h w 3"]
    boxes: list[Box]
    matrices: list[Float[ndarray, "2 3"]]
    crops: UInt8[ndarray, "n s s 3"]


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture and its people, by the name of the stage that found their joints, in order."""

    image: UInt8[ndarray, "h w 3"]
    people: dict[str, list[Person]]

    @property
    def last(self) -> list[Person]:
        """The people as the last stage sees them."""
        return list(self.people.values())[-1]


def read_view(
    image: ndarray | str | Path, boxes: Sequence[Any] | ndarray | None, crop: Crop
) -> View:
    """Read a picture and cut out its people.

    Args:
        image: as in :meth:`uprightpose.predict.Predictor.predict`.
        boxes: as there.
        crop: how the network sees a person.

    Raises:
        InputError: as there.
    """
    picture = _picture(image)
    size = (picture.shape[0], picture.shape[1])
    if boxes is None:
        people = [whole_image_box(size)]
        squares = people
    else:
        name = "" if isinstance(image, ndarray) else f"{image}: "
        people = check_boxes(boxes, size, name)
        squares = [view_box(box) for box in people]
    matrices = [crop.matrix(square) for square in squares]
    crops = np.empty((len(people), crop.size, crop.size, 3), np.uint8)
    for one, matrix in zip(crops, matrices, strict=True):
        one[:] = crop_image(picture, matrix, crop.size)
    return View(picture, people, matrices, crops)


def cut_turned(
    view: View, at: int, turn: float
) -> tuple[Float[ndarray, "2 3"], UInt8[ndarray, "s s 3"]]:
    """Cut one person out of its picture again, turned, by one resampling.

    Args:
        view: the picture.
        at: place of the person.
        turn: radians, positive clockwise; the crop as it is for 0.

    Returns:
        The map from image pixels to the crop's, and the crop.
    """
    if not turn:
        return view.matrices[at], view.crops[at]
    size = view.crops.shape[1]
    matrix = turn_matrices(view.matrices[at][None], np.array([turn]), size)[0]
    return matrix, crop_image(view.image, matrix, size)


def people_of(view: View, found: Decoded, stride: int, skeleton: Skeleton) -> list[Person]:
    """Return the people of a picture from what was decoded in their crops.

    Args:
        view: the picture.
        found: joints in cells and scores, one row per box.
        stride: crop pixels per cell.
        skeleton: whose joints they are.
    """
    rows = zip(
        found.joints.double().numpy(),
        found.scores.double().numpy(),
        view.boxes,
        view.matrices,
        strict=True,
    )
    people = []
    for cells, scores, box, matrix in rows:
        joints = apply_affine(invert_affine(matrix), map_to_image(cells, stride))
        angle = angle_in_degrees(cells, scores, skeleton, joints)
        people.append(Person(joints, scores, box, float(scores.mean()), angle))
    return people


def gather(
    views: Iterable[View | InputError], most: int, has_room: Callable[[], bool]
) -> Iterator[list[View | InputError]]:
    """Yield groups of pictures that have ``most`` people together, or fewer without room.

    Args:
        views: pictures, and why some cannot be done.
        most: people, with those of the last picture of a group maybe more; also, a group has
            no more than four times as many pictures, be they without people.
        has_room: whether more pictures fit into memory.
    """
    batch: list[View | InputError] = []
    people = 0
    for view in views:
        batch.append(view)
        people += len(view.crops) if isinstance(view, View) else 0
        del view
        if people >= most or len(batch) >= 4 * most or not has_room():
            yield batch
            batch, people = [], 0
    if batch:
        yield batch


def view_box(box: Box) -> Box:
    """Return the square about a person's tight box that shows them as in training (SPEC 1.18).

    Example:
        >>> x, y, width, height = view_box((10.0, 0.0, 20.0, 75.6))
        >>> round(x, 3), round(y, 3), round(width, 3), round(height, 3)
        (-30.0, -12.2, 100.0, 100.0)
    """
    edges = np.array(box, dtype=np.float64)
    return square_about(edges[:2], edges[:2] + edges[2:])


def angle_in_degrees(
    joints: Float[ndarray, "k 2"],
    scores: Float[ndarray, " k"],
    skeleton: Skeleton,
    placed: Float[ndarray, "k 2"] | None = None,
) -> float | None:
    """Return the body angle, see :class:`~uprightpose.data.person.Person`.

    Args:
        joints: cells.
        scores: of the same joints.
        skeleton: names torso and neck.
        placed: the joints in the picture, where the cells are turned against it.

    Returns:
        Degrees, or ``None`` where body normalization finds no angle either (SPEC 1.8).
    """
    torso, neck = list(skeleton.torso), list(skeleton.neck)
    axis = joints[neck].mean(axis=0) - joints[torso].mean(axis=0)
    if not (scores[[*torso, *neck]].min() >= MIN_SCORE and np.hypot(*axis) >= MIN_LENGTH):
        return None
    return math.degrees(body_angle((joints if placed is None else placed)[None], skeleton)[0])


def _unequal(pictures: int | str, boxes: int | str) -> InputError:
    return InputError(
        f"boxes: expected one entry per picture, found {pictures} pictures and {boxes} entries"
    )


def _picture(image: ndarray | str | Path) -> UInt8[ndarray, "h w 3"]:
    """Return a picture as contiguous RGB, read from its file if a path is given."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    found = f"{image.dtype} {image.shape}" if isinstance(image, ndarray) else type(image).__name__
    right = isinstance(image, ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.size
    if not right or image.dtype != np.uint8:
        raise InputError(
            f"expected an RGB picture as a uint8 array (h, w, 3) or its path, found {found}"
        )
    return np.ascontiguousarray(image)
