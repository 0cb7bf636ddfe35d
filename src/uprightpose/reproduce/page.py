"""The page of a reproduced table: our numbers beside the paper's, and what they rest on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from uprightpose.error_types import TYPES
from uprightpose.metrics import ANGLE_BINS
from uprightpose.protocols import REFERENCES
from uprightpose.reproduce.paper import TABLES
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.reproduce.results import Results, paper_gain, results_json
from uprightpose.reproduce.rows import Outcome
from uprightpose.reproduce.scales import Scale
from uprightpose.reproduce.tables import Experiment, Place
from uprightpose.tables import Difference

SHOWN = ("Total", "Mean", "AUC")
"""Columns whose contrasts the page shows; the JSON file has all."""

SIDES = {"pc": "person-centric (pc)", "oc": "observer-centric (oc)"}

SMALL_CAVEAT = (
    "Small scale: a ResNet-18 trunk, small kernels and pictures, minutes of training. Absolute "
    "numbers are not comparable with the paper's; only contrasts between rows are."
)
STEPS_CAVEAT = "The paper does not print its numbers of steps; ours are in the table of rows."
SEEDS_CAVEAT = (
    "Intervals redraw pictures, and seeds where there are several. p exchanges two rows picture "
    "by picture: it is about these networks. Between seeds of one row the total can move by 0.2 "
    "to 0.9 (SPEC 5.3), so that one seed supports no claim of 0.3."
)
FITTED_CAVEAT = (
    "Refinement learns on score maps of pictures that its detector was fitted to, not on "
    "out-of-fold maps (SPEC 1.16)."
)

FOLDS_CAVEAT = (
    "Refinement learns on out-of-fold score maps (SPEC 1.16), made by {folds} more detectors, of "
    "as many steps as the row's own, that have not seen these people. The seconds of the first "
    "refinement that needed them hold their training."
)


def table_report(
    experiment: Experiment,
    scale: Scale,
    place: Place,
    outcomes: Mapping[str, Sequence[Outcome]],
    results: Sequence[Results],
    draws: int,
) -> Report:
    """Lay out a table.

    Args:
        experiment: the table.
        scale: at which it was made.
        place: with which options.
        outcomes: title -> the row's outcomes by seed.
        results: the paper's protocol on natural pictures first.
        draws: of the intervals.
    """
    paper = TABLES[experiment.name]
    sections: dict[str, str] = {}
    for one in results:
        title = f"{one.pictures} pictures, protocol {one.protocol.name}"
        first = one is results[0]
        sections[f"Rows, {title}"] = _rows(one, beside_paper=first)
        sections[f"Contrasts, {title}"] = _contrasts(one, beside_paper=first)
    printed = [one for one in results if one.protocol == results[0].protocol]
    sections["By true body angle"] = _angles(printed)
    sections["Error types"] = _errors(printed)
    sections["What was trained"] = _trainings(experiment, outcomes)
    if others := [row for row in paper.rows if not row.ours]:
        lines = [[row.title, *map(_printed, row.cells)] for row in others]
        text = markdown_table(["", *paper.columns], lines)
        sections["Other methods, as the paper prints them"] = text
    number = experiment.name.removeprefix("table")
    return Report(
        title=f"Table {number} at {scale.name} scale: {paper.caption}",
        facts=_facts(experiment, scale, place, outcomes, results[0], draws),
        findings=tuple(_finding(results[0], pair) for pair in experiment.contrasts),
        sections=sections,
        caveats=_caveats(experiment, scale, place),
        numbers=_numbers(experiment, scale, place, outcomes, results),
    )


def _facts(
    experiment: Experiment,
    scale: Scale,
    place: Place,
    outcomes: Mapping[str, Sequence[Outcome]],
    results: Results,
    draws: int,
) -> dict[str, str]:
    rules, everyone = results.protocol, [one for row in outcomes.values() for one in row]
    machine = everyone[0].facts["machine"]
    seeds = ", ".join(str(seed) for seed in next(iter(results.rows.values())))
    return {
        "training data": ", ".join(experiment.datasets),
        "test data": f"{experiment.test}, {len(everyone[0].joints['natural'].truth)} people",
        "labels": SIDES[experiment.labels],
        "protocol": f"{rules.name}: {rules.about}",
        "reference length": REFERENCES[rules.norm],
        "threshold": rules.radius,
        "count": f"{results.joints} joints in every row",
        "scale": f"{scale.name}, all steps times {place.times:g}",
        "recipes": "; ".join(_recipes(experiment, scale)) + " (reproduce/scales.py)",
        "seeds": seeds,
        "intervals": f"95 %, {draws} draws" if draws else "off",
        "machine": "CPU {cpu}, {cores} cores, {threads} threads; GPU {gpu}; "
        "Python {python}, PyTorch {torch}".format(**machine),
        "training time": f"{_all_seconds(everyone) / 60:.1f} minutes on this machine, "
        "what rows share counted once",
    }


def _recipes(experiment: Experiment, scale: Scale) -> list[str]:
    """Return the keys of all rows, of their detectors' and of refinement."""
    kinds = dict.fromkeys(row.training.detector for row in experiment.rows)
    groups = {"all": scale.common, **{kind: scale.detectors[kind] for kind in kinds}}
    groups |= {"refinement": scale.refinement}
    return [
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in keys.items())
        for name, keys in groups.items()
        if keys
    ]


def _all_seconds(outcomes: Sequence[Outcome]) -> float:
    """Return the seconds of all stages that some row has, each counted once."""
    known: dict[str, float] = {}
    for one in outcomes:
        known |= dict(zip(one.facts["runs"], one.facts["seconds"].values(), strict=True))
    return sum(known.values())


def _rows(results: Results, *, beside_paper: bool) -> str:
    """Return a line per seed, their mean, and the paper's line under each row."""
    table, lines = TABLES[results.experiment.name], []
    columns = [column.title for column in results.protocol.columns]
    for title, seeds in results.rows.items():
        for seed, scores in seeds.items():
            lines.append([title, f"seed {seed}", *map(_cell, scores.values())])
        if len(seeds) > 1:
            lines.append([title, "mean", *map(_cell, results.mean(title).values())])
        if beside_paper:
            printed = table.row(title)
            lines.append([title, "**paper**", *(_printed(printed.get(name)) for name in columns)])
    return markdown_table(["row", "", *columns], lines)


def _contrasts(results: Results, *, beside_paper: bool) -> str:
    header = ["first - second", "column", "ours", "95 %", "p", "p, Holm"]
    lines = []
    for pair, columns in results.contrasts.items():
        for name in (name for name in SHOWN if name in columns):
            one = columns[name]
            line = [" - ".join(pair), name, f"{one.value:+.2f}", interval_text(one)]
            line += [number_text(one.p, ".4f"), number_text(one.p_holm, ".4f")]
            gain = paper_gain(results.experiment, pair, name)
            lines.append(line + ([number_text(gain, "+.1f")] if beside_paper else []))
    return markdown_table(header + (["paper"] if beside_paper else []), lines)


def _angles(results: Sequence[Results]) -> str:
    """Return the total of each row, and of each contrast, in every range of body angles."""
    names = [f"{low}-{high}" for low, high in ANGLE_BINS]
    rows = [
        [title, one.pictures]
        + [
            _cell(one.angles[name].rows[title]["Total"] if name in one.angles else None)
            for name in names
        ]
        for one in results
        for title in one.rows
    ]
    pairs = [
        [" - ".join(pair), one.pictures]
        + [
            _gain(one.angles[name].contrasts[pair]["Total"]) if name in one.angles else "-"
            for name in names
        ]
        for one in results
        for pair in one.contrasts
    ]
    counts = "; ".join(
        f"{one.pictures} pictures: "
        + ", ".join(f"{group.people} of {name}" for name, group in one.angles.items())
        for one in results
    )
    return (
        f"Totals, by degrees of the true body angle (people of {counts}); then differences with "
        "their intervals, an asterisk where p after Holm, within the range, is below 0.05.\n\n"
        f"{markdown_table(['row', 'pictures', *names], rows)}\n\n"
        f"{markdown_table(['first - second', 'pictures', *names], pairs)}"
    )


def _gain(one: Difference) -> str:
    return f"{one.value:+.2f} {interval_text(one)}".rstrip() + "*" * (one.p_holm < 0.05)


def _errors(results: Sequence[Results]) -> str:
    """Return the types of error of each row, before and after refinement, of every picture set."""
    lines = [
        [title, one.pictures, *map(_cell, one.mean_errors(title).values())]
        for one in results
        for title in one.rows
    ]
    note = (
        "Percent of all joints, the mean over seeds; by group in the JSON file. Good: within the "
        "radius; inversion: within that of the mirror twin; swap: of another joint of the same "
        "person; jitter: within twice the radius; miss: none of these (`error_types.py`)."
    )
    return f"{markdown_table(['row', 'pictures', *TYPES], lines)}\n\n{note}"


def _trainings(experiment: Experiment, outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """Return a line per row and seed, and what the paper prints of its sizes."""
    header = ["row", "seed", "parameters", "steps", "pictures", "seconds", "weights"]
    lines = []
    for title, seeds in outcomes.items():
        for one in seeds:
            facts = one.facts
            steps, seconds = (_by_stage(facts[key]) for key in ("steps", "seconds"))
            count = f"{facts['parameters']:,}".replace(",", " ")
            line = [title, str(one.seed), count, steps, str(facts["pictures"]), seconds]
            lines.append([*line, f"`{facts['weights']}`"])
    note = "Steps and seconds by stage; a stage that rows share was trained once."
    printed = [row for row in TABLES[experiment.name].rows if row.parameters]
    if printed:
        sizes = ", ".join(f"{row.title} {row.parameters}" for row in printed)
        note += f" Parameters as the paper prints them: {sizes}."
    return f"{markdown_table(header, lines)}\n\n{note}"


def _finding(results: Results, pair: tuple[str, str]) -> str:
    """Say one contrast in a sentence."""
    one, gain = results.contrasts[pair]["Total"], paper_gain(results.experiment, pair, "Total")
    text = f"{' - '.join(pair)}: Total {one.value:+.2f} {interval_text(one)}".rstrip()
    p = "" if math.isnan(one.p_holm) else f", p {one.p_holm:.4f} after Holm"
    return text + p + ("" if gain is None else f"; paper {gain:+.1f}")


def _caveats(experiment: Experiment, scale: Scale, place: Place) -> tuple[str, ...]:
    refined = any(len(row.training.steps) > 1 for row in experiment.rows)
    notes = [SMALL_CAVEAT] if scale.name == "small" else []
    notes += [f"All steps are {place.times:g} times the scale's."] if place.times != 1 else []
    notes += [STEPS_CAVEAT, SEEDS_CAVEAT]
    if refined:
        notes.append(FOLDS_CAVEAT.format(folds=scale.folds) if scale.folds else FITTED_CAVEAT)
    return (*notes, *(f"The paper's table: {note}" for note in TABLES[experiment.name].notes))


def _numbers(
    experiment: Experiment,
    scale: Scale,
    place: Place,
    outcomes: Mapping[str, Sequence[Outcome]],
    results: Sequence[Results],
) -> dict[str, Any]:
    return {
        "scale": scale.name,
        "times": place.times,
        "datasets": list(experiment.datasets),
        "labels": experiment.labels,
        "results": [results_json(one) for one in results],
        "trainings": {
            title: {str(one.seed): one.facts for one in seeds} for title, seeds in outcomes.items()
        },
    }


def _by_stage(values: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {value:g}" for stage, value in values.items())


def interval_text(one: Difference) -> str:
    """Write the bounds; nothing where there are none."""
    return "" if math.isnan(one.low) else f"[{one.low:+.2f}, {one.high:+.2f}]"


def _cell(value: float | None) -> str:
    return number_text(value, ".2f")


def _printed(value: float | None) -> str:
    """Write a number of the paper: one digit, or two where it prints two.

    Example:
        >>> _printed(94.0), _printed(84.32), _printed(None)
        ('94.0', '84.32', '-')
    """
    return number_text(value, ".1f" if value is None or round(value, 1) == value else ".2f")


def number_text(value: float | None, digits: str) -> str:
    """Write a number; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else format(value, digits)
