"""Score maps of people at any turn of their picture: made once by a frozen detector, and kept.

A *picture* here is the square that a network sees of a person, ``angle`` how far it is turned
about its middle before the detector looks. Joints are pixels of the unturned square, so that
rows of one table share their truth, whatever was turned on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float16, Int, UInt8
from numpy import ndarray
from tqdm import tqdm

from uprightpose.angle_net import AngleNet, Hypotheses, hypotheses
from uprightpose.data.images import crop_turned, read_image
from uprightpose.data.loader import SampleStream
from uprightpose.data.sample import Sample
from uprightpose.data.writing import make_folder
from uprightpose.frames import (
    Crop,
    apply_affine,
    whole_image_box,
)
from uprightpose.model import PoseNet
from uprightpose.scout import average_down

BATCH = 16
"""People at a time."""


@runtime_checkable
class Pictures(Protocol):
    """People whose pictures can be looked at, turned by any angle."""

    def __len__(self) -> int:
        """Return the number of people."""

    def crops(
        self, places: Int[ndarray, " b"], angle: Float[ndarray, " b"]
    ) -> UInt8[ndarray, "b s s 3"]:
        """Return the squares of the people at these places, each turned by its angle."""


@dataclass(frozen=True, eq=False)
class TestPictures:
    """The test people; with ``turns`` those of the turned copy.

    What the turned picture's square does not show is not seen by looking at it again from
    another angle, either.

    Attributes:
        samples: with true joints.
        crop: how the network sees a person.
        turns: ``(n,)`` radians; ``None`` for the pictures as they are.
    """

    __test__ = False  # no test case of pytest's

    samples: Sequence[Sample]
    crop: Crop
    turns: Float[ndarray, " n"] | None = None

    def __len__(self) -> int:
        """Return the number of people."""
        return len(self.samples)

    def crops(
        self, places: Int[ndarray, " b"], angle: Float[ndarray, " b"]
    ) -> UInt8[ndarray, "b s s 3"]:
        """Read the pictures again and cut the squares out of them by one resampling."""
        size = self.crop.size
        found = np.empty((len(places), size, size, 3), np.uint8)
        for row, place in enumerate(places.tolist()):
            image = read_image(self.samples[place].image)
            matrix, turn = self._matrix(place, image.shape), float(angle[row])
            alone = self.turns is not None
            found[row] = crop_turned(image, matrix, size, turn, alone=alone)
        return found

    def joints(self) -> Float[ndarray, "n k 2"]:
        """Return the true joints in pixels of the unturned squares."""
        matrices = [
            self._matrix(place, read_image(sample.image).shape)
            for place, sample in enumerate(self.samples)
        ]
        pairs = zip(matrices, self.samples, strict=True)
        return np.stack([apply_affine(matrix, sample.joints) for matrix, sample in pairs])

    def _matrix(self, place: int, shape: tuple[int, ...]) -> Float[ndarray, "2 3"]:
        box = self.samples[place].box or whole_image_box((shape[0], shape[1]))
        turn = 0.0 if self.turns is None else float(self.turns[place])
        return self.crop.matrix(box, angle=turn)


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """Augmented people of a stream, each of its first ``count`` items as one person.

    Attributes:
        stream: of packed pictures.
        count: items.
    """

    stream: SampleStream
    count: int

    def __len__(self) -> int:
        """Return the number of items."""
        return self.count

    def crops(
        self, places: Int[ndarray, " b"], angle: Float[ndarray, " b"]
    ) -> UInt8[ndarray, "b s s 3"]:
        """Cut the squares out of the packed pictures by one resampling."""
        images = self.stream.batch(places.tolist(), angle).images
        crops: ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()
        return crops

    def labels(self) -> tuple[Float[ndarray, "n k 2"], UInt8[ndarray, "n k"]]:
        """Return the true joints in pixels of the unturned squares, and their states."""
        joints, state = self.stream.labels(range(self.count))
        return joints, state


def make_maps(
    detector: PoseNet | None,
    pictures: Pictures,
    angle: Float[ndarray, " n"],
    path: Path,
    places: Int[ndarray, " m"] | None = None,
    side: int | None = None,
) -> Float16[ndarray, "m c h w"]:
    """Return a detector's maps of joints and background; made if the file is not there.

    Args:
        detector: in evaluation mode; ``None`` if the file is there.
        pictures: of ``n`` people.
        angle: by which each picture is turned first.
        path: ``.npy`` file, written whole; afterwards mapped.
        places: whom to look at; everyone by default.
        side: pixels to which pictures are averaged down first; as they are by default.
    """
    if not path.is_file():
        assert detector is not None
        make_folder(path.parent)
        partial = path.with_suffix(".partial")
        chosen = np.arange(len(pictures)) if places is None else places
        maps: np.memmap[Any, Any] | None = None
        for start in tqdm(range(0, len(chosen), BATCH), desc=path.stem, mininterval=5.0):
            rows = chosen[start : start + BATCH]
            found = _detect(detector, pictures.crops(rows, angle[rows]), side)
            if maps is None:
                shape = (len(chosen), *found.shape[1:])
                maps = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
            maps[start : start + len(rows)] = found
        if maps is None:
            joints = len(detector.skeleton.joints)
            maps = np.lib.format.open_memmap(partial, "w+", np.float16, (0, joints + 1, 1, 1))
        maps.flush()
        partial.replace(path)
    kept: ndarray = np.load(path, mmap_mode="r")
    return kept


def make_hypotheses(net: AngleNet, pictures: Pictures, path: Path) -> Hypotheses:
    """Return the two likeliest body angles of everyone; made if the file is not there."""
    if not path.is_file():
        make_folder(path.parent)
        logits = []
        for start in tqdm(range(0, len(pictures), BATCH), desc=path.stem, mininterval=5.0):
            rows = np.arange(start, min(start + BATCH, len(pictures)))
            crops = pictures.crops(rows, np.zeros(len(rows)))
            with torch.inference_mode():
                logits.append(net(torch.from_numpy(crops).permute(0, 3, 1, 2).float()).numpy())
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.concatenate(logits))
        partial.replace(path)
    return hypotheses(torch.from_numpy(np.load(path)))


@torch.inference_mode()
def _detect(
    detector: PoseNet, crops: UInt8[ndarray, "b s s 3"], side: int | None
) -> Float16[ndarray, "b c h w"]:
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    images = images if side is None else average_down(images, side)
    images = images.contiguous(memory_format=torch.channels_last)
    framed = detector(images, "detector").detector
    return detector.image_maps(framed).numpy().astype(np.float16)
