"""A detector of upright people sees anybody: turned as the scout says, and joints turned back."""

import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from uprightpose import predict as predict_module
from uprightpose import sample_predictions
from uprightpose.data.images import MEAN_COLOR, crop_image, crop_turned
from uprightpose.data.sample import Sample
from uprightpose.errors import InputError
from uprightpose.frames import (
    Crop,
    apply_affine,
    inside_square,
    invert_affine,
    map_to_image,
    turn_matrices,
)
from uprightpose.looks import LEFT, WEAK, Believed, Look, look_upright, take_looks
from uprightpose.metrics import body_angle
from uprightpose.model import decode_stage
from uprightpose.predict import Predictor, load
from uprightpose.scout import (
    NEAR,
    Scout,
    Sighting,
    axis_joints,
    expect_crops,
    turn_points,
    weighted_axis,
)
from uprightpose.settings import Settings
from uprightpose.skeletons import COCO, FLIC, LSP, MPII, Skeleton
from uprightpose.weights import build, save_weights

SIZE = 64
SETTINGS = Settings(
    trunk="test_resnet", head_width=8, size=SIZE, refine_width=3, kernels=(3, 5), last="limbs"
)


def standing(count: int, turns: np.ndarray) -> np.ndarray:
    """Return people who need these turns to be upright, about the middle of their squares."""
    upright = np.zeros((14, 2))
    upright[[9, 8, 3, 2, 12, 13]] = [(6, -9), (-6, -9), (4, 9), (-4, 9), (0, -11), (0, -18)]
    joints = np.tile(upright + SIZE / 2 - 0.5, (count, 1, 1))
    return turn_points(joints, -turns, SIZE)


@pytest.fixture
def scouting(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], Scout]:
    """Make scouts that say given angles, in the order in which people are shown."""

    def scout(angle: np.ndarray) -> Scout:
        monkeypatch.setattr(Scout, "__call__", lambda *_: Sighting(angle, np.ones(len(angle))))
        return Scout(build(SETTINGS), SIZE)

    return scout


class TestWeightedAxis:
    def test_it_is_the_body_angle_of_a_straight_body(self) -> None:
        turns = np.linspace(-np.pi, np.pi, 13)[1:]
        joints = standing(12, turns)
        angle = weighted_axis(joints, np.full((12, 14), 0.7), LSP)
        assert_allclose(np.exp(1j * angle), np.exp(1j * turns), atol=1e-9)
        assert_allclose(np.exp(1j * body_angle(joints, LSP)), np.exp(1j * turns), atol=1e-9)

    @pytest.mark.parametrize("skeleton", [LSP, FLIC, MPII, COCO], ids=lambda one: one.name)
    def test_skeletons_without_a_head_have_an_axis_too(self, skeleton: Skeleton) -> None:
        joints = np.full((2, len(skeleton.joints), 2), np.nan)
        joints[:, list(skeleton.torso[2:])] = [[[3, 9], [5, 9]]]
        for upper in (*skeleton.torso[:2], *skeleton.neck, *axis_joints(skeleton)[4:]):
            joints[:, upper] = (4, 2)
        joints[1] = turn_points(joints[1:], np.array([1.0]), SIZE)[0]
        angle = weighted_axis(joints, np.ones(joints.shape[:2]), skeleton)
        assert_allclose(angle, [0, -1.0], atol=1e-9)

    def test_a_weak_joint_that_is_wrong_turns_it_little(self) -> None:
        joints, scores = standing(1, np.zeros(1)), np.full((1, 14), 0.8)
        joints[0, 12] = (60, 60)  # the neck, by which the paper's angle stands and falls
        strong = weighted_axis(joints, scores, LSP)[0]
        scores[0, 12] = 0.02
        weak = weighted_axis(joints, scores, LSP)[0]
        assert abs(weak) < np.radians(5) < abs(strong)
        assert abs(body_angle(joints, LSP)[0]) > np.radians(90)


class TestTurns:
    def test_bodies_near_to_upright_stay_as_they_are(self) -> None:
        angle = np.array([NEAR * 0.99, -NEAR * 0.99, NEAR * 1.01, -3.0])
        assert_array_equal(Sighting(angle, np.ones(4)).turns, [0, 0, NEAR * 1.01, -3.0])

    def test_a_dot_moves_to_where_its_point_moves(self) -> None:
        crops = np.zeros((2, 32, 32, 3), np.uint8)
        points = np.array([[[20.0, 11.0]], [[12.0, 14.0]]])
        for crop, ((x, y),) in zip(crops, points.astype(int), strict=True):
            crop[y - 1 : y + 2, x - 1 : x + 2] = 255
        turns = np.array([0.8, -2.1])
        every = [crop_turned(c, np.eye(2, 3), 32, t) for c, t in zip(crops, turns, strict=True)]
        turned = np.stack(every).astype(float)[:, 6:26, 6:26].mean(axis=3)
        grid = np.stack(np.meshgrid(np.arange(6, 26), np.arange(6, 26)), axis=-1)
        found = [np.average(grid.reshape(-1, 2), axis=0, weights=one.ravel()) for one in turned]
        assert_allclose(found, turn_points(points, turns, 32)[:, 0], atol=0.3)

    def test_turning_back_undoes_it(self) -> None:
        points = np.random.default_rng(0).uniform(0, SIZE, (3, 5, 2))
        turns = np.array([0.4, -3.0, 1.9])
        back = turn_points(turn_points(points, turns, SIZE), -turns, SIZE)
        assert_allclose(back, points, atol=1e-9)


class TestLooks:
    def test_further_looks_are_taken_of_weak_ones_only_and_the_best_is_believed(self) -> None:
        first = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
        left = np.array([0.5, 0.5, 0.5, LEFT / 2, 0.5])
        peaks = {  # by person and turn
            (0, 1.0): WEAK + 0.1,  # good at once
            (1, 1.0): 0.2, (1, 0.0): WEAK + 0.1,  # good as it is
            (2, 1.0): 0.2, (2, 0.0): 0.1, (2, 1.5): 0.3,  # best when turned on
            (3, 1.0): 0.2, (3, 0.0): 0.1,  # nothing is left to turn
            (4, 0.0): 0.2, (4, 0.5): 0.1,  # the picture as it is was the first look already
        }  # fmt: skip
        asked = []

        def see(places: np.ndarray, turns: np.ndarray) -> Look:
            pairs = list(zip(places.tolist(), turns.tolist(), strict=True))
            asked.extend(pairs)
            seen = {"turn": turns, "person": places}
            return Look(np.array([peaks[pair] for pair in pairs]), left[places], seen)

        turns, found, looks = take_looks(first, see)
        assert_array_equal(turns, [1.0, 0.0, 1.5, 1.0, 0.0])
        assert_array_equal(found["turn"], turns)
        assert_array_equal(found["person"], range(5))
        assert_array_equal(looks, [1, 2, 3, 2, 2])
        assert sorted(asked) == sorted(peaks)

    def test_detectors_of_all_angles_see_people_as_they_are_first(self) -> None:
        scouted = np.array([1.0, 1.0, 0.0, 1.0])
        asked = []

        def see(places: np.ndarray, turns: np.ndarray) -> Look:
            asked.append((places.tolist(), turns.tolist()))
            good = np.isin(places, [0]) | (turns == 1.5)
            left = np.where((turns == scouted[places]) & (places != 3), 0.5, 0.0)
            return Look(np.where(good, 0.9, 0.2 + turns / 10), left, {})

        turns, _, looks = take_looks(scouted, see, turn_first=False)
        assert asked == [
            ([0, 1, 2, 3], [0, 0, 0, 0]),
            ([1, 3], [1, 1]),  # who is seen weakly and is to be turned
            ([1, 2], [1.5, 0.5]),  # who still leaned at the scout's turn
        ]
        assert_array_equal(turns, [0, 1.5, 0.5, 1])
        assert_array_equal(looks, [1, 3, 2, 2])

    def test_nobody_is_no_trouble(self, scouting: Any) -> None:
        nobody = np.zeros((0, SIZE, SIZE, 3), np.uint8)
        found = look_upright(nobody, lambda _: pytest.fail("nobody to see"), scouting(np.zeros(0)))
        assert found.joints.shape == (0, 14, 2)
        assert found.passes == 0

    @pytest.mark.parametrize(
        "crops",
        [
            np.zeros((2, 8, 8, 3)),
            np.zeros((2, 8, 9, 3), np.uint8),
            np.zeros((2, 3, 8, 8), np.uint8),
            np.zeros((2, 8, 8, 4), np.uint8),
            np.zeros((8, 8, 3), np.uint8),
            [np.zeros((8, 8, 3), np.uint8)],
        ],
        ids=lambda crops: str(np.shape(crops)),
    )
    def test_what_are_no_crops(self, crops: Any) -> None:
        found = str(crops.shape) if isinstance(crops, np.ndarray) else "list"
        with pytest.raises(InputError, match=rf"square RGB .* found .*{re.escape(found)}") as error:
            expect_crops(crops)
        scaled = isinstance(crops, np.ndarray) and crops.dtype == float
        assert ("* 255" in str(error.value)) == scaled

    def test_colors_the_other_way_round_are_a_view_of_crops(self) -> None:
        crops = np.zeros((2, SIZE, SIZE, 3), np.uint8)[..., ::-1]
        assert Scout(build(SETTINGS), SIZE)(crops).angle.shape == (2,)

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ((np.zeros((2, 17, 2)), np.zeros((2, 17))), r"found \(2, 17, 2\) and \(2, 17\)"),
            ((np.zeros((1, 14, 2)), np.zeros((1, 14))), r"found \(1, 14, 2\)"),
            ((np.zeros((2, 14, 3)), np.zeros((2, 14))), r"found \(2, 14, 3\)"),
            (np.zeros((2, 14, 2, 1)), r"found \(14, 2, 1\)"),
            (np.zeros((3, 14, 2)), "found ndarray"),
            (None, "found NoneType"),
            ((np.zeros((2, 14, 2)), np.full((2, 14), 90.0)), "scores from 0 to 1, found 90 to 90"),
        ],
    )
    def test_a_detector_that_answers_otherwise(self, scouting: Any, answer: Any, said: str) -> None:
        crops = np.zeros((2, SIZE, SIZE, 3), np.uint8)
        with pytest.raises(InputError, match=rf"look_upright: expected .*{said}"):
            look_upright(crops, lambda _: answer, scouting(np.zeros(2)))

    def test_a_detector_may_answer_in_torch(self, scouting: Any) -> None:
        crops = np.zeros((2, SIZE, SIZE, 3), np.uint8)
        answer = torch.ones(2, 14, 2), torch.ones(2, 14)
        found = look_upright(crops, lambda _: answer, scouting(np.zeros(2)))
        assert_array_equal(found.joints, np.ones((2, 14, 2)))

    @pytest.mark.parametrize("wrong", [0.0, 0.7])
    def test_joints_come_back_to_the_pixels_of_the_crops(self, scouting: Any, wrong: float) -> None:
        """Of a detector that knows upright people only; also where the scout errs."""
        turns = np.array([2.5, -1.2, 0.1])
        joints = standing(3, turns)
        seen = []

        def detect(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Find the people whom the turned crops show, by the mark that each bears."""
            who = crops[:, 32, 32, 0] // 50
            marks = [np.argwhere(crop[:, :, 1] > 150).mean(axis=0)[::-1] for crop in crops]
            angle = [  # by which this crop is turned: from where its mark went
                np.arctan2(*(mark - 31.5)[::-1]) - np.arctan2(*(joints[one, 13] - 31.5)[::-1])
                for one, mark in zip(who, marks, strict=True)
            ]
            seen.append(len(crops))
            found = turn_points(joints[who], np.array(angle), SIZE)
            good = np.abs(body_angle(found, LSP)) < np.radians(25)
            return found, np.where(good, 0.9, 0.2)[:, None].repeat(14, axis=1)

        crops = np.zeros((3, SIZE, SIZE, 3), np.uint8)
        for at, crop in enumerate(crops):
            crop[28:36, 28:36, 0] = 50 * at + 20
            x, y = joints[at, 13].round().astype(int)
            crop[y - 1 : y + 2, x - 1 : x + 2, 1] = 255
        scout = scouting(turns + np.array([wrong, 0.0, 0.0]))
        found = look_upright(crops, detect, scout)
        assert_allclose(found.joints, joints, atol=1.0)
        assert (found.scores == 0.9).all()
        assert seen == ([3] if not wrong else [3, 1, 1])
        assert found.passes == pytest.approx(sum(seen) / 3)


class TestPredict:
    """Pictures are cut again, turned, and joints land in the picture's own pixels."""

    picture = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)

    def test_a_turned_look_is_that_of_a_turned_crop(self, scouting: Any, monkeypatch: Any) -> None:
        model = build(SETTINGS).eval()
        angle = 2.0
        scout = scouting(np.array([angle]))
        monkeypatch.setattr(predict_module, "take_looks", once)
        person = Predictor(model, SIZE, scout=scout).predict(self.picture)[0]
        matrix = turn_matrices(Crop(SIZE).matrix((0, 0, 90, 70))[None], np.array([angle]), SIZE)[0]
        crop = torch.from_numpy(crop_image(self.picture, matrix, SIZE)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            found = decode_stage(model(crop.float()), "limbs")
        assert found is not None
        cells = found.joints[0].double().numpy()
        wanted = apply_affine(invert_affine(matrix), map_to_image(cells, model.stride))
        assert_allclose(person.joints, wanted, atol=1e-2)

    def test_what_is_left_to_turn_is_read_from_the_look(
        self, scouting: Any, monkeypatch: Any
    ) -> None:
        seen: list[Look] = []

        def spy(first: np.ndarray, see: Any, **_: Any) -> Believed:
            seen.append(see(np.arange(len(first)), first))
            return Believed(first, seen[-1].found, np.ones(len(first)))

        monkeypatch.setattr(predict_module, "take_looks", spy)
        Predictor(build(SETTINGS).eval(), SIZE, scout=scouting(np.ones(1))).predict(self.picture)
        (look,) = seen
        joints, scores = look.found["limbs joints"], look.found["limbs scores"]
        assert_array_equal(look.left, weighted_axis(joints, scores, LSP))
        assert_array_equal(look.peaks, scores.mean(axis=1))

    def test_a_scout_that_turns_nobody_changes_nothing(
        self, scouting: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(predict_module, "take_looks", once)
        model = build(SETTINGS).eval()
        scout = scouting(np.zeros(2))
        boxes = [(0, 0, 50, 60), (20, 5, 60, 60)]
        plain = Predictor(model, SIZE).predict(self.picture, boxes)
        scouted = Predictor(model, SIZE, scout=scout).predict(self.picture, boxes)
        for one, other in zip(plain, scouted, strict=True):
            assert_array_equal(one.joints, other.joints)

    def test_weights_that_learned_upright_people_bring_the_scout(
        self, tmp_path: Any, monkeypatch: Any
    ) -> None:
        asked = []
        monkeypatch.setattr(predict_module, "load_scout", lambda *a: asked.append(a[0]))
        for upright, expected in ((False, []), (True, ["scout"])):
            settings = Settings(**{**SETTINGS.__dict__, "upright": upright})
            path = tmp_path / f"{upright}.safetensors"
            save_weights(build(settings), settings, path)
            load(path, "cpu")
            assert asked == expected
            load(path, "cpu", scout=None)
            assert asked == expected

    def test_the_package_has_one(self) -> None:
        scout = predict_module.load_scout(device="cpu")
        sighting = scout(np.zeros((3, 128, 128, 3), np.uint8))
        assert isinstance(scout, Scout)
        assert sighting.angle.shape == (3,)
        assert ((sighting.sure >= 0) & (sighting.sure <= 1)).all()


class TestEvaluate:
    def test_a_turned_copy_shows_nothing_beyond_its_square(self) -> None:
        picture, turn = TestPredict.picture, 0.8
        matrix = Crop(SIZE).matrix((10, 5, 60, 60), angle=0.3)
        shown = inside_square(turn, SIZE)
        assert 0.5 < shown.mean() < 0.95
        alone, among = (
            crop_turned(picture, matrix, SIZE, turn, alone=one) for one in (True, False)
        )
        assert (alone[~shown] == MEAN_COLOR).all()
        assert_array_equal(alone[shown], among[shown])
        assert (among[~shown] != MEAN_COLOR).any()
        upright = crop_turned(picture, matrix, SIZE, 0.0, alone=True)
        assert_array_equal(upright, crop_image(picture, matrix, SIZE))

    def test_a_scout_is_asked_and_joints_are_turned_back(
        self, tmp_path: Any, scouting: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(sample_predictions, "take_looks", once)
        cv2.imwrite(str(tmp_path / "a.png"), TestPredict.picture)
        joints = np.random.default_rng(0).uniform(5, 60, (14, 2))
        state = np.full(14, 2, np.uint8)
        sample = Sample(tmp_path / "a.png", joints, state, "pc", None, "test", "lsp", 1)
        model = build(SETTINGS).eval()
        plain = sample_predictions.predict_samples(model, Crop(SIZE), [sample])
        still = scouting(np.zeros(1))
        same = sample_predictions.predict_samples(model, Crop(SIZE), [sample], scout=still)
        assert_array_equal(plain.joints["limbs"], same.joints["limbs"])
        turning = scouting(np.array([np.pi / 2]))
        turned = sample_predictions.predict_samples(model, Crop(SIZE), [sample], scout=turning)
        assert not np.allclose(plain.joints["limbs"], turned.joints["limbs"])
        monkeypatch.setattr(predict_module, "take_looks", once)
        person = Predictor(model, SIZE, scout=turning).predict(sample.image)[0]
        near = np.abs(turned.joints["limbs"][0] - person.joints).max(axis=1) < 0.5
        assert near.mean() > 0.9  # rounding chooses between equal peaks of an untrained network
        assert_array_equal(plain.truth, turned.truth)


def once(first: np.ndarray, see: Any, **_: Any) -> Believed:
    """Take the first look only."""
    return Believed(first, see(np.arange(len(first)), first).found, np.ones(len(first)))
