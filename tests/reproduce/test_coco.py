"""The shipped model on COCO's people: who is scored, by which boxes, and who is looked at."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from uprightpose.cli import main
from uprightpose.data.person import Person
from uprightpose.predict import Predictor
from uprightpose.reproduce import coco_sheet
from uprightpose.reproduce.coco import coco_report, limb_protocol
from uprightpose.reproduce.coco_people import LIMBS, CocoPeople, predict_people, read_coco_people
from uprightpose.reproduce.coco_sheet import TILE, WRONG, choose_people, draw_sheet
from uprightpose.settings import Settings
from uprightpose.skeletons import COCO, LSP
from uprightpose.weights import build, save_weights

PLACES = {"shoulder": 30, "elbow": 45, "wrist": 60, "hip": 60, "knee": 80, "ankle": 100}
SIDES = ("left", "right")
SETTINGS = Settings(
    size=64, trunk="resnet10t", head_width=4, refine_width=3, kernels=(3, 3), last="body"
)
CROWD, NO_JOINTS, NO_HIP, FEW = 0, 1, 2, 3
"""Annotations that are left out, and the one with too few joints to be looked at."""


def keypoints(left: float, missing: tuple[str, ...] = ()) -> list[float]:
    """Return someone who stands upright and faces us; the person's left is on the right."""
    values: list[float] = []
    for joint in COCO.joints:
        side, _, part = joint.partition("_")
        if part not in PLACES or joint in missing:
            values += [0, 0, 0]
        else:
            values += [left + (30 if side == "left" else 10), PLACES[part], 1 + (side == "left")]
    return values


def annotation(number: int, image: int) -> dict[str, object]:
    missing: tuple[str, ...] = {
        NO_JOINTS: COCO.joints,
        NO_HIP: ("left_hip",),
        FEW: ("left_elbow", *(f"{s}_{p}" for s in SIDES for p in ("wrist", "knee", "ankle"))),
    }.get(number, ())
    left = 50.0 * (number % 3)
    return {
        "id": 1000 - number,
        "image_id": image,
        "category_id": 1,
        "bbox": [left, 10.5, 40.0, 100.25],
        "area": 4000.0,
        "iscrowd": int(number == CROWD),
        "keypoints": keypoints(left, missing),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with coco/: 30 people in 7 drawn pictures, no picture's people in one piece."""
    root = tmp_path_factory.mktemp("data")
    (root / "coco" / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(7):
        picture = random.integers(0, 200, (120, 160, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "coco" / "images" / f"{number:04d}.jpg"), picture)
    content = {
        "images": [{"id": number, "file_name": f"{number:04d}.jpg"} for number in range(7)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
        "annotations": [annotation(number, number % 7) for number in range(30)],
    }
    (root / "coco" / "person_keypoints.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def people(data: Path) -> CocoPeople:
    return read_coco_people(data)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(build(SETTINGS).eval(), SETTINGS.crop)


def perfect(people: CocoPeople, offset: float = 0.0) -> list[Person]:
    """Return predictions that are right, or off by so many pixels."""
    known = np.nan_to_num(people.truth, nan=60.0) + np.array([offset, 0])
    score = np.ones(14)
    return [Person(one, score, box, 1.0, 0.0) for one, box in zip(known, people.boxes, strict=True)]


class TestWhoIsScored:
    def test_others_are_counted_by_the_reason(self, people: CocoPeople) -> None:
        assert len(people.samples) == 27
        assert list(people.left_out.values()) == [1, 1, 1]

    def test_boxes_are_the_annotations_own(self, people: CocoPeople) -> None:
        """'Given boxes': not the squares that training makes of them."""
        ids = [sample.id for sample in people.samples]
        assert ids == sorted(ids)
        assert people.boxes == [(50.0 * ((1000 - one) % 3), 10.5, 40.0, 100.25) for one in ids]

    def test_joints_by_name(self, people: CocoPeople) -> None:
        """'PCK over the 12 common joints': COCO too is person-centric."""
        number = [sample.id for sample in people.samples].index(1000 - 6)
        wrist, ankle = LSP.joints.index("left_wrist"), LSP.joints.index("right_ankle")
        assert people.truth[number, [wrist, ankle]].tolist() == [[30, 60], [10, 100]]
        assert len(LIMBS) == 12
        assert not {LSP.joints[joint] for joint in LIMBS} & {"neck", "head_top"}

    def test_no_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["reproduce", "coco", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
        assert main(argv) == 2
        assert "person_keypoints*.json" in capsys.readouterr().err


def test_predictions_are_those_of_predict(people: CocoPeople, predictor: Predictor) -> None:
    """'`uprightpose predict` ... and given boxes': one person at a time gives the same."""
    found = predict_people(predictor, people)
    assert list(found) == ["detector", "body"]
    for number in (0, 5, 26):
        (alone,) = predictor.predict(people.samples[number].image, [people.boxes[number]])
        np.testing.assert_allclose(found["body"][number].joints, alone.joints, atol=0.01)
    assert [one.box for one in found["body"]] == people.boxes


class TestReport:
    def test_right_and_wrong_joints(self, people: CocoPeople) -> None:
        """The reference is 36.06 pixels (20 across, 30 down): 7.2 of them are right, 7.3 wrong."""
        found = {"detector": perfect(people, 7.3), "body": perfect(people, 7.2)}
        numbers = coco_report(people, found, [0], "tiny", 20).numbers
        rows = numbers["tables"]["all"]
        assert [rows[one]["scores"]["Total"] for one in found] == [0, 100]
        assert numbers["differences"]["all"]["body - detector"]["Total"]["value"] == 100
        assert numbers["errors"]["detector"]["jitter"]["Wrist"] == 100
        assert list(numbers["tables"]) == ["all", "0-30"]  # all stand

    def test_only_labeled_limb_joints_count(self, people: CocoPeople) -> None:
        table = coco_report(people, {"detector": perfect(people)}, [], "tiny", 0).numbers["tables"]
        row = table["all"]["detector"]
        assert (row["people"], row["images"], row["joints"]) == (27, 7, 27 * 12 - 7)
        assert [one.title for one in limb_protocol().columns] == list(row["scores"])
        assert "Head" not in row["scores"]

    def test_the_page_says_who_was_left_out(self, people: CocoPeople) -> None:
        report = coco_report(people, {"detector": perfect(people)}, [3, 1], "tiny", 5)
        assert "1 crowds, 1 people without labeled joints, 1 people" in report.facts["left out"]
        assert report.numbers["sheet"] == [people.samples[3].id, people.samples[1].id]
        shown = report.sections["People on the sheet"].splitlines()[2]
        assert (
            shown
            == f"| 1 | {people.samples[3].id} | {people.samples[3].image.name} | 12 of 12 | - |"
        )


class TestSheet:
    def test_the_same_20_people_whatever_the_model_and_the_file(self, people, data, tmp_path):
        shown = choose_people(people)
        assert len(set(shown)) == 20
        content = json.loads((data / "coco" / "person_keypoints.json").read_text())
        content["annotations"].reverse()
        (tmp_path / "coco").mkdir()
        (tmp_path / "coco" / "images").symlink_to(data / "coco" / "images")
        (tmp_path / "coco" / "person_keypoints.json").write_text(json.dumps(content))
        other = read_coco_people(tmp_path)
        ids = [[one.samples[n].id for n in choose_people(one)] for one in (people, other)]
        assert ids[0] == ids[1]

    def test_people_of_few_joints_are_not_shown(self, people, monkeypatch) -> None:
        monkeypatch.setattr(coco_sheet, "COUNT", 30)
        shown = [people.samples[number].id for number in choose_people(people)]
        assert len(shown) == 26
        assert 1000 - FEW not in shown

    @pytest.mark.parametrize(("offset", "red"), [(7.2, False), (7.3, True)])
    def test_a_red_line_to_what_is_wrong(self, people, offset: float, red: bool) -> None:
        shown = [0, 4]
        sheet = draw_sheet(people, perfect(people, offset), shown)
        assert sheet.shape == (TILE + 4, 5 * (TILE + 4), 3)
        lines = (np.abs(sheet.astype(int) - WRONG).sum(axis=-1) < 30).any()
        assert lines == red
        assert (sheet[:, 2 * (TILE + 4) :] == 255).all()  # two people

    def test_true_joints_are_where_they_are(self, people: CocoPeople) -> None:
        """The square about the box: 100.25 / 0.756 = 132.6 pixels on 512, the box in its middle."""
        plain = perfect(people)
        away = [replace(one, joints=one.joints + 1e4) for one in plain]
        sheet = draw_sheet(people, away, [0])
        scale = 512 * 0.756 / 100.25
        left, top, width, height = people.boxes[0]
        center = np.array([left + width / 2 - 0.5, top + height / 2 - 0.5])
        ankle = people.truth[0, LSP.joints.index("left_ankle")]
        x, y = ((ankle - center) * scale + 255.5 + 2).round().astype(int)
        assert sheet[y, x].tolist() == [230, 159, 0]  # the orange of the left


def test_what_was_looked_at_is_what_was_measured() -> None:
    """New weights make new numbers: then the people must be looked at again."""
    results = Path(__file__).parents[2] / "docs" / "results"
    seen, measured = (
        re.findall(pattern, (results / name).read_text(), re.MULTILINE)
        for name, pattern in (
            ("coco_looked_at.md", r"^\| (\d+) \| (\d+) \| (\d+ of \d+)"),
            ("coco.md", r"^\| (\d+) \| (\d+) \| \S+ \| (\d+ of \d+)"),
        )
    )
    assert seen == measured
    assert len(seen) == 20


def test_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "small.safetensors"
    save_weights(build(SETTINGS), SETTINGS, weights)
    argv = ["reproduce", "coco", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main([*argv, "--weights", str(weights), "--intervals", "20", "--device", "cpu"]) == 0
    assert "not to pass on" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["coco.json", "coco.md", "coco_sheet.png"]
    numbers = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert list(numbers["tables"]["all"]) == ["detector", "body"]
    assert numbers["weights"].startswith("small (sha256 ")
    assert "coco_sheet" not in (tmp_path / "out" / "coco.md").read_text()
