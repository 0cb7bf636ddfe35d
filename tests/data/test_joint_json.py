"""COCO keypoints as joint files: matched by name, one a picture or all, every bad input."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from uprightpose.data.joint_files import read_predictions, read_truth
from uprightpose.errors import InputError
from uprightpose.skeletons import FLIC, LSP, MPII

K = 14


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
        assert table.images == ("a.png", "b.png")

    def test_people_stand_in_the_order_of_the_pictures(self, tmp_path):
        names = ["x/im0010.jpg", "im0002.jpg", "b.png", "\u00e9t\u00e9.png"]
        table = read_predictions(write_json(tmp_path / "p.json", coco(names)), LSP, "pc")
        assert table.images == tuple(names)
        assert table.joints[:, 0, 1].tolist() == [0, 1, 2, 3]

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

    @pytest.mark.parametrize("score", ["x", "0.5", [1], None])
    def test_a_score_that_is_no_number_is_refused(self, tmp_path, score):
        content = coco(["a.png"])
        content["annotations"][0]["score"] = score
        path = write_json(tmp_path / "p.json", content)
        with pytest.raises(InputError, match=r"expected a number as score, found .* in .*p\.json"):
            read_predictions(path, LSP, "pc")

    @pytest.mark.parametrize("number", ["x", [1, 2]])
    def test_keypoints_that_are_no_numbers_are_refused(self, tmp_path, number):
        content = coco(["a.png"])
        content["annotations"][0]["keypoints"][4] = number
        with pytest.raises(InputError, match=r"p\.json"):
            read_predictions(write_json(tmp_path / "p.json", content), LSP, "pc")

    def test_annotations_of_pictures_that_are_not_there_are_refused(self, tmp_path):
        content = coco(["a.png", "b.png"])
        content["images"].pop()
        with pytest.raises(InputError, match=r"expected COCO keypoints .* in .*p\.json"):
            read_truth(write_json(tmp_path / "p.json", content), LSP, "pc")


class TestTruthJson:
    """The layout that our own writer of samples uses: every annotation is a person."""

    def content(self) -> dict:
        found = coco(["a.png", "b.png"])
        for one in found["annotations"]:
            one["keypoints"][2::3] = [2] * K
            del one["score"]
        found["annotations"].append({**found["annotations"][0], "id": 9, "head_size": 12.5})
        return found

    def test_two_people_of_one_picture_are_two(self, tmp_path):
        table = read_truth(write_json(tmp_path / "t.json", self.content()), LSP, "pc")
        assert table.images == ("a.png", "b.png", "a.png")
        assert table.joints[:, 0, 1].tolist() == [0, 1, 0]
        assert table.joints[0, 3].tolist() == [3, 0]  # from 0, not from 1

    def test_what_is_not_labeled_is_absent(self, tmp_path):
        content = self.content()
        content["annotations"][1]["keypoints"][3:6] = [0, 0, 0]
        content["annotations"][1]["keypoints"][8] = 1
        joints = read_truth(write_json(tmp_path / "t.json", content), LSP, "pc").joints
        assert np.argwhere(np.isnan(joints[..., 0])).tolist() == [[1, 1]]

    def test_head_sizes_are_those_of_mpii(self, tmp_path):
        content = self.content()
        content["categories"][0]["keypoints"] = list(MPII.joints)
        for one in content["annotations"]:
            one["keypoints"] = [*one["keypoints"], *[5, 5, 2] * 2]
        path = write_json(tmp_path / "t.json", content)
        lengths = read_truth(path, MPII, "pc").lengths
        assert lengths.tolist() == pytest.approx([np.nan, np.nan, 12.5], nan_ok=True)
        del content["annotations"][2]["head_size"]
        assert read_truth(write_json(path, content), MPII, "pc").lengths is None
        content["annotations"][2]["head_size"] = "x"
        with pytest.raises(InputError, match=r"t\.json"):
            read_truth(write_json(path, content), MPII, "pc")
