"""Steps that overlap: threads share the work of all steps, results keep their order.

Reading, the network and writing all leave Python's lock while they work, so threads are enough.
All steps share one set of threads, one per core, and on the CPU each works with a single core:
two batches side by side are faster than one batch on two cores, nothing waits spinning for a
thread that another step keeps from its core, and a core that has nothing to compute reads or
writes. Measured, not guessed: see :mod:`uprightpose.bench.prediction`.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar, final

import cv2
import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 16
"""More would hold more pictures than they gain; beyond, each works with several cores."""

ROOM = 256 << 20
"""Bytes of pictures in memory beyond which no further one is read until some are done."""

_END: Any = object()


@final
class Pipeline:
    """Threads for all steps of a task, and the room that pictures on their way may take.

    Used in a ``with`` statement, whose end waits for what is being done and drops the rest.
    Within it OpenCV uses as many threads in this process as a worker has.

    Args:
        workers: threads; by default one per core that torch may use, at least two, so that
            one computes while another waits for a disk, and at most :data:`MOST_WORKERS`.
        threads: cores that each works with; by default all are shared out.
        items: how many there will be, if known: no more workers than that.
        room: bytes, see :data:`ROOM`.

    Attributes:
        workers: threads.
        threads: cores that each works with.
        share: items of one worker, if known, or 0.

    Example:
        >>> with Pipeline(workers=2) as pipeline:
        ...     list(pipeline.map(abs, pipeline.map(int, ["1", "-2", "3"], 2), 2))
        [1, 2, 3]
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        threads: int | None = None,
        items: int = 0,
        room: int = ROOM,
    ) -> None:
        """Decide how many threads; they start with the first work."""
        cores = torch.get_num_threads()
        most = workers or min(max(cores, 2), MOST_WORKERS)
        self.workers = min(most, items) if items else most
        self.threads = threads or max(1, cores // self.workers)
        self.share = -(-items // self.workers)
        self.room = room
        self._held, self._lock = 0, threading.Lock()
        self._before = (cores, cv2.getNumThreads())
        self._pool = ThreadPoolExecutor(
            self.workers, "uprightpose", torch.set_num_threads, (self.threads,)
        )

    def __enter__(self) -> "Pipeline":
        """Give OpenCV its share of the cores."""
        cv2.setNumThreads(self.threads)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop what has not begun, wait for the rest, and give all cores back."""
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before[0])  # later threads start with what the last one set
        cv2.setNumThreads(self._before[1])

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
    ) -> Iterator[Result]:
        """Yield ``work(item)`` of each item in order; up to ``ahead`` are under way.

        ``items`` are asked for in the caller's thread, so that they may be another step's
        results. While pictures on their way fill the room, only one is asked for at a time.

        Args:
            work: is done in one of the threads.
            items: of any number.
            ahead: results to begin before the first is asked for.

        Raises:
            Exception: what ``work`` raises, in its turn.
        """
        source = iter(items)
        waiting: deque[Future[Result]] = deque()
        while True:
            while len(waiting) < ahead and (not waiting or self.has_room()):
                item = next(source, _END)
                if item is _END:
                    break
                waiting.append(self._pool.submit(work, item))
                del item  # nothing is kept here that a step is done with
            if not waiting:
                return
            yield waiting.popleft().result()

    def hold(self, thing: Any, size: int) -> None:
        """Count the bytes of a thing as long as it lives."""
        self._count(size)
        weakref.finalize(thing, self._count, -size)

    def has_room(self) -> bool:
        """Say whether the things that are held leave room."""
        return self._held < self.room

    def _count(self, size: int) -> None:
        with self._lock:
            self._held += size


def memory() -> int:
    """Return the bytes of this machine's memory, 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
