"""MPII: small files in exactly the layouts in which it goes around, and the real one."""

import json
import math

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.testing import assert_allclose

from uprightpose.data.hourglass_file import settle_missing
from uprightpose.data.lsp import observer_centric, person_box
from uprightpose.data.mpii import mpii_files, read_mpii
from uprightpose.data.sample import State
from uprightpose.errors import InputError
from uprightpose.skeletons import MPII

CENTER, SCALE, HEAD = (594.0, 257.0), 3.0, (627.0, 100.0, 706.0, 198.0)
EMPTY = np.zeros((0, 0))
POINTS = np.random.default_rng(5).integers(1, 700, size=(16, 2)).astype(float)
POINTS[[2, 3, 12, 13]] = [(450, 400), (320, 410), (500, 100), (300, 110)]  # seen from behind
POINTS[7] = 0.0, 9.0  # at the left border: a joint, though one number is 0
POINTS[4] = -1.0, -1.0  # outside the picture
MISSING, OCCLUDED = (0, 5, 6), (1, 12)
FLAGS = np.array([0.0 if i in (*MISSING, *OCCLUDED) else 1.0 for i in range(16)])
KNOWN = [i for i in range(16) if i not in MISSING]


def struct(rows):
    """Return a MATLAB struct array 1 x n; fields that a row does not have are empty there."""
    fields = list(dict.fromkeys(name for row in rows for name in row))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in fields])
    for i, row in enumerate(rows):
        for name in fields:
            array[0, i][name] = row.get(name, EMPTY)
    return array


def point(joint, visible=None):
    x, y = POINTS[joint]
    known = {} if visible is None else {"is_visible": visible}
    return {"x": x, "y": y, "id": float(joint)} | known


def rectangle(points=None, **more):
    """Return one annorect with its head box; labeled points in the given order."""
    fields = dict(zip(("x1", "y1", "x2", "y2"), HEAD, strict=True))
    if points is not None:
        fields["annopoints"] = {"point": struct(points)}
    where = {"scale": SCALE, "objpos": {"x": CENTER[0], "y": CENTER[1]}}
    return fields | where | more


def unordered():
    """Return the labeled points backwards; visibility as numbers, characters, and empty."""
    ways = {0: (0.0, "0", np.uint8(0)), 1: (1.0, "1", EMPTY, "", " ", np.uint8(1))}
    return [point(i, ways[FLAGS[i]][i % len(ways[FLAGS[i]])]) for i in reversed(KNOWN)]


def write_release(folder, pictures, train):
    rows = [
        {"image": {"name": f"{i:09d}.jpg"}, "annorect": rects, "frame_sec": EMPTY, "vididx": EMPTY}
        for i, rects in enumerate(pictures, 1)
    ]
    single = np.empty((len(rows), 1), dtype=object)
    single[:, 0] = [EMPTY] * len(rows)
    release = {"annolist": struct(rows), "img_train": np.array([train], np.uint8)}
    release |= {"version": "12", "single_person": single}
    release |= {"act": struct([{"act_name": "x", "act_id": 1.0}] * len(rows))}
    release["video_list"] = np.array([["a", "b"]], dtype=object)
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    return folder


def write_h5(path, *, raw=False, points=None, **changes):
    """Write one person as the hourglass's authors do: index and person count from 0."""
    part = np.where((FLAGS > 0)[:, None] | np.isin(range(16), OCCLUDED)[:, None], POINTS, 0.0)
    x, y = CENTER
    center, scale = ((x, y), SCALE) if raw else ((x, y + 15 * SCALE), SCALE * 1.25)
    arrays = {"part": part[None], "visible": FLAGS[None], "center": np.array([center])}
    arrays |= {"scale": np.array([scale]), "imgname": np.array([b"000000001.jpg"])}
    head = 0.6 * math.hypot(HEAD[2] - HEAD[0], HEAD[3] - HEAD[1])
    arrays |= {"normalize": np.array([head]), "index": np.zeros(1), "person": np.zeros(1)}
    arrays |= {"torsoangle": np.zeros(1)}
    if raw:
        arrays |= {"istrain": np.ones(1), "multi": np.zeros(1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in (arrays | changes).items():
            file[name] = array
    return path


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def hrnet(**changes):
    known = np.isin(range(16), KNOWN)[:, None]
    person = {"image": "000000001.jpg", "center": list(CENTER), "scale": SCALE}
    person |= {"joints": np.where(known, POINTS, -1.0).tolist(), "joints_vis": FLAGS.tolist()}
    return person | changes


def wei(**changes):
    known = np.isin(range(16), KNOWN)[:, None]
    joints = np.concatenate([np.where(known, POINTS, 0.0), FLAGS[:, None]], axis=1)
    person = {"dataset": "MPI", "isValidation": 0.0, "img_paths": "000000001.jpg"}
    person |= {"objpos": list(CENTER), "joint_self": joints.tolist(), "scale_provided": SCALE}
    return person | {"annolist_index": 1, "people_index": 1.0, "numOtherPeople": 0} | changes


@pytest.fixture(params=["release", "wei", "wei root", "hrnet", "hourglass", "annot"])
def folder(request, tmp_path):
    """The same person in every layout."""
    match request.param:
        case "release":
            write_release(tmp_path, [struct([rectangle(unordered())])], [1])
        case "wei":
            write_json(tmp_path / "mpii_annotations.json", [wei()])
        case "wei root":
            write_json(tmp_path / "annot" / "mpii_annotations.json", {"root": [wei()]})
        case "hrnet":
            write_json(tmp_path / "annot" / "train.json", [hrnet()])
        case "hourglass":
            write_h5(tmp_path / "annot" / "train.h5")
        case "annot":
            write_h5(tmp_path / "annot.h5", raw=True)
    return tmp_path


class TestEveryLayoutSaysTheSame:
    def test_pixels_become_zero_based_and_points_find_their_places(self, folder):
        """'Traps: 1-based; points unordered and missing' (SPEC 4.5)."""
        (sample,) = read_mpii(folder)
        assert_allclose(sample.joints[KNOWN], POINTS[KNOWN] - 1)
        assert np.isnan(sample.joints[list(MISSING)]).all()

    def test_states(self, folder):
        """'is_visible may be a number, a character '0'/'1', or empty'."""
        (sample,) = read_mpii(folder)
        states = {State.ABSENT: MISSING, State.OCCLUDED: OCCLUDED}
        for state, joints in states.items():
            assert tuple(np.flatnonzero(sample.state == state)) == joints

    def test_the_crop(self, folder):
        """'Crop convention: side 200*scale*1.25, centre y + 15*scale'; never applied twice."""
        (sample,) = read_mpii(folder)
        x, y, width, height = sample.box
        assert_allclose((width, height), 750)
        # pixel (594, 257 + 45), 1-based, has its center half a pixel less in edge coordinates
        assert_allclose((x + width / 2, y + height / 2), (593.5, 301.5))

    def test_names(self, folder):
        (sample,) = read_mpii(folder)
        assert sample.image == folder / "images" / "000000001.jpg"
        assert (sample.split, sample.source, sample.labels) == ("train", "mpii", "pc")
        assert sample.skeleton == MPII

    def test_observer_centric_labels(self, folder):
        """'OC labels for LSPET, MPII, or any PC data are computed' (SPEC 4.3)."""
        (person,), (observer,) = read_mpii(folder), read_mpii(folder, "oc")
        joints, order = observer_centric(person.joints, MPII)
        assert order != list(range(16))
        assert_allclose(observer.joints, joints)
        assert observer.state.tolist() == person.state[order].tolist()
        assert observer.labels == "oc"

    def test_head_size(self, folder):
        """'head size = 0.6 * diagonal of the head box' (SPEC 3.2), where there is one."""
        (sample,) = read_mpii(folder)
        has_boxes = not list(folder.rglob("*.json"))
        expected = 0.6 * math.sqrt(79**2 + 98**2) if has_boxes else None
        assert sample.head_size == (pytest.approx(expected) if expected else None)

    def test_id_is_that_of_the_first_person_of_the_first_picture(self, folder):
        (sample,) = read_mpii(folder)
        assert sample.id == (1 if list(folder.rglob("train.json")) else 1001)

    def test_the_file_itself(self, folder):
        (file,) = mpii_files(folder)
        assert read_mpii(file)[0].image == read_mpii(folder)[0].image


class TestRelease:
    """'mpii_human_pose_v1_u12_1.mat, struct RELEASE' (SPEC 4.5)."""

    @pytest.fixture
    def samples(self, tmp_path):
        pictures = [
            struct([rectangle(), rectangle([point(9, 1.0), point(2, 0.0)])]),
            EMPTY,
            struct([rectangle([point(8)])]),  # no is_visible at all; one point alone
            struct([rectangle([point(7, "1")], objpos=EMPTY, scale=EMPTY)]),
            struct([{"scale": 2.0, "objpos": {"x": 10.0, "y": 20.0}}, {"scale": 1.5}, {}]),
            struct([rectangle([point(3, "1")]), rectangle([point(1, 1.0)], x1=EMPTY)]),
        ]
        return read_mpii(write_release(tmp_path, pictures, [1, 1, 1, 1, 0, 1]))

    def test_people_without_annopoints_are_left_out(self, samples):
        """'some rects have no annopoints or objpos'; 'test labels withheld'."""
        assert [s.id for s in samples] == [1002, 3001, 4001, 5001, 6001, 6002]
        assert [s.split for s in samples] == ["train"] * 3 + ["test"] + ["train"] * 2

    def test_each_keeps_its_picture_and_points(self, samples):
        assert [s.image.name[-5] for s in samples] == list("134566")
        found = [np.flatnonzero(s.state).tolist() for s in samples]
        assert found == [[2, 9], [8], [7], [], [3], [1]]
        assert samples[0].state[2] == State.OCCLUDED
        assert samples[1].state[8] == State.VISIBLE

    def test_without_objpos_the_box_is_about_the_joints(self, samples):
        assert samples[2].box == person_box(samples[2].joints)

    def test_test_people_have_a_box_and_nothing_else(self, samples):
        assert samples[3].head_size is None
        assert np.isnan(samples[3].joints).all()
        assert samples[3].box == (10 - 0.5 - 250, 20 + 30 - 0.5 - 250, 500, 500)

    def test_without_a_whole_head_box_there_is_no_head_size(self, samples):
        assert samples[4].head_size is not None
        assert samples[5].head_size is None

    def test_where_the_archive_was_unpacked(self, tmp_path):
        inside = tmp_path / "mpii_human_pose_v1_u12_2"
        write_release(inside, [struct([rectangle(unordered())])], [1])
        (tmp_path / "images").mkdir()
        assert read_mpii(tmp_path)[0].image.parent == tmp_path / "images"


class TestHourglass:
    """'missing joints are (0,0)/flag 0, or -1 for test' (SPEC 4.5)."""

    def test_splits(self, tmp_path):
        withheld = {"part": np.full((1, 16, 2), -1), "visible": np.full((1, 16), -1)}
        write_h5(tmp_path / "train.h5")
        write_h5(tmp_path / "valid.h5", index=np.array([6.0]), person=np.array([2.0]))
        write_h5(tmp_path / "test.h5", normalize=np.full(1, -1), **withheld)
        samples = read_mpii(tmp_path)
        assert [s.split for s in samples] == ["train", "valid", "test"]
        assert samples[1].id == 7003
        assert not samples[2].state.any()
        assert samples[2].head_size is None

    def test_raw_file_says_what_is_for_training(self, tmp_path):
        withheld = {"part": np.full((1, 16, 2), -1), "visible": np.full((1, 16), -1)}
        write_h5(tmp_path / "annot.h5", raw=True, istrain=np.zeros(1), **withheld)
        assert [s.split for s in read_mpii(tmp_path)] == ["test"]

    def test_people_without_labels_are_left_out(self, tmp_path):
        write_h5(tmp_path / "train.h5", part=np.zeros((1, 16, 2)), visible=np.zeros((1, 16)))
        assert read_mpii(tmp_path) == []

    @pytest.mark.parametrize(
        ("place", "flag", "state"),
        [
            ((0, 0), 0, State.ABSENT),
            ((0, 0), 1, State.ABSENT),
            ((-1, -1), -1, State.ABSENT),
            ((-1, -1), 0, State.ABSENT),
            ((-1, -1), 1, State.VISIBLE),
            ((5, 6), -1, State.ABSENT),
            ((0, 6), 1, State.VISIBLE),
            ((0, 6), 0, State.OCCLUDED),
            ((-30, 6), 0, State.OCCLUDED),
            ((np.nan, 6), 1, State.ABSENT),
        ],
    )
    def test_what_is_missing(self, place, flag, state):
        points, states = settle_missing(np.array([place], float), np.array([float(flag)]))
        assert states.tolist() == [state]
        assert np.isnan(points).all() == (state == State.ABSENT)


class TestHrnet:
    """'train.json, valid.json, test.json (image, center, scale, joints 16x2, joints_vis)'."""

    def test_splits_and_rows(self, tmp_path):
        for split in ("train", "valid"):
            write_json(tmp_path / "annot" / f"{split}.json", [hrnet(), hrnet()])
        test = [{"image": "a.jpg", "center": list(CENTER), "scale": SCALE}]
        write_json(tmp_path / "annot" / "test.json", [*test, test[0] | {"center": [-1, -1]}])
        samples = read_mpii(tmp_path)
        splits = ["train", "train", "valid", "valid", "test", "test"]
        assert [(s.split, s.id) for s in samples[:5]] == [
            *zip(splits, (1, 2, 1, 2, 1), strict=False)
        ]
        assert not samples[4].state.any()

    def test_people_nobody_centered_are_no_test(self, tmp_path):
        nobody = {"image": "a.jpg", "center": [-1, -1], "scale": -1}
        assert read_mpii(write_json(tmp_path / "test.json", [nobody])) == []
        (sample,) = read_mpii(write_json(tmp_path / "train.json", [hrnet(**nobody)]))
        assert sample.box == person_box(sample.joints)

    def test_head_sizes_lie_in_another_file(self, tmp_path):
        write_json(tmp_path / "valid.json", [hrnet(), hrnet()])
        corners = np.zeros((2, 2, 2))  # corner, axis, person
        corners[1, :, 0], corners[1, :, 1] = (3, 4), (6, 8)
        scipy.io.savemat(tmp_path / "gt_valid.mat", {"headboxes_src": corners})
        assert [s.head_size for s in read_mpii(tmp_path)] == pytest.approx([3.0, 6.0])
        write_json(tmp_path / "valid.json", [hrnet()])
        with pytest.raises(InputError, match="expected 1 head boxes"):
            read_mpii(tmp_path)


def test_wei_marks_the_validation_split(tmp_path):
    write_json(tmp_path / "mpii_annotations.json", [wei(), wei(isValidation=1.0, people_index=2)])
    assert [(s.split, s.id) for s in read_mpii(tmp_path)] == [("train", 1001), ("valid", 1002)]


class TestWhichFiles:
    def test_splits_and_head_sizes_come_first(self, tmp_path):
        write_release(tmp_path, [struct([rectangle(unordered())])], [1])
        write_json(tmp_path / "annot" / "train.json", [hrnet()])
        assert mpii_files(tmp_path) == [tmp_path / "annot" / "train.json"]
        write_h5(tmp_path / "annot" / "valid.h5")
        assert mpii_files(tmp_path) == [tmp_path / "annot" / "train.json"]
        write_h5(tmp_path / "annot" / "train.h5")
        assert mpii_files(tmp_path) == [tmp_path / "annot" / f"{n}.h5" for n in ("train", "valid")]

    def test_h5_files_of_other_datasets_are_not_taken(self, tmp_path):
        write_h5(tmp_path / "train.h5", part=np.ones((1, 11, 2)), visible=np.ones((1, 11)))
        assert mpii_files(tmp_path) == []
        write_json(tmp_path / "train.json", [hrnet()])
        assert mpii_files(tmp_path) == [tmp_path / "train.json"]


class TestBadFiles:
    def refused(self, path) -> str:
        with pytest.raises(InputError) as caught:
            read_mpii(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_nothing_there(self, tmp_path):
        assert "mpii_human_pose_v1_u12_1.mat" in self.refused(tmp_path)
        for name in ("a.mat", "train.json"):
            self.refused(tmp_path / name)

    def test_other_content(self, tmp_path):
        scipy.io.savemat(tmp_path / "a.mat", {"joints": np.ones((3, 14, 2))})
        assert "'RELEASE', found joints" in self.refused(tmp_path / "a.mat")
        scipy.io.savemat(tmp_path / "a.mat", {"RELEASE": {"annolist": 3.0}})
        self.refused(tmp_path / "a.mat")
        (tmp_path / "a.mat").write_bytes(b"damaged")
        self.refused(tmp_path / "a.mat")
        write_h5(tmp_path / "flic.h5", part=np.ones((1, 11, 2)), visible=np.ones((1, 11)))
        assert "16 joints" in self.refused(tmp_path / "flic.h5")
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["part"] = np.ones((1, 16, 2))
        assert "imgname" in self.refused(tmp_path / "other.h5")

    @pytest.mark.parametrize(
        "content",
        ["{", "{}", '[{"image": "a.jpg"}]', '[{"joint_self": [1, 2]}]', "[3]", '{"root": 3}'],
    )
    def test_other_json(self, tmp_path, content):
        (tmp_path / "train.json").write_text(content)
        self.refused(tmp_path / "train.json")


@pytest.fixture(scope="module")
def real(data_root):
    return read_mpii(data_root / "mpii")


class TestRealData:
    def test_counts(self, real):
        """'Validation: 2958 people'; 'ankles 28 %, knees 16 % missing' (SPEC 4.5)."""
        absent = np.mean([s.state == State.ABSENT for s in real], axis=0)
        assert len(real) == 2958
        assert {s.split for s in real} == {"valid"}
        assert absent[[0, 5]].mean().round(2) == 0.28
        assert absent[[1, 4]].mean().round(2) == 0.16

    def test_agrees_with_the_file_of_tompson_et_al(self, real, data_root):
        """Pixels to the whole one to which the hourglass's were cut, head sizes, who is missing."""
        truth = scipy.io.loadmat(data_root / "mpii" / "tompson_valid_gt_and_pred.mat")
        joints = np.array([s.joints for s in real])
        missing = truth["jnt_missing"].T > 0
        assert (np.isnan(joints).any(axis=2) == missing).all()
        apart = np.abs(joints + 1 - truth["pos_gt_src"].transpose(2, 0, 1))[~missing]
        assert np.quantile(apart, 0.99) < 1
        assert abs((joints + 1 - truth["pos_gt_src"].transpose(2, 0, 1))[~missing].mean()) < 0.1
        corners = truth["headboxes_src"]
        heads = 0.6 * np.hypot(*(corners[1] - corners[0]))
        assert_allclose([s.head_size for s in real], heads, atol=1e-3)

    def test_the_crop_holds_the_people(self, real):
        boxes, joints = np.array([s.box for s in real]), np.array([s.joints for s in real])
        low = boxes[:, None, :2]
        inside = ((joints > low) & (joints < low + boxes[:, None, 2:])).all(axis=2)
        assert inside[~np.isnan(joints).any(axis=2)].mean() > 0.995
