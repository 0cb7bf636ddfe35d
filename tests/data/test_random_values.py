"""Many seeds at once give the numbers that numpy's own generators give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprightpose.data.random_values import WORD, uniform_values


def expected(key, indices, start, stop) -> np.ndarray:
    return np.stack([np.random.default_rng((*key, int(i))).random(stop)[start:] for i in indices])


@given(
    key=st.lists(st.integers(0, 2**70), max_size=5),
    indices=st.lists(st.integers(0, WORD), min_size=1, max_size=4),
    start=st.integers(0, 30),
    count=st.integers(1, 25),
)
def test_they_are_numpys(key, indices, start, count):
    """'The per-item random values stay the same numbers', whatever the words of the seed."""
    found = uniform_values(key, np.array(indices), start, start + count)
    assert np.array_equal(found, expected(key, indices, start, start + count))


@pytest.mark.parametrize("index", [0, 1, WORD, WORD + 1, 2**40 + 3])
def test_indices_of_one_word_and_of_two(index):
    indices = np.array([index, 5, 2])
    assert np.array_equal(uniform_values((3, 1), indices, 0, 20), expected((3, 1), indices, 0, 20))


def test_no_index_gives_no_row():
    assert uniform_values((3, 1), np.arange(0), 2, 9).shape == (0, 7)


def test_values_below_one():
    values = uniform_values((0,), np.arange(5000), 0, 3)
    assert 0 <= values.min() < 0.001
    assert 0.999 < values.max() < 1
