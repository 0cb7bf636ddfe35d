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
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar, final

import cv2
import torch

from uprightpose.process_setting import ProcessSetting

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 16
"""More would hold more pictures than they gain; beyond, each works with several cores."""

ROOM = 256 << 20
"""Bytes of pictures in memory from which on no further one is begun to be read until some are
done. Those that are being read then, one per worker at most, come on top."""

_END: Any = object()


def _set_cores(numbers: tuple[int, int]) -> None:
    torch.set_num_threads(numbers[0])
    cv2.setNumThreads(numbers[1])


_CORES = ProcessSetting(lambda: (torch.get_num_threads(), cv2.getNumThreads()), _set_cores)


@final
class Pipeline:
    """Threads for all steps of a task, and the room that pictures on their way may take.

    Used in a ``with`` statement, whose end waits for what is being done and drops the rest.
    Within it OpenCV uses as many threads in this process as a worker has; when the last of
    several open pipelines ends, as many as before the first. Torch's number is each thread's
    own: the caller's stays, but a thread that somebody starts meanwhile begins with a worker's,
    and the last pipeline sets that of the thread that ends it to what the first one found.

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
        self._held, self._reading = 0, 0
        self._gone: deque[int] = deque()  # sizes, not yet subtracted
        self._unread: dict[Future[Any], tuple[Callable[[Any], Any], Any]] = {}  # in order
        self._lock = threading.RLock()
        self._open = ExitStack()
        self._pool = ThreadPoolExecutor(
            self.workers, "uprightpose", torch.set_num_threads, (self.threads,)
        )

    def __enter__(self) -> "Pipeline":
        """Give OpenCV its share of the cores."""
        self._open.enter_context(_CORES.kept())
        cv2.setNumThreads(self.threads)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop what has not begun, wait for the rest, and give all cores back."""
        with self._open:
            with self._lock:
                while self._unread:
                    self._unread.popitem()[0].cancel()
            self._pool.shutdown(cancel_futures=True)

    def map(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        ahead: int,
        *,
        holds: bool = False,
    ) -> Iterator[Result]:
        """Yield ``work(item)`` of each item in order; up to ``ahead`` are under way.

        ``items`` are asked for in the caller's thread, so that they may be another step's
        results. While what is held fills the room, only one is asked for at a time.

        Args:
            work: is done in one of the threads.
            items: of any number.
            ahead: items to ask for before the first result is.
            holds: whether ``work`` holds its results (:meth:`hold`). It is then begun only where
                there is room, by as many threads at a time as there are workers, so that less
                is held than the room and one result per worker, whatever their sizes. Only what
                is asked for is begun without room, for the caller may be who keeps the rest.

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
                if holds:
                    waiting.append(Future())
                    with self._lock:
                        self._unread[waiting[-1]] = (work, item)
                    self._begin()
                else:
                    waiting.append(self._pool.submit(work, item))
                del item  # nothing is kept here that a step is done with
            if not waiting:
                return
            if holds:
                self._begin(waiting[0])
            yield waiting.popleft().result()

    def _begin(self, needed: "Future[Any] | None" = None) -> None:
        """Begin what holds its results: what is needed in any case, else as room allows."""
        with self._lock:
            if needed in self._unread:
                self._submit(needed)
            while self._unread and self._reading < self.workers and self.has_room():
                self._submit(next(iter(self._unread)))

    def _submit(self, future: "Future[Any]") -> None:
        self._reading += 1
        self._pool.submit(self._read, future, *self._unread.pop(future))

    def _read(self, future: "Future[Any]", work: Callable[[Any], Any], item: Any) -> None:
        try:
            future.set_result(work(item))
        except BaseException as error:  # the caller's, in its turn
            future.set_exception(error)
        with self._lock:
            self._reading -= 1
        self._begin()

    def hold(self, thing: Any, size: int) -> None:
        """Count the bytes of a thing as long as it lives."""
        with self._lock:
            self._held += size
        # may be called at any point, also within the lock: so it takes none
        weakref.finalize(thing, self._gone.append, size)

    @property
    def held(self) -> int:
        """Bytes of the things that are held and alive."""
        with self._lock:
            while self._gone:
                self._held -= self._gone.popleft()
            return self._held

    def has_room(self) -> bool:
        """Say whether the things that are held leave room."""
        return self.held < self.room


def memory() -> int:
    """Return the bytes of this machine's memory, 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
