"""Cases of scoring: the PCK curve of many people, and what chance does to its numbers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.bench.timing import Cases, Comparison
from uprightpose.curves import count_hits
from uprightpose.metrics import (
    area_under,
    column_scores,
    normalized_distances,
    squared_lengths,
)
from uprightpose.protocols import PROTOCOLS, limits
from uprightpose.skeletons import LSP
from uprightpose.statistics import paired_bootstrap
from uprightpose.tables import pck_table

PEOPLE = 100_000
DRAWS = 1000
LIMITS = limits(0.2)

_LSP_TEST = PROTOCOLS["lsp"]
_JOINTS = len(LSP.joints)


def score_people(threads: int, people: int = PEOPLE) -> Comparison:  # noqa: ARG001
    """PCK curve and AUC from distances."""
    random = np.random.default_rng(0)
    distances = np.abs(random.normal(0, 0.15, (people, _JOINTS)))
    return _curve_case("score-people", f"{people} people", distances)


def score_missing(threads: int, people: int = PEOPLE) -> Comparison:  # noqa: ARG001
    """The same where one joint in 100 has no truth and one no prediction."""
    random = np.random.default_rng(0)
    distances = np.abs(random.normal(0, 0.15, (people, _JOINTS)))
    distances[random.random(distances.shape) < 0.01] = np.nan
    distances[random.random(distances.shape) < 0.01] = np.inf
    return _curve_case("score-missing", f"{people} people, 2 % missing", distances)


def score_edges(threads: int, people: int = PEOPLE) -> Comparison:  # noqa: ARG001
    """The same where each distance is exactly at a limit or one float beside it."""
    edges = np.array(LIMITS)
    beside = [edges, np.nextafter(edges, 1), np.nextafter(edges, 0)]
    distances = np.random.default_rng(0).choice(np.concatenate(beside), (people, _JOINTS))
    return _curve_case("score-edges", f"{people} people, all distances at limits", distances)


def score_joints(threads: int, people: int = PEOPLE) -> Comparison:  # noqa: ARG001
    """A whole scoring pass, from joints in pixels to the row of the paper's table."""
    (one, _), truth = _two_models(people)

    def ours() -> Float[ndarray, " 2"]:
        scores = pck_table(one, truth, _LSP_TEST, "pc").scores
        return np.array([scores["Total"], scores["AUC"]])

    def loop() -> Float[ndarray, " 2"]:
        length = np.linalg.norm(truth[:, 9] - truth[:, 2], axis=1)
        pooled = []
        for limit in LIMITS:
            shares = []
            for joint in range(_JOINTS):
                distance = np.linalg.norm(one[:, joint] - truth[:, joint], axis=1) / length
                shares.append((distance <= limit).mean())
            pooled.append(100 * np.mean(shares))
        return np.array([pooled[-1], area_under(np.array(pooled))])

    def check(outputs: dict[str, Any]) -> str:
        worst = float(np.abs(outputs["uprightpose"] - outputs["NumPy loop"]).max())
        assert worst < 1e-9, f"scores differ by {worst:g}"
        return f"Total and AUC differ by at most {worst:.1g} points"

    return Comparison(
        name="score-joints",
        task=f"table row of {people} people x {_JOINTS} joints in pixels, AUC of 21 thresholds",
        ours="uprightpose",
        contenders={"uprightpose": ours, "NumPy loop": loop},
        check=check,
        bars={"NumPy loop": 30},
        moved=16.0 * 2 * people * _JOINTS,
    )


def bootstrap_100000(threads: int, people: int = PEOPLE) -> Comparison:  # noqa: ARG001
    """Paired draws of many people against one scoring pass of the same people."""
    return _bootstrap_case("bootstrap-100000", people)


def bootstrap_1000(threads: int, people: int = 1000) -> Comparison:  # noqa: ARG001
    """Paired draws of a test set's people against one scoring pass of the same people."""
    return _bootstrap_case("bootstrap-1000", people)


CASES: Cases = {
    "score-people": score_people,
    "score-missing": score_missing,
    "score-edges": score_edges,
    "score-joints": score_joints,
    "bootstrap-100000": bootstrap_100000,
    "bootstrap-1000": bootstrap_1000,
}


def _curve_case(name: str, people: str, distances: Float[ndarray, "n k"]) -> Comparison:
    contenders: dict[str, Callable[[], Any]] = {
        "uprightpose": partial(count_hits, distances, LIMITS, closed=True),
        "NumPy loop": partial(_loop, distances),
        "NumPy loop, mask each time": partial(_masked_loop, distances),
    }

    def curve(counts: tuple[Int[ndarray, "t k"], Int[ndarray, " k"]]) -> tuple[ndarray, ndarray]:
        curves = 100 * counts[0] / counts[1]
        return curves, area_under(curves.T)

    def check(outputs: dict[str, Any]) -> str:
        hits, counted = outputs["uprightpose"]
        for other in list(contenders)[1:]:
            wrong = int((hits != outputs[other][0]).sum() + (counted != outputs[other][1]).sum())
            assert not wrong, f"{wrong} of {hits.size + counted.size} counts differ from {other}"
        return f"all {hits.size} hits and {counted.size} counts are equal"

    return Comparison(
        name=name,
        task=f"PCK curve and AUC of {people} x {_JOINTS} joints x {len(LIMITS)} thresholds",
        ours="uprightpose",
        contenders={each: _then(work, curve) for each, work in contenders.items()},
        check=check,
        bars={"NumPy loop": 30},
        moved=8.0 * distances.size,
    )


def _then(work: Callable[[], Any], curve: Callable[[Any], Any]) -> Callable[[], Any]:
    def both() -> Any:
        counts = work()
        curve(counts)
        return counts

    return both


def _loop(distances: Float[ndarray, "n k"]) -> tuple[Int[ndarray, "t k"], Int[ndarray, " k"]]:
    """Count by the definition, NaN by NaN's own comparison."""
    hits = np.zeros((len(LIMITS), distances.shape[1]), dtype=np.int64)
    for row, limit in enumerate(LIMITS):
        for joint in range(distances.shape[1]):
            hits[row, joint] = (distances[:, joint] <= limit).sum()
    return hits, (~np.isnan(distances)).sum(axis=0)


def _masked_loop(
    distances: Float[ndarray, "n k"],
) -> tuple[Int[ndarray, "t k"], Int[ndarray, " k"]]:
    """Count as pose toolboxes do: pick what is counted, then compare."""
    hits = np.zeros((len(LIMITS), distances.shape[1]), dtype=np.int64)
    counted = np.zeros(distances.shape[1], dtype=np.int64)
    for row, limit in enumerate(LIMITS):
        for joint in range(distances.shape[1]):
            known = distances[~np.isnan(distances[:, joint]), joint]
            hits[row, joint], counted[joint] = (known <= limit).sum(), len(known)
    return hits, counted


def _bootstrap_case(name: str, people: int) -> Comparison:
    models, truth = _two_models(people)
    squared = squared_lengths(truth, LSP)
    distances = np.concatenate([normalized_distances(one, truth, squared) for one in models])
    statistic = column_scores(distances, _LSP_TEST.columns, closed=True)

    def check(outputs: dict[str, Any]) -> str:
        drawn = outputs["1000 paired draws"]
        once = [list(pck_table(one, truth, _LSP_TEST, "pc").scores.values()) for one in models]
        seen = np.array(once[0]) - np.array(once[1])
        off = float((np.abs(drawn.mean(axis=0) - seen) / drawn.std(axis=0)).max())
        assert off < 0.2, f"the draws' mean is {off:.2f} deviations off the difference"
        return f"mean of the draws within {off:.2f} of their deviation from the difference"

    return Comparison(
        name=name,
        task=f"{DRAWS} paired draws of {people} people, all columns, against one scoring pass",
        ours="1000 paired draws",
        contenders={
            "1000 paired draws": lambda: paired_bootstrap(statistic, people, draws=DRAWS),
            "one scoring pass": lambda: pck_table(models[0], truth, _LSP_TEST, "pc"),
        },
        check=check,
        bars={"one scoring pass": 1 / 20},
        operations=2.0 * DRAWS * people * (2 * (_JOINTS + 2) + 1),
    )


def _two_models(
    people: int,
) -> tuple[list[Float[ndarray, "n k 2"]], Float[ndarray, "n k 2"]]:
    random = np.random.default_rng(0)
    truth = random.uniform(0, 200, (people, _JOINTS, 2))
    return [truth + random.normal(0, noise, truth.shape) for noise in (15, 16)], truth
