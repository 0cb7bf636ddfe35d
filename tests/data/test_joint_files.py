"""Joint files: every layout, both first pixels, both meanings of the flag, every bad input."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from uprightpose.data.joint_files import (
    JointTable,
    first_pixel,
    lsp_test,
    read_predictions,
    read_truth,
)
from uprightpose.errors import InputError
from uprightpose.skeletons import FLIC, LSP

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
    elif path.suffix == ".npz":
        np.savez(path, **{name: array})
    else:
        np.save(path, array)
    return path


class TestLayouts:
    """'LSP 3 x 14 x N, LSPET 14 x 3 x N (note the transposed layout)' (SPEC 4.1, 4.2)."""

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz"])
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


class TestFirstPixel:
    """'MATLAB 1-based; a slip of (1, 1) px costs ... 15 AUC points' (SPEC 4.1)."""

    @pytest.mark.parametrize(("suffix", "habit"), [(".mat", 1), (".npy", 0), (".npz", 0)])
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


def coco(names: list[str], joints: tuple[str, ...] = LSP.joints) -> dict:
    """Return predictions.json of one annotation per picture; x = 100 id + joint, y = id."""
    return {
        "images": [
            {"id": 70 + i, "file_name": name, "width": 9, "height": 8}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(joints)}],
        "annotations": [
            {
                "id": i,
                "image_id": 70 + i,
                "category_id": 1,
                "score": 0.5,
                "keypoints": [
                    number
                    for joint in joints
                    for number in (100.0 * i + LSP.joints.index(joint), i, 0.9)
                ],
            }
            for i in range(len(names))
        ],
    }


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


class TestPredictionsJson:
    """Our own predictions: COCO's keypoint layout, 0-based, joints by name."""

    def test_joints_are_matched_by_name(self, tmp_path):
        shuffled = tuple(random.Random(1).sample(LSP.joints, K))
        path = write_json(tmp_path / "p.json", coco(["a.png", "b.png"], shuffled))
        table = read_predictions(path, LSP, "pc")
        assert (table.joints[:, :, 0] == [np.arange(K), 100 + np.arange(K)]).all()
        assert (table.joints[:, :, 1] == [[0.0], [1.0]]).all()
        assert table.ids is None

    def test_people_stand_by_the_number_in_the_name(self, tmp_path):
        path = write_json(tmp_path / "p.json", coco(["x/im0010.jpg", "im0002.jpg", "im1.png"]))
        table = read_predictions(path, LSP, "pc")
        assert table.ids == (1, 2, 10)
        assert table.joints[:, 0, 1].tolist() == [2, 1, 0]

    @pytest.mark.parametrize("names", [["im2.jpg", "my1.jpg"], ["b/im2.jpg", "a/im2.jpg"]])
    def test_else_in_the_order_of_the_pictures(self, tmp_path, names):
        table = read_predictions(write_json(tmp_path / "p.json", coco(names)), LSP, "pc")
        assert table.ids is None
        assert table.joints[:, 0, 1].tolist() == [0, 1]

    def test_best_annotation_counts_and_none_is_nan(self, tmp_path):
        content = coco(["im1.jpg", "im2.jpg", "im3.jpg"])
        low, high = content["annotations"][0], content["annotations"][1]
        low["image_id"] = high["image_id"] = 71
        low["score"] = 0.4
        for annotations in ([low, high], [high, low]):
            content["annotations"] = annotations
            path = write_json(tmp_path / "p.json", content)
            joints = read_predictions(path, LSP, "pc").joints
            assert (joints[1, :, 1] == 1).all()
            assert np.isnan(joints[[0, 2]]).all()

    def test_without_a_score_the_mean_of_its_joints_decides(self, tmp_path):
        content = coco(["im1.jpg", "im2.jpg"])
        for annotation in content["annotations"]:
            del annotation["score"]
            annotation["image_id"] = 71
        content["annotations"][0]["keypoints"][2::3] = [0.95] * K
        joints = read_predictions(write_json(tmp_path / "p.json", content), LSP, "pc").joints
        assert (joints[1, :, 1] == 0).all()

    def test_null_is_nan_and_base_one_is_taken_away(self, tmp_path):
        content = coco(["im1.jpg"])
        content["annotations"][0]["keypoints"][:2] = [None, None]
        joints = read_predictions(write_json(tmp_path / "p.json", content), LSP, "pc", 1).joints
        assert np.isnan(joints[0, 0]).all()
        assert joints[0, 1].tolist() == [0.0, -1.0]

    def test_a_skeleton_with_joints_it_does_not_name_is_refused(self, tmp_path):
        path = write_json(tmp_path / "p.json", coco(["a.png"], LSP.joints[:-1]))
        with pytest.raises(InputError, match=r"p\.json, found none called head_top"):
            read_predictions(path, LSP, "pc")
        with pytest.raises(InputError, match="nose"):
            read_predictions(path, FLIC, "pc")

    def test_wrong_number_of_joints_is_refused(self, tmp_path):
        content = coco(["a.png"])
        content["annotations"][0]["keypoints"].pop()
        with pytest.raises(InputError, match=r"expected 42 numbers, found 41 values in .*p\.json"):
            read_predictions(write_json(tmp_path / "p.json", content), LSP, "pc")

    @pytest.mark.parametrize("cut", [1, 40, 400])
    def test_truncated_file_is_refused(self, tmp_path, cut):
        path = write_json(tmp_path / "p.json", coco(["a.png"]))
        path.write_text(path.read_text()[:-cut])
        with pytest.raises(InputError, match=r"expected JSON, found a damaged file .*line 1"):
            read_predictions(path, LSP, "pc")

    @pytest.mark.parametrize(
        "content", [[], 3, {}, {"images": []}, {**coco(["a"]), "annotations": [{}]}]
    )
    def test_other_json_is_refused(self, tmp_path, content):
        path = write_json(tmp_path / "p.json", content)
        with pytest.raises(InputError, match=r"expected COCO keypoints .* in .*p\.json"):
            read_predictions(path, LSP, "pc")

    def test_bytes_that_are_no_text_are_refused(self, tmp_path):
        (tmp_path / "p.json").write_bytes(b"\xff\xfe\xff")
        with pytest.raises(InputError, match=r"p\.json"):
            read_predictions(tmp_path / "p.json", LSP, "pc")


class TestBadFiles:
    """Each message says what was expected, what was found and where."""

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz", ".json"])
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

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz"])
    @pytest.mark.parametrize("content", [b"", b"joints", b"MATLAB 7.3 MAT-file" + bytes(500)])
    def test_damaged_file(self, tmp_path, suffix, content):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"found .*a\{suffix}"):
            read_truth(path, LSP, "pc")

    @pytest.mark.parametrize("suffix", [".mat", ".npy", ".npz"])
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


class TestLspTest:
    """'images 1001-2000' (SPEC 3.1)."""

    def test_all_or_the_last_thousand(self):
        everyone = np.arange(2000.0)[:, None, None] * np.ones((1, K, 2))
        path = Path("a.mat")
        for joints in (everyone, everyone[1000:]):
            assert (lsp_test(JointTable(path, joints))[:, 3, 1] == np.arange(1000, 2000)).all()

    @pytest.mark.parametrize("count", [0, 1, 999, 1001, 1999, 2001, 10000])
    def test_other_counts_are_refused(self, count):
        with pytest.raises(InputError, match=rf"2000 .* found {count} people in a\.mat: give"):
            lsp_test(JointTable(Path("a.mat"), np.zeros((count, K, 2))))

    def test_numbered_pictures_are_found_by_number(self):
        ids = tuple(range(990, 2003))
        joints = np.array(ids)[:, None, None] * np.ones((1, K, 2))
        assert (lsp_test(JointTable(Path("p.json"), joints, ids))[:, 0, 0] == ids[11:-2]).all()

    def test_a_thousand_training_pictures_are_not_the_test(self):
        table = JointTable(Path("p.json"), np.zeros((1000, K, 2)), tuple(range(1, 1001)))
        with pytest.raises(InputError, match=r"found 0 of them in p\.json \(im1001 is missing\)"):
            lsp_test(table)


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
