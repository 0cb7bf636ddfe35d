"""A table of the paper, from nothing to its report; goes on where it was interrupted."""

from collections.abc import Mapping, Sequence

from uprightpose.data.sample import Sample
from uprightpose.reproduce.contrasts import scored_people
from uprightpose.reproduce.mpii_server import server_files
from uprightpose.reproduce.page import table_report
from uprightpose.reproduce.report import Report
from uprightpose.reproduce.requirements import read_test_people
from uprightpose.reproduce.results import Results, score_rows
from uprightpose.reproduce.rows import Outcome, finish_row
from uprightpose.reproduce.scales import Scale
from uprightpose.reproduce.tables import PROTOCOLS, Experiment, Place


def reproduce_table(
    experiment: Experiment, scale: Scale, place: Place, *, seeds: int = 1, draws: int
) -> Report:
    """Train, predict and score every row that is not finished yet, and lay out the table.

    Args:
        experiment: the table.
        scale: sizes and steps.
        place: data, results, device.
        seeds: runs of each row, seeds 0, 1, ...
        draws: of bootstrap and exchange; 0 for none.

    Raises:
        InputError: if data are missing; nothing is trained then.
    """
    people = read_test_people(experiment, place.data)
    outcomes: dict[str, list[Outcome]] = {row.title: [] for row in experiment.rows}
    for seed in range(seeds):
        for number, row in enumerate(experiment.rows, 1):
            at = f"row {number} of {len(experiment.rows)}, seed {seed}"
            print(f"{experiment.name}, {at}: {row.title}", flush=True)
            found = finish_row(row, experiment, scale, place, people, seed)
            outcomes[row.title].append(found)
    results = _scored(experiment, outcomes, people, draws)
    report = table_report(experiment, scale, place, outcomes, results, draws)
    if experiment.test == "mpii":
        report.sections["Files for the test server"] = server_files(experiment, outcomes, place)
    return report


def _scored(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    people: Sequence[Sample],
    draws: int,
) -> list[Results]:
    first = outcomes[experiment.rows[0].title][0]
    return [
        score_rows(
            experiment, outcomes, scored_people(people, joints.truth), pictures, protocol, draws
        )
        for pictures, joints in first.joints.items()
        for protocol in PROTOCOLS[experiment.test]
    ]
