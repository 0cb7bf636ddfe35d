"""A setting of the whole process that several change at a time, and that comes back for sure."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar, final

Value = TypeVar("Value")


@final
class ProcessSetting(Generic[Value]):
    """A setting that is noted by the first who is about to change it and restored by the last.

    If each restored what it found, the first to begin and the last to end would leave what
    another had set, for good: threads overlap, and so do generators in one thread.

    Args:
        get: returns the setting.
        restore: brings back what ``get`` returned.

    Example:
        >>> volume = [3]
        >>> setting = ProcessSetting(volume.copy, lambda before: volume.__setitem__(0, before[0]))
        >>> with setting.kept():
        ...     volume[0] = 0
        >>> volume
        [3]
    """

    def __init__(self, get: Callable[[], Value], restore: Callable[[Value], object]) -> None:
        """Nothing is noted yet."""
        self._get, self._restore = get, restore
        self._holders, self._before = 0, list[Value]()
        # again in one thread, where the garbage collector closes a generator that holds this
        self._lock = threading.RLock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Change the setting within as you like; it comes back when nobody is within any more."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._before = [self._get()]
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._restore(self._before.pop())
