"""Prediction files + truth file -> tables: what fits a protocol, who is compared with whom."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from uprightpose.data.coco_people import read_coco_results, read_coco_truth
from uprightpose.data.joint_files import Base, JointTable, read_predictions, read_truth
from uprightpose.data.joint_matching import lsp_test, match_people
from uprightpose.data.sample import Labels
from uprightpose.errors import InputError
from uprightpose.metrics import angle_bins
from uprightpose.oks import oks_difference, oks_table
from uprightpose.protocols import Protocol
from uprightpose.tables import Difference, Table, pck_difference, pck_table


@dataclass(frozen=True)
class Scores:
    """What is reported of some people.

    Attributes:
        tables: one of each model.
        difference: first minus second, if there are two.
    """

    tables: list[Table]
    difference: dict[str, Difference] | None = None


def choose_labels(protocol: Protocol, asked: Labels | None) -> Labels:
    """Return the labels to score; where the protocol leaves a choice it must be made.

    Raises:
        InputError: if it is not, or if the protocol scores others.

    Example:
        >>> from uprightpose.protocols import PROTOCOLS
        >>> choose_labels(PROTOCOLS["flic"], None)
        'oc'
    """
    sides = " or ".join(f"--labels {side}" for side in protocol.labels)
    if asked is None and len(protocol.labels) > 1:
        raise InputError(
            f"protocol {protocol.name}: expected {sides}, found neither: person-centric and "
            f"observer-centric are two different tests"
        )
    if asked is not None and asked not in protocol.labels:
        raise InputError(
            f"protocol {protocol.name}: expected {sides}, found --labels {asked}: its numbers "
            f"are of the former"
        )
    return asked or protocol.labels[0]


def score_people(files: list[Path], truth: Path, base: Base | None, draws: int) -> Scores:
    """Score one or two files of people by COCO's average precision.

    Args:
        files: COCO results or our ``predictions.json``.
        truth: COCO keypoints.
        base: number of the first pixel in ``files``, by default 0.
        draws: of the bootstrap and of the exchanges, 0 for neither.

    Raises:
        InputError: if a file is missing, damaged or does not fit, or pycocotools is missing.
    """
    people = read_coco_truth(truth)
    models = [read_coco_results(file, people, base or 0) for file in files]
    tables = [oks_table(people, model, draws=draws) for model in models]
    if len(models) < 2:
        return Scores(tables)
    return Scores(tables, oks_difference(people, models[0], models[1], draws=draws))


@dataclass(frozen=True)
class JointScoring:
    """Joints of one or two models and the truth, of the same people in the same order.

    Attributes:
        protocol: any but ``coco``.
        labels: of all files.
        models: the predictions.
        truth: what is true.
    """

    protocol: Protocol
    labels: Labels
    models: list[JointTable]
    truth: JointTable

    @property
    def images(self) -> Int[ndarray, " n"] | None:
        """The picture of each person as a number, ``None`` if no file says it."""
        names = self.truth.images or self.models[0].images
        return np.unique(names, return_inverse=True)[1] if names else None

    def groups(self) -> dict[str, Bool[ndarray, " n"]]:
        """Return who belongs to which range of true body angles."""
        return angle_bins(self.truth.joints, self.protocol.skeleton)

    def scores(self, draws: int, who: Bool[ndarray, " n"] | None = None) -> Scores:
        """Return the scores of some people, by default of all.

        Args:
            draws: of the bootstrap and of the exchanges, 0 for neither.
            who: which people.
        """
        chosen = np.ones(len(self.truth.joints), dtype=bool) if who is None else who
        images, lengths = (
            None if each is None else each[chosen] for each in (self.images, self.truth.lengths)
        )
        truth, joints = self.truth.joints[chosen], [one.joints[chosen] for one in self.models]
        tables = [
            pck_table(
                one, truth, self.protocol, self.labels, lengths=lengths, images=images, draws=draws
            )
            for one in joints
        ]
        if len(joints) < 2:
            return Scores(tables)
        difference = pck_difference(
            joints[0], joints[1], truth, self.protocol, lengths=lengths, images=images, draws=draws
        )
        return Scores(tables, difference)


def read_joints(
    files: list[Path], truth: Path, protocol: Protocol, labels: Labels, base: Base | None
) -> JointScoring:
    """Read one or two files of predictions and the truth, and see that they fit.

    Args:
        files: predictions, in any format of :mod:`uprightpose.data.joint_files`.
        truth: of the same people.
        protocol: any but ``coco``.
        labels: of all files.
        base: number of the first pixel in ``files``, by default that of their formats.

    Raises:
        InputError: if a file is missing, damaged or holds other joints or people, or if the
            truth lacks what the protocol needs.
    """
    people = read_truth(truth, protocol.skeleton, labels)
    models = [read_predictions(file, protocol.skeleton, labels, base) for file in files]
    _check_truth(protocol, people)
    if protocol.name == "lsp":
        people, models = lsp_test(people), [lsp_test(model) for model in models]
    else:
        models = [match_people(model, people) for model in models]
    return JointScoring(protocol, labels, models, people)


def _check_truth(protocol: Protocol, truth: JointTable) -> None:
    if protocol.norm == "head" and truth.lengths is None:
        raise InputError(
            f"protocol {protocol.name}: expected head boxes (headboxes_src, or normalize in .h5) "
            f"in {truth.path}, found none: give a truth file that has them"
        )
    if protocol.name == "flic":
        left, right = (
            truth.joints[:, protocol.skeleton.joints.index(f"{side}_shoulder"), 0]
            for side in ("left", "right")
        )
        swapped = int((right > left).sum())
        if swapped:
            raise InputError(
                f"protocol flic: expected observer-centric truth, found {swapped} people in "
                f"{truth.path} whose right shoulder is on the right: exchange their sides"
            )
