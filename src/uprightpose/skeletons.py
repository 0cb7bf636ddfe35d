"""Who: joints by name, mirror pairs, torso and limbs of each dataset, as tables.

Indices are 0-based and follow the order of the dataset's own files.
"""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Limb:
    """An arm or a leg: the three joints that limb normalization turns (Sec. 3.2).

    Attributes:
        name: e.g. ``"left arm"``.
        root: shoulder or hip, the center of the turn.
        middle: elbow or knee; root to middle hangs down after the turn.
        end: wrist or ankle.
    """

    name: str
    root: int
    middle: int
    end: int

    @property
    def joints(self) -> tuple[int, int, int]:
        """``(root, middle, end)``, the channels of the limb's score maps."""
        return (self.root, self.middle, self.end)


@dataclass(frozen=True)
class Skeleton:
    """The joints of one dataset and what each is for.

    Attributes:
        name: short lower-case name, stored with weights.
        joints: ``k`` names such as ``"left_shoulder"``.
        edges: pairs of joints to draw as bones.
        torso: left shoulder, right shoulder, left hip, right hip.
        neck: index of the neck; several are averaged.
        limbs: arms and legs, left before right.
        reference: the two joints whose distance is the reference length of PCK and of the
            disk radius: left shoulder, right hip (SPEC 3.1).
        groups: rows of the paper's tables, ``(title, joints)``.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    torso: tuple[int, int, int, int]
    neck: tuple[int, ...]
    limbs: tuple[Limb, ...]
    reference: tuple[int, int]
    groups: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """For each joint the joint of the other side; midline joints map to themselves."""
        swap = {"left": "right", "right": "left"}

        def other(name: str) -> str:
            side, _, part = name.partition("_")
            return f"{swap[side]}_{part}" if side in swap else name

        return tuple(self.joints.index(other(name)) for name in self.joints)

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """The joints that belong to no limb, in skeleton order (SPEC 1.11, reading a)."""
        owned = {joint for limb in self.limbs for joint in limb.joints}
        return tuple(joint for joint in range(len(self.joints)) if joint not in owned)


def _skeleton(name: str, joints: str, edges: str, neck: str, head: str) -> Skeleton:
    """Build a table from joint names; the limbs follow from the names they share."""
    names = tuple(joints.split())
    index = {joint: i for i, joint in enumerate(names)}

    def at(text: str) -> tuple[int, ...]:
        return tuple(index[joint] for joint in text.split())

    limbs = tuple(
        Limb(f"{side} {limb}", *(index[f"{side}_{part}"] for part in parts))
        for limb, parts in (
            ("arm", ("shoulder", "elbow", "wrist")),
            ("leg", ("hip", "knee", "ankle")),
        )
        for side in ("left", "right")
        if all(f"{side}_{part}" in index for part in parts)
    )
    parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    pairs = [(p, at(f"left_{p} right_{p}")) for p in parts if f"left_{p}" in index]
    groups = (("Head", at(head)), *((p.capitalize(), both) for p, both in pairs))
    torso = "left_shoulder right_shoulder left_hip right_hip"
    bones = [tuple(edge.split("-")) for edge in edges.split()]
    return Skeleton(
        name=name,
        joints=names,
        edges=tuple((index[a], index[b]) for a, b in bones),
        torso=(at(torso)[0], at(torso)[1], at(torso)[2], at(torso)[3]),
        neck=at(neck),
        limbs=limbs,
        reference=(index["left_shoulder"], index["right_hip"]),
        groups=groups,
    )


_ARMS = (
    "left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-right_elbow right_elbow-right_wrist "
)
_LEGS = "left_hip-left_knee left_knee-left_ankle right_hip-right_knee right_knee-right_ankle "
_BOX = "left_shoulder-left_hip right_shoulder-right_hip left_hip-right_hip "

LSP = _skeleton(
    "lsp",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist neck head_top",
    edges=_ARMS + _LEGS + _BOX + "neck-head_top neck-left_shoulder neck-right_shoulder",
    neck="neck",
    head="neck head_top",
)

MPII = _skeleton(
    "mpii",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck "
    "head_top right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist",
    edges=_ARMS
    + _LEGS
    + "pelvis-left_hip pelvis-right_hip pelvis-thorax thorax-left_shoulder "
    + "thorax-right_shoulder thorax-upper_neck upper_neck-head_top",
    neck="upper_neck",
    head="upper_neck head_top",
)

FLIC = _skeleton(
    "flic",
    "nose neck right_shoulder right_elbow right_wrist right_hip left_shoulder left_elbow "
    "left_wrist left_hip",
    edges=_ARMS + _BOX + "nose-neck neck-left_shoulder neck-right_shoulder",
    neck="neck",
    head="nose neck",
)

FLIC11 = _skeleton(
    "flic11",
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist left_hip "
    "right_hip left_eye right_eye nose",
    edges=_ARMS
    + _BOX
    + "left_shoulder-right_shoulder nose-left_eye nose-right_eye left_eye-right_eye",
    neck="left_shoulder right_shoulder",
    head="nose left_eye right_eye",
)

COCO = _skeleton(
    "coco",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle",
    edges=_ARMS
    + _LEGS
    + _BOX
    + "left_shoulder-right_shoulder nose-left_eye nose-right_eye left_eye-left_ear "
    + "right_eye-right_ear",
    neck="left_shoulder right_shoulder",
    head="nose left_eye right_eye left_ear right_ear",
)

SKELETONS = {skeleton.name: skeleton for skeleton in (LSP, FLIC, FLIC11, MPII, COCO)}
