"""A setting of the process comes back, in whatever order those who change it begin and end."""

import itertools
import threading

import pytest

from uprightpose.process_setting import ProcessSetting


def setting_of(box):
    return ProcessSetting(lambda: box[0], lambda value: box.__setitem__(0, value))


@pytest.mark.parametrize("ends", list(itertools.permutations(range(3))))
def test_the_last_to_end_brings_it_back(ends):
    box = ["loud"]
    setting = setting_of(box)
    within = [setting.kept() for _ in ends]
    for each in within:
        each.__enter__()
        box[0] = "silent"
    for end in ends:
        assert box == ["silent"]
        within[end].__exit__(None, None, None)
    assert box == ["loud"]


def test_each_time_anew():
    box = [1]
    setting = setting_of(box)
    for value in (1, 2):
        box[0] = value
        with setting.kept():
            box[0] = 0
        assert box == [value]


def test_many_threads():
    box = [7]
    setting = setting_of(box)
    seen = set()

    def work():
        for _ in range(300):
            with setting.kept():
                box[0] = 0
                seen.add(box[0])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box == [7]
    assert seen == {0}
