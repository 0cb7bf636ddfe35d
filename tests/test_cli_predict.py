"""``uprightpose predict``: what it writes, and every bad input in one line."""

import contextlib
import io
import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from pycocotools import coco as coco_tools

from uprightpose.cli import main
from uprightpose.data.images import read_image
from uprightpose.data.joint_files import read_predictions
from uprightpose.data.person import Person
from uprightpose.data.predictions import Prediction, write_predictions
from uprightpose.errors import InputError
from uprightpose.inference import KERNEL_MEMORY
from uprightpose.predict import load
from uprightpose.skeletons import LSP
from uprightpose.weights import Settings, build, save_weights

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)  # the maps of some random networks have peaks that tie
    settings = Settings(
        trunk="test_resnet", size=64, head_width=8, refine_width=4, kernels=(3, 3, 3)
    )
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(build(settings), settings, path)
    return path


@pytest.fixture(scope="module")
def detector_weights(tmp_path_factory):
    torch.manual_seed(0)
    settings = Settings(trunk="test_resnet", size=64, head_width=8, last="detector")
    path = tmp_path_factory.mktemp("weights") / "detector.safetensors"
    save_weights(build(settings), settings, path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Three pictures of different sizes, 0-based numbers in LSP's style."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, size in enumerate([(50, 70), (80, 40), (33, 33)], 1):
        picture = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"im{number:04d}.png"), picture)
    return folder


@pytest.fixture
def predict(tmp_path, weights, capsys):
    """Run the command into ``out``; returns exit code, stdout, stderr."""

    def run(*arguments, weights=weights, out=tmp_path / "out"):
        arguments = [str(a) for a in arguments]
        code = main(["predict", *arguments, "--out", str(out), "--weights", str(weights)])
        return (code, *capsys.readouterr())

    return run


def boxes_file(path, boxes, **extra):
    """Write ``{file name: [box, ...]}`` as COCO JSON."""
    images = [{"id": 10 + i, "file_name": name} for i, name in enumerate(boxes)]
    annotations = [
        {"id": 100 * i + j, "image_id": 10 + i, "category_id": 1, "bbox": box, "iscrowd": 0}
        for i, name in enumerate(boxes)
        for j, box in enumerate(boxes[name])
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations, **extra}))
    return path


def read_json(out):
    return json.loads((out / "predictions.json").read_text())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def one_line(err):
    return err.startswith("uprightpose: error: ") and err.count("\n") == 1 and err.endswith("\n")


class TestResults:
    def test_a_folder_gives_overlays_and_predictions(self, predict, photos, tmp_path):
        (photos / "CREDITS.md").write_text("mine")
        code, said, err = predict(photos)
        out = tmp_path / "out"
        assert (code, err) == (0, "")
        overlays = [f"im000{i}.jpg" for i in (1, 2, 3)]
        assert names(out) == sorted(["before_after.png", *overlays, "predictions.json"])
        assert all(max(read_image(out / name).shape) == 512 for name in overlays)
        assert said.splitlines()[0] == "done: 3 photos, 3 people"
        assert said.splitlines()[-1] == f"before and after: {out / 'before_after.png'}"
        assert read_image(out / "before_after.png").shape[1] > 2 * 500

    def test_memory_is_passed_on_in_megabytes(self, predict, photos, monkeypatch):
        given = []

        def watched(*arguments, **options):
            given.append(options["memory"])
            return load(*arguments, **options)

        monkeypatch.setattr("uprightpose.predict.load", watched)
        assert predict(photos, "--memory", "3")[0] == predict(photos)[0] == 0
        assert given == [3 << 20, KERNEL_MEMORY]

    def test_mirrored_looks(self, predict, photos, detector_weights, tmp_path):
        """A detector that sees everybody mirrored, too, does not care which is the picture."""
        assert predict(photos, "--mirrored", weights=detector_weights)[0] == 0
        content, first = read_json(tmp_path / "out"), photos / "im0001.png"
        model = load(detector_weights, "cpu", mirrored=True)
        (person,) = model.predict(first)
        found = np.reshape(content["annotations"][0]["keypoints"], (14, 3))[:, :2]
        assert_allclose(found, person.joints, atol=1e-2)
        (plain,) = load(detector_weights, "cpu").predict(first)
        assert np.abs(person.joints - plain.joints).max() > 0.5
        picture = read_image(first)
        (other,) = model.predict(np.ascontiguousarray(picture[:, ::-1]))
        back = other.joints[list(LSP.mirror)] * (-1, 1) + (picture.shape[1] - 1, 0)
        assert_allclose(back, person.joints, atol=0.1)

    def test_no_memory_is_refused(self, predict, photos):
        code, _, err = predict(photos, "--memory", "0")
        assert code == 2
        assert one_line(err)
        assert "--memory: expected a whole number, 1 or more MB, found 0" in err

    def test_numbers_are_those_of_python(self, predict, photos, weights, tmp_path):
        predict(photos)
        model = load(weights, "cpu")
        content = read_json(tmp_path / "out")
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            (person,) = model.predict(photos / image["file_name"])
            height, width = read_image(photos / image["file_name"]).shape[:2]
            assert (image["width"], image["height"]) == (width, height)
            assert annotation["image_id"] == image["id"]
            triples = np.reshape(annotation["keypoints"], (14, 3))
            assert_allclose(triples[:, :2], person.joints, atol=1e-2)
            assert_allclose(triples[:, 2], person.scores, atol=1e-4)
            assert annotation["bbox"] == [0, 0, width, height]
            assert annotation["score"] == pytest.approx(person.score, abs=1e-4)

    def test_stages_are_drawn_side_by_side(self, predict, photos, tmp_path):
        assert predict(photos / "im0002.png", "--stages")[0] == 0
        out = tmp_path / "out"
        assert names(out) == [
            "before_after.png", "im0002.jpg", "im0002_stages.jpg", "predictions.json",
        ]  # fmt: skip
        assert read_image(out / "im0002_stages.jpg").shape[1] > 3 * 256

    def test_a_detector_alone_has_no_before_and_after(
        self, predict, photos, tmp_path, detector_weights
    ):
        code, said, _ = predict(photos, "--stages", weights=detector_weights)
        assert code == 0
        assert "before" not in said
        assert not (tmp_path / "out" / "before_after.png").exists()

    def test_equal_names_do_not_meet(self, predict, photos, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(photos, other)
        shutil.copy(photos / "im0001.png", other / "im0001.bmp")
        assert predict(photos, other)[0] == 0
        jpgs = [name for name in names(tmp_path / "out") if name.endswith(".jpg")]
        assert len(jpgs) == 7
        files = [image["file_name"] for image in read_json(tmp_path / "out")["images"]]
        assert len(set(files)) == 7
        assert str(other / "im0001.png") in files
        assert "im0001.bmp" in files

    def test_results_replace_older_ones_and_leave_no_rest(self, predict, photos, tmp_path):
        predict(photos)
        (tmp_path / "out" / "im0001.jpg").write_text("old")
        assert predict(photos)[0] == 0
        assert read_image(tmp_path / "out" / "im0001.jpg").shape[1] == 512
        assert not [name for name in names(tmp_path / "out") if "partial" in name]

    def test_photos_are_never_overwritten(self, predict, photos):
        picture = Image.open(photos / "im0001.png").convert("RGB")
        picture.save(photos / "photo.jpg")
        before = (photos / "photo.jpg").read_bytes()
        assert predict(photos / "photo.jpg", out=photos)[0] == 0
        assert (photos / "photo.jpg").read_bytes() == before
        assert (photos / "photo_pose.jpg").exists()

    def test_what_the_viewer_sees(self, predict, tmp_path):
        exif = Image.Exif()
        exif[0x112] = 6
        Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
        assert predict(tmp_path / "turned.jpg")[0] == 0
        image = read_json(tmp_path / "out")["images"][0]
        assert (image["width"], image["height"]) == (20, 40)

    def test_the_photos_of_the_demo(self, predict, tmp_path):
        code, said, err = predict(PHOTOS)
        assert (code, err) == (0, "")
        assert said.startswith("done: 8 photos, 8 people\n")


class TestCocoTools:
    @pytest.fixture
    def file(self, tmp_path):
        generator = np.random.default_rng(0)
        people = [
            Person(
                generator.uniform(-20, 200, (14, 2)),
                generator.uniform(0.01, 1, 14),
                (1.0, 2.0, 30.0, 40.5),
                0.25 + 0.1 * i,
                angle,
            )
            for i, angle in enumerate([None, -90.0, 12.3456])
        ]
        predictions = [
            Prediction("im0001.jpg", (60, 90), people[:2]),
            Prediction("im0002.jpg", (50, 40), []),
            Prediction("im0003.jpg", (33, 22), people[2:]),
        ]
        write_predictions(tmp_path / "predictions.json", predictions, LSP)
        return tmp_path / "predictions.json", people

    def test_pycocotools_opens_it(self, file):
        path, people = file
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco_tools.COCO(str(path))
            results = truth.loadRes(json.loads(path.read_text())["annotations"])
        for coco in (truth, results):
            assert coco.getImgIds() == [1, 2, 3]
            assert [len(coco.getAnnIds(imgIds=[i])) for i in (1, 2, 3)] == [2, 0, 1]
            (last,) = coco.loadAnns(coco.getAnnIds(imgIds=[3]))
            assert_allclose(
                np.reshape(last["keypoints"], (14, 3))[:, :2], people[2].joints, atol=1e-3
            )
            assert last["num_keypoints"] == 14
            assert last["area"] == 30 * 40.5
            assert last["bbox"] == [1, 2, 30, 40.5]
            assert last["iscrowd"] == 0
        (category,) = truth.loadCats(truth.getCatIds(catNms=["person"]))
        assert category["keypoints"] == list(LSP.joints)
        assert np.array(category["skeleton"]).min() == 1
        assert np.array(category["skeleton"]).max() == 14

    def test_angles_are_degrees_or_null(self, file):
        annotations = json.loads(file[0].read_text())["annotations"]
        assert [a["body_angle"] for a in annotations] == [None, -90.0, 12.346]

    def test_scoring_reads_it(self, file):
        """The best person of each picture, which keeps its name."""
        path, people = file
        table = read_predictions(path, LSP, "pc")
        assert table.images == ("im0001.jpg", "im0002.jpg", "im0003.jpg")
        assert_allclose(table.joints[0], people[1].joints, atol=1e-3)
        assert np.isnan(table.joints[1]).all()
        assert_allclose(table.joints[2], people[2].joints, atol=1e-3)

    def test_it_serves_as_boxes(self, predict, photos, tmp_path):
        predict(photos)
        given = tmp_path / "out" / "predictions.json"
        code, said, _ = predict(photos, "--boxes", given, out=tmp_path / "again")
        assert code == 0
        assert said.startswith("done: 3 photos, 3 people")

    def test_a_failed_write_leaves_the_old_file(self, file, tmp_path, monkeypatch):
        before = file[0].read_bytes()

        def full(self, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(InputError, match=r"predictions\.json: cannot be written \(No space"):
            write_predictions(file[0], [], LSP)
        assert file[0].read_bytes() == before
        assert names(tmp_path) == ["predictions.json"]


class TestBoxes:
    def test_people_are_those_of_the_boxes(self, predict, photos, weights, tmp_path):
        given = {"im0001.png": [[5, 6, 20, 30], [-3, 0, 40, 40.5]], "train/im0003.png": []}
        path = boxes_file(tmp_path / "boxes.json", given)
        code, said, err = predict(photos, "--boxes", path)
        assert (code, err) == (0, "")
        assert said.splitlines()[:2] == [
            "done: 3 photos, 2 people",
            f"without people: 2 photos without a box in {path}",
        ]
        content = read_json(tmp_path / "out")
        assert [image["file_name"] for image in content["images"]] == [
            "im0001.png", "im0002.png", "im0003.png",
        ]  # fmt: skip
        assert [a["bbox"] for a in content["annotations"]] == given["im0001.png"]
        assert [a["image_id"] for a in content["annotations"]] == [1, 1]
        people = load(weights, "cpu").predict(photos / "im0001.png", given["im0001.png"])
        for person, annotation in zip(people, content["annotations"], strict=True):
            found = np.reshape(annotation["keypoints"], (14, 3))[:, :2]
            assert_allclose(found, person.joints, atol=1e-2)

    def test_folders_in_names_do_not_matter(self, predict, photos, tmp_path):
        path = boxes_file(tmp_path / "boxes.json", {"val2017/im0002.png": [[1, 2, 30, 40]]})
        assert predict(photos / "im0002.png", "--boxes", path)[1].startswith("done: 1 photo, 1 p")

    @pytest.mark.parametrize("image", ["10", 11])
    def test_a_box_of_no_image_is_not_lost(self, predict, photos, tmp_path, image):
        path = boxes_file(tmp_path / "boxes.json", {"im0001.png": [[1, 1, 9, 9], [2, 2, 9, 9]]})
        content = json.loads(path.read_text())
        content["annotations"][1]["image_id"] = image
        path.write_text(json.dumps(content))
        code, _, err = predict(photos, "--boxes", path)
        assert code == 2
        assert one_line(err)
        assert (
            f"annotation 1: expected the id of one of the images as image_id, found {image!r}"
            in err
        )
        assert not (tmp_path / "out" / "predictions.json").exists()

    def test_crowds_and_other_things_are_left_out(self, predict, photos, tmp_path):
        path = boxes_file(
            tmp_path / "boxes.json",
            {"im0001.png": [[1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9]]},
            categories=[{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}],
        )
        content = json.loads(path.read_text())
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1]["category_id"] = 2
        path.write_text(json.dumps(content))
        assert predict(photos, "--boxes", path)[0] == 0
        boxes = [a["bbox"] for a in read_json(tmp_path / "out")["annotations"]]
        assert boxes == [[3, 3, 9, 9]]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "expected boxes as COCO JSON, found no JSON"),
            ("{", "expected boxes as COCO JSON, found no JSON"),
            ("[]", "expected COCO JSON with images"),
            ("7", "expected COCO JSON with images"),
            ("{}", "expected COCO JSON with images"),
            ('{"images": [], "annotations": 7}', "expected COCO JSON with images"),
            ('{"images": [], "annotations": [7]}', "expected COCO JSON with images"),
            ('{"images": [{"id": 1}], "annotations": []}', "expected COCO JSON with images"),
            ('{"images": [{"id": [], "file_name": "a"}], "annotations": []}', "expected COCO"),
            ('{"images": [], "annotations": []}', "expected boxes of im0001.png ..., found none"),
            (
                '{"images": [{"id": 1, "file_name": "im0001.png"}],'
                '"annotations": [{"image_id": 1}]}',
                "expected COCO JSON with images",
            ),
        ],
    )
    def test_other_files_are_refused(self, predict, photos, tmp_path, content, message):
        (tmp_path / "boxes.json").write_text(content)
        code, said, err = predict(photos, "--boxes", tmp_path / "boxes.json")
        assert (code, said) == (2, "")
        assert one_line(err)
        assert f"boxes.json: {message}" in err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("box", "message"),
        [
            ([1, 2, math.nan, 4], "annotation 0: expected a finite bbox, found [1.0, 2.0, nan"),
            ([1, 2, math.inf, 4], "annotation 0: expected a finite bbox"),
            ([1, 2, 3], "annotation 0: expected bbox of x, y, w, h, found [1, 2, 3]"),
            ([1, 2, 3, None], "annotation 0: expected bbox of x, y, w, h"),
            ("wide", "annotation 0: expected bbox of x, y, w, h, found wide"),
            (None, "annotation 0: expected bbox of x, y, w, h, found None"),
        ],
    )
    def test_boxes_that_are_none_are_named(self, predict, photos, tmp_path, box, message):
        path = boxes_file(tmp_path / "boxes.json", {"im0001.png": [box]})
        code, _, err = predict(photos, "--boxes", path)
        assert code == 2
        assert one_line(err)
        assert message in err

    def test_a_box_outside_fails_its_picture(self, predict, photos, tmp_path):
        given = {"im0001.png": [[1, 1, 9, 9], [70, 0, 9, 9]], "im0002.png": [[1, 1, 9, 9]]}
        path = boxes_file(tmp_path / "boxes.json", given)
        code, said, err = predict(photos / "im0001.png", "--boxes", path)
        assert (code, said) == (2, "")
        assert one_line(err)
        assert "im0001.png: box 2 of 2 (70, 0, 9, 9): lies outside the picture of 70 x 50" in err
        code, said, err = predict(photos, "--boxes", path)
        assert code == 1
        assert one_line(err)
        assert "failed: 1 photo\n" in said

    def test_names_that_do_not_agree(self, predict, photos, tmp_path):
        path = boxes_file(tmp_path / "boxes.json", {"other.png": [[1, 1, 9, 9]]})
        code, _, err = predict(photos, "--boxes", path)
        assert code == 2
        assert "expected boxes of im0001.png ..., found none of the pictures" in err

    def test_names_that_are_there_twice(self, predict, photos, tmp_path):
        path = boxes_file(tmp_path / "b.json", {"x/im0001.png": [], "y/im0001.png": []})
        code, _, err = predict(photos, "--boxes", path)
        assert code == 2
        assert "im0001.png is twice in" in err

    def test_a_missing_file(self, predict, photos, tmp_path):
        code, _, err = predict(photos, "--boxes", tmp_path / "no.json")
        assert code == 2
        assert "no.json: the boxes cannot be read (No such file or directory)" in err


def make_bad(folder, kind):
    """Make one bad input; returns its path."""
    path = folder / f"{kind}.jpg"
    picture = Image.new("RGB", (64, 48), (200, 90, 30))
    if kind == "truncated":
        picture.save(path)
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "folder":
        path.mkdir()
    return path


BAD = {
    "missing": "no such file or folder",
    "folder": "expected pictures",
    "text": "is no picture",
    "truncated": "the JPEG is truncated",
    "empty": "the file is empty",
}


class TestBadInput:
    @pytest.mark.parametrize("kind", BAD)
    def test_alone_it_is_refused_in_one_line(self, predict, tmp_path, kind):
        path = make_bad(tmp_path, kind)
        code, said, err = predict(path)
        assert (code, said) == (2, "")
        assert one_line(err)
        assert f"{kind}.jpg: {BAD[kind]}" in err

    @pytest.mark.parametrize("kind", ["text", "truncated", "empty"])
    def test_among_others_it_is_reported_and_they_are_done(self, predict, photos, tmp_path, kind):
        make_bad(photos, kind)
        code, said, err = predict(photos)
        assert code == 1
        assert one_line(err)
        assert f"{kind}.jpg: {BAD[kind]}" in err
        assert said.startswith("done: 3 photos, 3 people\nfailed: 1 photo\n")
        assert len(read_json(tmp_path / "out")["images"]) == 3

    def test_several_and_none_good(self, predict, tmp_path):
        paths = [make_bad(tmp_path, kind) for kind in ("text", "truncated", "empty")]
        code, said, err = predict(*paths)
        assert (code, said) == (2, "")
        lines = err.splitlines()
        assert len(lines) == 4
        assert lines[-1].endswith("none of the 3 pictures could be done, as said above")

    @pytest.mark.parametrize("kind", ["missing", "folder"])
    def test_a_wrong_path_among_others_is_found_before_any_work(
        self, predict, photos, tmp_path, kind
    ):
        code, _, err = predict(photos, make_bad(tmp_path, kind))
        assert code == 2
        assert one_line(err)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "one pixel"])
    def test_unusual_pictures_are_done(self, predict, tmp_path, mode):
        picture = Image.fromarray(np.arange(2400, dtype=np.uint8).reshape(40, 60))
        picture = picture.resize((1, 1)) if mode == "one pixel" else picture.convert("RGB")
        if mode == "I;16":
            picture = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 25)
        elif mode != "one pixel":
            picture = picture.convert(mode)
        suffix = "jpg" if mode == "CMYK" else "png"
        picture.save(tmp_path / f"odd.{suffix}")
        code, said, err = predict(tmp_path / f"odd.{suffix}")
        assert (code, err) == (0, "")
        assert said.startswith("done: 1 photo, 1 person\n")
        assert (tmp_path / "out" / "odd.jpg").exists()

    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_a_folder_that_cannot_be_written(self, predict, photos, tmp_path, place):
        (tmp_path / "file").touch()
        code, _, err = predict(photos, out=tmp_path / place)
        assert code == 2
        assert one_line(err)
        assert f"{place}: cannot write into this folder" in err

    def test_results_among_the_photos_of_a_folder(self, predict, photos):
        code, _, err = predict(photos, out=photos)
        assert code == 2
        assert one_line(err)
        assert "is one of the folders to read photos from" in err

    def test_weights_that_are_none(self, predict, photos, tmp_path):
        (tmp_path / "damaged.safetensors").write_bytes(b"\x10" * 99)
        for name, message in (
            ("damaged.safetensors", "is no safetensors file or is damaged"),
            ("missing.safetensors", "found nothing at"),
        ):
            code, _, err = predict(photos, weights=tmp_path / name)
            assert code == 2
            assert one_line(err)
            assert message in err

    @pytest.mark.parametrize("arguments", [[], ["photo.jpg"], ["--out", "out"]])
    def test_missing_arguments(self, capsys, arguments):
        assert main(["predict", *arguments]) == 2
        err = capsys.readouterr().err
        assert one_line(err)
        assert "required" in err
