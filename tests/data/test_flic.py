"""FLIC: small files in exactly the official layouts, and the real ones."""

import sys

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.testing import assert_allclose

from uprightpose.data.flic import TORSO_HEIGHTS, read_flic, torso_crop
from uprightpose.data.sample import State
from uprightpose.errors import InputError
from uprightpose.frames import apply_affine, crop_matrix
from uprightpose.skeletons import FLIC, FLIC11

# 'Columns (0-based): 0 lsho 1 lelb 2 lwri 3 rsho 4 relb 5 rwri 6 lhip 9 rhip 12 leye 13 reye
# 16 nose; all others NaN' (SPEC 4.4)
COLUMNS = {"left_shoulder": 0, "left_elbow": 1, "left_wrist": 2, "right_shoulder": 3}
COLUMNS |= {"right_elbow": 4, "right_wrist": 5, "left_hip": 6, "right_hip": 9}
COLUMNS |= {"left_eye": 12, "right_eye": 13, "nose": 16}
FACING = {"left_shoulder": (400.5, 200), "left_elbow": (420, 260), "left_wrist": (410, 300)}
FACING |= {"right_shoulder": (300, 202), "right_elbow": (280, 262), "right_wrist": (270, 310)}
FACING |= {"left_hip": (380, 350), "right_hip": (310, 352), "nose": (352, 140)}
FACING |= {"left_eye": (360, 130), "right_eye": (342, 131)}
TORSO = np.array([290.0, 180.0, 410.0, 360.0])


def away(joints):
    """Return the same pixels with the person's sides the other way round."""
    swap = {"left": "right", "right": "left"}
    return {
        f"{swap[n.split('_')[0]]}_{n.split('_')[1]}" if "_" in n else n: xy
        for n, xy in joints.items()
    }


def example(number, joints, split, **more):
    coords = np.full((2, 29), np.nan)
    for name, xy in joints.items():
        coords[:, COLUMNS[name]] = xy
    fields = {"poselet_hit_idx": np.arange(3.0), "moviename": "12-oclock", "coords": coords}
    fields |= {"filepath": f"12-oclock-{number:08d}.jpg", "imgdims": np.array([480.0, 720, 3])}
    fields |= {"currframe": float(number), "torsobox": TORSO}
    fields |= {"istrain": np.uint8(split == "train"), "istest": np.uint8(split == "test")}
    return fields | more


def write_examples(folder, rows):
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[0, i][name] = value
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "examples.mat", {"examples": array})
    return folder


def write_h5(path, people, **changes):
    """Write a file as the hourglass's authors did: part in 1-based pixels, scale 2.2 for all."""
    part = np.array([[joints[name] for name in FLIC11.joints] for joints in people], dtype=float)
    count = len(people)
    names = [f"film-{i:08d}.jpg".encode() for i in range(count)]
    arrays = {"part": part, "imgname": np.array(names), "index": np.arange(count) + 140}
    arrays |= {"center": np.full((count, 2), (350.0, 240.0), np.float32), "person": np.zeros(count)}
    arrays |= {"scale": np.full(count, 2.2), "visible": np.ones(part.shape[:2])}
    arrays |= {"normalize": np.full(count, 160.0), "torsoangle": np.zeros(count)} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.fixture
def folder(tmp_path):
    rows = [
        example(6361, FACING, "train"),
        example(6371, away(FACING), "test"),
        example(6381, FACING, "neither"),
        example(6391, FACING, "test"),
    ]
    return write_examples(tmp_path / "flic", rows)


def places(sample):
    return dict(zip(sample.skeleton.joints, sample.joints.tolist(), strict=True))


def zero_based(joints):
    return {name: [x - 1, y - 1] for name, (x, y) in joints.items()}


class TestExamples:
    """'examples.mat, struct array examples 1x5003' (SPEC 4.4)."""

    def test_columns_become_joints_and_pixels_zero_based(self, folder):
        samples = read_flic(folder, "pc", "flic11")
        assert samples[0].skeleton == FLIC11
        assert places(samples[0]) == zero_based(FACING)
        assert places(samples[1]) == zero_based(away(FACING))

    def test_splits_numbers_and_pictures(self, folder):
        """'3987 train, 1016 test, disjoint'; an example of neither is left out."""
        samples = read_flic(folder)
        assert [(s.split, s.id) for s in samples] == [("train", 1), ("test", 2), ("test", 4)]
        assert samples[1].image == folder / "images" / "12-oclock-00006371.jpg"
        assert {(s.source, s.labels, s.head_size) for s in samples} == {("flic", "oc", None)}

    def test_observer_centric_labels_exchange_all_sides(self, folder):
        """'OC = exchange when rsho.x > lsho.x'; eyes are exchanged too."""
        for sample in read_flic(folder, "oc", "flic11"):
            assert places(sample) == zero_based(FACING)

    def test_the_paper_has_ten_joints_whose_neck_is_between_the_shoulders(self, folder):
        """'FLIC10 (nose, neck = shoulder midpoint, rsho relb rwri rhip, lsho lelb lwri lhip)'."""
        sample = read_flic(folder)[0]
        order = "nose neck right_shoulder right_elbow right_wrist right_hip left_shoulder"
        assert sample.skeleton == FLIC
        assert sample.skeleton.joints[:7] == tuple(order.split())
        found = places(sample)
        assert found.pop("neck") == [349.25, 200.0]
        assert found == {n: xy for n, xy in zero_based(FACING).items() if "eye" not in n}
        assert (sample.state == State.VISIBLE).all()

    def test_an_absent_shoulder_leaves_no_neck(self, tmp_path):
        joints = {name: xy for name, xy in FACING.items() if name != "right_shoulder"}
        sample = read_flic(write_examples(tmp_path, [example(1, joints, "train")]))[0]
        absent = [FLIC.joints[i] for i in np.flatnonzero(sample.state == State.ABSENT)]
        assert absent == ["neck", "right_shoulder"]
        assert np.isnan(sample.joints[[1, 2]]).all()
        assert np.isnan(sample.joints).sum() == 4

    def test_states_are_exchanged_with_their_joints(self, tmp_path):
        joints = {name: xy for name, xy in away(FACING).items() if name != "left_wrist"}
        folder = write_examples(tmp_path, [example(1, joints, "train")])
        for labels, name in (("pc", "left_wrist"), ("oc", "right_wrist")):
            sample = read_flic(folder, labels)[0]
            assert np.flatnonzero(sample.state == State.ABSENT) == FLIC.joints.index(name)
            assert np.isnan(sample.joints[FLIC.joints.index(name)]).all()

    def test_one_example_alone(self, tmp_path):
        """'a 1-element struct array loads as a scalar'."""
        assert len(read_flic(write_examples(tmp_path, [example(1, FACING, "train")]))) == 1

    def test_the_file_itself(self, folder):
        assert len(read_flic(folder / "examples.mat")) == 3


class TestBox:
    """'centre (mid x, 0.7 y1 + 0.3 y2) and scale proportional to box height' (SPEC 1.18)."""

    def test_center_and_side(self):
        x, y, width, height = torso_crop(TORSO)
        # 1-based pixel (350, 234) has its center half a pixel less in edge coordinates
        assert_allclose((x + width / 2, y + height / 2), (349.5, 233.5))
        assert width == height == TORSO_HEIGHTS * 180
        assert 3.45 < TORSO_HEIGHTS < 3.46  # 368 px at (41 / 35) / (0.0110 * height)

    def test_the_crop_holds_the_person(self, folder):
        for sample in read_flic(folder):
            assert sample.box == torso_crop(TORSO)
            crop = apply_affine(crop_matrix(sample.box, 100), sample.joints)
            assert ((crop > 10) & (crop < 90)).all()

    def test_without_a_torso_box_it_is_about_the_joints(self, tmp_path):
        row = example(1, FACING, "train", torsobox=np.full(4, np.nan))
        x, _, side, _ = read_flic(write_examples(tmp_path, [row]))[0].box
        assert x < 269
        assert x + side > 421


class TestHourglassFiles:
    """'FLIC11 (lsho lelb lwri rsho relb rwri lhip rhip leye reye nose)' (SPEC 4.4)."""

    def test_order_pixels_names_and_splits(self, tmp_path):
        write_h5(tmp_path / "train.h5", [FACING])
        write_h5(tmp_path / "valid.h5", [FACING, FACING])
        samples = read_flic(tmp_path, "oc", "flic11")
        assert [s.split for s in samples] == ["train", "test", "test"]
        assert [s.id for s in samples] == [141, 141, 142]  # index counts from 0
        assert samples[2].image == tmp_path / "images" / "film-00000001.jpg"
        assert places(samples[0]) == zero_based(FACING)

    def test_box_is_the_files_crop_with_room(self, tmp_path):
        write_h5(tmp_path / "train.h5", [FACING])
        x, y, width, height = read_flic(tmp_path)[0].box
        assert_allclose((x + width / 2, y + height / 2), (349.5, 239.5), atol=1e-4)
        assert_allclose((width, height), 1.25 * 440)

    def test_annot_folder_and_names_as_numbers(self, tmp_path):
        """Torch writes strings as rows of characters' numbers, filled up with zeros."""
        codes = np.frombuffer(b"a.jpg\0\0bc.jpg\0", np.uint8).reshape(2, 7).astype(float)
        write_h5(tmp_path / "annot" / "train.h5", [FACING, FACING], imgname=codes)
        samples = read_flic(tmp_path)
        assert [s.image for s in samples] == [tmp_path / "images" / n for n in ("a.jpg", "bc.jpg")]

    def test_person_centric_labels_have_their_own_files(self, tmp_path):
        write_h5(tmp_path / "valid.h5", [FACING])
        write_h5(tmp_path / "valid_personcentric.h5", [away(FACING)])
        (person,) = read_flic(tmp_path, "pc", "flic11")
        assert (places(person), person.labels) == (zero_based(away(FACING)), "pc")
        assert places(read_flic(tmp_path, "oc", "flic11")[0]) == zero_based(FACING)
        alone = read_flic(tmp_path / "valid_personcentric.h5", "oc", "flic11")[0]
        assert (places(alone), alone.labels) == (zero_based(FACING), "oc")

    def test_person_centric_labels_that_are_not_there(self, tmp_path):
        write_h5(tmp_path / "train.h5", [FACING])
        with pytest.raises(
            InputError, match=r"train_personcentric\.h5 is not there: ask for oc \(--labels oc\)"
        ):
            read_flic(tmp_path, "pc")

    def test_h5py_is_not_installed(self, tmp_path, monkeypatch):
        write_h5(tmp_path / "train.h5", [FACING])
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(InputError, match=r"pip install -e '\.\[data\]'"):
            read_flic(tmp_path)


class TestBadFiles:
    def refused(self, path) -> str:
        with pytest.raises(InputError) as caught:
            read_flic(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_nothing_there(self, tmp_path):
        assert "examples.mat" in self.refused(tmp_path)
        self.refused(tmp_path / "examples.mat")
        self.refused(tmp_path / "train.h5")

    def test_other_content(self, tmp_path):
        scipy.io.savemat(tmp_path / "examples.mat", {"joints": np.ones((3, 14, 2))})
        assert "'examples', found joints" in self.refused(tmp_path / "examples.mat")
        write_examples(tmp_path, [{"coords": np.ones((2, 5)), "istrain": 1, "istest": 0}])
        self.refused(tmp_path / "examples.mat")
        (tmp_path / "train.h5").write_bytes(b"no h5")
        self.refused(tmp_path / "train.h5")

    def test_the_h5_file_of_another_dataset(self, tmp_path):
        write_h5(tmp_path / "train.h5", [FACING], part=np.ones((1, 16, 2)))
        assert "11 joints, found 16" in self.refused(tmp_path / "train.h5")


def test_flic11_is_a_skeleton_with_arms_only():
    assert len(FLIC11.joints) == 11
    assert [limb.name for limb in FLIC11.limbs] == ["left arm", "right arm"]
    rest = "left_hip right_hip left_eye right_eye nose"
    assert [FLIC11.joints[i] for i in FLIC11.rest] == rest.split()


@pytest.fixture(scope="module")
def real(data_root):
    return read_flic(data_root / "flic", "oc", "flic11")


class TestRealData:
    def test_counts(self, real):
        """'3987 train, 1016 test' (SPEC 4.4)."""
        splits = [sample.split for sample in real]
        assert (splits.count("train"), splits.count("test")) == (3987, 1016)

    def test_the_rule_makes_the_observer_centric_file(self, real, data_root):
        """'4.7 % of test people face away'; eyes are exchanged with the shoulders."""
        folder = data_root / "flic"
        person = read_flic(folder / "valid_personcentric.h5", "pc", "flic11")
        computed = read_flic(folder / "valid_personcentric.h5", "oc", "flic11")
        published = [sample for sample in real if sample.split == "test"]
        joints = [np.array([s.joints for s in some]) for some in (person, computed, published)]
        assert_allclose(joints[1], joints[2], rtol=0, atol=0)
        share = (joints[0] != joints[1]).any(axis=(1, 2)).mean()
        assert round(share, 3) == 0.047

    def test_the_crop_holds_the_people(self, real):
        boxes, joints = np.array([s.box for s in real]), np.array([s.joints for s in real])
        low = boxes[:, None, :2]
        inside = ((joints > low) & (joints < low + boxes[:, None, 2:])).all(axis=(1, 2))
        assert inside.mean() > 0.999
