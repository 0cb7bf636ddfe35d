"""Which number: the published protocols, each a row of a table (SPEC 3.1-3.3).

They share names such as PCK and Total and differ in all that these rows say. On MPII's
validation people the same predictions score 88.64 or 89.09 (SPEC 3.2): state the protocol with
every number.
"""

from dataclasses import dataclass
from typing import Literal

from uprightpose.data.sample import Labels
from uprightpose.metrics import Column
from uprightpose.skeletons import COCO, FLIC, LSP, MPII, Skeleton

Norm = Literal["torso", "head", "oks"]

REFERENCES: dict[Norm, str] = {
    "torso": "left shoulder - right hip",
    "head": "0.6 of the diagonal of the head box",
    "oks": "square root of the person's area, times a constant of each joint",
}
"""What a distance is divided by."""


@dataclass(frozen=True)
class Protocol:
    """How predictions become numbers.

    Attributes:
        name: of the option ``--protocol``.
        about: the pictures, and what the columns mean where their titles do not say it.
        skeleton: of truth and predictions.
        labels: sides that may be scored.
        norm: key of :data:`REFERENCES`.
        threshold: reference lengths; for OKS the similarities asked for, averaged.
        closed: exactly at the threshold is right.
        columns: the numbers; empty for OKS, whose ranking of people makes its own.
    """

    name: str
    about: str
    skeleton: Skeleton
    labels: tuple[Labels, ...]
    norm: Norm
    threshold: float | tuple[float, ...]
    closed: bool
    columns: tuple[Column, ...]

    @property
    def joints(self) -> tuple[int, ...]:
        """The joints that are counted, in skeleton order."""
        return tuple(sorted({joint for column in self.columns for joint in column.joints}))

    @property
    def radius(self) -> str:
        """The threshold in words.

        Example:
            >>> PROTOCOLS["lsp"].radius, PROTOCOLS["mpii-valid"].radius
            ('0.2 reference lengths, included', '0.5 reference lengths, excluded')
        """
        edge = "included" if self.closed else "excluded"
        if isinstance(self.threshold, tuple):
            return f"OKS {', '.join(f'{each:g}' for each in self.threshold)}, {edge}"
        return f"{self.threshold:g} reference lengths, {edge}"


def limits(last: float) -> tuple[float, ...]:
    """Return 0, 0.01, ..., ``last``, each the float that its decimal number names.

    Example:
        >>> limits(0.03)
        (0.0, 0.01, 0.02, 0.03)
    """
    return tuple(step / 100 for step in range(round(100 * last) + 1))


def _groups(skeleton: Skeleton, radius: float, head: str = "") -> tuple[Column, ...]:
    """Return a column for each group of the skeleton; Head may be other joints."""
    own = tuple(skeleton.joints.index(name) for name in head.split())
    return tuple(
        Column(title, own if own and title == "Head" else joints, (radius,))
        for title, joints in skeleton.groups
    )


_LSP = tuple(range(len(LSP.joints)))
_FLIC = tuple(range(len(FLIC.joints)))
_MPII = tuple(joint for _, group in MPII.groups for joint in group)  # no pelvis, no thorax
_UPPER = tuple(j for name, group in MPII.groups if name in "Shoulder Elbow Wrist" for j in group)

_ROWS = (
    Protocol(
        name="lsp",
        about="pictures 1001-2000, PCK and AUC in percent",
        skeleton=LSP,
        labels=("pc", "oc"),
        norm="torso",
        threshold=0.2,
        closed=True,
        columns=(
            *_groups(LSP, 0.2),
            Column("Total", _LSP, (0.2,), pooled=True),
            Column("AUC", _LSP, limits(0.2), pooled=True),
        ),
    ),
    Protocol(
        name="flic",
        about="PCK and AUC in percent, of 10 joints: the neck is the middle of the shoulders",
        skeleton=FLIC,
        labels=("oc",),
        norm="torso",
        threshold=0.2,
        closed=True,
        columns=(
            *_groups(FLIC, 0.2),
            Column("Total", _FLIC, (0.2,), pooled=True),
            Column("AUC", _FLIC, limits(0.2), pooled=True),
        ),
    ),
    Protocol(
        name="mpii-official",
        about="PCKh and AUC in percent as MPII's toolkit; Upper: wrists, elbows, shoulders",
        skeleton=MPII,
        labels=("pc",),
        norm="head",
        threshold=0.5,
        closed=True,
        columns=(
            *_groups(MPII, 0.5),
            Column("Upper", _UPPER, (0.5,), pooled=True),
            Column("Total", _MPII, (0.5,), pooled=True),
            Column("AUC", _MPII, limits(0.5), pooled=True),
        ),
    ),
    Protocol(
        name="mpii-valid",
        about="PCKh in percent as validation scripts; Head: head top; Mean: of 14 joints' PCKh",
        skeleton=MPII,
        labels=("pc",),
        norm="head",
        threshold=0.5,
        closed=False,
        columns=(*_groups(MPII, 0.5, head="head_top"), Column("Mean", _MPII, (0.5,))),
    ),
    Protocol(
        name="mpii-hrnet",
        about="PCKh in percent as HRNet and mmpose; Head: head top; Mean: weighted by count; "
        "mmpose's Mean@0.1 is Mean@0.1, HRNet's is Mean@0.11",
        skeleton=MPII,
        labels=("pc",),
        norm="head",
        threshold=0.5,
        closed=False,
        columns=(
            *_groups(MPII, 0.5, head="head_top"),
            Column("Mean", _MPII, (0.5,), pooled=True),
            Column("Mean@0.1", _MPII, (0.1,), pooled=True),
            Column("Mean@0.11", _MPII, (0.11,), pooled=True),
        ),
    ),
    Protocol(
        name="coco",
        about="average precision and recall of at most 20 people a picture, in percent",
        skeleton=COCO,
        labels=("pc",),
        norm="oks",
        threshold=tuple(step / 100 for step in range(50, 100, 5)),
        closed=True,
        columns=(),
    ),
)

PROTOCOLS = {row.name: row for row in _ROWS}
