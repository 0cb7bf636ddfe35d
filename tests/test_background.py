"""Work is done ahead, in order and bounded, and nothing is under way when its reader stops."""

import gc
import threading
import time
from collections.abc import Iterator

import pytest

from uprightpose.background import in_background


@pytest.fixture(autouse=True)
def collected() -> None:
    """Readers that other tests left are gone, and their threads with them."""
    gc.collect()


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("background")]


class Counted:
    """Counts what is read and what is done."""

    def __init__(self) -> None:
        self.read, self.done = 0, 0

    def items(self) -> Iterator[int]:
        for item in range(100):
            self.read += 1
            yield item

    def work(self, item: int) -> int:
        self.done += 1
        return item


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("ahead", [1, 9])
def test_in_order_whoever_is_first(threads, ahead):
    def slow(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return -item

    found = list(in_background(slow, range(20), threads=threads, ahead=ahead))
    assert found == [-item for item in range(20)]
    assert not running()


def test_no_further_ahead_than_asked():
    counted = Counted()
    reader = in_background(counted.work, counted.items(), threads=2, ahead=3)
    for place in range(10):
        assert next(reader) == place
        time.sleep(0.002)
        assert counted.read == place + 4
    reader.close()


def test_it_works_while_its_reader_is_busy():
    seen = threading.Event()
    reader = in_background(lambda item: seen.set() if item else None, [0, 1], threads=1, ahead=1)
    next(reader)
    assert seen.wait(5)
    reader.close()


def test_closing_drops_what_is_not_begun():
    counted, hold = Counted(), threading.Event()

    def work(item: int) -> int:
        if item:
            hold.wait(5)
        return counted.work(item)

    reader = in_background(work, range(50), threads=1, ahead=20)
    assert next(reader) == 0
    threading.Timer(0.05, hold.set).start()
    reader.close()
    assert counted.done <= 2  # the first, and the one that was being done
    assert not running()
    assert list(reader) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_errors_come_at_their_turn(error):
    def work(item: int) -> int:
        if item == 2:
            raise error("two")
        return item

    reader, seen = in_background(work, range(50), threads=3, ahead=6), []
    with pytest.raises(error, match="two"):
        seen.extend(reader)
    assert seen == [] or seen == [0, 1]
    assert not running()


def test_nothing_to_do():
    assert list(in_background(abs, [], threads=2, ahead=2)) == []
