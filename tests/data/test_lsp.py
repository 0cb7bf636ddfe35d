"""LSP and LSPET: small files in exactly the original layouts, and the real ones."""

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from uprightpose.data.lsp import (
    PERSON_SHARE,
    observer_centric,
    person_box,
    read_lsp,
    read_lspet,
    with_labels,
)
from uprightpose.data.sample import State
from uprightpose.errors import InputError
from uprightpose.frames import apply_affine, crop_matrix
from uprightpose.skeletons import COCO, LSP

FLAGS = np.random.default_rng(4).random((14, 3)) < 0.3


def points(people: int) -> np.ndarray:
    """Joints ``(n, 14, 2)`` in MATLAB's 1-based pixels, fractional as in the files."""
    return np.random.default_rng(3).uniform(1.008, 150, size=(people, 14, 2))


def write(folder, joints, key="joints"):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "joints.mat", {key: joints})
    return folder


@pytest.fixture
def lsp(tmp_path):
    """Three people as in LSP: 3 x 14 x N, row 3 is 1 where a joint is occluded."""
    joints = np.concatenate([points(3).transpose(2, 1, 0), FLAGS[None]])
    assert joints.shape == (3, 14, 3)
    return write(tmp_path / "lsp", joints)


@pytest.fixture
def lspet(tmp_path):
    """Three people as in LSPET: 14 x 3 x N, column 3 is 1 where a joint is annotated."""
    joints = np.concatenate([points(3).transpose(1, 2, 0), ~FLAGS[:, None]], axis=1)
    joints[:, :2] = np.where(FLAGS[:, None], -7.5, joints[:, :2])
    assert joints.shape == (14, 3, 3)
    return write(tmp_path / "lspet", joints)


class TestReadLsp:
    """'joints.mat key joints, 3 x 14 x 2000'; '1 = occluded'; 'MATLAB 1-based' (SPEC 4.1)."""

    def test_pixels_become_zero_based(self, lsp):
        samples = read_lsp(lsp)
        assert_allclose([sample.joints for sample in samples], points(3) - 1)

    def test_row_three_marks_occluded_joints(self, lsp):
        for person, sample in enumerate(read_lsp(lsp)):
            assert (sample.state == State.OCCLUDED).tolist() == FLAGS[:, person].tolist()
            assert (sample.state == State.VISIBLE).tolist() == (~FLAGS[:, person]).tolist()

    def test_names_and_numbers(self, lsp):
        samples = read_lsp(lsp)
        assert [sample.id for sample in samples] == [1, 2, 3]
        assert samples[1].image == lsp / "images" / "im0002.jpg"
        assert {sample.source for sample in samples} == {"lsp"}
        assert {sample.box for sample in samples} == {None}
        assert {sample.labels for sample in samples} == {"pc"}

    def test_the_second_thousand_is_for_testing(self, tmp_path):
        samples = read_lsp(write(tmp_path, np.ones((3, 14, 1002))))
        splits = [sample.split for sample in samples]
        assert splits == ["train"] * 1000 + ["test"] * 2

    def test_observer_centric_labels_move_states_too(self, lsp):
        for person, observer in zip(read_lsp(lsp), read_lsp(lsp, "oc"), strict=True):
            joints, order = observer_centric(person.joints)
            assert_allclose(observer.joints, joints)
            assert observer.state.tolist() == person.state[order].tolist()
            assert observer.labels == "oc"


class TestReadLspet:
    """'14 x 3 x 10000 (note the transposed layout). Column 3: 1 = annotated'; 'absent joints
    have non-positive coordinates, usually negative' (SPEC 4.2)."""

    def test_absent_joints_are_nan_and_the_others_zero_based(self, lspet):
        for person, sample in enumerate(read_lspet(lspet)):
            absent = FLAGS[:, person]
            assert np.isnan(sample.joints[absent]).all()
            assert_allclose(sample.joints[~absent], points(3)[person][~absent] - 1)
            assert (sample.state == State.ABSENT).tolist() == absent.tolist()
            assert (sample.state == State.VISIBLE).tolist() == (~absent).tolist()

    def test_names(self, lspet):
        samples = read_lspet(lspet)
        assert samples[2].image == lspet / "images" / "im00003.jpg"
        assert {(sample.split, sample.source) for sample in samples} == {("train", "lspet")}

    def test_people_without_any_joint_are_left_out(self, tmp_path):
        joints = np.ones((14, 3, 3))
        joints[:, 2, 1] = 0
        assert [sample.id for sample in read_lspet(write(tmp_path, joints))] == [1, 3]

    def test_the_box_holds_the_person_as_in_lsp(self, lspet):
        """'Square crop around the annotated joints' box, side = extent / 0.756' (SPEC 1.18)."""
        for sample in read_lspet(lspet):
            assert sample.box == person_box(sample.joints)
            crop = apply_affine(crop_matrix(sample.box, 100), sample.joints)
            low, high = np.nanmin(crop, axis=0), np.nanmax(crop, axis=0)
            assert_allclose((low + high) / 2, 49.5, atol=1e-9)  # in the middle
            assert abs((high - low).max() - 100 * PERSON_SHARE) < 1

    def test_box_of_a_single_joint(self):
        joints = np.full((14, 2), np.nan)
        joints[3] = 10, 20
        x, y, width, height = person_box(joints)
        assert (x + width / 2, y + height / 2) == (10.5, 20.5)  # edge coordinates
        assert width == height > 2


class TestBadFolders:
    """Each is refused in one clear line that names the file."""

    BOTH = pytest.mark.parametrize("read", [read_lsp, read_lspet])

    def refused(self, read, folder) -> str:
        with pytest.raises(InputError) as caught:
            read(folder)
        assert str(folder) in str(caught.value)
        return str(caught.value)

    @BOTH
    def test_missing_folder(self, read, tmp_path):
        assert "images/ and joints.mat" in self.refused(read, tmp_path / "nowhere")

    @BOTH
    @pytest.mark.parametrize("missing", ["images", "joints.mat"])
    def test_missing_part(self, read, tmp_path, missing):
        write(tmp_path, np.ones((3, 14, 2)))
        path = tmp_path / missing
        path.rmdir() if path.is_dir() else path.unlink()
        assert "images/ and joints.mat" in self.refused(read, tmp_path)

    def test_the_other_datasets_layout(self, lsp, lspet):
        assert "14 x 3 x N (LSPET), found 3 x 14 x 3" in self.refused(read_lspet, lsp)
        assert "3 x 14 x N (LSP), found 14 x 3 x 3" in self.refused(read_lsp, lspet)

    @BOTH
    @pytest.mark.parametrize("shape", [(3, 14), (2, 14, 5), (14, 2, 5), (3, 16, 5)])
    def test_other_layouts(self, read, tmp_path, shape):
        assert "expected joints of" in self.refused(read, write(tmp_path, np.ones(shape)))

    @BOTH
    def test_no_joints_in_the_file(self, read, tmp_path):
        folder = write(tmp_path, np.ones((3, 14, 2)), key="poses")
        assert "'joints'" in self.refused(read, folder)

    @BOTH
    @pytest.mark.parametrize("damage", ["empty", "text", "cut"])
    def test_damaged_file(self, read, tmp_path, damage):
        file = write(tmp_path, points(40).transpose(2, 1, 0)) / "joints.mat"
        content = {"empty": b"", "text": b"joints = 3", "cut": file.read_bytes()[:-3000]}
        file.write_bytes(content[damage])
        self.refused(read, tmp_path)

    @BOTH
    def test_joints_that_are_no_numbers(self, read, tmp_path):
        names = np.array([["knee"] * 14], dtype=object)
        self.refused(read, write(tmp_path, names))


class TestObserverCentric:
    """'exchange the arms iff cross(a, l.shoulder - r.shoulder) < 0; the legs iff
    cross(a, l.hip - r.hip) < 0' (SPEC 4.3)."""

    @staticmethod
    def person(facing=True) -> np.ndarray:
        """Return an upright body; who faces us has its left on the picture's right."""
        joints = np.zeros((14, 2))
        rows = {"shoulder": 10, "elbow": 20, "wrist": 30, "hip": 31, "knee": 45, "ankle": 60}
        for index, name in enumerate(LSP.joints):
            side, _, part = name.partition("_")
            x = 0 if part not in rows or side not in ("left", "right") else 8
            joints[index] = x * (1 if (side == "left") == facing else -1), rows.get(part, 2)
        return joints

    def test_who_faces_us_stays(self):
        joints, order = observer_centric(self.person(facing=True))
        assert order == list(range(14))
        assert_allclose(joints, self.person(facing=True))

    def test_who_is_seen_from_behind_is_exchanged(self):
        joints, order = observer_centric(self.person(facing=False))
        assert order == list(LSP.mirror)
        assert_allclose(joints, self.person(facing=True))

    def test_arms_and_legs_are_decided_separately(self):
        twisted = self.person(facing=True)
        twisted[[6, 7, 8, 9, 10, 11]] = twisted[[11, 10, 9, 8, 7, 6]]
        joints, order = observer_centric(twisted)
        assert_allclose(joints, self.person(facing=True))
        assert order[:6] == list(range(6))

    @given(angle=st.floats(-np.pi, np.pi), facing=st.booleans())
    def test_turning_the_picture_changes_nothing(self, angle, facing):
        """'Rotation augmentation never changes OC labels'."""
        turn = crop_matrix((0, 0, 60, 60), 60, angle=angle)
        _, before = observer_centric(self.person(facing))
        _, after = observer_centric(apply_affine(turn, self.person(facing)))
        assert before == after

    @given(facing=st.booleans())
    def test_twice_is_once(self, facing):
        once, _ = observer_centric(self.person(facing))
        assert observer_centric(once)[1] == list(range(14))

    @pytest.mark.parametrize("joint", [2, 3, 8, 9])
    def test_nothing_is_exchanged_without_shoulders_and_hips(self, joint):
        joints = self.person(facing=False)
        joints[joint] = np.nan
        assert observer_centric(joints)[1] == list(range(14))

    def test_other_skeletons_by_the_names_of_their_joints(self):
        """Eyes and ears, which LSP does not have, go with the arms."""
        joints = np.zeros((17, 2))
        for index, name in enumerate(COCO.joints):
            side = {"left": -4.0, "right": 4.0}.get(name.partition("_")[0], 0.0)  # from behind
            joints[index] = side, index
        joints[[COCO.joints.index(f"{side}_hip") for side in ("left", "right")]] *= [-1, 1]
        _, order = observer_centric(joints, COCO)
        changed = {COCO.joints[i].partition("_")[2] for i, j in enumerate(order) if i != j}
        assert changed == {"eye", "ear", "shoulder", "elbow", "wrist"}


class TestWithLabels:
    def test_states_go_with_their_joints(self, lsp):
        for person, observer in zip(read_lsp(lsp), read_lsp(lsp, "oc"), strict=True):
            found = with_labels(person, "oc")
            assert_allclose(found.joints, observer.joints)
            assert found.state.tolist() == observer.state.tolist()
            assert found.labels == "oc"
            assert with_labels(found, "oc") is found

    def test_person_centric_sides_cannot_be_told(self, lsp):
        with pytest.raises(InputError, match="lsp 1: expected person-centric labels"):
            with_labels(read_lsp(lsp, "oc")[0], "pc")


class TestRealData:
    """The numbers of SPEC 4.1-4.3, measured on the real files."""

    def test_the_rule_reproduces_all_published_labels(self, data_root):
        """'Reproduces arms and legs of all 2000 images, 100.00 %'."""
        content = scipy.io.loadmat(data_root / "lsp" / "joints_pc_and_oc.mat")
        published = content["oc_joints"][:2].transpose(2, 1, 0) - 1
        found = np.array([sample.joints for sample in read_lsp(data_root / "lsp", "oc")])
        same = np.abs(found - published).max(axis=(1, 2)) < 1e-9
        assert same.sum() == 2000

    def test_lsp(self, data_root):
        samples = read_lsp(data_root / "lsp")
        occluded = np.mean([sample.state == State.OCCLUDED for sample in samples])
        assert len(samples) == 2000
        assert round(occluded, 3) == 0.073
        assert not np.isnan([sample.joints for sample in samples]).any()
        assert samples[0].image.is_file()
        assert samples[-1].image.is_file()

    def test_lspet(self, data_root):
        samples = read_lspet(data_root / "lspet")
        present = np.array([sample.state == State.VISIBLE for sample in samples])
        shares = present.sum(axis=0) / 10000
        assert round(shares[12], 2) == 0.81  # neck
        assert round(shares[13], 3) == 0.955  # head
        assert present[:, [*LSP.torso, *LSP.neck]].all(axis=1).sum() == 5286
        assert samples[-1].image.is_file()
