"""What is in a dataset, and what in it needs a look (SPEC 4)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from uprightpose.data.picture_size import picture_size
from uprightpose.data.sample import Labels, Sample, State
from uprightpose.errors import InputError
from uprightpose.frames import HALF
from uprightpose.metrics import body_angle
from uprightpose.skeletons import Skeleton

ANGLES = (0, 30, 60, 90, 135, 180)
"""Degrees between the body and upright: edges of the histogram; the last bin is closed."""

SMALL_TORSO = 8.0
"""Pixels: up to this reference length a fifth of it, PCK's radius, is below two pixels."""

CLEAR = 0.2
"""Shoulders, or hips, are seen clearly if they are this wide, in lengths of the torso."""


@dataclass(frozen=True)
class JointCount:
    """How often one joint is absent, occluded, or beyond the edge of its picture."""

    name: str
    absent: int
    occluded: int
    outside: int


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect_samples` found; names are those of picture files.

    Attributes:
        source: name of the dataset.
        skeleton: name of the skeleton.
        labels: whose left and right.
        people: number of people.
        pictures: number of pictures.
        splits: people of each split.
        joints: counts of each joint.
        angles: people in each bin of :data:`ANGLES`.
        without_angle: people whose torso or neck is not labeled.
        small_torsos: up to :data:`SMALL_TORSO` pixels from left shoulder to right hip.
        suspicious_sides: see :func:`suspicious_sides`.
        missing_pictures: files that are not there; their joints count as not outside.
        bad_pictures: files that are no pictures.
    """

    source: str
    skeleton: str
    labels: Labels
    people: int
    pictures: int
    splits: dict[str, int]
    joints: tuple[JointCount, ...]
    angles: dict[str, int]
    without_angle: int
    small_torsos: tuple[str, ...]
    suspicious_sides: tuple[str, ...]
    missing_pictures: tuple[str, ...]
    bad_pictures: tuple[str, ...]


def inspect_samples(samples: Sequence[Sample]) -> Inspection:
    """Count what is in the samples of one dataset; of pictures only the headers are read.

    Raises:
        InputError: if there are no samples.
    """
    if not samples:
        raise InputError("expected people in the dataset, found none")
    skeleton, labels = samples[0].skeleton, samples[0].labels
    joints, state = (np.stack([getattr(s, part) for s in samples]) for part in ("joints", "state"))
    pictures = list(dict.fromkeys(sample.image for sample in samples))
    sizes = {picture: _size(picture) for picture in pictures}
    outside = np.stack([_outside(sample, sizes[sample.image]) for sample in samples])
    counts = ((state == State.ABSENT).sum(0), (state == State.OCCLUDED).sum(0), outside.sum(0))
    angles = _histogram(joints, skeleton)
    shoulder, hip = (joints[:, joint] for joint in skeleton.reference)
    small = np.linalg.norm(shoulder - hip, axis=1) <= SMALL_TORSO
    suspicious = suspicious_sides(joints, skeleton, labels)
    return Inspection(
        source=", ".join(dict.fromkeys(sample.source for sample in samples)),
        skeleton=skeleton.name,
        labels=labels,
        people=len(samples),
        pictures=len(pictures),
        splits=dict(Counter(sample.split for sample in samples)),
        joints=tuple(
            JointCount(name, *(int(count[joint]) for count in counts))
            for joint, name in enumerate(skeleton.joints)
        ),
        angles=angles,
        without_angle=len(samples) - sum(angles.values()),
        small_torsos=_names(samples, small),
        suspicious_sides=_names(samples, suspicious),
        missing_pictures=tuple(p.name for p in pictures if sizes[p] == "missing"),
        bad_pictures=tuple(p.name for p in pictures if sizes[p] == "bad"),
    )


def suspicious_sides(
    joints: Float[ndarray, "n k 2"], skeleton: Skeleton, labels: Labels
) -> Bool[ndarray, " n"]:
    """Tell whose left and right look exchanged, as far as shoulders and hips alone can tell.

    Both are measured across the line from hips to shoulders, positive where left is on the
    viewer's right once the body is upright (SPEC 4.3), and are clear from :data:`CLEAR` of that
    line's length on. Observer-centric labels are suspicious if a clear one is negative: the rule
    makes none. Person-centric ones are if both are clear and disagree: a body that far twisted
    is rare, while labelers often exchange arms or legs alone (1 % of LSP, 4 % of LSPET). A
    person who is exchanged as a whole cannot be told from one seen from behind.

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> joints = np.zeros((1, 14, 2))
        >>> joints[0, [8, 9, 2, 3]] = [[0, 0], [4, 0], [4, 9], [0, 9]]  # legs exchanged
        >>> suspicious_sides(joints, LSP, "pc")
        array([ True])
    """
    left_shoulder, right_shoulder, left_hip, right_hip = (joints[:, i] for i in skeleton.torso)
    axis = (left_shoulder + right_shoulder) / 2 - (left_hip + right_hip) / 2
    enough = CLEAR * (axis**2).sum(axis=1)
    above, below = (
        axis[:, 0] * side[:, 1] - axis[:, 1] * side[:, 0]
        for side in (left_shoulder - right_shoulder, left_hip - right_hip)
    )
    if labels == "oc":
        return np.asarray((enough > 0) & ((above <= -enough) | (below <= -enough)))
    clear = (np.abs(above) >= enough) & (np.abs(below) >= enough)
    return np.asarray(clear & (above * below < 0))


def as_json(inspection: Inspection) -> dict[str, object]:
    """Return the inspection as JSON has it."""
    return asdict(inspection)


def format_inspection(found: Inspection) -> str:
    """Return the inspection as lines to read."""
    split = ", ".join(f"{name} {count}" for name, count in found.splits.items())
    facts = {
        "dataset": f"{found.source}, {len(found.joints)} joints ({found.skeleton})",
        "labels": {"pc": "person-centric (pc)", "oc": "observer-centric (oc)"}[found.labels],
        "people": f"{found.people} in {found.pictures} pictures: {split}",
        "missing pictures": _listed(found.missing_pictures),
        "bad pictures": _listed(found.bad_pictures),
        f"torso <= {SMALL_TORSO:g} px": _listed(found.small_torsos),
        "suspicious sides": _listed(found.suspicious_sides),
    }
    lines = [f"{name:17} {fact}" for name, fact in facts.items()]
    known = max(found.people - found.without_angle, 1)
    lines += ["", f"{'body angle':17} {'people':>7}  of known"]
    lines += [f"{name:17} {_share(count, known)}" for name, count in found.angles.items()]
    lines += [f"{'unknown':17} {found.without_angle:7}"]
    lines += ["", f"{'joint':17} {'absent':>7} {'':7} {'occluded':>9} {'':7} {'outside':>9}"]
    for joint in found.joints:
        shares = (joint.absent, joint.occluded, joint.outside)
        cells = "  ".join(_share(count, found.people) for count in shares)
        lines.append(f"{joint.name:17} {cells}")
    return "\n".join(line.rstrip() for line in lines)


def _size(picture: Path) -> tuple[int, int] | str:
    """Return ``(h, w)``, or why not: ``"missing"`` or ``"bad"``."""
    if not picture.is_file():
        return "missing"
    try:
        return picture_size(picture)
    except InputError:
        return "bad"


def _outside(sample: Sample, size: tuple[int, int] | str) -> Bool[ndarray, " k"]:
    """Tell which joints lie beyond the edge of the picture, half a pixel past its last center."""
    if isinstance(size, str):
        return np.zeros(len(sample.joints), dtype=bool)
    edges = sample.joints + HALF
    return np.asarray(((edges < 0) | (edges > size[::-1])).any(axis=1))


def _histogram(joints: Float[ndarray, "n k 2"], skeleton: Skeleton) -> dict[str, int]:
    degrees = np.abs(np.degrees(body_angle(joints, skeleton)))
    counts, _ = np.histogram(degrees[~np.isnan(degrees)], bins=ANGLES)
    names = (f"{low}-{high}" for low, high in pairwise(ANGLES))
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _names(samples: Sequence[Sample], which: Bool[ndarray, " n"]) -> tuple[str, ...]:
    return tuple(s.image.name for s, chosen in zip(samples, which, strict=True) if chosen)


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{len(names)} ({first})" if names else "0"


def _share(count: int, people: int) -> str:
    return f"{count:7} {100 * count / people:5.1f} %"
