"""COCO's average precision: pycocotools' own numbers, and pictures redrawn one by one."""

import contextlib
import copy
import io
import sys

import numpy as np
import pytest
from pycocotools import coco as coco_tools
from pycocotools.cocoeval import COCOeval

from uprightpose.data.coco_people import read_coco_truth
from uprightpose.errors import InputError
from uprightpose.oks import TITLES, oks_difference, oks_table
from uprightpose.skeletons import COCO


def truth_of(pictures: int, seed: int = 0) -> dict:
    """Up to four people a picture, of all sizes, some without joints, some crowds."""
    random = np.random.default_rng(seed)
    annotations = []
    for picture in range(pictures):
        for _ in range(random.integers(0, 5)):
            side = float(random.uniform(20, 200))
            joints = np.full((17, 3), 2.0)
            joints[:, :2] = random.uniform(0, side, (17, 2)) + random.uniform(0, 400, 2)
            joints[random.random(17) < (1 if random.random() < 0.1 else 0.3)] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture,
                    "category_id": 1,
                    "keypoints": joints.ravel().tolist(),
                    "num_keypoints": int((joints[:, 2] > 0).sum()),
                    "bbox": [*joints[:, :2].min(axis=0).tolist(), side, side],
                    "area": side * side / 2,
                    "iscrowd": int(random.random() < 0.1),
                }
            )
    return {
        "images": [{"id": picture, "file_name": f"{picture}.jpg"} for picture in range(pictures)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
        "annotations": annotations,
    }


def results_of(truth: dict, noise: float, seed: int = 0) -> list[dict]:
    """Most people, off by a share of their size, some twice, in each picture some of nobody."""
    random = np.random.default_rng(seed)
    found = []
    for one in truth["annotations"] * 2:
        if random.random() < 0.4:
            continue
        joints = np.array(one["keypoints"]).reshape(17, 3)
        joints[:, :2] += random.normal(0, noise * np.sqrt(one["area"]), (17, 2))
        joints[:, :2] += (random.random() < 0.2) * 60
        result = {"image_id": one["image_id"], "category_id": 1, "score": random.random()}
        found.append({**result, "keypoints": joints.ravel().tolist()})
    return found


def official(truth: dict, results: list[dict]) -> list[float]:
    """Return what pycocotools prints, in percent; nan where it prints -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        tool = coco_tools.COCO()
        tool.dataset = copy.deepcopy(truth)
        tool.createIndex()
        evaluation = COCOeval(tool, tool.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * number if number >= 0 else np.nan for number in evaluation.stats]


def redrawn(truth: dict, results: list[dict], pictures: list[int]) -> tuple[dict, list[dict]]:
    """Copy pictures as often as they are drawn."""
    images, annotations, found = [], [], []
    for number, picture in enumerate(pictures):
        images.append({"id": number, "file_name": f"{number}.jpg"})
        of_picture = [one for one in truth["annotations"] if one["image_id"] == picture]
        for one in of_picture:
            annotations.append({**one, "image_id": number, "id": len(annotations) + 1})
        mine = [one for one in results if one["image_id"] == picture]
        found += [{**one, "image_id": number} for one in mine]
    return {**truth, "images": images, "annotations": annotations}, found


class TestTable:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("noise", [0.01, 0.03, 0.08])
    def test_is_what_pycocotools_prints(self, seed, noise):
        truth = truth_of(12, seed)
        results = results_of(truth, noise, seed + 9)
        found = oks_table(truth, results)
        assert list(found.scores) == list(TITLES)
        expected = official(truth, results)
        assert list(found.scores.values()) == pytest.approx(expected, abs=1e-9)
        assert len({round(score, 3) for score in expected}) > 5

    def test_perfect_is_hundred_and_far_off_is_zero(self):
        truth = truth_of(6)
        perfect = [{**one, "score": 0.5} for one in truth["annotations"] if not one["iscrowd"]]
        assert list(oks_table(truth, perfect).scores.values()) == pytest.approx([100] * 10)
        for one in perfect:
            one["keypoints"] = [number + 1e5 for number in one["keypoints"]]
        assert set(oks_table(truth, perfect).scores.values()) == {0.0}

    def test_sizes_of_people_that_are_not_there_have_no_number(self):
        truth = truth_of(5)
        for one in truth["annotations"]:
            one["area"] = 50.0**2
        results = results_of(truth, 0.05)
        scores = oks_table(truth, results, draws=9).scores
        assert [title for title in TITLES if np.isnan(scores[title])] == ["AP(L)", "AR(L)"]
        expected = official(truth, results)
        assert list(scores.values()) == pytest.approx(expected, nan_ok=True)

    def test_counts_people_with_joints(self):
        truth = truth_of(9)
        table = oks_table(truth, results_of(truth, 0.05))
        people = [o for o in truth["annotations"] if o["num_keypoints"] and not o["iscrowd"]]
        assert len(people) < len(truth["annotations"])
        assert (table.people, table.images) == (len(people), 9)
        assert table.joints == sum(one["num_keypoints"] for one in people)

    def test_nothing_is_printed(self, capsys):
        truth = truth_of(3)
        oks_table(truth, results_of(truth, 0.05))
        assert capsys.readouterr() == ("", "")

    def test_real_truth_is_perfect(self, data_root):
        truth = read_coco_truth(data_root / "coco/person_keypoints.json")
        perfect = [{**one, "score": 0.5} for one in truth["annotations"] if one["num_keypoints"]]
        assert oks_table(truth, perfect).scores["AP"] == pytest.approx(100)

    def test_without_pycocotools_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
        with pytest.raises(InputError, match=r"pip install -e '\.\[data\]'"):
            oks_table(truth_of(2), [])


class TestBootstrap:
    """'Unit = image' (SPEC 5.5): a picture drawn twice is there twice, with all its people."""

    def test_equals_pycocotools_on_copied_pictures(self):
        truth = truth_of(8, seed=3)
        results = results_of(truth, 0.06)
        generator = np.random.default_rng(7)
        drawn = []
        for counts in generator.multinomial(8, np.full(8, 1 / 8), size=40):
            pictures = np.repeat(np.arange(8), counts).tolist()
            drawn.append(official(*redrawn(truth, results, pictures)))
        expected = np.nanpercentile(drawn, [2.5, 97.5], axis=0).T
        found = oks_table(truth, results, draws=40, seed=7).intervals
        assert np.array(list(found.values())) == pytest.approx(expected, abs=1e-9)


class TestDifference:
    def test_is_that_of_the_tables(self):
        truth = truth_of(10)
        first, second = results_of(truth, 0.03, 1), results_of(truth, 0.08, 2)
        a, b = (oks_table(truth, one).scores for one in (first, second))
        found = oks_difference(truth, first, second, draws=30)
        assert [one.value for one in found.values()] == pytest.approx([a[t] - b[t] for t in TITLES])

    def test_the_same_is_no_difference_and_a_better_one_is(self):
        truth = truth_of(25)
        good, bad = results_of(truth, 0.02, 1), results_of(truth, 0.3, 1)
        same = oks_difference(truth, good, good, draws=30)
        assert all(one[:4] == (0.0, 0.0, 0.0, 1.0) for one in same.values())
        better = oks_difference(truth, good, bad, draws=60)["AP"]
        assert 0 < better.low < better.value < better.high
        assert better.p == pytest.approx(1 / 61)

    def test_exchanged_pictures_are_ranked_together(self):
        """Brute force over all exchanges: average precision of a mixture is no mixture of two."""
        truth = truth_of(5, seed=1)
        first, second = results_of(truth, 0.03, 1), results_of(truth, 0.07, 2)
        differences = []
        for code in range(2**5):
            swap = {picture for picture in range(5) if code >> picture & 1}
            mixed = [
                [o for o in one if o["image_id"] not in swap]
                + [o for o in other if o["image_id"] in swap]
                for one, other in ((first, second), (second, first))
            ]
            differences.append(np.subtract(*(official(truth, results) for results in mixed)))
        exact = (np.abs(differences) >= np.abs(differences[0]) - 1e-9).mean(axis=0)
        found = oks_difference(truth, first, second, draws=900)
        assert [one.p for one in found.values()] == pytest.approx(exact.tolist(), abs=0.05)
