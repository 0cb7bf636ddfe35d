"""Joint files: both first pixels, every way to say that a joint is missing, head sizes."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from uprightpose.data.joint_files import first_pixel, read_predictions, read_truth
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


class TestFirstPixel:
    """'MATLAB 1-based; a slip of (1, 1) px costs ... 15 AUC points' (SPEC 4.1)."""

    @pytest.mark.parametrize(
        ("suffix", "habit"), [(".mat", 1), (".npy", 0), (".npz", 0), (".h5", 1)]
    )
    @pytest.mark.parametrize("base", [None, 0, 1])
    def test_is_the_formats_habit_unless_said(self, tmp_path, suffix, habit, base):
        path = write(tmp_path / f"a{suffix}", people())
        for read in (read_predictions, read_truth):
            joints = read(path, LSP, "pc", base).joints
            assert (joints == people() - (habit if base is None else base)).all()
        assert first_pixel(path, base) == (habit if base is None else base)

    def test_bytes_do_not_wrap_around(self, tmp_path):
        path = write(tmp_path / "a.mat", np.zeros((K, 2, N), np.uint8), "prediction_all")
        assert (read_predictions(path, LSP, "pc").joints == -1).all()


class TestFlags:
    """'1 = occluded' in LSP, '1 = annotated' in LSPET (SPEC 4.1, 4.2)."""

    def test_occluded_joints_count_in_the_layout_of_lsp(self, tmp_path):
        array = people(numbers=3)
        array[:, 3:, 2] = 0
        path = write(tmp_path / "a.mat", array.transpose(ORDERS["d x K x N"]))
        assert (read_truth(path, LSP, "pc", 0).joints == people()).all()

    @pytest.mark.parametrize("layout", ["K x d x N", "N x K x d"])
    def test_joints_without_annotation_are_absent_elsewhere(self, tmp_path, layout):
        array = people(numbers=3)
        array[2, 5, 2] = 0
        array[4, 1, 2] = np.nan
        path = write(tmp_path / "a.mat", array.transpose(ORDERS[layout]))
        absent = np.isnan(read_truth(path, LSP, "pc", 0).joints)
        assert np.argwhere(absent.all(axis=2)).tolist() == [[2, 5], [4, 1]]
        assert absent.sum() == 4

    def test_scores_of_predictions_are_dropped_but_are_no_flags(self, tmp_path):
        array = people(numbers=3)
        array[1, 0, 2] = 0.25
        for layout in ORDERS:
            path = write(tmp_path / "a.mat", array.transpose(ORDERS[layout]))
            assert (read_predictions(path, LSP, "pc", 0).joints == people()).all()
            with pytest.raises(InputError, match=r"found 0\.25 in .*a\.mat.*predictions"):
                read_truth(path, LSP, "pc")

    def test_nan_stays_nan(self, tmp_path):
        array = people()
        array[1, 2] = np.nan
        table = read_predictions(write(tmp_path / "a.npy", array), LSP, "pc")
        assert np.isnan(table.joints).sum() == 2


def mpii(count: int = N) -> dict[str, np.ndarray]:
    """A file like MPII's validation truth: heads of 30 x 40 pixels, one joint missing."""
    joints = np.arange(count * 32.0).reshape(count, 16, 2) + 1
    joints[1, 5] = 0
    missing = np.zeros((16, count), np.uint8)
    missing[5, 1] = 1
    corners = np.full((2, 2, count), 7.0)
    corners[1] += np.array([[30], [40]])
    corners[1, :, 2] -= (15, 20)
    return {
        "pos_gt_src": joints.transpose(1, 2, 0),
        "jnt_missing": missing,
        "headboxes_src": corners,
    }


class TestMpiiFiles:
    """'Missing joints are (0,0)'; 'head size = 0.6 * diagonal of the head box' (SPEC 3.2, 4.5)."""

    def test_missing_joints_and_head_sizes_of_mat(self, tmp_path):
        savemat(tmp_path / "a.mat", mpii())
        table = read_truth(tmp_path / "a.mat", MPII, "pc")
        assert np.argwhere(np.isnan(table.joints[..., 1])).tolist() == [[1, 5]]
        assert table.joints[0, 3].tolist() == [6, 7]  # 7, 8 in the file
        assert table.lengths.tolist() == pytest.approx([30, 30, 15, 30, 30])
        assert table.images is None

    def test_one_person(self, tmp_path):
        one = {name: array[..., 1] for name, array in mpii().items()}
        one["jnt_missing"] = one["jnt_missing"][:, None]
        savemat(tmp_path / "a.mat", one)
        table = read_truth(tmp_path / "a.mat", MPII, "pc")
        assert np.isnan(table.joints[0, :, 0]).nonzero()[0].tolist() == [5]
        assert table.lengths == pytest.approx([30])

    def test_missing_joints_head_sizes_and_names_of_h5(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["part"] = mpii()["pos_gt_src"].transpose(2, 0, 1)
            file["normalize"] = np.arange(5.0) + 20
            file["imgname"] = np.array([b"a.jpg", b"b.jpg", b"b.jpg", b"c.jpg", b"d.jpg"])
            file["center"] = np.zeros((5, 2))
            file["visible"] = np.zeros((5, 16))
        table = read_truth(tmp_path / "a.h5", MPII, "pc")
        assert np.argwhere(np.isnan(table.joints[..., 1])).tolist() == [[1, 5]]
        assert table.joints[0, 3].tolist() == [6, 7]
        assert table.lengths.tolist() == [20, 21, 22, 23, 24]
        assert table.images == ("a.jpg", "b.jpg", "b.jpg", "c.jpg", "d.jpg")
        predicted = read_predictions(tmp_path / "a.h5", MPII, "pc")
        assert predicted.images == table.images
        assert not np.isnan(predicted.joints).any()

    def test_names_of_any_length(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["part"] = people()
            file["imgname"] = [f"{'x' * i}.jpg" for i in range(N)]  # h5py writes these as objects
        assert read_truth(tmp_path / "a.h5", LSP, "pc").images[2] == "xx.jpg"

    def test_normalize_of_flic_is_no_head(self, tmp_path):
        """'normalize is |right shoulder - left hip| ...: not this protocol' (SPEC 3.3)."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["part"] = np.ones((5, 11, 2))
            file["normalize"] = np.ones(5)
        assert read_truth(tmp_path / "a.h5", FLIC, "oc").lengths is None

    @pytest.mark.parametrize("name", ["jnt_missing", "headboxes_src"])
    def test_arrays_of_other_people_are_refused(self, tmp_path, name):
        arrays = mpii()
        arrays[name] = arrays[name][..., :-1]
        savemat(tmp_path / "a.mat", arrays)
        with pytest.raises(InputError, match=rf"expected {name} .* 5 people, found .* in .*a\.mat"):
            read_truth(tmp_path / "a.mat", MPII, "pc")


class TestRealFiles:
    """Counts and flags of SPEC 4.1 and 4.2."""

    def test_lsp(self, data_root):
        one = read_truth(data_root / "lsp/joints.mat", LSP, "pc")
        both = data_root / "lsp/joints_pc_and_oc.mat"
        pc, oc = (read_truth(both, LSP, labels).joints for labels in ("pc", "oc"))
        assert one.joints.shape == (2000, 14, 2)
        assert (one.joints == pc).all()
        assert not np.isnan(pc).any()
        assert 0.33 < (pc[:, 9] != oc[:, 9]).any(axis=1).mean() < 0.34
        assert 0.008 < pc[..., 0].min() < 0.009  # 1-based: 1.008 in the file

    def test_lspet(self, data_root):
        joints = read_truth(data_root / "lspet/joints.mat", LSP, "pc").joints
        assert joints.shape == (10000, 14, 2)
        complete = ~np.isnan(joints).any(axis=(1, 2))
        assert complete.mean() == pytest.approx(0.395, abs=0.001)
        assert 0.80 < (~np.isnan(joints[:, 12, 0])).mean() < 0.82

    def test_shared_predictions(self, data_root):
        path = data_root / "predictions/LSP_prediction_model_LSP_6s.mat"
        joints = read_predictions(path, LSP, "pc").joints
        assert joints.shape == (1000, 14, 2)
        assert joints.min() == 2

    def test_mpii(self, data_root):
        """The two files have the same people; ankles 28 %, knees 16 % missing (SPEC 4.5)."""
        mat = read_truth(data_root / "mpii/tompson_valid_gt_and_pred.mat", MPII, "pc")
        h5 = read_truth(data_root / "mpii/hg_valid.h5", MPII, "pc")
        assert mat.joints.shape == h5.joints.shape == (2958, 16, 2)
        assert (np.isnan(mat.joints) == np.isnan(h5.joints)).all()
        assert mat.lengths == pytest.approx(h5.lengths, abs=1e-4)
        missing = np.isnan(mat.joints[..., 0]).mean(axis=0)
        assert missing[[0, 5]].mean() == pytest.approx(0.28, abs=0.01)
        assert missing[[1, 4]].mean() == pytest.approx(0.16, abs=0.01)
        assert len(set(h5.images)) == 2729

    def test_flic(self, data_root):
        table = read_truth(data_root / "flic/valid.h5", FLIC, "oc")
        assert table.joints.shape == (1016, 10, 2)
        assert not np.isnan(table.joints).any()
        assert len(set(table.images)) == 926
