"""LSP and LSPET in their original layouts (SPEC 4.1-4.3).

Both store MATLAB's 1-based pixels; here they become 0-based. Their third rows mean opposite
things: LSP marks *occluded* joints, LSPET marks *annotated* ones.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.sample import Labels, Sample, State
from uprightpose.errors import InputError
from uprightpose.skeletons import LSP, Skeleton

LSP_TRAIN = 1000
"""Images 1-1000 are for training, 1001-2000 for the test."""

PERSON_SHARE = 0.756
"""A person's extent over the side of a picture in LSP; LSPET is cropped to it (SPEC 1.18)."""

_ABOVE = ("shoulder", "elbow", "wrist", "eye", "ear")
_BELOW = ("hip", "knee", "ankle")


def read_lsp(folder: Path, labels: Labels = "pc") -> list[Sample]:
    """Read the 2000 people of LSP: ``images/im0001.jpg`` ... and ``joints.mat`` (3 x 14 x 2000).

    Args:
        folder: holds ``images`` and ``joints.mat``.
        labels: ``"pc"`` as in the file, or ``"oc"`` computed by :func:`observer_centric`.

    Returns:
        Samples in the file's order, each with all 14 joints, box = the whole picture.

    Raises:
        InputError: if files are missing or the array has another shape.
    """
    raw = _joint_array(folder, (3, 14, 2000), "LSP")
    joints = np.moveaxis(raw[:2], 2, 0).swapaxes(1, 2) - 1.0
    occluded = raw[2].T == 1
    state = np.where(occluded, State.OCCLUDED, State.VISIBLE).astype(np.uint8)
    return [
        _sample(folder, number, joints[number - 1], state[number - 1], labels, "lsp")
        for number in range(1, len(joints) + 1)
    ]


def read_lspet(folder: Path, labels: Labels = "pc") -> list[Sample]:
    """Read the people of LSP Extended: ``im00001.jpg`` ... and ``joints.mat`` (14 x 3 x N).

    Joints that are not annotated become NaN. The box is the square about the annotated
    joints in which the person is as large as in LSP (SPEC 1.18).

    Raises:
        InputError: if files are missing or the array has another shape.
    """
    raw = _joint_array(folder, (14, 3, 10000), "LSPET")
    points = np.moveaxis(raw, 2, 0)
    annotated = points[:, :, 2] == 1
    joints = np.where(annotated[:, :, None], points[:, :, :2] - 1.0, np.nan)
    state = np.where(annotated, State.VISIBLE, State.ABSENT).astype(np.uint8)
    samples = [
        _sample(folder, number, joints[number - 1], state[number - 1], labels, "lspet")
        for number in range(1, len(joints) + 1)
        if annotated[number - 1].any()
    ]
    return [replace(sample, box=person_box(sample.joints)) for sample in samples]


def person_box(joints: Float[ndarray, "k 2"]) -> tuple[float, float, float, float]:
    """Return the square about the joints' extent, whose side is the extent / 0.756 (SPEC 1.18).

    Returns:
        ``(x, y, w, h)`` in edge coordinates of the image.
    """
    low, high = np.nanmin(joints, axis=0), np.nanmax(joints, axis=0) + 1.0
    return square_about(low, high)


def square_about(
    low: Float[ndarray, " 2"], high: Float[ndarray, " 2"]
) -> tuple[float, float, float, float]:
    """Return the square about a tight box that shows the person as large as LSP does.

    Args:
        low: left and top of the box, in edge coordinates.
        high: right and bottom.

    Example:
        >>> box = square_about(np.array([10.0, 0.0]), np.array([30.0, 75.6]))
        >>> [round(value, 3) for value in box]
        [-30.0, -12.2, 100.0, 100.0]
    """
    side = max(float((high - low).max()), 2.0) / PERSON_SHARE
    x, y = (low + high) / 2 - side / 2
    return (float(x), float(y), side, side)


def with_labels(sample: Sample, labels: Labels) -> Sample:
    """Return a sample with the sides named as asked for, by :func:`observer_centric`.

    Raises:
        InputError: if person-centric sides are asked for and only the observer's are known.
    """
    if sample.labels == labels:
        return sample
    if labels == "pc":
        raise InputError(
            f"{sample.source} {sample.id}: expected person-centric labels, found observer-centric "
            "ones, from which they cannot be told: ask for oc (--labels oc)"
        )
    joints, order = observer_centric(sample.joints, sample.skeleton)
    return replace(sample, joints=joints, state=sample.state[order], labels=labels)


def observer_centric(
    joints: Float[ndarray, "k 2"], skeleton: Skeleton = LSP
) -> tuple[Float[ndarray, "k 2"], list[int]]:
    """Exchange left and right where the upright body would show them the other way round.

    "Left" becomes the side on the viewer's right once the body is upright; arms and legs
    are decided separately (SPEC 4.3; exact on all 2000 published LSP labels). Where a
    shoulder or hip is absent nothing is exchanged. Eyes and ears, which LSP does not have,
    go with the arms.

    Args:
        joints: person-centric.
        skeleton: their order.

    Returns:
        The joints, and the order ``(k,)`` in which they were taken, to reorder states alike.

    Example:
        >>> upright = np.zeros((14, 2))
        >>> upright[[8, 9, 2, 3]] = [[4, 0], [0, 0], [3, 9], [1, 9]]  # seen from behind
        >>> observer_centric(upright)[1][8:10]
        [9, 8]
    """
    left_shoulder, right_shoulder, left_hip, right_hip = (joints[i] for i in skeleton.torso)
    axis = (right_shoulder + left_shoulder) / 2 - (right_hip + left_hip) / 2
    order = list(range(len(joints)))
    across = ((left_shoulder - right_shoulder, _ABOVE), (left_hip - right_hip, _BELOW))
    for side, parts in across:
        if axis[0] * side[1] - axis[1] * side[0] < 0:
            for joint, name in enumerate(skeleton.joints):
                if name.partition("_")[2] in parts:
                    order[joint] = skeleton.mirror[joint]
    return joints[order], order


def _sample(
    folder: Path,
    number: int,
    joints: Float[ndarray, "k 2"],
    state: UInt8[ndarray, " k"],
    labels: Labels,
    source: str,
) -> Sample:
    digits = 4 if source == "lsp" else 5
    if labels == "oc":
        joints, order = observer_centric(joints)
        state = state[order]
    return Sample(
        image=folder / "images" / f"im{number:0{digits}d}.jpg",
        joints=joints,
        state=state,
        labels=labels,
        box=None,
        split="test" if source == "lsp" and number > LSP_TRAIN else "train",
        source=source,
        id=number,
    )


def _joint_array(folder: Path, shape: tuple[int, int, int], name: str) -> Float[ndarray, "a b n"]:
    """Load ``joints`` and check everything but the number of people."""
    path = folder / "joints.mat"
    if not (folder / "images").is_dir() or not path.is_file():
        raise InputError(
            f"{folder} is no {name} folder: expected images/ and joints.mat in it "
            "(the dataset is at http://sam.johnson.io/research/lsp.html)"
        )
    try:
        joints = scipy.io.loadmat(path)["joints"]
    except Exception as error:  # scipy raises what it pleases on damaged files
        raise InputError(f"{path}: expected a MATLAB file with 'joints': {error}") from error
    if joints.ndim != 3 or joints.shape[:2] != shape[:2]:
        found, expected = " x ".join(map(str, joints.shape)), f"{shape[0]} x {shape[1]} x N"
        raise InputError(f"{path}: expected joints of {expected} ({name}), found {found}")
    return np.asarray(joints, dtype=np.float64)
