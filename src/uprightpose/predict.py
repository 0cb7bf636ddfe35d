"""Predict: a picture -> the joints of its people, in the picture's own pixels.

The way of one person: box -> square crop (letter-boxed) -> score maps -> cells -> crop pixels
-> picture pixels. Each arrow has its inverse in :mod:`uprightpose.frames`.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.boxes import Box
from uprightpose.data.images import crop_image, read_image
from uprightpose.data.lsp import square_about
from uprightpose.data.person import Person
from uprightpose.errors import InputError
from uprightpose.frames import (
    Crop,
    apply_affine,
    invert_affine,
    map_to_image,
    whole_image_box,
)
from uprightpose.metrics import body_angle
from uprightpose.model import STAGES, PoseNet, decode_stage
from uprightpose.normalize import MIN_LENGTH, MIN_SCORE
from uprightpose.score_maps import Decoded
from uprightpose.skeletons import Skeleton
from uprightpose.weights import load_weights

SHIPPED = {"compact": Path(__file__).parent / "shipped" / "compact.safetensors"}
"""Weights in the package, by name."""

BATCH = 16
"""People per pass through the network; bounds memory, not the number of people."""

LONGEST_SIDE = 1e5
"""Pixels: longer boxes are no people, and their crops no longer have numbers."""


def load(
    weights: str | Path = "compact",
    device: str | torch.device | None = "auto",
    *,
    skeleton: Skeleton | None = None,
) -> "Predictor":
    """Load a network that is ready to predict.

    Args:
        weights: ``"compact"``, which comes with the package, or the path of a file written
            by training.
        device: e.g. ``"cpu"`` or ``"cuda:1"``; ``"auto"`` or ``None`` takes a GPU if there is.
        skeleton: refuse weights of another skeleton than this.

    Raises:
        InputError: if the weights are missing, damaged or of another skeleton, or there is no
            such device.
    """
    chosen = choose_device(device)
    model, settings = load_weights(weights_file(weights), skeleton)
    try:
        return Predictor(model, settings.crop, chosen)
    except (RuntimeError, AssertionError) as error:  # no CUDA here, or no such card
        raise InputError(f"cannot use device {device}: {str(error).splitlines()[0]}") from error


def weights_file(weights: str | Path) -> Path:
    """Return the file of shipped weights by their name, or the given path.

    Raises:
        InputError: if there is no such file.
    """
    path = SHIPPED.get(weights) if isinstance(weights, str) else None
    path = path or Path(weights)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(
            f"expected weights called {' or '.join(SHIPPED)}, or a .safetensors file, "
            f"found {found} at {path}"
        )
    return path


class Predictor:
    """A network with all that leads from pictures to it and back.

    Args:
        model: chain of detector, body and limb refinement; later stages may be absent.
        crop: how it was trained to see a person, or just the side of its square crops in pixels.
        device: where it runs.

    Attributes:
        model: the network, in evaluation mode, on the device.
        skeleton: whose joints it finds.
        stages: the names of the stages it has, in order.
    """

    def __init__(
        self, model: PoseNet, crop: Crop | int, device: torch.device | Literal["cpu"] = "cpu"
    ) -> None:
        """Move the network to the device."""
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.crop = Crop(crop) if isinstance(crop, int) else crop
        self.skeleton = model.skeleton
        has = (True, model.body is not None, model.limbs is not None)
        self.stages = tuple(stage for stage, there in zip(STAGES, has, strict=True) if there)

    def predict(
        self, image: ndarray | str | Path, boxes: Sequence[Any] | ndarray | None = None
    ) -> list[Person]:
        """Return the people of a picture with the joints of the last stage.

        Args:
            image: RGB, uint8 ``(h, w, 3)``, or the path of a picture file, which is read as
                the viewer sees it (EXIF orientation applied).
            boxes: ``(x, y, w, h)`` of each person, in edge coordinates of the picture as the
                viewer sees it, tight about the person as COCO's; they may reach beyond the
                picture. By default the whole picture is one person.

        Returns:
            One person per box, in their order.

        Raises:
            InputError: if the picture cannot be read, is no RGB uint8 array, or a box is not
                finite, has no area or lies entirely outside.
        """
        return self._predict(image, boxes, self.stages[-1:])[self.stages[-1]]

    def predict_stages(
        self, image: ndarray | str | Path, boxes: Sequence[Any] | ndarray | None = None
    ) -> dict[str, list[Person]]:
        """Return the people as each stage sees them: ``{"detector": [...], "body": ...}``.

        Args:
            image: as in :meth:`predict`.
            boxes: as there.

        Raises:
            InputError: as there.
        """
        return self._predict(image, boxes, self.stages)

    def _predict(
        self,
        image: ndarray | str | Path,
        boxes: Sequence[Any] | ndarray | None,
        stages: Sequence[str],
    ) -> dict[str, list[Person]]:
        picture = _picture(image)
        size = (picture.shape[0], picture.shape[1])
        if boxes is None:
            people = [whole_image_box(size)]
            views = people
        else:
            people = check_boxes(boxes, size)
            views = [view_box(box) for box in people]
        if not people:
            return {stage: [] for stage in stages}
        matrices = [self.crop.matrix(view) for view in views]
        crops = np.stack([crop_image(picture, matrix, self.crop.size) for matrix in matrices])
        return {
            stage: [
                self._person(joints, scores, box, matrix)
                for joints, scores, box, matrix in zip(
                    found.joints.double().numpy(),
                    found.scores.double().numpy(),
                    people,
                    matrices,
                    strict=True,
                )
            ]
            for stage, found in self._decode_all(crops, stages).items()
        }

    def _decode_all(
        self, crops: UInt8[ndarray, "n s s 3"], stages: Sequence[str]
    ) -> dict[str, Decoded]:
        """Return each stage's joints ``(n, k, 2)`` in cells, and scores, on the CPU."""
        found = [
            self._decode(crops[start : start + BATCH], stages)
            for start in range(0, len(crops), BATCH)
        ]
        return {
            stage: Decoded(
                torch.cat([one[stage].joints for one in found]),
                torch.cat([one[stage].scores for one in found]),
            )
            for stage in stages
        }

    @torch.inference_mode()
    def _decode(
        self, crops: UInt8[ndarray, "n s s 3"], stages: Sequence[str]
    ) -> dict[str, Decoded]:
        images = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float()
        outputs = self.model(images, last=stages[-1])
        found = {}
        for stage in stages:
            decoded = decode_stage(outputs, stage)
            assert decoded is not None, stage  # self.stages names what is there
            found[stage] = Decoded(decoded.joints.cpu(), decoded.scores.cpu())
        return found

    def _person(
        self,
        cells: Float[ndarray, "k 2"],
        scores: Float[ndarray, " k"],
        box: Box,
        matrix: Float[ndarray, "2 3"],
    ) -> Person:
        pixels = map_to_image(cells, self.model.stride)
        return Person(
            joints=apply_affine(invert_affine(matrix), pixels),
            scores=scores,
            box=box,
            score=float(scores.mean()),
            body_angle=angle_in_degrees(cells, scores, self.skeleton),
        )


def check_boxes(boxes: Sequence[Any] | ndarray, size: tuple[int, int]) -> list[Box]:
    """Return given boxes as tuples of four numbers.

    Args:
        boxes: ``(x, y, w, h)`` each, in edge coordinates.
        size: ``(h, w)`` of the picture.

    Raises:
        InputError: naming the first box that is none, is not finite, has no area, is longer
            than :data:`LONGEST_SIDE`, or lies entirely outside the picture.

    Example:
        >>> check_boxes([(10, -5, 20, 30)], (100, 100))
        [(10.0, -5.0, 20.0, 30.0)]
    """
    return [_box(box, size, f"box {number} of {len(boxes)}") for number, box in enumerate(boxes, 1)]


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
    joints: Float[ndarray, "k 2"], scores: Float[ndarray, " k"], skeleton: Skeleton
) -> float | None:
    """Return the body angle, see :class:`~uprightpose.data.person.Person`.

    Args:
        joints: cells.
        scores: of the same joints.
        skeleton: names torso and neck.

    Returns:
        Degrees, or ``None`` where body normalization finds no angle either (SPEC 1.8).
    """
    torso, neck = list(skeleton.torso), list(skeleton.neck)
    axis = joints[neck].mean(axis=0) - joints[torso].mean(axis=0)
    if not (scores[[*torso, *neck]].min() >= MIN_SCORE and np.hypot(*axis) >= MIN_LENGTH):
        return None
    return math.degrees(body_angle(joints[None], skeleton)[0])


def _box(box: Any, size: tuple[int, int], name: str) -> Box:
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


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return a device by name; ``"auto"`` or ``None`` takes a GPU if there is one.

    Raises:
        InputError: if there is no device of this name.
    """
    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(f"expected a device such as cpu or cuda, found {device}") from error
