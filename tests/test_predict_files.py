"""Whole sets of photos: order, errors, interruption and memory of the pipeline."""

import gc
import json
import threading
import time
import weakref
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

import uprightpose.predict_files as predict_files_module
from uprightpose import views
from uprightpose.data.images import read_image
from uprightpose.data.person import Person
from uprightpose.data.predictions import Prediction, category, write_predictions
from uprightpose.errors import InputError
from uprightpose.model import PoseNet
from uprightpose.pipeline import Pipeline
from uprightpose.predict import Predictor
from uprightpose.predict_files import predict_files, result_names
from uprightpose.refine import BodyRefiner
from uprightpose.skeletons import LSP

CLOSE = 0.05  # picture pixels; a cell of these pictures has about 5


class Detector(nn.Module):
    """Random maps at stride 4; notes how many people come at a time."""

    stride = 4
    mapping = "sigmoid"

    def __init__(self):
        super().__init__()
        self.maps, self.batches = nn.Conv2d(3, 14, 4, stride=4), []

    def forward(self, images):
        self.batches.append(len(images))
        return {"maps": self.maps(images / 32)}


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    body = BodyRefiner(LSP, width=4, kernels=(3, 3, 3))
    return Predictor(PoseNet(LSP, Detector(), body), 32, batch=4)


def make_photos(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    paths = [folder / f"photo{number:03d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        size = (24 + 3 * (number % 5), 40 - number % 3, 3)
        cv2.imwrite(str(path), generator.integers(0, 256, size, dtype=np.uint8))
    return paths


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", 21)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def read_json(out):
    return json.loads((out / "predictions.json").read_text())


class TestBatches:
    def test_people_of_several_photos_go_together(self, predictor, photos, out):
        predict_files(predictor, photos, out)
        batches = predictor.model.detector.batches
        assert sum(batches) == 21
        assert max(batches) == 4
        assert len(batches) == 6

    def test_everyone_is_found_as_alone_and_in_order(self, predictor, photos, out):
        """Whatever batch they were in, by at most some hundredths of a pixel."""
        boxes = {photo: [(1.0, 2.0, 20.0, 15.0 + n)] * (n % 4) for n, photo in enumerate(photos)}
        outcome = predict_files(predictor, photos, out, boxes)
        assert outcome.people == sum(map(len, boxes.values()))
        assert outcome.without_boxes == 6
        content = read_json(out)
        assert [image["file_name"] for image in content["images"]] == [p.name for p in photos]
        alone = [
            (number, person)
            for number, photo in enumerate(photos, 1)
            for person in predictor.predict(photo, boxes[photo])
        ]
        for (image, person), found in zip(alone, content["annotations"], strict=True):
            assert found["image_id"] == image
            joints = np.reshape(found["keypoints"], (14, 3))[:, :2]
            assert_allclose(joints, person.joints, atol=CLOSE)

    def test_many_is_predict_in_a_loop(self, predictor, photos):
        images = [str(photos[0]), read_image(photos[1]), *photos[2:]]
        boxes = [None, [], *[[(1, 2, 20, 25)]] * 19]
        many = list(predictor.predict_many(iter(images), boxes))
        assert [len(people) for people in many] == [1, 0, *[1] * 19]
        for image, own, people in zip(images, boxes, many, strict=True):
            for one, other in zip(predictor.predict(image, own), people, strict=True):
                assert_allclose(other.joints, one.joints, atol=CLOSE)

    def test_many_refuses_a_photo_in_its_place(self, predictor, photos):
        photos[2].write_text("none")
        found = predictor.predict_many(photos)
        assert len([next(found), next(found)]) == 2
        with pytest.raises(InputError, match=r"photo002\.png: is no picture"):
            next(found)

    @pytest.mark.parametrize(
        ("count", "entries", "said"),
        [
            (4, 3, "found 4 pictures and 3 entries"),
            (3, 5, "found 3 pictures and 5 entries"),
            (4, None, "found more than 3 pictures and 3 entries"),
            (2, None, "found 2 pictures and more than 2 entries"),
        ],
    )
    def test_many_needs_boxes_for_all(self, predictor, photos, count, entries, said):
        boxes = iter([None] * 3) if entries is None else [None] * entries
        with pytest.raises(InputError, match=f"boxes: expected one entry per picture, {said}$"):
            list(predictor.predict_many(photos[:count], boxes))

    def test_many_is_not_begun_where_lengths_differ(self, predictor, photos):
        with pytest.raises(InputError):
            next(predictor.predict_many(photos, [None] * 20))
        assert not predictor.model.detector.batches

    def test_many_leaves_opencvs_log_and_threads_as_they_were(self, predictor, photos):
        """Also where two go on by turns, and the first to begin ends first."""
        log = cv2.utils.logging
        before = log.getLogLevel(), cv2.getNumThreads()
        try:
            log.setLogLevel(log.LOG_LEVEL_WARNING)
            cv2.setNumThreads(3)
            for _ in range(5):
                list(predictor.predict_many(photos[:12]))
                assert (log.getLogLevel(), cv2.getNumThreads()) == (log.LOG_LEVEL_WARNING, 3)
            one, other = (predictor.predict_many(photos[:4]) for _ in range(2))
            next(one), next(other)
            one.close()
            assert len(list(other)) == 3
            assert (log.getLogLevel(), cv2.getNumThreads()) == (log.LOG_LEVEL_WARNING, 3)
        finally:
            log.setLogLevel(before[0])
            cv2.setNumThreads(before[1])

    def test_many_holds_what_the_room_allows(self, predictor, photos, monkeypatch):
        """Each picture counts, from when it is read until it is done with."""
        room, sizes = 10_000, [read_image(photo).nbytes for photo in photos]
        alive, peak = weakref.WeakSet(), []

        class Counted(np.ndarray):
            __hash__ = object.__hash__  # a set of them goes by identity

        def counting(path):
            image = read_image(path).view(Counted)
            alive.add(image)
            peak.append(sum(one.nbytes for one in list(alive)))
            return image

        monkeypatch.setattr(views, "read_image", counting)
        monkeypatch.setattr("uprightpose.predict.Pipeline", partial(Pipeline, 2, room=room))
        assert len(list(predictor.predict_many(photos))) == 21
        assert max(peak) < room + 2 * max(sizes) < sum(sizes)


class TestDrawings:
    def test_the_first_photo_with_people_is_drawn_before_and_after(
        self, predictor, photos, out, monkeypatch
    ):
        drawn = []
        work = predict_files_module.before_after

        def noted(image, people, skeleton):
            drawn.append(image)
            return work(image, people, skeleton)

        monkeypatch.setattr(predict_files_module, "before_after", noted)
        boxes = {photo: [(1, 2, 20, 15)] * (n > 1) for n, photo in enumerate(photos)}
        predict_files(predictor, photos, out, boxes)
        (image,) = drawn
        assert (image == read_image(photos[2])).all()


class TestOverlap:
    def test_a_photo_is_written_before_the_last_is_read(self, predictor, photos, out, monkeypatch):
        events = []

        def note(module, name):
            work = getattr(module, name)

            def noted(path, *rest):
                events.append((name, threading.get_ident()))
                return work(path, *rest)

            monkeypatch.setattr(module, name, noted)

        note(views, "read_image")
        note(predict_files_module, "write_image")
        photos += make_photos(photos[0].parent / "more", 40)
        predict_files(predictor, photos, out)
        names = [name for name, _ in events]
        assert names.index("write_image") < len(names) - 1 - names[::-1].index("read_image")
        assert threading.get_ident() not in {thread for _, thread in events}


class TestErrors:
    def test_bad_photos_are_told_in_order_and_the_others_done(self, predictor, photos, out, capsys):
        bad = [photos[number] for number in (0, 7, 8, 20)]
        for path in bad:
            path.write_text("none")
        outcome = predict_files(predictor, photos, out)
        lines = capsys.readouterr().err.splitlines()
        assert [path.name in line for path, line in zip(bad, lines, strict=True)] == [True] * 4
        assert (outcome.pictures, outcome.failed) == (17, 4)
        assert len(read_json(out)["images"]) == 17
        assert outcome.before_after is not None

    def test_a_result_that_cannot_be_written_ends_it(self, predictor, photos, out):
        (out / "photo003.jpg").mkdir()
        with pytest.raises(InputError, match=r"photo003\.jpg: cannot be written"):
            predict_files(predictor, photos, out)
        assert not (out / "predictions.json").exists()
        assert not list(out.glob(".*"))

    def test_an_interruption_ends_at_once_and_leaves_no_half_file(
        self, predictor, photos, out, monkeypatch
    ):
        class Interrupting:
            def __init__(self, items, **options):
                self.items = items

            def __iter__(self):
                for number, item in enumerate(self.items):
                    if number == 3:
                        raise KeyboardInterrupt
                    yield item

        monkeypatch.setattr(predict_files_module, "tqdm", Interrupting)
        (out / "predictions.json").write_text("old")
        photos += make_photos(photos[0].parent / "more", 200)
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            predict_files(predictor, photos, out)
        assert time.perf_counter() - start < 20
        assert not list(out.glob(".*"))
        assert len(list(out.glob("*.jpg"))) < 60
        assert (out / "predictions.json").read_text() == "old"
        assert all(read_image(path).size for path in out.glob("*.jpg"))


class TestMemory:
    def test_pictures_alive_do_not_grow_with_their_number(
        self, predictor, tmp_path, out, monkeypatch
    ):
        """'memory does not grow with the number of pictures' (issue 4)."""
        most = {}
        for count in (20, 200):
            alive, peak = weakref.WeakSet(), []

            class Counted(np.ndarray):
                __hash__ = object.__hash__  # a set of them goes by identity

            def counting(path, alive=alive, peak=peak, kind=Counted):
                image = read_image(path).view(kind)
                alive.add(image)
                peak.append(len(alive))
                return image

            monkeypatch.setattr(views, "read_image", counting)
            paths = make_photos(tmp_path / str(count), count)
            predict_files(predictor, paths, out)
            gc.collect()
            assert len(alive) == 0
            most[count] = max(peak)
        assert most[20] <= 20
        assert most[200] <= 40

    def test_large_pictures_wait_for_room(self, predictor, photos, out, monkeypatch):
        """A few at a time, where the room holds not even one."""
        monkeypatch.setattr("uprightpose.pipeline.Pipeline.has_room", lambda self: self.held < 1)
        predict_files(predictor, photos, out)
        assert len(read_json(out)["images"]) == 21
        assert max(predictor.model.detector.batches) <= 2


class TestPredictionsFile:
    def test_a_stream_is_written_as_the_whole_would_be(self, tmp_path):
        generator = np.random.default_rng(0)
        people = [
            Person(generator.uniform(0, 90, (14, 2)), generator.random(14), (1, 2, 3, 4), 0.5, a)
            for a in (None, 12.0, -3.0)
        ]
        given = [
            Prediction("a é.jpg", (30, 40), people[:2]),
            Prediction('b".jpg', (50, 60), []),
            Prediction("c.jpg", (70, 80), people[2:]),
        ]
        for some in ([], given[1:2], given):
            write_predictions(tmp_path / "a.json", iter(some), LSP)
            content = json.loads((tmp_path / "a.json").read_text())
            assert list(content) == ["images", "categories", "annotations"]
            assert content["categories"] == [category(LSP)]
            assert [a["id"] for a in content["annotations"]] == [1, 2, 3][: 3 * (some == given)]
            assert (tmp_path / "a.json").read_text() == json.dumps(content)


def test_many_photos_of_one_name_are_named_in_linear_time(tmp_path):
    paths = [tmp_path / str(number) / "a.png" for number in range(400)]
    names = list(result_names(paths, tmp_path / "out").values())
    assert names[:3] == ["a", "a_2", "a_3"]
    assert names[-1] == "a_400"


def test_one_path_is_not_several_pictures():
    from uprightpose.predict import Predictor

    for one in ("photos/", Path("photos")):
        with pytest.raises((InputError, TypeError), match="photos"):  # jaxtyping's in tests
            next(iter(Predictor.predict_many(None, one)))
