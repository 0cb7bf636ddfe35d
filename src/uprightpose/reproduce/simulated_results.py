"""Finished arms of the simulation -> scores, contrasts, and the answers to H1-H6."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from tqdm import tqdm

from uprightpose.metrics import angle_bins
from uprightpose.protocols import PROTOCOLS, Protocol
from uprightpose.reproduce.contrasts import (
    ScoredPeople,
    contrast_gains,
    contrast_rows,
    correct,
    only,
)
from uprightpose.reproduce.hypotheses import (
    HYPOTHESES,
    Answer,
    Gain,
    Hypothesis,
    Pictures,
    Who,
    answer,
)
from uprightpose.reproduce.simulated_people import Batch, Poses
from uprightpose.reproduce.simulated_runs import Finished
from uprightpose.score_maps import decode
from uprightpose.skeletons import LSP
from uprightpose.tables import Difference, pck_table

RULES = PROTOCOLS["lsp"]
_TOTAL = replace(RULES, columns=tuple(one for one in RULES.columns if one.title == "Total"))

DETECTOR = "drawn maps"
"""Title of the row without refinement."""

CONTRASTS = (
    ("body", "raw"),
    ("raw", "random angle"),
    ("oracle body", "body"),
    ("limb", "no limb normalization"),
    ("body, 1/10 poses", "raw, 1/10 poses"),
    ("body, no turns", "raw, no turns"),
    ("body", "center only"),
    ("center only", "raw"),
    ("limb", "body"),
    ("oracle limb", "limb"),
    ("limb", "another limb's angle"),
    ("raw", DETECTOR),
    ("body", DETECTOR),
)
"""Plain contrasts of the page; the first ones are those that hypotheses name."""

Differences = dict[str, Difference]


@dataclass(frozen=True, eq=False)
class Tested:
    """All arms on one test set.

    Attributes:
        pictures: which.
        people: truth in cells; each person is a picture.
        rows: title -> ``(s, n, k, 2)`` joints by seed.
        scores: title -> a table's columns by seed.
        by_angle: title -> the mean Total over seeds by range of the true body angle.
        counts: people of each range.
        contrasts: plain ones, by pair of titles.
        contrasts_by_angle: the same for each range, Total.
    """

    pictures: Pictures
    people: ScoredPeople
    rows: dict[str, Float[ndarray, "s n k 2"]]
    scores: dict[str, list[dict[str, float]]]
    by_angle: dict[str, dict[str, float]]
    counts: dict[str, int]
    contrasts: dict[tuple[str, str], Differences]
    contrasts_by_angle: dict[tuple[str, str], dict[str, Difference]]


@dataclass(frozen=True, eq=False)
class Answered:
    """A hypothesis and what the run says.

    Attributes:
        hypothesis: as registered.
        answer: by the deciding columns on the deciding pictures.
        found: all columns on each test set.
    """

    hypothesis: Hypothesis
    answer: Answer
    found: dict[Pictures, Differences]


def score_arms(
    finished: Mapping[str, Sequence[Finished]], pictures: Pictures, batch: Batch, draws: int
) -> Tested:
    """Score all arms on a test set.

    Args:
        finished: title -> by seed, the same seeds for all.
        pictures: which of their joints.
        batch: the test set.
        draws: of bootstrap and exchange; 0 for none.
    """
    count = len(batch.joints)
    people = ScoredPeople(batch.joints, np.full(count, np.nan), np.arange(count))
    rows = {
        title: np.stack([one.joints[pictures] for one in seeds])
        for title, seeds in finished.items()
    }
    seeds = len(next(iter(rows.values())))
    rows[DETECTOR] = np.stack([detected(batch)] * seeds)
    bins = angle_bins(batch.joints, LSP)
    parts = {who: only(people, chosen) for who, chosen in bins.items() if chosen.any()}
    pairs = [pair for pair in CONTRASTS if set(pair) <= set(rows)]
    plain: list[Differences] = []
    by_angle: list[Differences] = []
    for pair in tqdm(pairs, desc=f"contrasts, {pictures} pictures", disable=None):
        plain.append(_contrast(rows, pair, people, draws))
        each = {who: _contrast(rows, pair, one, draws, _TOTAL) for who, one in parts.items()}
        by_angle.append({who: found["Total"] for who, found in each.items()})
    return Tested(
        pictures,
        people,
        rows,
        {title: [_scores(one, people) for one in row] for title, row in rows.items()},
        {
            title: {
                who: float(np.mean([_scores(one, part)["Total"] for one in row]))
                for who, part in parts.items()
            }
            for title, row in rows.items()
        },
        {who: int(bins[who].sum()) for who in parts},
        dict(zip(pairs, correct(plain), strict=True)),
        dict(zip(pairs, by_angle, strict=True)),
    )


def detected(batch: Batch) -> Poses:
    """Return the joints as read from the drawn maps, in cells."""
    joints: Poses = decode(batch.simulated.maps[:, : len(LSP.joints)]).joints.double().numpy()
    return joints


def answer_hypotheses(tested: Mapping[Pictures, Tested], draws: int) -> list[Answered]:
    """Return the answers, computed from the contrasts by the registered rule."""
    answers = []
    for one in HYPOTHESES:
        found = {pictures: _found(one, arms, draws) for pictures, arms in tested.items()}
        deciding = [found[one.pictures][column] for column in one.columns]
        answers.append(Answered(one, answer(deciding), found))
    return answers


def _found(hypothesis: Hypothesis, tested: Tested, draws: int) -> Differences:
    """Return the hypothesis's difference in all columns on one test set."""
    first, over = hypothesis.gain, hypothesis.over
    if over is None and first.who == "all":
        return tested.contrasts[first.first, first.second]
    if over is None:
        return _contrast(tested.rows, (first.first, first.second), _on(first, tested), draws)
    gains = [
        (tested.rows[one.first], tested.rows[one.second], _on(one, tested)) for one in (first, over)
    ]
    return contrast_gains(gains[0], gains[1], RULES, draws=draws)


def _on(gain: Gain, tested: Tested) -> ScoredPeople:
    return only(tested.people, whose(tested.people.truth, gain.who))


def whose(truth: Poses, who: Who) -> Bool[ndarray, " n"]:
    """Return whom a gain is about."""
    upright = angle_bins(truth, LSP)["0-30"]
    match who:
        case "all":
            return np.ones(len(truth), dtype=bool)
        case "0-30":
            return upright
        case "30-180":
            return ~upright


def _contrast(
    rows: Mapping[str, Float[ndarray, "s n k 2"]],
    pair: tuple[str, str],
    people: ScoredPeople,
    draws: int,
    rules: Protocol = RULES,
) -> Differences:
    return contrast_rows(rows[pair[0]], rows[pair[1]], people, rules, draws=draws)


def _scores(joints: Poses, people: ScoredPeople) -> dict[str, float]:
    return dict(pck_table(joints, people.truth, RULES, "oc").scores)
