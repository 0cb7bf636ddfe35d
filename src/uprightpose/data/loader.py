"""Packed people -> batches: an endless, seekable stream, read ahead of the network.

The stream's item ``i`` depends on the seed and ``i`` alone: a run that is interrupted after
``n`` batches goes on with exactly the pictures that it would have seen.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from uprightpose.background import in_background
from uprightpose.data.augment import (
    VALUES,
    Augmentation,
    Draws,
    augmented_matrices,
    cover,
    covered_pixels,
    draw_augmentations,
    exchange_sides,
    move_joints,
    no_augmentations,
    turned_further,
)
from uprightpose.data.images import MEAN_COLOR
from uprightpose.data.pack import Pack
from uprightpose.data.random_values import uniform_values
from uprightpose.data.warp import warp_on_cpu
from uprightpose.frames import Crop, sampling_grids, turn_matrices
from uprightpose.pose_types import nearest_type
from uprightpose.skeletons import Skeleton

TRIES = 20
"""Augmentations drawn at most until a pose is of the wanted type."""

AHEAD = 2
"""Batches that wait for the network at most, beside one per thread that is being made."""


class Batch(NamedTuple):
    """What a training step reads.

    Attributes:
        images: ``(b, 3, s, s)`` crops in RGB, 0 to 255, uint8, channels last in memory; with
            ``grids`` the packed pictures ``(b, 3, p, p)``, still to be cropped.
        joints: ``(b, k, 2)`` crop pixels; NaN where absent.
        state: ``(b, k)`` values of :class:`uprightpose.data.sample.State`.
        item: ``(b,)`` places of the people in the pack.
        grids: ``(b, 2, 3)`` what :func:`uprightpose.data.warp.warp_on_device` crops by.
        covers: ``(b, 3, 4)`` rectangles to cover then.
    """

    images: UInt8[Tensor, "b 3 s s"]
    joints: Float[Tensor, "b k 2"]
    state: UInt8[Tensor, "b k"]
    item: Int[Tensor, " b"]
    grids: Float[Tensor, "b 2 3"] | None = None
    covers: Int[Tensor, "b 3 4"] | None = None


class SampleStream(Dataset[Batch]):
    """Augmented samples without end: item ``i`` is a function of ``seed`` and ``i``.

    Every block of ``n`` items is one permutation of the ``n`` packed samples. Several threads
    may read it at once.

    Args:
        pack: pictures and joints.
        skeleton: of the joints.
        crop: what a network sees of a packed picture.
        augmentation: ``None`` leaves pictures upright.
        seed: of order and augmentation.
        items: places of the people to draw from; all by default.
        upright: ``(n,)`` radians that turn each packed person upright: what is drawn turns from
            there.
        centers: draw each picture's augmentation again until the pose is of its turn's type:
            the baselines' "extra augmentation" (SPEC 1.14).
        warp: crop the pictures; without, a batch holds packed pictures and how to crop them.
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
        upright: Float[ndarray, " n"] | None = None,
        centers: Float[ndarray, "t k 2"] | None = None,
        warp: bool = True,
    ) -> None:
        """Augment ``pack`` into crops."""
        self.pack, self.skeleton, self.crop = pack, skeleton, crop
        self.augmentation, self.seed = augmentation, seed
        self.items = np.arange(len(pack.joints)) if items is None else items
        self.upright, self.centers, self.warp = upright, centers, warp
        self._last: tuple[int, Int[ndarray, " m"]] = (-1, np.arange(0))

    def __getitem__(self, index: int) -> Batch:
        """Return item ``index`` as a :class:`Batch` without batch dimension."""
        return Batch(*(None if part is None else part[0] for part in self.batch([index])))  # type: ignore[arg-type]

    def batch(self, indices: Sequence[int], further: Float[ndarray, " b"] | None = None) -> Batch:
        """Return the items ``indices``, drawn, moved and cropped together.

        Args:
            indices: of the stream.
            further: radians by which each crop is turned further about its middle.
        """
        places = np.asarray(indices, dtype=np.int64)
        items = self._people(places)
        draws, matrices, joints = self._drawn(places, items)
        if further is not None:
            matrices = turn_matrices(matrices, further, self.crop.size)
            joints = move_joints(self.pack.joints[items], matrices, self.skeleton.mirror)
        state = exchange_sides(self.pack.state[items], draws.flip, self.skeleton.mirror)
        covers = covered_pixels(draws, self.crop.size)
        labels = (
            torch.from_numpy(joints).float(),
            torch.from_numpy(state),
            torch.from_numpy(items),
        )
        if self.warp:
            crops = warp_on_cpu(self.pack.pixels, items, matrices, self.crop.size)
            cover(crops, covers, MEAN_COLOR)
            return Batch(torch.from_numpy(crops).permute(0, 3, 1, 2), *labels)
        pictures = torch.from_numpy(self.pack.pixels[items]).permute(0, 3, 1, 2)
        grids = sampling_grids(matrices, pictures.shape[-1], self.crop.size)
        return Batch(pictures, *labels, torch.from_numpy(grids).float(), torch.from_numpy(covers))

    def labels(
        self, indices: Sequence[int]
    ) -> tuple[Float[ndarray, "b k 2"], UInt8[ndarray, "b k"]]:
        """Return joints in crop pixels and states of the items ``indices``, without pictures."""
        places = np.asarray(indices, dtype=np.int64)
        items = self._people(places)
        draws, _, joints = self._drawn(places, items)
        state = exchange_sides(self.pack.state[items], draws.flip, self.skeleton.mirror)
        return joints, state

    __getitems__ = batch
    """What a ``DataLoader`` asks for."""

    def _people(self, places: Int[ndarray, " b"]) -> Int[ndarray, " b"]:
        """Return who stands at these places of the stream."""
        epochs, within = np.divmod(places, len(self.items))
        people = np.empty_like(places)
        for epoch in sorted(set(epochs.tolist())):
            chosen = epochs == epoch
            people[chosen] = self._order(epoch)[within[chosen]]
        return people

    def _order(self, epoch: int) -> Int[ndarray, " m"]:
        """Return a block's permutation; the last one is kept, in one piece for other threads."""
        known, order = self._last
        if known != epoch:
            shuffle = np.random.default_rng((self.seed, 0, epoch))
            order = shuffle.permutation(self.items)
            self._last = epoch, order
        return order

    def _drawn(
        self, places: Int[ndarray, " b"], items: Int[ndarray, " b"]
    ) -> tuple[Draws, Float[ndarray, "b 2 3"], Float[ndarray, "b k 2"]]:
        """Return augmentations, their maps and the joints that they moved."""
        joints = self.pack.joints[items]
        values = np.zeros((len(places), VALUES))
        rows = np.arange(len(places))
        for turn in range(TRIES):
            if self.augmentation is None:
                draws = no_augmentations(len(places))
            else:
                start, key = turn * VALUES, (self.seed, 1)
                values[rows] = uniform_values(key, places[rows], start, start + VALUES)
                draws = draw_augmentations(self.augmentation, values)
            if self.upright is not None:
                draws = turned_further(draws, self.upright[items])
            matrices = augmented_matrices(self.pack.box, self.crop, draws)
            moved = move_joints(joints, matrices, self.skeleton.mirror)
            if self.centers is None or self.augmentation is None:
                break
            found = nearest_type(moved[rows], self.centers, skeleton=self.skeleton)
            rows = rows[found != places[rows] % len(self.centers)]
            if not len(rows):
                break
        return draws, matrices, moved


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
        self.own = batch_size // parts

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of stream indices."""
        for step in range(self.start, self.stop):
            first = step * self.batch_size + self.part * self.own
            yield list(range(first, first + self.own))

    def __len__(self) -> int:
        """Return the number of steps, skipped ones included, as Lightning counts them."""
        return self.stop


class Batches:
    """The batches of some steps, made ahead of the network, and the time that it waits for them.

    Args:
        stream: what to read.
        steps: which items make each batch.
        workers: processes that read; 0 reads in threads of this one.
        threads: that read if there are no workers.
    """

    def __init__(
        self, stream: SampleStream, steps: Steps, *, workers: int = 0, threads: int = 1
    ) -> None:
        """Read nothing yet."""
        self.stream, self.steps, self.workers, self.threads = stream, steps, workers, threads
        self.made, self.waited, self.seconds = 0, 0.0, 0.0
        self._reader: Generator[Batch, None, None] | None = None

    def __len__(self) -> int:
        """Return the number of steps, skipped ones included, as Lightning counts them."""
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches in order, whoever made them."""
        self.close()
        self._reader = self._read()
        return self._reader

    def close(self) -> None:
        """Stop reading ahead; nothing is under way afterwards."""
        if self._reader is not None:
            self._reader.close()

    @property
    def waiting(self) -> float:
        """Share of the time since reading began in which the network waited for data."""
        return self.waited / self.seconds if self.made else 0.0

    @property
    def speed(self) -> float:
        """People per second since reading began, in this process; 0 before."""
        return self.made * self.steps.own / self.seconds if self.made else 0.0

    def _read(self) -> Generator[Batch, None, None]:
        self.made, self.waited, began = 0, 0.0, time.perf_counter()
        with contextlib.closing(self._made_ahead()) as ready:
            while True:
                asked = time.perf_counter()
                batch = next(ready, None)
                now = time.perf_counter()
                self.waited, self.seconds = self.waited + now - asked, now - began
                if batch is None:
                    return
                self.made += 1
                try:
                    yield batch
                finally:  # at the last batch, too, which is followed by no other
                    self.seconds = time.perf_counter() - began

    def _made_ahead(self) -> Generator[Batch, None, None]:
        if not self.workers:
            ahead = AHEAD + self.threads - 1
            make = self.stream.batch
            return in_background(make, self.steps, threads=self.threads, ahead=ahead)
        loader = DataLoader(
            self.stream,
            batch_sampler=self.steps,
            collate_fn=_as_it_is,
            num_workers=self.workers,
        )
        return (batch for batch in loader)


def _as_it_is(batch: Any) -> Any:
    """Pass on what :meth:`SampleStream.batch` has put together already."""
    return batch
