"""The joints of whole datasets, without pictures, by the names used in SPEC 5.2."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.lsp import read_lsp, read_lspet
from uprightpose.data.mpii import read_mpii
from uprightpose.data.sample import Labels, Sample
from uprightpose.errors import InputError
from uprightpose.skeletons import Skeleton


@dataclass(frozen=True)
class People:
    """The people of a dataset, or of a part of it.

    Attributes:
        name: as in SPEC 5.2, e.g. ``"LSP-OC test"``.
        labels: person-centric or observer-centric sides.
        skeleton: the order of the joints.
        joints: ``(m, k, 2)`` pixels of each person's picture; NaN where absent.
    """

    name: str
    labels: Labels
    skeleton: Skeleton
    joints: Float[ndarray, "m k 2"]


def read_people(data: Path, name: str) -> People:
    """Read the joints of a dataset.

    Args:
        data: folder that holds ``lsp/``, ``lspet/`` and ``mpii/``.
        name: one of :data:`READERS`.

    Raises:
        InputError: if the dataset's folder is missing, or unusable, or holds nobody.
    """
    samples = READERS[name](data)
    if not samples:
        raise InputError(f"{data}: expected people of {name} in it, found none")
    joints = np.stack([sample.joints for sample in samples])
    return People(name, samples[0].labels, samples[0].skeleton, joints)


def _lspet(data: Path) -> list[Sample]:
    return read_lspet(_folder(data, "lspet", "LSP Extended"))


def _lsp(data: Path) -> list[Sample]:
    return read_lsp(_folder(data, "lsp", "Leeds Sports Pose"), "oc")


def _lsp_test(data: Path) -> list[Sample]:
    return [sample for sample in _lsp(data) if sample.split == "test"]


def _mpii(data: Path) -> list[Sample]:
    everybody = read_mpii(_folder(data, "mpii", "MPII Human Pose"))
    return [sample for sample in everybody if sample.split == "valid"]


READERS: dict[str, Callable[[Path], list[Sample]]] = {
    "LSPET": _lspet,
    "LSP-OC test": _lsp_test,
    "LSP-OC": _lsp,
    "MPII validation": _mpii,
}


def _folder(data: Path, name: str, dataset: str) -> Path:
    folder = data / name
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder, but {dataset} is needed there; --data or "
            "UPRIGHTPOSE_DATA names the folder that holds lsp/, lspet/ and mpii/"
        )
    return folder
