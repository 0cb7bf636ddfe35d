"""What a table needs of the user's data, said before anything is trained."""

from pathlib import Path

from uprightpose.data.folders import SOURCES, read_folder
from uprightpose.data.sample import Sample
from uprightpose.errors import InputError
from uprightpose.reproduce.tables import Experiment, TestSet

TITLES = {"lsp": "LSP", "lspet": "LSP Extended", "flic": "FLIC", "mpii": "MPII"}
_SOURCE_OF = {"lsp": "LSP, LSPET", "lspet": "LSP, LSPET", "flic": "FLIC", "mpii": "MPII"}

TEST_SPLITS: dict[TestSet, str] = {"lsp": "test", "flic": "test", "mpii": "valid"}
"""MPII's own test labels are withheld: its validation people are scored."""


def read_test_people(experiment: Experiment, data: Path) -> list[Sample]:
    """Return the people whom a table is tested on, once all that it needs is there.

    Args:
        experiment: the table.
        data: folder that holds ``lsp/`` and so on.

    Raises:
        InputError: naming the folder that is missing, or what it lacks: annotations, people to
            train or test on, pictures.
    """
    for name in experiment.datasets:
        _people(experiment, data, name, "train")
    return _people(experiment, data, experiment.test, TEST_SPLITS[experiment.test])


def _people(experiment: Experiment, data: Path, name: str, split: str) -> list[Sample]:
    folder = data / name
    what, where = SOURCES[_SOURCE_OF[name]]
    need = f"{experiment.name} needs {TITLES[name]} in {folder}: expected {what} (from {where})"
    if not folder.is_dir():
        raise InputError(
            f"{need}, found no such folder; --data or UPRIGHTPOSE_DATA names the folder above it"
        )
    people = [one for one in read_folder(folder, experiment.labels) if one.split == split]
    if not people:
        raise InputError(f"{need}, found nobody of its {split} split")
    missing = [sample.image for sample in people if not sample.image.is_file()]
    if missing:
        raise InputError(
            f"{need}, found {len(missing)} of {len(people)} {split} people without their picture, "
            f"such as {missing[0]}"
        )
    return people
