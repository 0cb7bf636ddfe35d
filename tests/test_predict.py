"""Pictures -> joints in the picture's own pixels, by a detector that finds colored dots."""

import math

import cv2
import jaxtyping
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch import nn

import uprightpose.predict as predict_module
from uprightpose.data.boxes import check_boxes
from uprightpose.errors import InputError
from uprightpose.frames import Crop
from uprightpose.model import PoseNet
from uprightpose.predict import Predictor, load
from uprightpose.refine import BodyRefiner, LimbRefiner
from uprightpose.skeletons import COCO, LSP
from uprightpose.views import angle_in_degrees, view_box
from uprightpose.weights import Settings, build, save_weights

SIZE, STRIDE = 64, 4
RED, GREEN = 0, 1  # joint 0 is the red dot, every other joint the green one
CLOSE = 0.3  # picture pixels


class DotDetector(nn.Module):
    """Each joint's map is a color of the picture at stride 4: it peaks at that color's dot."""

    stride = STRIDE
    mapping = "sigmoid"

    def forward(self, images):
        shades = nn.functional.avg_pool2d(images, STRIDE) / 255
        maps = shades[:, [RED] + [GREEN] * len(LSP.joints)]
        return {"dots": 6 * maps - 3}


@pytest.fixture(scope="module")
def dots():
    return Predictor(PoseNet(LSP, DotDetector()), SIZE)


@pytest.fixture(scope="module")
def random_net():
    torch.manual_seed(0)
    small = {"width": 4, "kernels": (3, 3, 3)}
    net = PoseNet(LSP, DotDetector(), BodyRefiner(LSP, **small), LimbRefiner(LSP, **small))
    return Predictor(net, SIZE)


def picture_with_dots(height, width, red, green, sigma):
    """Draw round dots about points ``(x, y)`` of a black picture."""
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3))
    for channel, dot in ((RED, red), (GREEN, green)):
        image[..., channel] = 255 * np.exp(
            -((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * sigma**2)
        )
    return image.round().astype(np.uint8)


def joints_of(person):
    assert_allclose(person.joints[1:], np.broadcast_to(person.joints[1], (13, 2)))
    return person.joints[:2]


def cell_center(column, row):
    """Return the crop's edge coordinates of a cell's middle, where decoding is exact."""
    return STRIDE * (np.array([column, row]) + 0.5)


class TestJointsComeBack:
    """Each in the picture's own pixels, 0-based, within a third of a pixel."""

    @pytest.mark.parametrize(
        ("height", "width"), [(48, 80), (80, 48), (57, 101), (200, 400), (64, 64), (20, 30)]
    )
    def test_without_box_the_picture_is_letter_boxed(self, dots, height, width):
        factor = SIZE / max(height, width)
        margin = (SIZE - factor * np.array([width, height])) / 2
        red, green = ((cell_center(*cell) - margin) / factor - 0.5 for cell in ((7, 7), (9, 8)))
        image = picture_with_dots(height, width, red, green, 6 / factor)
        (person,) = dots.predict(image)
        assert_allclose(joints_of(person), [red, green], atol=CLOSE * max(1, 1 / factor))
        assert person.box == (0, 0, width, height)

    def test_with_box_the_person_has_the_share_of_training(self, dots):
        box = (20.0, 10.0, 30.0, 37.8)  # longer side 37.8 = 0.756 * 50
        factor, corner = SIZE / 50, np.array([10.0, 3.9])
        red, green = (corner + cell_center(*cell) / factor - 0.5 for cell in ((3, 9), (11, 6)))
        image = picture_with_dots(80, 100, red, green, 6 / factor)
        (person,) = dots.predict(image, [box])
        assert_allclose(joints_of(person), [red, green], atol=CLOSE)
        assert person.box == box

    @pytest.mark.parametrize(
        ("crop", "filled"),
        [
            (Crop(SIZE), (64, 48)),
            (Crop(SIZE, 48), (48, 36)),
            (Crop(SIZE, 48, "stretch"), (48, 48)),
            (Crop(SIZE, 0, "stretch"), (64, 64)),
        ],
        ids=str,
    )
    def test_crops_with_a_margin_or_stretched(self, crop, filled):
        """'340 x 340, padded to 352'; 'resize=stretch reproduces the literal reading'
        (SPEC 1.2, 1.8)."""
        predictor, seen = Predictor(PoseNet(LSP, DotDetector()), crop), []
        predictor.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        predictor.predict(np.full((60, 80, 3), 255, np.uint8))
        white = (seen[0][0] > 200).all(dim=0)  # the border is interpolated
        assert (white.any(dim=0).sum(), white.any(dim=1).sum()) == filled
        middle, factor = np.array([40, 30]), np.array(filled) / [80, 60]
        red, green = (
            middle + (cell_center(*cell) - SIZE / 2) / factor - 0.5 for cell in ((6, 7), (9, 8))
        )
        (person,) = predictor.predict(picture_with_dots(60, 80, red, green, 9))
        assert_allclose(joints_of(person), [red, green], atol=2 * CLOSE)

    def test_a_box_partly_outside_sees_the_part_inside(self, dots):
        image = picture_with_dots(60, 60, (18.0, 24.0), (28.0, 34.0), 7)
        (person,) = dots.predict(image, [(-20, 0, 60, 50)])
        assert_allclose(joints_of(person), [(18, 24), (28, 34)], atol=CLOSE)

    def test_boxes_keep_their_order_over_batches(self, dots, monkeypatch):
        image = picture_with_dots(120, 200, (40.0, 60.0), (150.0, 30.0), 5)
        boxes = [(30 + i, 40, 40 + i, 40) for i in range(7)]
        alone = [dots.predict(image, [box])[0].joints for box in boxes]
        monkeypatch.setattr(dots.network, "batch", 3)
        together = [person.joints for person in dots.predict(image, np.array(boxes))]
        assert_allclose(together, alone, atol=1e-4)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_turned_file_is_seen_as_the_viewer_sees_it(self, dots, tmp_path, orientation):
        red, green = (26.0, 21.0), (54.0, 27.0)
        seen = picture_with_dots(48, 80, red, green, 6)
        stored = {
            1: seen,
            2: seen[:, ::-1],
            3: seen[::-1, ::-1],
            4: seen[::-1],
            5: seen.swapaxes(0, 1),
            6: np.rot90(seen, 1),
            7: seen.swapaxes(0, 1)[::-1, ::-1],
            8: np.rot90(seen, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x112] = orientation
        path = tmp_path / "photo.jpg"
        Image.fromarray(np.ascontiguousarray(stored)).save(
            path, exif=exif, quality=98, subsampling=0
        )
        for image in (path, str(path)):
            (person,) = dots.predict(image)
            assert person.box == (0, 0, 80, 48)
            assert_allclose(joints_of(person), [red, green], atol=CLOSE)


class TestPerson:
    def test_scores_are_the_maps_at_their_peaks(self, dots):
        image = np.zeros((64, 64, 3), np.uint8)
        image[..., RED] = 255
        (person,) = dots.predict(image)
        expected = [1 / (1 + math.exp(-3)), *[1 / (1 + math.exp(3))] * 13]
        assert_allclose(person.scores, expected, atol=1e-5)
        assert person.score == pytest.approx(np.mean(expected), abs=1e-5)
        assert person.body_angle is None  # all joints in one place

    def test_a_picture_of_one_pixel_has_a_person(self, dots, random_net):
        for predictor in (dots, random_net):
            (person,) = predictor.predict(np.full((1, 1, 3), 200, np.uint8))
            assert person.box == (0, 0, 1, 1)
            assert np.isfinite(person.joints).all()
            assert np.isfinite(person.scores).all()

    def test_no_boxes_no_people(self, random_net):
        image = np.zeros((9, 7, 3), np.uint8)
        assert random_net.predict(image, []) == []
        assert random_net.predict_stages(image, []) == {"detector": [], "body": [], "limbs": []}

    def test_the_picture_stays_as_it_is(self, random_net):
        image = np.full((30, 40, 3), 90, np.uint8)
        random_net.predict(image, [(1, 2, 3, 4)])
        assert (image == 90).all()


class TestBodyAngle:
    @pytest.mark.parametrize("turned", [0, 30, 90, 179, -45, -120])
    def test_it_is_the_turn_back_in_degrees_clockwise(self, turned):
        joints = np.zeros((14, 2))
        joints[[8, 9, 2, 3, 12]] = [[-2, -4], [2, -4], [-1, 4], [1, 4], [0, -5]]
        t = math.radians(turned)
        turn = np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])
        angle = angle_in_degrees(joints @ turn.T + 7, np.ones(14), LSP)
        assert angle == pytest.approx(-turned)

    def test_without_support_there_is_none(self):
        joints = np.zeros((14, 2))
        scores = np.ones(14)
        assert angle_in_degrees(joints, scores, LSP) is None  # the axis has no length
        joints[12] = (0, -5)
        assert angle_in_degrees(joints, scores, LSP) == 0
        scores[8] = 0.01
        assert angle_in_degrees(joints, scores, LSP) is None  # a shoulder was not seen
        scores[8], scores[0] = 1, 0.01
        assert angle_in_degrees(joints, scores, LSP) == 0  # an ankle does not matter


class TestStages:
    def test_every_stage_has_its_joints_and_the_last_is_the_result(self, random_net):
        image = picture_with_dots(60, 90, (40.0, 20.0), (50.0, 30.0), 6)
        boxes = [(0, 0, 90, 60), (30, 10, 40, 40)]
        found = random_net.predict_stages(image, boxes)
        assert list(found) == ["detector", "body", "limbs"] == list(random_net.stages)
        last = random_net.predict(image, boxes)
        assert_allclose([p.joints for p in found["limbs"]], [p.joints for p in last])
        assert not np.allclose(found["detector"][0].joints, found["body"][0].joints)
        assert not np.allclose(found["body"][0].joints, found["limbs"][0].joints)

    def test_the_detector_of_a_chain_is_the_detector_alone(self, random_net, dots):
        image = picture_with_dots(60, 90, (40.0, 20.0), (50.0, 30.0), 6)
        (first,) = random_net.predict_stages(image)["detector"]
        assert_allclose(first.joints, dots.predict(image)[0].joints)

    @pytest.mark.parametrize("last", [1, 2])
    def test_a_shorter_chain_ends_earlier(self, last):
        body = BodyRefiner(LSP, width=4, kernels=(3,)) if last == 2 else None
        predictor = Predictor(PoseNet(LSP, DotDetector(), body), SIZE)
        found = predictor.predict_stages(np.zeros((9, 7, 3), np.uint8))
        assert list(found) == ["detector", "body"][:last] == list(predictor.stages)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_finds_the_same(self):
        image = picture_with_dots(60, 90, (40.0, 20.0), (50.0, 30.0), 6)
        net = PoseNet(LSP, DotDetector())
        here = Predictor(net, SIZE, torch.device("cpu")).predict(image)[0].joints
        there = Predictor(net, SIZE, torch.device("cuda")).predict(image)[0].joints
        assert_allclose(there, here, atol=0.05)


class TestBoxes:
    def test_view_is_a_square_about_the_middle(self):
        assert view_box((10, 20, 75.6, 30)) == pytest.approx((-2.2, -15, 100, 100))

    @pytest.mark.parametrize(
        ("box", "message"),
        [
            ((1, math.nan, 5, 5), r"box 2 of 2 \(1, nan, 5, 5\): expected finite"),
            ((1, 2, math.inf, 5), r"box 2 of 2 .*finite"),
            ((1, 2, 0, 5), r"box 2 of 2 .*above 0"),
            ((1, 2, 5, -5), r"box 2 of 2 .*above 0"),
            ((1, 2, 0.1, 0.5), r"box 2 of 2 .*1 to 100000 pixels"),
            ((1, 2, 1e30, 5), r"box 2 of 2 .*1 to 100000 pixels"),
            ((40, 2, 5, 5), r"box 2 of 2 .*outside the picture of 40 x 30 pixels"),
            ((1, 30, 5, 5), r"box 2 of 2 .*outside"),
            ((-5, 2, 5, 5), r"box 2 of 2 .*outside"),
            ((1, -9, 5, 9), r"box 2 of 2 .*outside"),
            ((1, 2, 5), r"box 2 of 2: expected four numbers .* found 3"),
            ((1, 2, 5, "wide"), r"box 2 of 2: expected four numbers"),
            ((1, 2, 5, None), r"box 2 of 2: expected four numbers"),
            (7, r"box 2 of 2: expected four numbers \(x, y, w, h\), found 7"),
        ],
    )
    def test_a_wrong_box_is_named(self, dots, box, message):
        image = np.zeros((30, 40, 3), np.uint8)
        with pytest.raises(InputError, match=message):
            dots.predict(image, [(0, 0, 40, 30), box])

    def test_boxes_that_touch_the_picture_are_fine(self):
        boxes = [(39.5, 29.5, 5, 5), (-4.5, -4.5, 5, 5), (-100, -100, 500, 500)]
        assert check_boxes(boxes, (30, 40)) == boxes


class TestPictures:
    @pytest.mark.parametrize(
        ("image", "found"),
        [
            (np.zeros((4, 5, 3), np.float32), "float32"),
            (np.zeros((4, 5, 3), np.uint16), "uint16"),
            (np.zeros((4, 5), np.uint8), r"\(4, 5\)"),
            (np.zeros((4, 5, 4), np.uint8), r"\(4, 5, 4\)"),
            (np.zeros((3, 4, 5), np.uint8), r"\(3, 4, 5\)"),
            (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
        ],
    )
    def test_other_arrays_are_refused(self, dots, image, found):
        with pytest.raises(InputError, match=rf"uint8 array \(h, w, 3\) .*{found}"):
            dots.predict(image)

    def test_a_view_of_another_order_is_fine(self, dots):
        image = picture_with_dots(48, 80, (26.0, 21.0), (54.0, 27.0), 6)
        bgr = np.ascontiguousarray(image[..., ::-1])
        (person,) = dots.predict(bgr[..., ::-1])
        assert_allclose(joints_of(person), [(26, 21), (54, 27)], atol=CLOSE)

    def test_files_and_arrays_give_the_same(self, dots, tmp_path):
        image = picture_with_dots(48, 80, (26.0, 21.0), (54.0, 27.0), 6)
        cv2.imwrite(str(tmp_path / "a.png"), np.ascontiguousarray(image[..., ::-1]))
        (person,) = dots.predict(tmp_path / "a.png")
        assert_allclose(person.joints, dots.predict(image)[0].joints)

    def test_a_missing_file_is_named(self, dots, tmp_path):
        with pytest.raises(InputError, match=r"nowhere\.jpg"):
            dots.predict(tmp_path / "nowhere.jpg")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    settings = Settings(
        trunk="test_resnet", size=64, head_width=8, refine_width=4, kernels=(3, 3, 3)
    )
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(build(settings), settings, path)
    return path


class TestLoad:
    def test_a_file_is_ready_to_predict(self, weights):
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        predictor = load(weights, "cpu")
        assert predictor.crop == Crop(64)
        assert not predictor.model.training
        first, again = (p.predict(image)[0] for p in (predictor, load(str(weights), None)))
        assert first.joints.shape == (14, 2)
        assert_allclose(first.joints, again.joints, atol=1e-2)

    def test_the_shipped_weights_are_found_by_name(self, weights, monkeypatch):
        monkeypatch.setitem(predict_module.SHIPPED, "compact", weights)
        assert load(device="cpu").crop == Crop(64)

    def test_missing_shipped_weights_are_said(self, tmp_path, monkeypatch):
        monkeypatch.setitem(predict_module.SHIPPED, "compact", tmp_path / "no.safetensors")
        with pytest.raises(InputError, match=r"called compact.*nothing at .*no\.safetensors"):
            load()

    @pytest.mark.parametrize("name", ["compakt", "no/such.safetensors"])
    def test_missing_weights(self, name):
        with pytest.raises(InputError, match=f"compact or upright, or a .*nothing at {name}"):
            load(name)

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(InputError, match="found a folder at"):
            load(tmp_path)

    @pytest.mark.parametrize("share", [0.0, 0.00001, 0.5, 0.999])
    def test_damaged_weights(self, weights, tmp_path, share):
        content = weights.read_bytes()
        (tmp_path / "half.safetensors").write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=r"half\.safetensors: is no safetensors file or is"):
            load(tmp_path / "half.safetensors")

    def test_weights_of_another_skeleton(self, weights):
        with pytest.raises(InputError, match=r"for skeleton coco, found lsp"):
            load(weights, skeleton=COCO)

    def test_unknown_device(self, weights):
        with pytest.raises(InputError, match="such as cpu or cuda, found abacus"):
            load(weights, "abacus")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_absent_device(self, weights):
        with pytest.raises(InputError, match="cannot use device cuda"):
            load(weights, "cuda")

    def test_a_device_that_fails_without_a_word(self, weights, monkeypatch):
        def fail(*args, **kwargs):
            raise AssertionError

        monkeypatch.setattr(predict_module, "Predictor", fail)
        with pytest.raises(InputError, match="cannot use device cpu: AssertionError"):
            load(weights, "cpu")

    @pytest.mark.parametrize("option", ["batch", "memory"])
    @pytest.mark.parametrize("value", ["3", 2.5, 0])
    def test_what_is_no_amount(self, weights, option, value, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as a user has it
        with pytest.raises(InputError, match=f"{option}: expected a whole .* found {value!r}"):
            load(weights, "cpu", **{option: value})
