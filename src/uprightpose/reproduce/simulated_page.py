"""The page of the simulation: answers, every seed, contrasts, and the words written before it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from uprightpose.protocols import REFERENCES
from uprightpose.reproduce.arms import ARMS
from uprightpose.reproduce.hypotheses import Pictures, registered_sections
from uprightpose.reproduce.machine import describe_machine
from uprightpose.reproduce.page import interval_text, number_text
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.reproduce.simulated_angles import AngleError
from uprightpose.reproduce.simulated_results import DETECTOR, RULES, Answered, Tested
from uprightpose.reproduce.simulated_runs import Finished, Sizes
from uprightpose.tables import Difference

TITLE = "Simulated score maps: refinement with and without normalization"

SHOWN = ("Total", "Wrist", "Ankle", "AUC")
"""Columns whose contrasts the page shows; the JSON file has all."""

CAVEATS = (
    "Failures are drawn without regard to appearance and to how hard a pose is, so that absolute "
    "gains are optimistic; only contrasts count (SPEC 5.3).",
    "Noise and failures are drawn anew for every step, so that a tenth of the poses is less of a "
    "shortage than a tenth of the pictures would be.",
    "The oracle's center is the true one too, not only its angle.",
    "Limbs without normalization are refined on the body's canvas, with it on a smaller one of "
    "their own: the network is the same, the room about the limb is not.",
    "p exchanges two arms picture by picture: it is about these networks. Intervals are about "
    "other seeds and pictures, as far as a handful of seeds can tell.",
)


def simulation_report(
    finished: Mapping[str, Sequence[Finished]],
    tested: Mapping[Pictures, Tested],
    answers: Sequence[Answered],
    angles: Mapping[Pictures, Sequence[AngleError]],
    sizes: Sizes,
    draws: int,
) -> Report:
    """Lay out the run.

    Args:
        finished: title -> by seed.
        tested: all arms on each test set.
        answers: to all hypotheses.
        angles: errors of the angles on each test set.
        sizes: of the arms.
        draws: of the intervals.
    """
    sections = {"Answers": _answers(answers), **registered_sections()}
    for pictures, one in tested.items():
        sections[f"Rows, {pictures} pictures"] = _rows(one)
        sections[f"Total by true body angle, {pictures} pictures"] = _by_angle(one)
        sections[f"Contrasts, {pictures} pictures"] = _contrasts(one)
        sections[f"Contrasts of Total by true body angle, {pictures} pictures"] = _angle_contrasts(
            one
        )
        sections[f"Errors of the angles, {pictures} pictures"] = _angles(angles[pictures])
    sections["What was trained"] = _trainings(finished)
    return Report(
        title=TITLE,
        facts=_facts(finished, tested, sizes, draws),
        findings=tuple(map(_finding, answers)),
        sections=sections,
        caveats=CAVEATS,
        numbers=_numbers(finished, tested, answers, angles, sizes, draws),
    )


def _facts(
    finished: Mapping[str, Sequence[Finished]],
    tested: Mapping[Pictures, Tested],
    sizes: Sizes,
    draws: int,
) -> dict[str, str]:
    seeds = len(next(iter(finished.values())))
    people = len(next(iter(tested.values())).people.truth)
    seconds = sum(one.seconds for runs in finished.values() for one in runs)
    return {
        "test data": f"LSP, {people} people, natural and turned; maps are drawn",
        "labels": "observer-centric (oc)",
        "protocol": f"{RULES.name}, PCK and AUC in percent",
        "reference length": REFERENCES[RULES.norm],
        "threshold": RULES.radius,
        "networks": ", ".join(f"{key} {value}" for key, value in asdict(sizes).items())
        + "; chosen on training poses (reproduce/simulated_runs.py)",
        "seeds": ", ".join(map(str, range(seeds))),
        "intervals": f"95 %, {draws} draws" if draws else "off",
        "machine": "CPU {cpu}, {cores} cores, {threads} threads; GPU {gpu}; "
        "Python {python}, PyTorch {torch}".format(**describe_machine()),
        "training time": f"{seconds / 60:.1f} minutes",
    }


def _finding(one: Answered) -> str:
    """Say an answer in a sentence, the other test set's numbers behind it."""
    own = one.hypothesis.pictures
    sets = [own, *(pictures for pictures in one.found if pictures != own)]
    texts = [f"{pictures}: {_values(one, pictures)}" for pictures in sets]
    return f"{one.hypothesis.name} {one.answer}: {_difference_text(one)}; " + "; ".join(texts)


def _values(one: Answered, pictures: Pictures) -> str:
    parts = []
    for column in one.hypothesis.columns:
        found = one.found[pictures][column]
        parts.append(f"{column} {found.value:+.2f} {interval_text(found)}".rstrip())
    return ", ".join(parts)


def _difference_text(one: Answered) -> str:
    """Write a hypothesis's contrast."""
    gain, over = one.hypothesis.gain, one.hypothesis.over
    first = f"{gain.first} - {gain.second}"
    if over is None:
        return first
    parts = [first, f"{over.first} - {over.second}"]
    if gain.who != over.who:
        whose = (gain.who, over.who)
        parts = [f"{text} at {who} degrees" for text, who in zip(parts, whose, strict=True)]
    return f"({parts[0]}) - ({parts[1]})"


def _answers(answers: Sequence[Answered]) -> str:
    header = ["", "difference", "pictures", "column", "points", "95 %", "p, Holm", "answer"]
    lines = []
    for one in answers:
        for pictures, found in one.found.items():
            decides = pictures == one.hypothesis.pictures
            for column in one.hypothesis.columns:
                line = [one.hypothesis.name, _difference_text(one), pictures, column]
                line += _difference_cells(found[column])
                lines.append([*line, f"**{one.answer}**" if decides else "(decides nothing)"])
    return markdown_table(header, lines)


def _difference_cells(one: Difference) -> list[str]:
    return [f"{one.value:+.2f}", interval_text(one), number_text(one.p_holm, ".4f")]


def _rows(tested: Tested) -> str:
    columns = [column.title for column in RULES.columns]
    lines = []
    for title, seeds in tested.scores.items():
        shown = seeds[:1] if title == DETECTOR else seeds
        for seed, scores in enumerate(shown):
            name = "-" if title == DETECTOR else f"seed {seed}"
            lines.append([title, name, *(f"{scores[column]:.2f}" for column in columns)])
        if len(shown) > 1:
            means = [np.mean([one[column] for one in seeds]) for column in columns]
            lines.append([title, "**mean**", *(f"{mean:.2f}" for mean in means)])
    return markdown_table(["arm", "", *columns], lines)


def _by_angle(tested: Tested) -> str:
    header = ["arm", *(f"{who} ({count} people)" for who, count in tested.counts.items())]
    lines = [
        [title, *(f"{values[who]:.2f}" for who in tested.counts)]
        for title, values in tested.by_angle.items()
    ]
    return markdown_table(header, lines)


def _contrasts(tested: Tested) -> str:
    lines = []
    for pair, columns in tested.contrasts.items():
        for column in SHOWN:
            one = columns[column]
            line = [" - ".join(pair), column, f"{one.value:+.2f}", interval_text(one)]
            lines.append([*line, number_text(one.p, ".4f"), number_text(one.p_holm, ".4f")])
    return markdown_table(["first - second", "column", "points", "95 %", "p", "p, Holm"], lines)


def _angle_contrasts(tested: Tested) -> str:
    lines = [
        [
            " - ".join(pair),
            *(f"{one.value:+.2f} {interval_text(one)}".rstrip() for one in found.values()),
        ]
        for pair, found in tested.contrasts_by_angle.items()
    ]
    return markdown_table(["first - second", *tested.counts], lines)


def _angles(rows: Sequence[AngleError]) -> str:
    header = ["angle", "count", "median, degrees", "wrong by more than 30 degrees"]
    lines = [[one.title, str(one.count), f"{one.median:.1f}", f"{one.wrong:.1f} %"] for one in rows]
    return markdown_table(header, lines)


def _trainings(finished: Mapping[str, Sequence[Finished]]) -> str:
    lines = []
    for arm in ARMS:
        runs = finished[arm.title]
        seconds = np.mean([one.seconds for one in runs])
        count = f"{runs[0].parameters:,}".replace(",", " ")
        poses = f"{arm.share:.0%}"
        line = [arm.title, "2" if arm.limbs else "1", poses, "yes" if arm.turned else "no"]
        lines.append([*line, count, f"{seconds:.0f}"])
    header = ["arm", "stage", "training poses", "turns", "parameters", "seconds per seed"]
    return markdown_table(header, lines)


def _numbers(
    finished: Mapping[str, Sequence[Finished]],
    tested: Mapping[Pictures, Tested],
    answers: Sequence[Answered],
    angles: Mapping[Pictures, Sequence[AngleError]],
    sizes: Sizes,
    draws: int,
) -> dict[str, Any]:
    return {
        "sizes": asdict(sizes),
        "draws": draws,
        "answers": {
            one.hypothesis.name: {
                "claim": one.hypothesis.claim,
                "answer": one.answer,
                "pictures": one.hypothesis.pictures,
                "found": {
                    pictures: {name: _plain(found[name]) for name in one.hypothesis.columns}
                    for pictures, found in one.found.items()
                },
            }
            for one in answers
        },
        "results": {pictures: _tested_numbers(one) for pictures, one in tested.items()},
        "angle errors": {
            pictures: {one.title: {**asdict(one), "title": one.title} for one in rows}
            for pictures, rows in angles.items()
        },
        "seconds": {title: sum(one.seconds for one in runs) for title, runs in finished.items()},
    }


def _tested_numbers(tested: Tested) -> dict[str, Any]:
    return {
        "people by angle": tested.counts,
        "rows": {
            title: seeds[:1] if title == DETECTOR else seeds
            for title, seeds in tested.scores.items()
        },
        "Total by angle": tested.by_angle,
        "contrasts": [
            {
                "first": first,
                "second": second,
                "columns": {name: _plain(columns[name]) for name in SHOWN},
                "Total by angle": {
                    who: _plain(one)
                    for who, one in tested.contrasts_by_angle[first, second].items()
                },
            }
            for (first, second), columns in tested.contrasts.items()
        ],
    }


def _plain(one: Difference) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in one._asdict().items()}
