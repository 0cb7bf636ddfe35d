"""Work done ahead in threads: in order, bounded in memory, and over when its reader stops."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_background(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for each item, in order, done in threads while the reader is busy.

    It pays where the work lets go of the interpreter: OpenCV's and torch's functions, large
    numpy ones, files. What the work raises is raised at its item's turn. Closing the iterator,
    or leaving it by an error or Ctrl-C, waits for what is being done and drops the rest.

    Args:
        work: may be called from several threads at once.
        items: read no further than ``ahead`` of the reader.
        threads: at most so many at a time, at least 1.
        ahead: results that wait at most, at least 1: what bounds memory.

    Example:
        >>> list(in_background(abs, [-3, 2, -1], threads=2, ahead=2))
        [3, 2, 1]
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="background")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
