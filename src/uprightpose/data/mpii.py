"""MPII Human Pose in the layouts in which it goes around (SPEC 4.5).

All of them store MATLAB's 1-based pixels; here they become 0-based. Crops are squares of side
``200 * scale * 1.25`` about the person's center moved down by ``15 * scale``. The hourglass's
``train.h5`` and ``valid.h5`` contain both steps already, its ``annot.h5`` does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.data.annotation_files import expecting, load_json, load_variable
from uprightpose.data.hourglass_file import count_joints, read_hourglass, settle_missing
from uprightpose.data.lsp import person_box, with_labels
from uprightpose.data.mpii_release import HEAD_SHARE, read_release
from uprightpose.data.sample import Labels, Sample
from uprightpose.errors import InputError
from uprightpose.skeletons import MPII

Box = tuple[float, float, float, float]

LAYOUTS = (
    ("train.h5", "valid.h5", "test.h5"),  # hourglass: splits and head sizes
    ("train.json", "valid.json", "test.json"),  # HRNet, mmpose: splits
    ("mpii_annotations.json",),  # Wei et al.: splits
    ("mpii_human_pose_v1_u12_1.mat",),  # official: no validation split
    ("annot.h5",),
    ("valid.h5",),
    ("valid.json",),
    ("hg_valid.h5",),
)
"""Files that belong together; the first layout that is there is read."""

PEOPLE = 1000
"""A person's id is its picture's number times this plus its number in the picture."""


def read_mpii(path: Path, labels: Labels = "pc") -> list[Sample]:
    """Read the people of MPII.

    Args:
        path: a folder with one of :data:`LAYOUTS`, in it or in ``annot``, and ``images``; or one
            of these files.
        labels: ``"pc"`` as in the files, or ``"oc"`` computed by
            :func:`~uprightpose.data.lsp.observer_centric`.

    Returns:
        Samples in the order of the files. ``id`` counts pictures and people from 1
        (:data:`PEOPLE`), or rows where a file does not number them (HRNet). The box is the
        square crop above; where the center was forgotten, the square about the joints.
        People without labels are left out, but for those of the test split, whose labels are
        withheld: they have no joints. ``head_size`` is there if the file, or HRNet's
        ``gt_valid.mat`` beside it, has it.

    Raises:
        InputError: if files are missing, damaged or others.
    """
    files = mpii_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} is no MPII folder: expected one of {expected()}")
    people = (person for file in files for person in _read(file))
    samples = [_sample(person) for person in people if _counts(person)]
    return [with_labels(sample, labels) for sample in samples]


def mpii_files(folder: Path) -> list[Path]:
    """Return the files of the first of :data:`LAYOUTS` that is in a folder, or none."""
    places = (folder, folder / "annot", *sorted(folder.glob("mpii_human_pose*/")))
    for names in LAYOUTS:
        for place in places:
            if _is_mpii(place / names[0]):
                return [place / name for name in names if _is_mpii(place / name)]
    return []


def expected() -> str:
    """Name the files that :func:`mpii_files` looks for, without the parts of others."""
    return ", ".join(names[0] for names in LAYOUTS if not names[0].startswith("valid"))


@dataclass(frozen=True, eq=False)
class _Person:
    """What all layouts say, in 1-based pixels; NaN where they do not."""

    image: Path
    points: Float[ndarray, "16 2"]
    flags: Float[ndarray, " 16"]
    center: tuple[float, float]
    side: float
    head_size: float | None
    split: str
    id: int


def _is_mpii(file: Path) -> bool:
    if not file.is_file():
        return False
    return file.suffix != ".h5" or count_joints(file) == len(MPII.joints)


def _read(file: Path) -> Iterator[_Person]:
    if file.suffix == ".mat":
        return _from_release(file)
    if file.suffix == ".h5":
        return _from_hourglass(file)
    with expecting(file, "MPII's people, each with joints, center and scale"):
        content = load_json(file)
        people = content["root"] if isinstance(content, dict) else content
        wei = bool(people) and "joint_self" in people[0]
    return _from_wei(file, people) if wei else _from_hrnet(file, people)


def _from_release(file: Path) -> Iterator[_Person]:
    images = _images(file)
    for rectangle in read_release(file):
        center, side = _crop(rectangle.center, rectangle.scale)
        yield _Person(
            image=images / rectangle.name,
            points=rectangle.points,
            flags=rectangle.flags,
            center=center,
            side=side,
            head_size=rectangle.head_size,
            split="train" if rectangle.train else "test",
            id=PEOPLE * rectangle.image + rectangle.person,
        )


def _from_hourglass(file: Path) -> Iterator[_Person]:
    if not _is_mpii(file):
        raise InputError(f"{file}: expected MPII's 16 joints (.h5)")
    people, images = read_hourglass(file), _images(file)
    raw = people.train is not None
    for i, name in enumerate(people.names):
        center = (float(people.center[i, 0]), float(people.center[i, 1]))
        scale, head = float(people.scale[i]), float(people.reference[i])
        split = _split(file) if people.train is None else "train" if people.train[i] else "test"
        crop = _crop(center, scale) if raw else (center, 200 * scale)
        yield _Person(
            image=images / name,
            points=people.points[i],
            flags=(people.state[i] - 1.0),
            center=crop[0],
            side=crop[1],
            head_size=head if head > 0 else None,
            split=split,
            id=PEOPLE * int(people.image[i]) + int(people.person[i]),
        )


def _from_wei(file: Path, people: list[dict[str, Any]]) -> Iterator[_Person]:
    images = _images(file)
    with expecting(file, "people with joint_self (16 x 3), objpos and scale_provided"):
        for person in people:
            joints = np.array(person["joint_self"], dtype=np.float64).reshape(16, 3)
            x, y = (float(value) for value in person["objpos"])
            center, side = _crop((x, y), float(person["scale_provided"]))
            image, number = int(person["annolist_index"]), int(person["people_index"])
            yield _Person(
                image=images / str(person["img_paths"]),
                points=joints[:, :2],
                flags=joints[:, 2],
                center=center,
                side=side,
                head_size=None,
                split="valid" if person["isValidation"] else "train",
                id=PEOPLE * image + number,
            )


def _from_hrnet(file: Path, people: list[dict[str, Any]]) -> Iterator[_Person]:
    heads, images = _head_sizes(file, len(people)), _images(file)
    withheld = np.full((len(MPII.joints), 2), -1.0)
    with expecting(file, "people with image, center, scale, joints (16 x 2), joints_vis"):
        for row, person in enumerate(people):
            x, y = (float(value) for value in person["center"])
            center, side = _crop((x, y), float(person["scale"]))
            points = person["joints"] if "joints_vis" in person else withheld
            yield _Person(
                image=images / str(person["image"]),
                points=np.array(points, dtype=np.float64).reshape(16, 2),
                flags=np.array(person.get("joints_vis", [0] * 16), dtype=np.float64),
                center=center,
                side=side,
                head_size=heads[row] if heads else None,
                split=_split(file),
                id=row + 1,
            )


def _head_sizes(file: Path, people: int) -> list[float] | None:
    """Return the head sizes that HRNet keeps in ``gt_valid.mat`` beside ``valid.json``."""
    truth = file.with_name(f"gt_{file.stem}.mat")
    if not truth.is_file():
        return None
    boxes = np.asarray(load_variable(truth, "headboxes_src"), dtype=np.float64)
    if boxes.reshape(2, 2, -1).shape[2] != people:
        raise InputError(f"{truth}: expected {people} head boxes as {file.name} has people")
    corners = boxes.reshape(2, 2, people)
    return [float(size) for size in HEAD_SHARE * np.hypot(*(corners[1] - corners[0]))]


def _counts(person: _Person) -> bool:
    """Tell whether there is anything to learn from, or to predict for, a person."""
    if person.split == "test":
        return person.side > 0 and bool(np.isfinite(person.center).all())
    return bool(settle_missing(person.points, person.flags)[1].any())


def _sample(person: _Person) -> Sample:
    points, state = settle_missing(person.points, person.flags)
    joints, (x, y), side = points - 1.0, person.center, person.side
    box: Box = (x - 0.5 - side / 2, y - 0.5 - side / 2, side, side)  # of a 1-based pixel
    return Sample(
        image=person.image,
        joints=joints,
        state=state,
        labels="pc",
        box=box if side > 0 and np.isfinite(box).all() else person_box(joints),
        split=person.split,
        source="mpii",
        id=person.id,
        skeleton=MPII,
        head_size=person.head_size,
    )


def _crop(center: tuple[float, float], scale: float) -> tuple[tuple[float, float], float]:
    """Return center and side of the crop of a person, in pixels as they came (SPEC 1.18)."""
    return (center[0], center[1] + 15 * scale), 200 * 1.25 * scale


def _split(file: Path) -> str:
    return next((split for split in ("train", "test") if split in file.stem), "valid")


def _images(file: Path) -> Path:
    """Return the folder of the pictures: beside the file or one level up."""
    beside, above = file.parent / "images", file.parent.parent / "images"
    inside = file.parent.name == "annot" or above.is_dir()
    return above if inside and not beside.is_dir() else beside
