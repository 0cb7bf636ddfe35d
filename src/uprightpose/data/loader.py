"""Samples -> batches: a packed cache of small pictures, and an endless, seekable stream.

The stream's item ``i`` depends on the seed and ``i`` alone: a run that is interrupted after
``n`` batches goes on with exactly the pictures that it would have seen.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
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
from uprightpose.errors import InputError
from uprightpose.frames import apply_affine, crop_matrix, whole_image_box

MARGIN = 1.5
"""Side of a packed picture over the side of the person's box: room to turn and shrink."""


class Batch(NamedTuple):
    """What a training step reads.

    Attributes:
        images: ``(b, 3, s, s)`` RGB, 0 to 255, uint8.
        joints: ``(b, k, 2)`` crop pixels; NaN where absent.
        state: ``(b, k)`` values of :class:`uprightpose.data.sample.State`.
    """

    images: UInt8[Tensor, "b 3 s s"]
    joints: Float[Tensor, "b k 2"]
    state: UInt8[Tensor, "b k"]


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


def pack_samples(samples: Sequence[Sample], size: int, cache: Path) -> Pack:
    """Decode every picture once and keep the result in ``cache``; later calls only map it.

    Args:
        samples: of one skeleton.
        size: side in pixels that the person's box has in the pack; the pack's pictures are
            :data:`MARGIN` times larger.
        cache: folder for the pixels, one pair of files per set of samples and size.

    Raises:
        InputError: if there are no samples, a picture is bad or the cache cannot be written.
    """
    if not samples:
        raise InputError("no samples to train on: name at least one dataset folder")
    path = cache / f"{_fingerprint(samples, size)}.npy"
    matrices = path.with_suffix(".matrices.npy")
    if not (path.exists() and matrices.exists()):
        _write_pack(samples, size, path, matrices)
    pixels = np.load(path, mmap_mode="r")
    maps = np.load(matrices)
    joints = np.stack(
        [apply_affine(m, sample.joints) for m, sample in zip(maps, samples, strict=True)]
    )
    state = np.stack([sample.state for sample in samples])
    edge = (pixels.shape[1] - size) / 2
    return Pack(pixels, joints, state, (edge, edge, float(size), float(size)))


def _write_pack(samples: Sequence[Sample], size: int, path: Path, matrices: Path) -> None:
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
            maps[i] = crop_matrix(box, side, scale=size / side)
            pixels[i] = crop_image(image, maps[i], side)
        pixels.flush()
        np.save(matrices, maps)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path.parent}: the cache cannot be written ({error})") from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder to remove it from
            partial.unlink(missing_ok=True)


def _fingerprint(samples: Sequence[Sample], size: int) -> str:
    """Return a name that changes with the pictures, their boxes or the size.

    A picture file counts by its path and length: LSP's two variants share their names.
    """
    digest = hashlib.sha256(f"{size}|{MARGIN}".encode())
    for sample in samples:
        length = sample.image.stat().st_size if sample.image.is_file() else -1
        digest.update(f"{sample.image}|{length}|{sample.box}".encode())
    return f"{samples[0].source}-{size}-{digest.hexdigest()[:12]}"


class SampleStream(Dataset[Batch]):
    """Augmented samples without end: item ``i`` is a function of ``seed`` and ``i``.

    Every block of ``n`` items is one permutation of the ``n`` packed samples.
    """

    def __init__(
        self,
        pack: Pack,
        mirror: Sequence[int],
        size: int,
        augmentation: Augmentation | None,
        seed: int = 0,
    ) -> None:
        """Augment ``pack`` into crops of ``size`` pixels; ``None`` leaves pictures upright."""
        self.pack, self.mirror, self.size = pack, tuple(mirror), size
        self.augmentation, self.seed = augmentation, seed
        self._epoch, self._order = -1, np.arange(0)

    def __getitem__(self, index: int) -> Batch:
        """Return item ``index`` as a :class:`Batch` without batch dimension."""
        epoch, place = divmod(index, len(self.pack.joints))
        if epoch != self._epoch:
            shuffle = np.random.default_rng((self.seed, 0, epoch))
            self._epoch, self._order = epoch, shuffle.permutation(len(self.pack.joints))
        item = int(self._order[place])
        draw = Draw()
        if self.augmentation is not None:
            random = np.random.default_rng((self.seed, 1, index))
            draw = draw_augmentation(self.augmentation, random)
        matrix = augmented_matrix(self.pack.box, self.size, draw)
        image = crop_image(self.pack.pixels[item], matrix, self.size)
        cover(image, draw, MEAN_COLOR)
        joints = move_joints(self.pack.joints[item], matrix, self.mirror)
        state = self.pack.state[item]
        state = state[list(self.mirror)] if draw.flip else state
        return Batch(
            torch.from_numpy(image).permute(2, 0, 1),
            torch.from_numpy(joints).float(),
            torch.from_numpy(state.copy()),
        )


class Steps(Sampler[list[int]]):
    """Batches of consecutive indices of a stream, of ``stop`` steps those from ``start`` on."""

    def __init__(self, start: int, stop: int, batch_size: int) -> None:
        """Skip the batches before ``start``; none of them is read."""
        self.start, self.stop, self.batch_size = start, stop, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of stream indices."""
        for step in range(self.start, self.stop):
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))

    def __len__(self) -> int:
        """Return the number of steps, skipped ones included, as Lightning counts them."""
        return self.stop


def collate(items: list[Batch]) -> Batch:
    """Stack items into one batch."""
    return Batch(*(torch.stack(parts) for parts in zip(*items, strict=True)))
