"""Steps overlap, results keep their order, and only some things are under way at a time."""

import threading
import time
from concurrent.futures import CancelledError

import cv2
import numpy as np
import pytest
import torch

from uprightpose.pipeline import Pipeline, memory


class Counter:
    """Counts how many are between begin and end, over all threads."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def add(self, step):
        with self.lock:
            self.now += step
            self.most = max(self.most, self.now)


class TestMap:
    def test_results_keep_their_order_whatever_finishes_first(self):
        def late(number):
            time.sleep(0.02 * (number % 3 == 0))
            return -number

        with Pipeline(3) as pipeline:
            assert list(pipeline.map(late, range(20), 5)) == [-n for n in range(20)]

    def test_steps_of_one_task_run_side_by_side(self):
        """Each waits for the other: one after the other would never end."""
        meeting = threading.Barrier(2, timeout=20)

        def meet(number):
            if number in (1, 10):  # the second item of the first step, the first of the second
                meeting.wait()
            return 10 + number

        with Pipeline(2) as pipeline:
            first = pipeline.map(meet, range(2), 2)
            assert list(pipeline.map(meet, first, 2)) == [20, 21]

    @pytest.mark.parametrize("holds", [False, True])
    @pytest.mark.parametrize("ahead", [1, 4])
    def test_no_more_are_begun_than_asked_for(self, ahead, holds):
        begun = []
        with Pipeline(2) as pipeline:
            items = (begun.append(n) or n for n in range(50))
            results = pipeline.map(lambda n: n, items, ahead, holds=holds)
            for number, result in enumerate(results):
                assert result == number
                assert len(begun) <= number + ahead

    def test_no_items_no_results(self):
        with Pipeline(2) as pipeline:
            assert list(pipeline.map(abs, [], 3)) == []

    @pytest.mark.parametrize("holds", [False, True])
    def test_an_error_comes_in_its_turn_and_ends_the_rest(self, holds):
        done = []

        def work(number):
            if number == 3:
                raise KeyError(number)
            time.sleep(0.01)
            done.append(number)
            return number

        seen = []

        def run():
            with Pipeline(2) as pipeline:
                seen.extend(pipeline.map(work, range(1000), 60, holds=holds))

        with pytest.raises(KeyError):
            run()
        assert seen == [0, 1, 2]
        assert len(done) < 12
        assert not [t for t in threading.enumerate() if t.name.startswith("uprightpose")]


class TestRoom:
    def test_without_room_one_thing_at_a_time_goes_on(self):
        """Pictures that fill the room hold up the next ones, not themselves."""
        alive = Counter()

        class Thing:
            def __init__(self):
                alive.add(1)

            def __del__(self):
                alive.add(-1)

        def make(_, pipeline):
            thing = Thing()
            pipeline.hold(thing, 100)
            return thing

        with Pipeline(2, room=50) as pipeline:
            first = pipeline.map(lambda n: make(n, pipeline), range(30), 8, holds=True)
            second = pipeline.map(lambda thing: thing, first, 8)
            assert sum(1 for _ in second) == 30
        assert alive.most <= 6  # with room they are 17
        assert pipeline.has_room()

    @pytest.mark.parametrize("ahead", [3, 10, 40])
    @pytest.mark.parametrize("sizes", [[5], [1, 1, 1, 9], [9, 1], list(range(1, 10))], ids=str)
    def test_less_is_held_than_the_room_and_one_result_per_worker(self, sizes, ahead):
        """Counted in bytes, beside the pipeline, whatever their sizes, in all steps together."""
        workers, room, held = 3, 20, Counter()

        class Thing:
            def __init__(self, size):
                self.size = size
                held.add(size)

            def __del__(self):
                held.add(-self.size)

        def make(number):
            size = sizes[number * len(sizes) // 60]  # small ones first, then large ones, ...
            time.sleep(0.001 * (number % 2))
            thing = Thing(size)
            pipeline.hold(thing, size)
            return thing

        def keep(thing):
            time.sleep(0.003)
            return thing.size

        with Pipeline(workers, room=room) as pipeline:
            made = pipeline.map(make, range(60), ahead, holds=True)
            found = list(pipeline.map(keep, made, 20))
        assert found == [sizes[n * len(sizes) // 60] for n in range(60)]
        assert held.most < room + workers * max(sizes)
        assert held.now == pipeline.held == 0

    def test_room_that_is_left_is_used(self):
        """Reading goes on ahead while nobody asks: not just one item per worker."""
        begun = Counter()
        with Pipeline(2, room=100) as pipeline:
            results = pipeline.map(lambda _: begun.add(1), range(50), 9, holds=True)
            next(results)
            deadline = time.monotonic() + 20
            while begun.most < 9 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert begun.most == 9

    def test_who_keeps_all_gets_all(self):
        with Pipeline(2, room=10) as pipeline:

            def make(number):
                pipeline.hold(thing := np.full(8, number), 8)
                return thing

            kept = list(pipeline.map(make, range(40), 5, holds=True))
        assert [thing[0] for thing in kept] == list(range(40))
        assert pipeline.held == 320

    def test_after_its_end_nothing_waits_forever(self):
        with Pipeline(2, room=1) as pipeline:
            kept = []

            def make(number):
                pipeline.hold(thing := np.zeros(8), 8)
                return thing

            results = pipeline.map(make, range(9), 5, holds=True)
            kept.append(next(results))
        with pytest.raises((RuntimeError, CancelledError)):
            kept.extend(results)

    def test_what_the_garbage_collector_finds_while_counting_blocks_nothing(self):
        """It may run at any point, also in a thread that is counting just then."""
        pipeline = Pipeline(2, room=10)

        def count():
            pipeline.hold(thing := np.zeros(7), 10)
            with pipeline._lock:
                del thing

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        assert pipeline.held == 0

    def test_what_is_gone_leaves_its_room(self):
        pipeline = Pipeline(2, room=1000)
        thing = np.zeros(7)
        pipeline.hold(thing, 1000)
        assert not pipeline.has_room()
        del thing
        assert pipeline.has_room()


class TestShares:
    @pytest.mark.parametrize(
        ("cores", "items", "workers", "threads"),
        [(1, 0, 2, 1), (2, 0, 2, 1), (2, 1, 1, 2), (5, 3, 3, 1), (8, 0, 8, 1), (32, 0, 16, 2)],
    )
    def test_workers_share_the_cores(self, cores, items, workers, threads, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
        pipeline = Pipeline(items=items)
        assert (pipeline.workers, pipeline.threads) == (workers, threads)

    @pytest.mark.parametrize(("items", "share"), [(0, 0), (1, 1), (7, 3), (9, 3)])
    def test_few_items_are_shared_out(self, items, share):
        assert Pipeline(3, items=items).share == share

    def test_all_threads_are_given_back(self):
        before = torch.get_num_threads(), cv2.getNumThreads()
        with Pipeline(2, threads=1) as pipeline:
            inside = set(pipeline.map(lambda _: torch.get_num_threads(), range(8), 4))
            assert (inside, cv2.getNumThreads()) == ({1}, 1)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == before
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [before[0]]


class TestSeveralPipelines:
    """The first notes how many threads there were, the last brings that back."""

    @pytest.mark.parametrize("first_out", [0, 1])
    def test_interleaved_they_give_all_threads_back(self, first_out):
        before = torch.get_num_threads(), cv2.getNumThreads()
        cv2.setNumThreads(3)
        try:
            pipelines = [Pipeline(2, threads=1), Pipeline(2, threads=1)]
            for pipeline in pipelines:
                pipeline.__enter__()
            pipelines[first_out].__exit__(None, None, None)
            assert cv2.getNumThreads() == 1
            pipelines[1 - first_out].__exit__(None, None, None)
            assert cv2.getNumThreads() == 3
            assert torch.get_num_threads() == before[0]
        finally:
            cv2.setNumThreads(before[1])

    def test_an_error_within_gives_them_back(self):
        before = cv2.getNumThreads()

        def fail():
            with Pipeline(2, threads=1):
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert cv2.getNumThreads() == before


def test_a_machine_has_memory():
    assert 1 << 28 < memory() < 1 << 50
