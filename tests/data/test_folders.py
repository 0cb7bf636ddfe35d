"""A dataset is known by what its folder holds; joints are mapped by what they are."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.testing import assert_allclose

from uprightpose.data.coco import write_coco
from uprightpose.data.folders import read_folder, to_skeleton
from uprightpose.data.lsp import read_lsp
from uprightpose.data.sample import Sample, State
from uprightpose.errors import InputError
from uprightpose.skeletons import COCO, FLIC, FLIC11, LSP, MPII, SKELETONS

OWNERS = (
    "http://sam.johnson.io/research/lsp.html",
    "https://bensapp.github.io/flic-dataset.html",
    "http://human-pose.mpi-inf.mpg.de",
    "https://cocodataset.org",
)


def joints_mat(folder, shape):
    (folder / "images").mkdir(parents=True)
    scipy.io.savemat(folder / "joints.mat", {"joints": np.random.default_rng(0).random(shape) + 1})


def h5(path, joints):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["part"] = np.random.default_rng(0).random((2, joints, 2)) + 5
        file["center"], file["scale"] = np.ones((2, 2)), np.ones(2)
        file["imgname"] = np.array([b"a.jpg", b"b.jpg"])


def lsp(folder):
    joints_mat(folder, (3, 14, 4))


def lspet(folder):
    (folder / "images").mkdir(parents=True)
    scipy.io.savemat(folder / "joints.mat", {"joints": np.ones((14, 3, 2))})


def flic(folder):
    coords = np.full((2, 29), 7.0)
    fields = {"coords": coords, "torsobox": np.array([1.0, 2, 3, 4]), "filepath": "a.jpg"}
    fields |= {"istrain": 1.0, "istest": 0.0}
    folder.mkdir()
    scipy.io.savemat(folder / "examples.mat", {"examples": fields})


def mpii(folder):
    person = {"image": "a.jpg", "center": [3, 4], "scale": 1.0, "joints_vis": [1] * 16}
    (folder / "annot").mkdir(parents=True)
    people = [person | {"joints": [[5, 6]] * 16}]
    (folder / "annot" / "train.json").write_text(json.dumps(people))


def mpii_release(folder):
    point = {"x": 3.0, "y": 4.0, "id": 2.0}
    rectangle = {"annopoints": {"point": point}, "x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 9.0}
    annolist = {"image": {"name": "a.jpg"}, "annorect": rectangle}
    folder.mkdir()
    release = {"annolist": annolist, "img_train": 1.0}
    scipy.io.savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})


def coco(folder):
    joints, state = np.ones((17, 2)), np.full(17, 2, np.uint8)
    person = Sample(Path("a.jpg"), joints, state, "pc", None, "train", "coco", 1, COCO)
    (folder / "annotations").mkdir(parents=True)
    write_coco(folder / "annotations" / "person_keypoints_val2017.json", [person])


KINDS = {
    "lsp": (lsp, "joints.mat", "lsp", LSP, 4),
    "lspet": (lspet, "joints.mat", "lspet", LSP, 2),
    "flic": (flic, "examples.mat", "flic", FLIC, 1),
    "flic h5": (lambda folder: h5(folder / "train.h5", 11), "train.h5", "flic", FLIC, 2),
    "mpii": (mpii, "annot/train.json", "mpii", MPII, 1),
    "mpii mat": (mpii_release, "mpii_human_pose_v1_u12_1.mat", "mpii", MPII, 1),
    "mpii h5": (lambda f: h5(f / "annot/valid.h5", 16), "annot/valid.h5", "mpii", MPII, 2),
    "coco": (coco, "annotations/person_keypoints_val2017.json", "coco", COCO, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", ["pc", "oc"])
def test_folder_and_file_are_recognized(tmp_path, kind, labels):
    make, file, source, skeleton, people = KINDS[kind]
    make(tmp_path / "data")
    for path in (tmp_path / "data", tmp_path / "data" / file):
        if (kind, labels) == ("flic h5", "pc"):  # observer-centric in the file
            with pytest.raises(InputError, match="ask for oc"):
                read_folder(path, labels)
            continue
        samples = read_folder(path, labels)
        assert {(s.source, s.skeleton.name, s.labels) for s in samples} == {
            (source, skeleton.name, labels)
        }
        assert len(samples) == people
        assert {s.state.dtype for s in samples} == {np.dtype(np.uint8)}


def test_converted_file_of_any_dataset(tmp_path):
    lsp(tmp_path / "lsp")
    write_coco(tmp_path / "a.json", read_lsp(tmp_path / "lsp", "oc"))
    assert [s.source for s in read_folder(tmp_path / "a.json", "oc")] == ["lsp"] * 4
    with pytest.raises(InputError, match=r"a\.json: lsp 1: expected person-centric"):
        read_folder(tmp_path / "a.json", "pc")


class TestRefused:
    def refused(self, path) -> str:
        with pytest.raises(InputError) as caught:
            read_folder(path)
        message = str(caught.value)
        assert str(path) in message
        return message

    def test_says_what_was_found_what_was_expected_and_where_the_data_is(self, tmp_path):
        (tmp_path / "holiday").mkdir()
        (tmp_path / "a.jpg").touch()
        message = self.refused(tmp_path)
        assert "found a.jpg, holiday/, expected a dataset" in message
        for name in ("joints.mat", "examples.mat", "mpii_human_pose", "person_keypoints", *OWNERS):
            assert name in message

    def test_only_some_names_of_many_files(self, tmp_path):
        for number in range(30):
            (tmp_path / f"im{number:02d}.jpg").touch()
        assert "im07.jpg ..., expected" in self.refused(tmp_path)

    def test_nothing(self, tmp_path):
        assert "an empty folder" in self.refused(tmp_path)
        assert "no such folder or file" in self.refused(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["a.txt", "a.mat", "a.json", "joints.mat", "a.h5"])
    def test_other_files(self, tmp_path, name):
        (tmp_path / name).write_text("3")
        self.refused(tmp_path / name)

    def test_other_arrays(self, tmp_path):
        scipy.io.savemat(tmp_path / "a.mat", {"prediction_all": np.ones((14, 2, 5))})
        h5(tmp_path / "a.h5", 5)
        for name in ("a.mat", "a.h5"):
            assert f"found a file {name}" in self.refused(tmp_path / name)

    def test_a_damaged_joint_file(self, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "joints.mat").write_bytes(b"damaged")
        assert "MATLAB" in self.refused(tmp_path / "joints.mat")


def sample(skeleton, absent=()):
    """Return a person whose joint ``i`` lies at (i, 100 + i)."""
    count = len(skeleton.joints)
    joints = np.stack([np.arange(count), 100 + np.arange(count)], axis=1).astype(float)
    state = np.full(count, State.VISIBLE, dtype=np.uint8)
    for name in absent:
        joints[skeleton.joints.index(name)] = np.nan
        state[skeleton.joints.index(name)] = State.ABSENT
    return Sample(Path("a.jpg"), joints, state, "pc", (1, 2, 3, 4), "train", "x", 5, skeleton, 6.5)


def by_name(person):
    return dict(zip(person.skeleton.joints, person.joints, strict=True))


class TestToSkeleton:
    @pytest.mark.parametrize("source", SKELETONS.values(), ids=SKELETONS)
    @pytest.mark.parametrize("target", SKELETONS.values(), ids=SKELETONS)
    def test_same_names_are_the_same_joints_or_absent(self, source, target):
        old = sample(source)
        new = to_skeleton(old, target)
        assert new.skeleton == target
        assert (new.box, new.id, new.head_size, new.labels) == (old.box, old.id, 6.5, "pc")
        places, before = by_name(new), by_name(old)
        for name, state in zip(target.joints, new.state, strict=True):
            assert (state == State.ABSENT) == np.isnan(places[name]).any()
            if "neck" not in name:
                expected = before.get(name, np.full(2, np.nan))
                assert_allclose(places[name], expected)

    def test_mpii_to_lsp(self):
        """'To LSP: [0 1 2 3 4 5 10 11 12 13 14 15 8 9]' (SPEC 4.5)."""
        new = to_skeleton(sample(MPII), LSP)
        assert new.joints[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9]
        assert (new.state == State.VISIBLE).all()

    def test_lsp_to_mpii(self):
        new = to_skeleton(sample(LSP), MPII)
        assert by_name(new)["upper_neck"][0] == LSP.joints.index("neck")
        absent = [MPII.joints[i] for i in np.flatnonzero(new.state == State.ABSENT)]
        assert absent == ["pelvis", "thorax"]

    @pytest.mark.parametrize("source", [COCO, FLIC11])
    def test_a_neck_is_the_middle_of_the_shoulders(self, source):
        """'COCO -> LSP: neck = shoulder midpoint; head top has no counterpart' (SPEC 4.6)."""
        old = sample(source)
        places = by_name(old)
        new = to_skeleton(old, LSP)
        middle = (places["left_shoulder"] + places["right_shoulder"]) / 2
        assert_allclose(by_name(new)["neck"], middle)
        assert np.isnan(by_name(new)["head_top"]).all()

    @pytest.mark.parametrize("source", [LSP, MPII])
    def test_the_neck_of_flic_always_is(self, source):
        """'FLIC: neck = middle of the shoulders' (SPEC 1.8)."""
        old = sample(source)
        places = by_name(old)
        middle = (places["left_shoulder"] + places["right_shoulder"]) / 2
        assert_allclose(by_name(to_skeleton(old, FLIC))["neck"], middle)

    def test_flic_keeps_its_neck(self):
        assert by_name(to_skeleton(sample(FLIC), LSP))["neck"][0] == FLIC.joints.index("neck")

    def test_without_a_shoulder_there_is_no_neck(self):
        new = to_skeleton(sample(COCO, absent=["left_shoulder"]), LSP)
        assert new.state[LSP.joints.index("neck")] == State.ABSENT
        assert np.isnan(by_name(new)["neck"]).all()

    def test_the_neck_is_as_visible_as_the_less_visible_shoulder(self):
        old = sample(COCO)
        old.state[COCO.joints.index("right_shoulder")] = State.OCCLUDED
        assert to_skeleton(old, LSP).state[LSP.joints.index("neck")] == State.OCCLUDED

    def test_the_same_skeleton_changes_nothing(self):
        old = sample(LSP)
        assert to_skeleton(old, LSP) is old


class TestRealData:
    def test_every_folder(self, data_root):
        people = {"lsp": 2000, "lspet": 10000, "mpii": 2958, "coco": 141}
        for name, count in people.items():
            samples = read_folder(data_root / name)
            assert len(samples) == count
            assert {s.source for s in samples} == {name}
        assert len(read_folder(data_root / "flic", "oc")) == 5003
