"""'Refiners that differ in one thing': by which angle their maps are turned, if at all."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from uprightpose.body_frame import read_rotation
from uprightpose.reproduce import refiner_arms
from uprightpose.reproduce.refiner_arms import (
    Arm,
    Refiners,
    Size,
    build_refiners,
    count_refiners,
    fit_arm,
    predict_arm,
    refine_body,
    refine_limbs,
)
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.scout import turn_points
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps, labeled_maps

SIZE = Size(width=2, kernels=(3, 3), body_steps=2, limbs_steps=2, batch=3)
TURNS = np.array([0.3, -1.2, 2.5, -3.0, 0.9])
SIDE = 20


@pytest.fixture
def people() -> LabeledMaps:
    """Five people at five angles whose maps show them as they are."""
    random = np.random.default_rng(0)
    cells = random.normal(9.5, 1.5, (5, 14, 2))
    upright = ((-2, -3), (2, -3), (-1.5, 3), (1.5, 3), (0, -4))
    cells[:, [*LSP.torso, *LSP.neck]] = 9.5 + np.array(upright)
    cells = turn_points(cells, TURNS, SIDE)
    maps = with_background(encode_gaussians(torch.from_numpy(cells).float(), (SIDE, SIDE), 1.5))
    return labeled_maps(maps.numpy().astype(np.float16), 4 * cells + 1.5, 4)


def maps_of(people: LabeledMaps) -> Tensor:
    return torch.from_numpy(people.maps.astype(np.float32))


def states(refiners: Refiners) -> list[Tensor]:
    return [value for part in refiners for value in part.state_dict().values()]


def same(one: Refiners, other: Refiners) -> bool:
    return all(map(torch.equal, states(one), states(other)))


class TestAlike:
    """'Same network, steps, seeds, data order': only the angle differs."""

    def test_arms_of_one_seed_start_from_equal_weights(
        self, people: LabeledMaps, tmp_path: Path
    ) -> None:
        none = Size(width=2, kernels=(3, 3), body_steps=0, limbs_steps=0)
        arms = [
            fit_arm(Arm(angle), people, given, none, 3, tmp_path / angle)
            for angle, given in (("none", None), ("maps", None), ("true", -TURNS))
        ]
        assert same(arms[0], arms[1])
        assert same(arms[0], arms[2])
        other = fit_arm(Arm("none"), people, None, none, 4, tmp_path / "other")
        assert not same(arms[0], other)

    def test_they_have_as_many_parameters(self) -> None:
        both = [build_refiners(SIZE, normalize=turned) for turned in (True, False)]
        assert count_refiners(both[0]) == count_refiners(both[1])
        whole = sum(value.numel() for part in both[0] for value in part.parameters())
        assert count_refiners(both[0]) == whole


class TestAngles:
    def test_none_turns_neither_body_nor_limbs(self, people: LabeledMaps) -> None:
        refiners = build_refiners(SIZE, normalize=False)
        maps = maps_of(people)
        body = refine_body(refiners.body, maps, torch.from_numpy(-TURNS).float())
        parts = refine_limbs(refiners.limbs, body, maps)
        for part in (body, *parts):
            assert (part.rotation.angle == 0).all()

    @pytest.mark.parametrize("turned", [True, False])
    def test_every_part_is_turned_or_none(self, turned: bool) -> None:
        body, limbs = build_refiners(SIZE, normalize=turned)
        assert (body.normalize, limbs.normalize, limbs.upright) == (turned,) * 3

    def test_the_given_angle_is_used_about_the_center_that_maps_show(
        self, people: LabeledMaps
    ) -> None:
        body = build_refiners(SIZE, normalize=True).body
        maps, given = maps_of(people), torch.tensor([0.1, 2.0, -1.0, 0.5, 3.0])
        rotation = refine_body(body, maps, given).rotation
        assert torch.equal(rotation.angle, given)
        assert torch.equal(rotation.center, read_rotation(maps, LSP).center)

    def test_nan_and_none_read_them_from_the_maps(self, people: LabeledMaps) -> None:
        body = build_refiners(SIZE, normalize=True).body
        maps, given = maps_of(people), torch.tensor([0.1, math.nan, -1.0, 0.5, math.nan])
        read = read_rotation(maps, LSP).angle
        assert (torch.sin((read + torch.from_numpy(TURNS)) / 2).abs() < 0.05).all()
        found = refine_body(body, maps, given).rotation.angle
        assert torch.equal(found[[1, 4]], read[[1, 4]])
        assert torch.equal(found[[0, 2, 3]], given[[0, 2, 3]])
        assert torch.equal(refine_body(body, maps, None).rotation.angle, read)

    def test_each_person_has_their_own_in_training_and_prediction(
        self, people: LabeledMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from uprightpose.reproduce import refiner_arms

        seen, refine = [], refiner_arms.refine_body

        def noting(body: object, maps: Tensor, angle: Tensor) -> object:
            for own, value in zip(maps, angle.tolist(), strict=True):
                (row,) = [r for r, m in enumerate(maps_of(people)) if torch.equal(m, own)]
                seen.append((row, value))
            return refine(body, maps, angle)

        monkeypatch.setattr(refiner_arms, "refine_body", noting)
        refiners = fit_arm(Arm("true"), people, -TURNS, SIZE, 0, tmp_path)
        predict_arm(refiners, people.maps, -TURNS, 4, batch=2)
        assert len(seen) == (2 + 2) * 3 + 5
        assert all(value == pytest.approx(-TURNS[row]) for row, value in seen)


class TestFiles:
    def test_what_is_there_is_not_trained_again(
        self, people: LabeledMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = fit_arm(Arm("maps"), people, None, SIZE, 0, tmp_path / "a")
        names = sorted(file.name for file in (tmp_path / "a").iterdir())
        assert names == ["body.safetensors", "limbs.safetensors"]
        monkeypatch.setattr(refiner_arms, "fit_on_maps", None)
        again = fit_arm(Arm("maps"), people, None, SIZE, 0, tmp_path / "a")
        assert same(first, again)
        assert not any(part.training for part in again)

    def test_limbs_alone_may_be_trained_later_to_the_same_bytes(
        self, people: LabeledMaps, tmp_path: Path
    ) -> None:
        fit_arm(Arm("maps", limbs=False), people, None, SIZE, 0, tmp_path / "a")
        assert [file.name for file in (tmp_path / "a").iterdir()] == ["body.safetensors"]
        later = fit_arm(Arm("maps"), people, None, SIZE, 0, tmp_path / "a")
        assert same(later, fit_arm(Arm("maps"), people, None, SIZE, 0, tmp_path / "b"))

    def test_limbs_leave_the_body_as_it_is(self, people: LabeledMaps, tmp_path: Path) -> None:
        body = fit_arm(Arm("maps", limbs=False), people, None, SIZE, 0, tmp_path / "a").body
        whole = fit_arm(Arm("maps"), people, None, SIZE, 0, tmp_path / "b").body
        assert all(map(torch.equal, body.state_dict().values(), whole.state_dict().values()))


def test_untrained_refiners_find_about_what_the_maps_show(people: LabeledMaps) -> None:
    """Refinement is added to what comes in (``residual``); pixels are those of the squares."""
    refiners = build_refiners(Size(width=2, kernels=(3, 3), canvas=2.0), normalize=True)
    with torch.no_grad():
        for value in refiners.body.parameters():
            value.mul_(1e-3)
    found = predict_arm(refiners, people.maps, -TURNS, 4, batch=3)["body"]
    assert found.joints.shape == (5, 14, 2)
    assert np.median(np.abs(found.joints - people.joints)) < 1
