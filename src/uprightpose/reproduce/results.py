"""Finished rows -> the numbers of a table: each seed, their mean, and the contrasts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from uprightpose.error_types import Shares, error_types, overall_shares, type_shares
from uprightpose.metrics import angle_bins
from uprightpose.protocols import PROTOCOLS, Protocol
from uprightpose.reproduce.contrasts import ScoredPeople, contrast_rows, correct, only
from uprightpose.reproduce.paper import TABLES
from uprightpose.reproduce.rows import Outcome, Pictures
from uprightpose.reproduce.tables import Experiment
from uprightpose.tables import Difference, Table, pck_table

Scores = dict[str, float]
"""Column -> percent."""


@dataclass(frozen=True, eq=False)
class AngleRange:
    """The people of one range of body angles.

    Attributes:
        people: how many they are.
        rows: title -> their scores, the mean over seeds.
        contrasts: by the pair of titles, first minus second.
    """

    people: int
    rows: dict[str, Scores]
    contrasts: dict[tuple[str, str], dict[str, Difference]]


@dataclass(frozen=True, eq=False)
class Results:
    """One table on one set of test pictures by one protocol.

    Attributes:
        experiment: its rows and what is compared.
        pictures: natural or turned.
        protocol: how it is scored.
        joints: number of decisions per row and seed.
        rows: title -> scores by seed.
        contrasts: by the pair of titles, first minus second.
        errors: title -> the shares of each type of error by seed.
        angles: range of true body angles -> the people in it; ranges without people are left out.
    """

    experiment: Experiment
    pictures: Pictures
    protocol: Protocol
    joints: int
    rows: dict[str, dict[int, Scores]]
    contrasts: dict[tuple[str, str], dict[str, Difference]]
    errors: dict[str, dict[int, Shares]]
    angles: dict[str, AngleRange]

    def mean(self, title: str) -> Scores:
        """Return a row's mean over seeds."""
        return mean_scores(list(self.rows[title].values()))

    def mean_errors(self, title: str) -> Scores:
        """Return the percent of each type among all joints of a row, its mean over seeds."""
        return mean_scores([overall_shares(one) for one in self.errors[title].values()])


def score_rows(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    people: ScoredPeople,
    pictures: Pictures,
    protocol: str,
    draws: int,
) -> Results:
    """Score all rows on the same people.

    Args:
        experiment: the table.
        outcomes: title -> the row's outcomes, in the order of seeds, the same for all rows.
        people: whom they were tested on.
        pictures: which of the outcomes' joints to score.
        protocol: name.
        draws: of bootstrap and exchange; 0 for none.
    """
    rules = PROTOCOLS[protocol]
    tables = {
        title: {
            one.seed: _table(one.joints[pictures].predicted, people, rules, experiment)
            for one in seeds
        }
        for title, seeds in outcomes.items()
    }
    joints = {
        title: np.stack([one.joints[pictures].predicted for one in seeds])
        for title, seeds in outcomes.items()
    }
    found = [
        contrast_rows(joints[first], joints[second], people, rules, draws=draws)
        for first, second in experiment.contrasts
    ]
    return Results(
        experiment,
        pictures,
        rules,
        next(iter(next(iter(tables.values())).values())).joints,
        {
            title: {seed: dict(table.scores) for seed, table in seeds.items()}
            for title, seeds in tables.items()
        },
        dict(zip(experiment.contrasts, correct(found), strict=True)),
        {
            title: {one.seed: _errors(one, people, pictures, rules) for one in seeds}
            for title, seeds in outcomes.items()
        },
        {
            name: _angle_range(experiment, joints, people, chosen, rules, draws)
            for name, chosen in angle_bins(people.truth, rules.skeleton).items()
            if chosen.any()
        },
    )


def mean_scores(rows: Sequence[Scores]) -> Scores:
    """Return the mean of each column.

    Example:
        >>> mean_scores([{"Total": 60.0}, {"Total": 61.0}])
        {'Total': 60.5}
    """
    return {title: float(np.mean([row[title] for row in rows])) for title in rows[0]}


def paper_gain(experiment: Experiment, pair: tuple[str, str], column: str) -> float | None:
    """Return the paper's difference in a column; ``None`` where it prints none.

    Example:
        >>> from uprightpose.reproduce.tables import EXPERIMENTS
        >>> paper_gain(EXPERIMENTS["table1"], ("Global normalization", "FCN"), "Total")
        1.8
    """
    first, second = (TABLES[experiment.name].row(title).get(column) for title in pair)
    return None if first is None or second is None else round(first - second, 2)


def results_json(results: Results) -> dict[str, Any]:
    """Return all numbers of a table, not rounded, the paper's beside ours."""
    experiment = results.experiment
    return {
        "pictures": results.pictures,
        "protocol": results.protocol.name,
        "joints": results.joints,
        "rows": {
            title: {
                "seeds": {str(seed): _plain(scores) for seed, scores in seeds.items()},
                "mean": _plain(results.mean(title)),
                "paper": TABLES[experiment.name].row(title),
                "errors": {
                    str(seed): {name: _plain(columns) for name, columns in shares.items()}
                    for seed, shares in results.errors[title].items()
                },
            }
            for title, seeds in results.rows.items()
        },
        "contrasts": [
            {
                "first": pair[0],
                "second": pair[1],
                "columns": {
                    title: {**_plain(one._asdict()), "paper": paper_gain(experiment, pair, title)}
                    for title, one in columns.items()
                },
            }
            for pair, columns in results.contrasts.items()
        ],
        "angles": {
            name: {
                "people": one.people,
                "rows": {title: _plain(scores) for title, scores in one.rows.items()},
                "contrasts": [
                    {
                        "first": first,
                        "second": second,
                        "columns": {title: _plain(d._asdict()) for title, d in columns.items()},
                    }
                    for (first, second), columns in one.contrasts.items()
                ],
            }
            for name, one in results.angles.items()
        },
    }


def _angle_range(
    experiment: Experiment,
    joints: Mapping[str, Float[ndarray, "s n k 2"]],
    people: ScoredPeople,
    chosen: Bool[ndarray, " n"],
    rules: Protocol,
    draws: int,
) -> AngleRange:
    """Score the chosen people alone."""
    some = only(people, chosen)
    scores = {
        title: mean_scores([dict(_table(one, some, rules, experiment).scores) for one in seeds])
        for title, seeds in joints.items()
    }
    found = [
        contrast_rows(joints[first], joints[second], some, rules, draws=draws)
        for first, second in experiment.contrasts
    ]
    pairs = dict(zip(experiment.contrasts, correct(found), strict=True))
    return AngleRange(int(chosen.sum()), scores, pairs)


def _table(
    predicted: Float[ndarray, "n k 2"],
    people: ScoredPeople,
    rules: Protocol,
    experiment: Experiment,
) -> Table:
    lengths, images = people.lengths, people.images
    return pck_table(
        predicted, people.truth, rules, experiment.labels, lengths=lengths, images=images
    )


def _errors(outcome: Outcome, people: ScoredPeople, pictures: Pictures, rules: Protocol) -> Shares:
    predicted = outcome.joints[pictures].predicted
    return type_shares(error_types(predicted, people.truth, rules, people.lengths), rules)


def _plain(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}
