"""Sample: what every reader returns and every later step reads (SPEC 4.7)."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.skeletons import LSP, Skeleton

Labels = Literal["pc", "oc"]
"""Who says left: the person (``pc``) or the observer of the upright body (``oc``)."""


class State(IntEnum):
    """What a dataset says about one joint."""

    ABSENT = 0
    OCCLUDED = 1
    VISIBLE = 2


@dataclass(frozen=True)
class Sample:
    """One person in one picture.

    Attributes:
        image: path of the picture file.
        joints: ``(k, 2)`` image pixels, 0-based; NaN where absent.
        state: ``(k,)`` values of :class:`State`.
        labels: person-centric or observer-centric sides.
        box: ``(x, y, w, h)`` of the region that a model sees at test time, in edge
            coordinates; ``None`` for the whole picture.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        source: dataset name, e.g. ``"lspet"``.
        id: the dataset's own number, 1-based where it counts people.
        skeleton: the order of the joints.
        head_size: pixels, 0.6 of the head box's diagonal, the reference length of PCKh; ``None``
            where the dataset has no head boxes.
    """

    image: Path
    joints: Float[ndarray, "k 2"]
    state: UInt8[ndarray, " k"]
    labels: Labels
    box: tuple[float, float, float, float] | None
    split: str
    source: str
    id: int
    skeleton: Skeleton = LSP
    head_size: float | None = None
