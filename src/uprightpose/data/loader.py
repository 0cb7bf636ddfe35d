"""Samples -> batches: a packed cache of small pictures, and an endless, seekable stream.

The stream's item ``i`` depends on the seed and ``i`` alone: a run that is interrupted after
``n`` batches goes on with exactly the pictures that it would have seen.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from uprightpose.data.augment import (
    Augmentation,
    Draw,
    augmented_matrix,
    cover,
    draw_augmentation,
    move_joints,
)
from uprightpose.data.images import MEAN_COLOR, crop_image, read_image
from uprightpose.data.sample import Sample
from uprightpose.data.writing import write_whole
from uprightpose.errors import InputError
from uprightpose.frames import Crop, Resize, apply_affine, whole_image_box
from uprightpose.pose_types import nearest_type
from uprightpose.skeletons import Skeleton

MARGIN = 1.5
"""Side of a packed picture over the side of the person's box: room to turn and shrink."""


TRIES = 20
"""Augmentations drawn at most until a pose is of the wanted type."""


class Batch(NamedTuple):
    """What a training step reads.

    Attributes:
        images: ``(b, 3, s, s)`` RGB, 0 to 255, uint8.
        joints: ``(b, k, 2)`` crop pixels; NaN where absent.
        state: ``(b, k)`` values of :class:`uprightpose.data.sample.State`.
        item: ``(b,)`` places of the people in the pack.
    """

    images: UInt8[Tensor, "b 3 s s"]
    joints: Float[Tensor, "b k 2"]
    state: UInt8[Tensor, "b k"]
    item: Int[Tensor, " b"]


@dataclass(frozen=True)
class Pack:
    """Pictures cut about their people, all of one size, in one memory-mapped array.

    Attributes:
        pixels: ``(n, p, p, 3)`` RGB.
        joints: ``(n, k, 2)`` packed pixels; NaN where absent.
        state: ``(n, k)``.
        box: the person's box in packed pixels, the same for all.
    """

    pixels: UInt8[ndarray, "n p p 3"]
    joints: Float[ndarray, "n k 2"]
    state: UInt8[ndarray, "n k"]
    box: tuple[float, float, float, float]


def pack_samples(
    samples: Sequence[Sample], size: int, cache: Path, resize: Resize = "letterbox"
) -> Pack:
    """Decode every picture once and keep the result in ``cache``; later calls only map it.

    Args:
        samples: of one skeleton.
        size: side in pixels that the person's box has in the pack; the pack's pictures are
            :data:`MARGIN` times larger.
        cache: folder for the pixels, one pair of files per set of samples and size.
        resize: whether boxes keep their proportions.

    Raises:
        InputError: if there are no samples, a picture is bad or the cache cannot be written.
    """
    if not samples:
        raise InputError("no samples to train on: name at least one dataset folder")
    path = cache / f"{_fingerprint(samples, size, resize)}.npy"
    matrices = path.with_suffix(".matrices.npy")
    if not (path.exists() and matrices.exists()):
        _write_pack(samples, size, path, matrices, resize)
    pixels = np.load(path, mmap_mode="r")
    maps = np.load(matrices)
    joints = np.stack(
        [apply_affine(m, sample.joints) for m, sample in zip(maps, samples, strict=True)]
    )
    state = np.stack([sample.state for sample in samples])
    edge = (pixels.shape[1] - size) / 2
    return Pack(pixels, joints, state, (edge, edge, float(size), float(size)))


def _write_pack(
    samples: Sequence[Sample], size: int, path: Path, matrices: Path, resize: Resize
) -> None:
    """Write the pixels through a temporary file, so that a broken run leaves nothing behind."""
    side = 2 * round(size * MARGIN / 2)
    maps = np.empty((len(samples), 2, 3))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(samples), side, side, 3)
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for i, sample in enumerate(tqdm(samples, desc="packing pictures", unit="img")):
            image = read_image(sample.image)
            box = sample.box or whole_image_box((image.shape[0], image.shape[1]))
            maps[i] = Crop(side, size, resize).matrix(box)
            pixels[i] = crop_image(image, maps[i], side)
        pixels.flush()
        content = io.BytesIO()
        np.save(content, maps)
        write_whole(matrices, content.getvalue())  # another process may be reading it
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path.parent}: the cache cannot be written ({error})") from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder to remove it from
            partial.unlink(missing_ok=True)


def _fingerprint(samples: Sequence[Sample], size: int, resize: Resize) -> str:
    """Return a name that changes with the pictures, their boxes or the size.

    A picture file counts by its path and length: LSP's two variants share their names.
    """
    stretched = "" if resize == "letterbox" else f"|{resize}"
    digest = hashlib.sha256(f"{size}|{MARGIN}{stretched}".encode())
    for sample in samples:
        length = sample.image.stat().st_size if sample.image.is_file() else -1
        digest.update(f"{sample.image}|{length}|{sample.box}".encode())
    return f"{samples[0].source}-{size}-{digest.hexdigest()[:12]}"


class SampleStream(Dataset[Batch]):
    """Augmented samples without end: item ``i`` is a function of ``seed`` and ``i``.

    Every block of ``n`` items is one permutation of the ``n`` packed samples.

    Args:
        pack: pictures and joints.
        skeleton: of the joints.
        crop: what a network sees of a packed picture.
        augmentation: ``None`` leaves pictures upright.
        seed: of order and augmentation.
        items: places of the people to draw from; all by default.
        centers: draw each picture's augmentation again until the pose is of its turn's type:
            the baselines' "extra augmentation" (SPEC 1.14).
    """

    def __init__(
        self,
        pack: Pack,
        skeleton: Skeleton,
        crop: Crop,
        augmentation: Augmentation | None,
        seed: int = 0,
        *,
        items: Int[ndarray, " m"] | None = None,
        centers: Float[ndarray, "t k 2"] | None = None,
    ) -> None:
        """Augment ``pack`` into crops."""
        self.pack, self.skeleton, self.crop = pack, skeleton, crop
        self.augmentation, self.seed = augmentation, seed
        self.items = np.arange(len(pack.joints)) if items is None else items
        self.centers = centers
        self._epoch, self._order = -1, np.arange(0)

    def __getitem__(self, index: int) -> Batch:
        """Return item ``index`` as a :class:`Batch` without batch dimension."""
        epoch, place = divmod(index, len(self.items))
        if epoch != self._epoch:
            shuffle = np.random.default_rng((self.seed, 0, epoch))
            self._epoch, self._order = epoch, shuffle.permutation(self.items)
        item = int(self._order[place])
        draw, matrix, joints = self._drawn(index, self.pack.joints[item])
        image = crop_image(self.pack.pixels[item], matrix, self.crop.size)
        cover(image, draw, MEAN_COLOR)
        state = self.pack.state[item]
        state = state[list(self.skeleton.mirror)] if draw.flip else state
        return Batch(
            torch.from_numpy(image).permute(2, 0, 1),
            torch.from_numpy(joints).float(),
            torch.from_numpy(state.copy()),
            torch.tensor(item),
        )

    def _drawn(
        self, index: int, joints: Float[ndarray, "k 2"]
    ) -> tuple[Draw, Float[ndarray, "2 3"], Float[ndarray, "k 2"]]:
        """Return an augmentation, its map and the joints that it moved."""
        random = np.random.default_rng((self.seed, 1, index))
        for _ in range(1 if self.centers is None else TRIES):
            draw = Draw()
            if self.augmentation is not None:
                draw = draw_augmentation(self.augmentation, random)
            matrix = augmented_matrix(self.pack.box, self.crop, draw)
            moved = move_joints(joints, matrix, self.skeleton.mirror)
            if self.centers is None:
                break
            found = nearest_type(moved[None], self.centers, skeleton=self.skeleton)[0]
            if found == index % len(self.centers):
                break
        return draw, matrix, moved


class Steps(Sampler[list[int]]):
    """Batches of consecutive indices of a stream, of ``stop`` steps those from ``start`` on.

    Args:
        start: first step; the batches before are not read.
        stop: number of steps.
        batch_size: people per step, over all processes.
        part: which of ``parts`` equal, consecutive parts of each batch this process reads.
        parts: number of processes.
    """

    def __init__(
        self, start: int, stop: int, batch_size: int, part: int = 0, parts: int = 1
    ) -> None:
        """Skip the batches before ``start``; none of them is read."""
        self.start, self.stop, self.batch_size = start, stop, batch_size
        self.part, self.parts = part, parts

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of stream indices."""
        own = self.batch_size // self.parts
        for step in range(self.start, self.stop):
            first = step * self.batch_size + self.part * own
            yield list(range(first, first + own))

    def __len__(self) -> int:
        """Return the number of steps, skipped ones included, as Lightning counts them."""
        return self.stop


def collate(items: list[Batch]) -> Batch:
    """Stack items into one batch."""
    return Batch(*(torch.stack(parts) for parts in zip(*items, strict=True)))
