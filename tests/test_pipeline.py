"""Steps overlap, results keep their order, and only some things are under way at a time."""

import threading
import time

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

    @pytest.mark.parametrize("ahead", [1, 4])
    def test_no_more_are_begun_than_asked_for(self, ahead):
        begun = []
        with Pipeline(2) as pipeline:
            results = pipeline.map(lambda n: n, (begun.append(n) or n for n in range(50)), ahead)
            for number, result in enumerate(results):
                assert result == number
                assert len(begun) <= number + ahead

    def test_no_items_no_results(self):
        with Pipeline(2) as pipeline:
            assert list(pipeline.map(abs, [], 3)) == []

    def test_an_error_comes_in_its_turn_and_ends_the_rest(self):
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
                seen.extend(pipeline.map(work, range(1000), 60))

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
            first = pipeline.map(lambda n: make(n, pipeline), range(30), 8)
            second = pipeline.map(lambda thing: thing, first, 8)
            assert sum(1 for _ in second) == 30
        assert alive.most <= 6  # with room they are 17
        assert pipeline.has_room()

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


def test_a_machine_has_memory():
    assert 1 << 28 < memory() < 1 << 50
