"""Angles, looks and recipes of the study of SPEC 5.4."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from uprightpose.looks import LEFT
from uprightpose.metrics import body_angle
from uprightpose.normalize import MIN_SCORE
from uprightpose.reproduce.found_joints import Found, angle_errors, choose, maps_angle, read_maps
from uprightpose.reproduce.refiner_arms import Arm
from uprightpose.reproduce.study import COPIES, Study
from uprightpose.reproduce.study_plan import Plan
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.scout import NEAR, turn_points, weighted_axis
from uprightpose.skeletons import LSP
from uprightpose.train.recipe import folder, read_recipe

AXIS = [*LSP.torso, *LSP.neck, LSP.joints.index("head_top")]
TURNS = np.array([0.0, 0.4, 1.6, -2.5, math.pi, -0.9])


def standing(turns: np.ndarray) -> np.ndarray:
    """Return people on 32 x 32 cells who stand upright, turned clockwise: (n, 14, 2)."""
    joints = np.full((len(turns), 14, 2), 15.5)
    upright = ((-3, -5), (3, -5), (-2, 5), (2, 5), (0, -6), (0, -10))
    joints[:, AXIS] += np.array(upright)
    return turn_points(joints, turns, 32)


def planted(joints: np.ndarray) -> np.ndarray:
    maps = encode_gaussians(torch.from_numpy(joints).float(), (32, 32), 1.5)
    return with_background(maps).numpy().astype(np.float16)


def even(joints: np.ndarray, score: float = 0.7) -> Found:
    return Found(joints, np.full(joints.shape[:2], score))


def axis(found: Found) -> np.ndarray:
    return weighted_axis(found.joints, found.scores, LSP)


class TestWeightedAxis:
    """'All joints of the axis instead of two maxima' (SPEC 6.3c)."""

    def test_is_the_true_axis_without_noise(self) -> None:
        found = axis(even(standing(TURNS)))
        assert angle_errors(found, -TURNS).max() < 1e-6
        assert angle_errors(found, body_angle(standing(TURNS), LSP)).max() < 1e-6

    @pytest.mark.parametrize("joint", AXIS)
    def test_a_weak_outlier_weighs_little(self, joint: int) -> None:
        true = standing(TURNS)
        wrong = true.copy()
        wrong[:, joint] += (9, -7)
        moved = []
        for score in (0.7, 0.01):
            scores = even(true).scores
            scores[:, joint] = score
            one, other = (axis(Found(joints, scores)) for joints in (true, wrong))
            moved.append(angle_errors(one, other).max())
        assert moved[1] < min(3, moved[0] / 2)

    def test_one_end_alone_does_not_fall_over(self) -> None:
        """A maximum of no score at all keeps a small weight: an angle, not NaN."""
        assert np.isfinite(axis(even(standing(TURNS), 0.0))).all()

    def test_is_steadier_than_two_maxima(self) -> None:
        random = np.random.default_rng(0)
        joints = standing(np.zeros(400)) + random.normal(0, 1.5, (400, 14, 2))
        line, two = axis(even(joints)), body_angle(joints, LSP)
        assert np.std(line) < 0.8 * np.std(two)


class TestReadMaps:
    def test_joints_in_pixels_of_the_square(self) -> None:
        joints = standing(TURNS)
        found = read_maps(planted(joints))
        assert np.abs(found.joints - (4 * (joints + 0.5) - 0.5)).max() < 0.4
        assert found.scores.min() > 0.8
        coarse = read_maps(planted(joints), 8)
        assert np.allclose(coarse.joints + 0.5, 2 * (found.joints + 0.5))

    def test_more_people_than_one_batch(self) -> None:
        joints = standing(np.linspace(-3, 3, 70))
        assert np.abs(read_maps(planted(joints)).joints - (4 * joints + 1.5)).max() < 0.4

    def test_the_maps_angle(self) -> None:
        angle = maps_angle(planted(standing(TURNS)))
        assert angle_errors(angle, -TURNS).max() < 3

    @pytest.mark.parametrize("joint", [*LSP.torso, *LSP.neck])
    def test_no_angle_where_a_joint_is_weak(self, joint: int) -> None:
        """'Where a score is below the limit nothing is turned' (SPEC 1.12)."""
        maps = planted(standing(TURNS)).astype(np.float32)
        maps[2, joint] *= MIN_SCORE / 2
        assert np.flatnonzero(np.isnan(maps_angle(maps))).tolist() == [2]


class TestChoose:
    def test_takes_what_is_chosen_for_each_person(self) -> None:
        options = [even(np.full((3, 14, 2), float(value)), value / 10) for value in (1, 2, 4)]
        found = choose(options, np.array([1, 2, 1]))
        assert found.joints[:, 0, 0].tolist() == [2, 4, 2]
        assert found.scores[:, 5].tolist() == [0.2, 0.4, 0.2]


class TestAngleErrors:
    def test_go_around_the_circle(self) -> None:
        angle, truth = np.radians([179.0, -170, 10, 350]), np.radians([-179.0, 170, 30, -10])
        assert np.allclose(angle_errors(angle, truth), [2, 20, 20, 0])

    def test_no_angle_stands_for_upright_and_no_truth_for_unknown(self) -> None:
        found = angle_errors(np.array([np.nan, 0.0]), np.array([math.pi / 2, np.nan]))
        assert found[0] == pytest.approx(90)
        assert np.isnan(found[1])


class TestStudy:
    """What it reads, and which angle is whose; the detectors are planted."""

    @pytest.fixture
    def alone(self, study: Study, tmp_path: Path) -> Study:
        return Study(study.data, tmp_path, study.plan, threads=1)

    def test_people(self, alone: Study) -> None:
        assert [one.id for one in alone.test] == [9, 10, 11, 12]
        assert [one.source for one in alone.learners] == ["lsp"] * 8 + ["lspet"] * 11
        few = Study(alone.data, alone.out, replace(alone.plan, people=3))
        assert (len(few.test), len(few.learners)) == (3, 6)

    def test_only_held_out_people_teach_refiners_each_in_every_round(self, alone: Study) -> None:
        training = alone.training
        items = training.stream.batch(range(len(training))).item.tolist()
        assert len(items) == 3 * 2  # people, rounds
        assert sorted(items[:3]) == sorted(items[3:]) == [7, 8 + 9, 8 + 10]

    def test_the_turned_copy_is_the_same_people(self, alone: Study) -> None:
        natural, turned = (alone.truth[copy] for copy in COPIES)
        turns = alone.pictures("turned").turns
        assert np.allclose(turn_points(natural, turns, 128), turned)
        angles = [alone.angles("true", copy) for copy in COPIES]
        assert angle_errors(angles[1], angles[0] - turns).max() < 1e-6

    def test_looks_of_the_scout(self, alone: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        turns = np.radians([10.0, -19, 21, 170])
        monkeypatch.setattr(alone, "scouted", lambda _: even(standing(-turns)))
        assert np.allclose(alone.angles("scout", "natural"), turns)
        first = alone.angles("first", "natural")
        assert np.degrees(NEAR) == pytest.approx(20)
        assert np.allclose(first, [0, 0, turns[2], turns[3]])
        left = np.array([LEFT + 0.05, LEFT - 0.05, -LEFT - 0.1, 0.0])
        monkeypatch.setattr(alone, "view", lambda *_: planted(standing(-left)))
        corrected = first + np.where(np.abs(left) > LEFT, left, 0)
        assert angle_errors(alone.angles("corrected", "natural"), corrected).max() < 2

    def test_nobody_is_turned_by_zero_and_an_unknown_name_is_said(self, alone: Study) -> None:
        assert (alone.angles("zero", "training") == np.zeros(6)).all()
        with pytest.raises(ValueError, match="'nought'"):
            alone.angles("nought", "natural")

    def test_maps_of_turned_pictures_are_turned_by_what_is_left(
        self, alone: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = {"true": np.array([0.5, 1.0, -1.0, 3.0]), "first": np.array([0.4, 0, np.nan, 1])}
        monkeypatch.setattr(alone, "angles", lambda name, *_: given[name])
        left = alone._left_over(Arm("true"), "natural", "first", "upright")
        assert np.allclose(left, [0.1, 1, -1, 2])
        assert alone._left_over(Arm("none"), "natural", "first", "upright") is None
        assert alone._left_over(Arm("maps"), "natural", "first", "upright") is None

    def test_turned_back(self, alone: Study) -> None:
        joints, angle = 4 * standing(np.zeros(4)) + 1.5, np.array([0.3, -2, 0, 1.0])
        seen = even(turn_points(joints, angle, 128))
        assert np.allclose(alone.turned_back(seen, angle).joints, joints)

    def test_labels_are_turned_as_the_pictures_are(
        self, alone: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(alone, "view", lambda *_: np.zeros((6, 15, 32, 32), np.float16))
        people = alone.labeled("upright", "true")
        angles = body_angle(people.joints, LSP)
        assert (
            angle_errors(angles[np.isfinite(angles)], np.zeros(np.isfinite(angles).sum())).max()
            < 1e-4
        )


class TestRecipes:
    """What the study trains; the recipes that the repository shows are the same."""

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("upright", "upright-detector"),
            ("circle", "circle-detector"),
            ("larger", "larger-detector"),
            ("scout", "scout"),
            ("angle", "angle"),
        ],
    )
    def test_are_those_of_the_repository(
        self, name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UPRIGHTPOSE_DATA", str(tmp_path))
        path = Path(__file__).parents[2] / "recipes" / f"{file}.yaml"
        shown, own = read_recipe(path), Study(tmp_path, tmp_path, Plan()).recipe(name)

        def resolved(recipe: object) -> dict[str, object]:
            values = dict(vars(recipe))
            for key in ("lsp", "lspet", "trunk_weights"):
                values[key] = str(folder(values[key]))
            return {k: v for k, v in values.items() if k not in ("out", "start", "threads")}

        assert resolved(shown) == resolved(own)

    def test_the_circle_differs_in_turns_and_goes_on(self, tmp_path: Path) -> None:
        """'Two detectors differ in the turns of their training pictures alone.'"""
        study = Study(tmp_path, tmp_path / "out", Plan())
        upright, circle = study.recipe("upright"), study.recipe("circle")
        differs = {key for key in vars(upright) if getattr(upright, key) != getattr(circle, key)}
        assert differs == {"out", "start", "upright", "rotation", "detector_steps", "rate"}
        assert circle.start == f"{upright.out}/detector.safetensors"

    def test_the_larger_differs_in_size_and_goes_on(self, tmp_path: Path) -> None:
        """'The same compute spent on a larger detector': as the circle's, on larger pictures."""
        study = Study(tmp_path, tmp_path / "out", Plan())
        circle, larger = study.recipe("circle"), study.recipe("larger")
        differs = {key for key in vars(circle) if getattr(circle, key) != getattr(larger, key)}
        assert differs == {"out", "start", "size", "detector_steps"}
        assert larger.start == f"{circle.out}/detector.safetensors"
        assert larger.size > circle.size

    def test_times_scales_all_steps(self) -> None:
        whole, plan = Plan(), Plan().times(0.1)
        steps = ("detector_steps", "circle_steps", "larger_steps", "angle_steps", "scout_steps")
        for name in steps:
            assert getattr(plan, name) == round(getattr(whole, name) / 10)
        for name in ("body_steps", "limbs_steps"):
            assert getattr(plan.refiners, name) == round(getattr(whole.refiners, name) / 10)
        assert (plan.rounds, plan.seeds) == (whole.rounds, whole.seeds)
        assert Plan().times(1e-9).detector_steps == 1
        assert replace(plan, keys={"seed": 3}).times(2).keys == {"seed": 3}
