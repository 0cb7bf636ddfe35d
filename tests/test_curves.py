"""'correct if d <= 0.2 (closed); thresholds 0:0.01:0.2' (SPEC 3.1): counts are the definition's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprightpose import curves
from uprightpose.curves import count_hits, first_balls
from uprightpose.protocols import limits

LIMITS = {
    "lsp": limits(0.2),
    "mpii": limits(0.5),
    "two": (0.0, 0.3),
    "126": limits(1.25),
    "127": limits(1.26),
    "255": limits(2.54),
    "one": (0.2,),
    "uneven": (0.1, 0.11, 0.5),
    "not from 0": (0.1, 0.2, 0.3),
}


def distances_at(edges: tuple[float, ...], people: int = 700, joints: int = 5) -> np.ndarray:
    """Distances at limits, one float beside, between and beyond, and none."""
    at = np.array(edges)
    odd = [np.nan, np.inf, 1e9, 1e300, 5e-324, 3.0]
    kinds = [at, np.nextafter(at, 9), np.nextafter(at, 0), at + 1e-7, np.abs(at - 1e-7), odd]
    random = np.random.default_rng(0)
    return np.where(
        random.random((people, joints)) < 0.8,
        random.choice(np.concatenate(kinds), (people, joints)),
        random.uniform(0, 2 * at[-1], (people, joints)),
    )


def count_one_by_one(distances, edges, closed) -> np.ndarray:
    within = np.less_equal if closed else np.less
    return np.array([within(distances, edge).sum(axis=0) for edge in edges])


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("finite", [True, False])
def test_counts_are_those_of_the_definition(name, closed, finite):
    distances = distances_at(LIMITS[name])
    if finite:
        distances = np.where(np.abs(distances) < 9, distances, 0.2)
    kept = distances.copy()
    hits, counted = count_hits(distances, LIMITS[name], closed=closed)
    assert (hits == count_one_by_one(distances, LIMITS[name], closed)).all()
    assert (counted == (~np.isnan(distances)).sum(axis=0)).all()
    assert np.array_equal(distances, kept, equal_nan=True)


@given(
    step=st.floats(1e-3, 10),
    count=st.integers(2, 60),
    closed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_even_limits(step, count, closed, seed):
    edges = tuple(step * at for at in range(count))
    random = np.random.default_rng(seed)
    distances = random.choice(np.concatenate([edges, np.nextafter(edges, 99)]), (40, 3))
    hits, _ = count_hits(distances, edges, closed=closed)
    assert (hits == count_one_by_one(distances, edges, closed)).all()


def test_parts_add_up(monkeypatch):
    distances = distances_at(LIMITS["lsp"])
    whole = count_hits(distances, LIMITS["lsp"], closed=True)
    monkeypatch.setattr(curves, "_CHUNK", 64)
    parts = count_hits(distances, LIMITS["lsp"], closed=True)
    assert (whole[0] == parts[0]).all()
    assert (whole[1] == parts[1]).all()


def test_columns_in_another_order_of_memory_and_nobody():
    distances = np.asfortranarray(distances_at(LIMITS["lsp"]))
    hits, _ = count_hits(distances, LIMITS["lsp"], closed=True)
    assert (hits == count_one_by_one(distances, LIMITS["lsp"], True)).all()
    none, counted = count_hits(np.zeros((0, 3)), LIMITS["lsp"], closed=True)
    assert none.shape == (21, 3)
    assert counted.tolist() == [0, 0, 0]


def test_too_many_limits_are_refused():
    with pytest.raises(ValueError, match="1 to 255 limits, found 256"):
        first_balls(np.zeros((1, 1)), limits(2.55), closed=True)
