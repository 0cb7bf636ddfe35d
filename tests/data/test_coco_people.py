"""COCO's JSON for average precision: both layouts of results, every bad input."""

import json
from pathlib import Path

import numpy as np
import pytest

from uprightpose.data.coco_people import read_coco_results, read_coco_truth
from uprightpose.errors import InputError
from uprightpose.skeletons import COCO, LSP

K = 17


def keypoints(start: float, joints: tuple[str, ...] = COCO.joints) -> list[float]:
    """Joint j of COCO's order at (start + j, start), whatever the order of the file."""
    places = [COCO.joints.index(name) if name in COCO.joints else 0 for name in joints]
    return [number for place in places for number in (start + place, start, 2)]


def content(joints: tuple[str, ...] = COCO.joints) -> dict:
    """Two people in the first picture (one has id 0), a dog and a crowd in the second."""
    person = {"category_id": 3, "bbox": [0, 0, 50, 60], "area": 3000, "iscrowd": 0}
    return {
        "images": [
            {"id": 70, "file_name": "a.jpg", "width": 99, "height": 88},
            {"id": 71, "file_name": "b.jpg", "width": 99, "height": 88},
        ],
        "categories": [
            {"id": 1, "name": "dog"},
            {"id": 3, "name": "person", "keypoints": list(joints)},
        ],
        "annotations": [
            {**person, "id": 0, "image_id": 70, "keypoints": keypoints(5, joints)},
            {**person, "id": 4, "image_id": 70, "keypoints": keypoints(25, joints)},
            {"id": 5, "image_id": 71, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81},
            {**person, "id": 6, "image_id": 71, "keypoints": [0] * 3 * K, "iscrowd": 1},
        ],
    }


def results() -> list[dict]:
    return [
        {"image_id": 71, "category_id": 3, "keypoints": keypoints(5), "score": 0.5},
        {"image_id": 70, "category_id": 3, "keypoints": keypoints(9), "score": 1},
    ]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def truth(tmp_path) -> dict:
    return read_coco_truth(write(tmp_path / "t.json", content()))


class TestTruth:
    def test_people_only_numbered_from_one(self, truth):
        assert [one["id"] for one in truth["annotations"]] == [1, 2, 3]
        assert [one["image_id"] for one in truth["annotations"]] == [70, 70, 71]
        assert [one["num_keypoints"] for one in truth["annotations"]] == [K, K, 0]
        assert [one["iscrowd"] for one in truth["annotations"]] == [0, 0, 1]
        assert [image["id"] for image in truth["images"]] == [70, 71]

    def test_occluded_joints_are_labeled(self, tmp_path):
        """'v = 0 not labelled (0,0), 1 labelled but occluded, 2 visible' (SPEC 4.6)."""
        other = content()
        other["annotations"][0]["keypoints"][2::3] = [0, 1, *[2] * 15]
        found = read_coco_truth(write(tmp_path / "t.json", other))
        assert found["annotations"][0]["num_keypoints"] == 16

    def test_joints_are_put_in_cocos_order(self, tmp_path, truth):
        shuffled = (*COCO.joints[5:], "tail", *COCO.joints[:5])
        other = content(shuffled)
        other["annotations"][-1]["keypoints"] = [0] * 3 * (K + 1)
        found = read_coco_truth(write(tmp_path / "t.json", other))
        assert found == truth

    def test_other_skeletons_are_refused(self, tmp_path):
        path = write(tmp_path / "t.json", content(LSP.joints))
        with pytest.raises(InputError, match=r"17 joints in .*t\.json, found none called nose, "):
            read_coco_truth(path)

    @pytest.mark.parametrize("key", ["bbox", "area", "keypoints", "image_id"])
    def test_annotations_without_what_is_needed_are_refused(self, tmp_path, key):
        damaged = content()
        del damaged["annotations"][0][key]
        with pytest.raises(InputError, match=rf"expected COCO keypoints .*t\.json.*'{key}'"):
            read_coco_truth(write(tmp_path / "t.json", damaged))

    @pytest.mark.parametrize("other", [[], 3, {}, {"categories": []}, {"categories": [{}]}])
    def test_other_json_is_refused(self, tmp_path, other):
        with pytest.raises(InputError, match=r"expected COCO keypoints .*t\.json"):
            read_coco_truth(write(tmp_path / "t.json", other))

    def test_files_that_are_none(self, tmp_path):
        with pytest.raises(InputError, match="found nothing at"):
            read_coco_truth(tmp_path / "none.json")
        with pytest.raises(InputError, match=r"expected \.json files, found .*a\.mat"):
            read_coco_truth(tmp_path / "a.mat")
        (tmp_path / "t.json").write_text("{")
        with pytest.raises(InputError, match="found a damaged file"):
            read_coco_truth(tmp_path / "t.json")


class TestResults:
    def test_list_of_coco(self, tmp_path, truth):
        found = read_coco_results(write(tmp_path / "p.json", results()), truth)
        assert [one["image_id"] for one in found] == [71, 70]
        assert [one["score"] for one in found] == [0.5, 1.0]
        assert found[0]["keypoints"] == keypoints(5)

    def test_first_pixel_is_taken_away(self, tmp_path, truth):
        found = read_coco_results(write(tmp_path / "p.json", results()), truth, 1)
        assert found[0]["keypoints"][:6] == [4.0, 4.0, 2.0, 5.0, 4.0, 2.0]

    def test_our_own_layout_by_file_name(self, tmp_path, truth):
        """Its picture ids are its own, and its joints may be in another order."""
        ours = content(COCO.joints[::-1])
        ours["images"] = [
            {"id": 1, "file_name": "some/b.jpg"},
            {"id": 2, "file_name": "a.jpg"},
        ]
        ours["annotations"] = [
            {"image_id": 1, "score": 0.25, "keypoints": keypoints(7, COCO.joints[::-1])}
        ]
        found = read_coco_results(write(tmp_path / "p.json", ours), truth)
        assert [(one["image_id"], one["score"]) for one in found] == [(71, 0.25)]
        assert found[0]["keypoints"] == keypoints(7)
        assert found[0]["category_id"] == 3

    def test_pictures_that_are_not_in_the_truth_are_refused(self, tmp_path, truth):
        listed = results()
        listed[0]["image_id"] = 72
        with pytest.raises(InputError, match=r"image_id 72 in .*p\.json"):
            read_coco_results(write(tmp_path / "p.json", listed), truth)
        ours = content()
        ours["images"].append({"id": 8, "file_name": "c.jpg"})
        with pytest.raises(InputError, match=r"found 1 others in .*p\.json, e\.g\. c\.jpg"):
            read_coco_results(write(tmp_path / "p.json", ours), truth)

    @pytest.mark.parametrize("score", ["x", None, [0.5], float("nan")])
    def test_scores_that_are_no_numbers_are_refused(self, tmp_path, truth, score):
        listed = results()
        listed[1]["score"] = score
        with pytest.raises(InputError, match=r"a finite number as score, found .*"):
            read_coco_results(write(tmp_path / "p.json", listed), truth)

    @pytest.mark.parametrize("numbers", [[1, 2, 3], keypoints(3)[:-1], [None] * 51, ["x"] * 51])
    def test_wrong_keypoints_are_refused(self, tmp_path, truth, numbers):
        listed = results()
        listed[1]["keypoints"] = numbers
        with pytest.raises(InputError, match=r"expected COCO results .*p\.json"):
            read_coco_results(write(tmp_path / "p.json", listed), truth)

    def test_nobody_is_refused(self, tmp_path, truth):
        with pytest.raises(InputError, match="expected predicted people, found none"):
            read_coco_results(write(tmp_path / "p.json", []), truth)

    def test_predictions_of_another_skeleton_are_refused(self, tmp_path, truth):
        with pytest.raises(InputError, match=r"found none called nose"):
            read_coco_results(write(tmp_path / "p.json", content(LSP.joints)), truth)

    def test_real_truth(self, data_root):
        truth = read_coco_truth(data_root / "coco/person_keypoints.json")
        raw = json.loads((data_root / "coco/person_keypoints.json").read_text())
        assert len(truth["annotations"]) == 227
        for ours, theirs in zip(truth["annotations"], raw["annotations"], strict=True):
            assert np.array_equal(ours["keypoints"], theirs["keypoints"])
            assert ours["num_keypoints"] == theirs["num_keypoints"]
