"""Joint arrays: every layout, the choice among several, every bad file."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from uprightpose.data.joint_arrays import FLIC_FILE, find_joints, flic_ten, load_arrays
from uprightpose.data.joint_files import read_predictions, read_truth
from uprightpose.errors import InputError
from uprightpose.skeletons import FLIC, LSP, MPII

N, K = 5, 14
ORDERS = {"N x K x d": (0, 1, 2), "K x d x N": (1, 2, 0), "d x K x N": (2, 1, 0)}


def people(count: int = N, numbers: int = 2) -> np.ndarray:
    """Joints (count, 14, numbers) that are all different; a third number is 1."""
    joints = np.arange(count * K * 2).reshape(count, K, 2) / 4 + 3
    return np.concatenate([joints, np.ones((count, K, numbers - 2))], axis=2)


def write(path: Path, array: np.ndarray, name: str = "joints") -> Path:
    """Write one array in the format of the file's name."""
    if path.suffix == ".mat":
        savemat(path, {name: array})
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file[name] = array
    elif path.suffix == ".npz":
        np.savez(path, **{name: array})
    else:
        np.save(path, array)
    return path


class TestLayouts:
    """'LSP 3 x 14 x N, LSPET 14 x 3 x N (note the transposed layout)' (SPEC 4.1, 4.2)."""

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5"])
    @pytest.mark.parametrize("numbers", [2, 3])
    @pytest.mark.parametrize("layout", ORDERS)
    @pytest.mark.parametrize("read", [read_predictions, read_truth])
    def test_every_layout_gives_the_same_people(self, tmp_path, suffix, numbers, layout, read):
        array = people(numbers=numbers).transpose(ORDERS[layout])
        table = read(write(tmp_path / f"a{suffix}", array), LSP, "pc", 0)
        assert table.joints.dtype == np.float64
        assert (table.joints == people()).all()

    @pytest.mark.parametrize("count", [2, 3, K])
    @pytest.mark.parametrize("suffix", [".mat", ".npy"])
    def test_few_people_are_read_as_each_format_is_written(self, tmp_path, suffix, count):
        """3 x 14 x 2 is LSP's layout in MATLAB and three people in numpy."""
        for numbers in (2, 3):
            layout = "d x K x N" if suffix == ".mat" else "N x K x d"
            array = people(count, numbers).transpose(ORDERS[layout])
            table = read_predictions(write(tmp_path / f"a{suffix}", array), LSP, "pc", 0)
            assert (table.joints == people(count)).all()

    def test_as_many_people_as_joints_is_not_ambiguous(self, tmp_path):
        for layout in ("K x d x N", "N x K x d"):
            array = people(K).transpose(ORDERS[layout])
            for suffix in (".mat", ".npy"):
                path = write(tmp_path / f"a{suffix}", array)
                assert (read_predictions(path, LSP, "pc", 0).joints == people(K)).all()

    @pytest.mark.parametrize("suffix", [".mat", ".npy"])
    def test_two_dimensions_hold_one_person(self, tmp_path, suffix):
        for array in (people(1)[0], people(1, 3)[0], people(1)[0].T):
            path = write(tmp_path / f"a{suffix}", array)
            assert (read_predictions(path, LSP, "pc", 0).joints == people(1)).all()


class TestChoice:
    """`joints` person-centric, `oc_joints` observer-centric in one file (data README)."""

    def test_labels_choose_between_two_arrays(self, tmp_path):
        arrays = {"joints": people().T, "oc_joints": people().T + 100, "scale": np.ones((1, N))}
        savemat(tmp_path / "a.mat", arrays)
        np.savez(tmp_path / "a.npz", **arrays)
        for suffix, base in ((".mat", 1), (".npz", 0)):
            path = tmp_path / f"a{suffix}"
            assert (read_truth(path, LSP, "pc").joints == people() - base).all()
            assert (read_truth(path, LSP, "oc").joints == people() + 100 - base).all()

    def test_one_array_may_have_any_name_but_not_the_other_labels(self, tmp_path):
        path = write(tmp_path / "a.mat", people().T, "prediction_all")
        assert (
            read_predictions(path, LSP, "oc").joints == read_predictions(path, LSP, "pc").joints
        ).all()
        for name, labels in (("oc_joints", "pc"), ("pc_joints", "oc")):
            path = write(tmp_path / "a.mat", people().T, name)
            with pytest.raises(InputError, match=f"labels {labels}, found {name} 2 x 14 x 5"):
                read_predictions(path, LSP, labels)

    def test_several_without_telling_names_are_listed(self, tmp_path):
        savemat(tmp_path / "a.mat", {"one": people().T, "two": people(7).T})
        with pytest.raises(InputError, match="found one 2 x 14 x 5, two 2 x 14 x 7 in"):
            read_predictions(tmp_path / "a.mat", LSP, "pc")


class TestBadFiles:
    """Each message says what was expected, what was found and where."""

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5", ".json"])
    def test_missing_file(self, tmp_path, suffix):
        with pytest.raises(InputError, match=f"found nothing at .*none{suffix}"):
            read_truth(tmp_path / f"none{suffix}", LSP, "pc")

    def test_folder(self, tmp_path):
        (tmp_path / "a.mat").mkdir()
        with pytest.raises(InputError, match="found a folder at"):
            read_truth(tmp_path / "a.mat", LSP, "pc")

    def test_other_format(self, tmp_path):
        with pytest.raises(InputError, match=r"ending in \.mat, \.npy, .*found .*a\.csv"):
            read_truth(tmp_path / "a.csv", LSP, "pc")

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5"])
    @pytest.mark.parametrize("content", [b"", b"joints", b"MATLAB 7.3 MAT-file" + bytes(500)])
    def test_damaged_file(self, tmp_path, suffix, content):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"found .*a\{suffix}"):
            read_truth(path, LSP, "pc")

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5"])
    def test_truncated_file(self, tmp_path, suffix):
        path = write(tmp_path / f"a{suffix}", people(50))
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(InputError, match=r"damaged file .*a\."):
            read_truth(path, LSP, "pc")

    def test_matlab_7_3_is_named(self, tmp_path):
        header = b"MATLAB 7.3 MAT-file".ljust(124) + bytes([0, 2]) + b"IM"
        (tmp_path / "a.mat").write_bytes(header + bytes(500))
        with pytest.raises(InputError, match=r"7\.3 in .*save with -v7"):
            read_truth(tmp_path / "a.mat", LSP, "pc")

    def test_no_joints_in_it(self, tmp_path):
        savemat(tmp_path / "a.mat", {"names": "LSP", "scale": np.ones((1, N))})
        with pytest.raises(InputError, match="expected joints of 14 x 2 or 3 x people, found"):
            read_truth(tmp_path / "a.mat", LSP, "pc")
        savemat(tmp_path / "a.mat", {"names": "LSP"})
        with pytest.raises(InputError, match="found no array of numbers in"):
            read_truth(tmp_path / "a.mat", LSP, "pc")

    def test_joints_of_another_skeleton(self, tmp_path):
        path = write(tmp_path / "a.npy", people())
        with pytest.raises(InputError, match=r"found array 5 x 14 x 2 .* flic skeleton has 10"):
            read_predictions(path, FLIC, "pc")

    def test_objects_are_not_loaded(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(InputError, match="damaged file"):
            read_predictions(tmp_path / "a.npy", LSP, "pc")

    def test_without_h5py_it_says_what_to_install(self, tmp_path, monkeypatch):
        path = write(tmp_path / "a.h5", people())
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(InputError, match=r"a\.h5.*pip install -e '\.\[data\]'"):
            read_truth(path, LSP, "pc")


class TestRoles:
    """'pos_gt_src 16x2x2958, pos_pred_src', hourglass `preds`, `part` (SPEC 4.5, data README)."""

    @pytest.mark.parametrize("suffix", [".mat", ".npz", ".h5"])
    @pytest.mark.parametrize("names", [("pos_pred_src", "pos_gt_src"), ("preds", "part")])
    def test_tell_prediction_and_truth_of_one_file_apart(self, tmp_path, suffix, names):
        arrays = {names[0]: people().transpose(1, 2, 0), names[1]: people().transpose(1, 2, 0) + 99}
        path = tmp_path / f"a{suffix}"
        if suffix == ".mat":
            savemat(path, arrays)
        elif suffix == ".npz":
            np.savez(path, **arrays)
        else:
            with h5py.File(path, "w") as file:
                file.update(arrays)
        assert (read_predictions(path, LSP, "pc", 0).joints == people()).all()
        assert (read_truth(path, LSP, "pc", 0).joints == people() + 99).all()

    def test_a_file_of_one_kind_may_stand_on_either_side(self, tmp_path):
        for name in ("part", "preds"):
            path = write(tmp_path / f"{name}.h5", people(), name)
            assert (read_predictions(path, LSP, "pc", 0).joints == people()).all()
            assert (read_truth(path, LSP, "pc", 0).joints == people()).all()


class TestFlic:
    """'FLIC11 (lsho lelb lwri rsho relb rwri lhip rhip leye reye nose), FLIC10' (SPEC 4.4)."""

    def test_eleven_joints_become_ten(self):
        assert FLIC_FILE == (
            "left_shoulder",
            "left_elbow",
            "left_wrist",
            "right_shoulder",
            "right_elbow",
            "right_wrist",
            "left_hip",
            "right_hip",
            "left_eye",
            "right_eye",
            "nose",
        )
        eleven = np.random.default_rng(0).random((4, 11, 2))
        ten = flic_ten(eleven)
        for joint in set(FLIC.joints) - {"neck"}:
            assert (ten[:, FLIC.joints.index(joint)] == eleven[:, FLIC_FILE.index(joint)]).all()
        assert ten[:, 1] == pytest.approx((eleven[:, 0] + eleven[:, 3]) / 2)

    def test_neck_is_missing_with_a_shoulder(self):
        eleven = np.ones((2, 11, 2))
        eleven[1, 3] = np.nan
        assert np.isnan(flic_ten(eleven)[:, 1, 0]).tolist() == [False, True]

    @pytest.mark.parametrize("count", [10, 11])
    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".h5"])
    @pytest.mark.parametrize("layout", ORDERS)
    def test_files_may_hold_either(self, tmp_path, count, suffix, layout):
        joints = np.arange(7.0 * count * 2).reshape(7, count, 2) + 1
        path = write(tmp_path / f"a{suffix}", joints.transpose(ORDERS[layout]), "part")
        expected = joints if count == 10 else flic_ten(joints)
        for read in (read_predictions, read_truth):
            assert (read(path, FLIC, "oc", 0).joints == expected).all()

    def test_other_skeletons_have_no_eleven(self, tmp_path):
        path = write(tmp_path / "a.npy", np.zeros((5, 11, 2)))
        arrays = load_arrays(path)
        assert find_joints(path, arrays, FLIC, "oc", "truth").values.shape == (5, 11, 2)
        with pytest.raises(InputError, match="joints of 16 x 2 or 3 x people, found array 5 x 11"):
            find_joints(path, arrays, MPII, "pc", "truth")
