"""Who: the tables of joints agree with themselves and with the datasets' own orders."""

import pytest

from uprightpose.skeletons import COCO, FLIC, LSP, MPII, SKELETONS

EVERY = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)


class TestTables:
    """'K is 14 for LSP, 10 for FLIC' (paper); 16 for MPII, 17 for COCO."""

    @pytest.mark.parametrize(("skeleton", "count"), [(LSP, 14), (FLIC, 10), (MPII, 16), (COCO, 17)])
    def test_number_of_joints(self, skeleton, count):
        assert len(skeleton.joints) == len(set(skeleton.joints)) == count

    def test_lsp_keeps_the_order_of_its_file(self):
        """SPEC 4.1: 0 r.ankle ... 8 r.shoulder 9 l.shoulder ... 12 neck 13 head top."""
        order = (
            "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist "
            "right_elbow right_shoulder left_shoulder left_elbow left_wrist neck head_top"
        )
        assert LSP.joints == tuple(order.split())

    @EVERY
    def test_torso_is_shoulders_and_hips_left_before_right(self, skeleton):
        names = [skeleton.joints[joint] for joint in skeleton.torso]
        assert names == ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]

    @EVERY
    def test_reference_is_left_shoulder_and_right_hip(self, skeleton):
        names = [skeleton.joints[joint] for joint in skeleton.reference]
        assert names == ["left_shoulder", "right_hip"]

    @pytest.mark.parametrize(
        ("skeleton", "names"),
        [
            (LSP, ["neck"]),
            (FLIC, ["neck"]),
            (MPII, ["upper_neck"]),
            (COCO, ["left_shoulder", "right_shoulder"]),
        ],
    )
    def test_neck(self, skeleton, names):
        assert [skeleton.joints[joint] for joint in skeleton.neck] == names

    @EVERY
    def test_edges_join_two_joints_and_none_twice(self, skeleton):
        pairs = {frozenset(edge) for edge in skeleton.edges}
        assert all(len(pair) == 2 for pair in pairs)
        assert len(pairs) == len(skeleton.edges)
        assert {joint for edge in skeleton.edges for joint in edge} == set(
            range(len(skeleton.joints))
        )

    @EVERY
    def test_edges_are_the_same_on_both_sides(self, skeleton):
        pairs = {frozenset(edge) for edge in skeleton.edges}
        other = {frozenset(skeleton.mirror[joint] for joint in pair) for pair in pairs}
        assert pairs == other

    @EVERY
    def test_groups_hold_each_joint_at_most_once(self, skeleton):
        joints = [joint for _, group in skeleton.groups for joint in group]
        assert len(joints) == len(set(joints))


class TestMirror:
    """'Flip swaps left/right indices' (SPEC 1.17)."""

    @EVERY
    def test_twice_is_nothing_and_sides_change(self, skeleton):
        for joint, other in enumerate(skeleton.mirror):
            assert skeleton.mirror[other] == joint
            here, there = skeleton.joints[joint], skeleton.joints[other]
            if here.startswith("left_"):
                assert there == here.replace("left_", "right_")
            elif not here.startswith("right_"):
                assert there == here


class TestLimbs:
    """'(root, middle, end) = (shoulder, elbow, wrist) or (hip, knee, ankle)' (SPEC 1.8)."""

    @EVERY
    def test_each_limb_runs_from_root_to_end_on_one_side(self, skeleton):
        for limb in skeleton.limbs:
            side, kind = limb.name.split()
            parts = {"arm": "shoulder elbow wrist", "leg": "hip knee ankle"}[kind].split()
            names = [skeleton.joints[joint] for joint in limb.joints]
            assert names == [f"{side}_{part}" for part in parts]
            assert limb.joints == (limb.root, limb.middle, limb.end)

    @pytest.mark.parametrize(
        ("skeleton", "names"),
        [
            (LSP, ["left arm", "right arm", "left leg", "right leg"]),
            (MPII, ["left arm", "right arm", "left leg", "right leg"]),
            (COCO, ["left arm", "right arm", "left leg", "right leg"]),
            (FLIC, ["left arm", "right arm"]),  # 'only two limbs exist'
        ],
    )
    def test_which_limbs(self, skeleton, names):
        assert [limb.name for limb in skeleton.limbs] == names

    @pytest.mark.parametrize(
        ("skeleton", "names"),
        [
            (LSP, "neck head_top"),
            (MPII, "pelvis thorax upper_neck head_top"),
            (FLIC, "nose neck right_hip left_hip"),
            (COCO, "nose left_eye right_eye left_ear right_ear"),
        ],
    )
    def test_the_rest_belongs_to_no_limb(self, skeleton, names):
        """'LSP: neck, head; MPII: + pelvis, thorax; FLIC: nose, neck, hips' (SPEC 1.11)."""
        assert [skeleton.joints[joint] for joint in skeleton.rest] == names.split()
