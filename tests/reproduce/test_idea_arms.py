"""Each idea's refiners: what differs from the baseline's, and what is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uprightpose.reproduce import refiner_arms
from uprightpose.reproduce.credible import Credibility
from uprightpose.reproduce.found_joints import Found
from uprightpose.reproduce.idea_arms import AXIS, IdeaArms
from uprightpose.reproduce.ideas import HYPOTHESES, Ideas
from uprightpose.reproduce.refiner_arms import Refiners, Size, fit_arm
from uprightpose.reproduce.study import Study
from uprightpose.reproduce.study_plan import Plan
from uprightpose.score_maps import encode_gaussians, with_background
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import labeled_maps

SIZE = Size(width=2, kernels=(3, 3), body_steps=3, limbs_steps=2, batch=3)
SIDE = 20


def joints_of(count: int) -> np.ndarray:
    """Return pixels of people who stand or lie; the last one's ankle is not known."""
    cells = np.random.default_rng(0).normal(9.5, 1.5, (count, 14, 2))
    cells[:, [*LSP.torso, *LSP.neck]] = 9.5 + np.array(
        ((-2, -3), (2, -3), (-1.5, 3), (1.5, 3), (0, -4))
    )
    cells[1::2] = cells[1::2, :, ::-1]
    joints = 4 * cells + 1.5
    joints[-1, 0] = np.nan
    return joints


@pytest.fixture
def arms(tmp_path: Path) -> IdeaArms:
    joints = joints_of(6)
    cells = torch.from_numpy(np.nan_to_num((joints - 1.5) / 4)).float()
    maps = with_background(encode_gaussians(cells, (SIDE, SIDE), 1.5)).numpy().astype(np.float16)
    people, angle = labeled_maps(maps, joints, 4), np.linspace(-2, 2, 6)

    def refiners(_: str, __: str, arm: Any, seed: int) -> Refiners:
        return fit_arm(arm, people, angle, SIZE, seed, tmp_path / f"{arm.angle}-{seed}")

    study = Study(tmp_path, tmp_path, Plan(refiners=SIZE, seeds=2))
    answers = {"refiners": refiners, "labeled": lambda *_: people, "angles": lambda *_: angle}
    for name, answer in answers.items():
        setattr(study, name, answer)
    return IdeaArms(study)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Note every training's title, steps and people."""
    seen: list[tuple[str, int, int]] = []
    fit = refiner_arms.fit_on_maps

    def noting(part: Any, refine: Any, people: Any, *rest: Any, **keys: Any) -> None:
        seen.append((keys["title"], keys["steps"], len(people.maps)))
        fit(part, refine, people, *rest, **keys)

    monkeypatch.setattr(refiner_arms, "fit_on_maps", noting)
    return seen


def test_sides_share_networks_below_the_baselines_body(arms: IdeaArms) -> None:
    """'One limb network for left and right'; 'limbs stage retrained on the axis arm's body'."""
    found = arms.shared(0)
    assert equal(found.body, arms.axis(0).body)
    assert len(found.limbs.limb_nets) == 2
    assert len(arms.axis(0).limbs.limb_nets) == 4


class TestDrawnMaps:
    """'Refiners first learn on simulated score maps, half as many steps.'"""

    def test_only_people_whose_joints_are_all_known_are_drawn(self, arms: IdeaArms) -> None:
        people, angle = arms.drawn
        assert people.maps.shape == (5, 15, SIDE, SIDE)
        assert np.array_equal(people.joints, arms.people.joints[:5])
        assert np.isfinite(angle).all()

    def test_peaks_lie_at_the_joints_of_most(self, arms: IdeaArms) -> None:
        people, _ = arms.drawn
        flat = people.maps[:, :14].reshape(5, 14, -1).argmax(axis=2)
        cells = np.stack([flat % SIDE, flat // SIDE], axis=-1)
        near = np.linalg.norm(4 * cells + 1.5 - people.joints, axis=2) < 10
        assert near.mean() > 0.6

    def test_all_seeds_see_the_same(self, arms: IdeaArms) -> None:
        again = IdeaArms(arms.study)
        assert np.array_equal(arms.drawn[0].maps, again.drawn[0].maps)

    def test_half_the_steps_then_as_usual(
        self, arms: IdeaArms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = steps_of(monkeypatch)
        arms.pretrained(1)
        assert seen == [
            ("circle-zero-synthetic-1: body", 2, 5),
            ("circle-zero-synthetic-1: limbs", 1, 5),
            ("circle-zero-pretrained-1: body", 3, 6),
            ("circle-zero-pretrained-1: limbs", 2, 6),
        ]
        seen.clear()
        IdeaArms(arms.study).pretrained(1)
        assert not seen

    def test_it_goes_on_from_what_was_learned(
        self, arms: IdeaArms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synthetic = arms.synthetic(0)
        monkeypatch.setattr(refiner_arms, "fit_on_maps", lambda *_, **__: None)
        found = arms.pretrained(0)
        assert equal(found.body, synthetic.body)
        assert equal(found.limbs, synthetic.limbs)
        assert not equal(found.body, arms.axis(0).body)


def test_one_size_is_the_median_of_bones(arms: IdeaArms) -> None:
    body = arms.scaled(0).body
    assert body.bone_lengths == arms.bone_lengths
    a, b = LSP.edges[0]
    one = np.linalg.norm(arms.people.joints[:, a] - arms.people.joints[:, b], axis=1) / 4
    assert arms.bone_lengths[0] == pytest.approx(np.nanmedian(one))


class TestTogether:
    """'Trained jointly from the axis arm's weights, angle gradient detached vs flowing.'"""

    def test_both_start_from_the_baseline(
        self, arms: IdeaArms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        axis = arms.axis(0)
        monkeypatch.setattr(refiner_arms, "fit_on_maps", lambda *_, **__: None)
        for flow in (False, True):
            found = arms.together(0, flow=flow)
            assert equal(found.body, axis.body)
            assert equal(found.limbs, axis.limbs)
            assert (found.limbs.soft, found.limbs.flow) == (4.0, flow)

    def test_both_stages_learn_and_the_gradient_tells_them_apart(self, arms: IdeaArms) -> None:
        still, flowing = (arms.together(0, flow=flow) for flow in (False, True))
        for part in ("body", "limbs"):
            assert not equal(getattr(still, part), getattr(arms.axis(0), part))
            assert not equal(getattr(still, part), getattr(flowing, part))

    def test_what_is_there_is_read(self, arms: IdeaArms, monkeypatch: pytest.MonkeyPatch) -> None:
        first = arms.together(1, flow=True)
        seen = steps_of(monkeypatch)
        again = IdeaArms(arms.study).together(1, flow=True)
        assert not seen
        assert equal(first.body, again.body)
        assert equal(first.limbs, again.limbs)
        assert not again.body.training


class TestBestAngle:
    """'The best kept by mean peak of refined maps; identity when none is credible.'"""

    def test_the_highest_of_the_credible(
        self, arms: IdeaArms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ideas = Ideas(arms.study)
        sure = {"axis": [1, 1, 0, 0], "scout": [1, 0, 1, 0], "posterior": [1, 1, 1, 0]}
        peaks = {"axis": 0.5, "scout": 0.9, "posterior": 0.4, "none": 1.0}
        options = {
            name: Found(np.full((4, 14, 2), at), np.full((4, 14), peaks[name]))
            for at, name in enumerate((*HYPOTHESES, "none"))
        }
        angles = dict(zip(HYPOTHESES, (0.1, 0.2, 0.3), strict=True))
        monkeypatch.setattr(ideas, "gate", lambda _: Credibility(np.ones(1), 0.0))
        monkeypatch.setattr(
            ideas, "measures", lambda name, _: 10.0 * np.array(sure[name])[:, None] - 5
        )
        monkeypatch.setattr(ideas, "angle", lambda name, _: np.full(4, angles[name]))
        monkeypatch.setattr(ideas, "_each_angle", lambda *_: options)
        assert ideas.choice(0, "natural").tolist() == [1, 0, 1, 3]
        assert ideas.chosen_angle(0, "natural").tolist() == [0.2, 0.1, 0.2, 0.0]

    def test_the_gated_are_not_turned(
        self, arms: IdeaArms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ideas = Ideas(arms.study)
        seen = []

        def predicted(_: Any, __: Any, angle: np.ndarray, ___: Any = None) -> dict[str, Found]:
            seen.append(angle)
            return {"limbs": Found(np.zeros((2, 14, 2)), np.zeros((2, 14)))}

        monkeypatch.setattr(ideas, "_predicted", predicted)
        monkeypatch.setattr(ideas, "angle", lambda *_: np.array([1.5, -2.5]))
        monkeypatch.setattr(ideas, "credible", lambda *_: np.array([False, True]))
        assert ideas.gated("title").joints["turned"].shape == (2, 2, 14, 2)
        assert len(seen) == 4
        assert all(one.tolist() == [0.0, -2.5] for one in seen)
        assert AXIS.angle == "axis"
