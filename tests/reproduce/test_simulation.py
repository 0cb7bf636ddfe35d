"""'Same network, steps, seeds, data order' (SPEC 5.3): arms, stream, resuming, planted answers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from uprightpose.body_frame import read_rotation
from uprightpose.metrics import angle_bins, body_angle
from uprightpose.normalize import rotate_joints
from uprightpose.reproduce import simulated_runs, simulation
from uprightpose.reproduce.arms import ARMS, BODY, body_frame, limb_frames, true_turns
from uprightpose.reproduce.hypotheses import Pictures, registered_sections
from uprightpose.reproduce.report import Report, format_report
from uprightpose.reproduce.simulated_angles import drawn_errors
from uprightpose.reproduce.simulated_people import (
    SIDE,
    Batch,
    People,
    draw_test_people,
    order_of,
    training_batch,
)
from uprightpose.reproduce.simulated_results import answer_hypotheses, score_arms
from uprightpose.reproduce.simulated_runs import Finished, Network, Sizes
from uprightpose.skeletons import LSP

TINY = Sizes(width=2, kernels=(3, 3), steps=2, batch=3)
ARM_OF = {arm.title: arm for arm in ARMS}
STANDING = np.array(
    [
        *([-3, 8], [-2.5, 5], [-2, 1], [2, 1], [2.5, 5], [3, 8]),
        *([-5, 0], [-4.5, -3], [-2.5, -5], [2.5, -5], [4.5, -3], [5, 0], [0, -6], [0, -8.5]),
    ]
)


def poses(count: int, tilt: float, seed: int = 0) -> np.ndarray:
    """Return loosely standing people on 24 x 24 cells, turned by up to ``tilt`` radians."""
    random = np.random.default_rng(seed)
    angles = random.uniform(-tilt, tilt, count)
    turns = np.moveaxis(
        np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]), 2, 0
    )
    loose = STANDING + random.normal(0, 0.5, (count, 14, 2))
    return np.einsum("nij,nkj->nki", turns, loose) + 11.5


@pytest.fixture(scope="module")
def people() -> People:
    return People(poses(30, 1.0), poses(23, 3.1, 1))


@pytest.fixture(scope="module")
def batch(people) -> Batch:
    return draw_test_people(people.test, "natural")


def tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    joints, spins = (torch.from_numpy(one).float() for one in (batch.joints, batch.spins))
    return batch.simulated.maps, joints, spins


class TestStream:
    def test_is_that_of_seed_and_step_alone(self, people):
        one, same, later, other = (
            training_batch(people.train, seed, step, 5, turned=True)
            for seed, step in ((0, 3), (0, 3), (0, 4), (1, 3))
        )
        assert torch.equal(one.simulated.maps, same.simulated.maps)
        assert (one.joints == same.joints).all()
        for different in (later, other):
            assert not torch.equal(one.simulated.maps, different.simulated.maps)

    def test_fewer_poses_and_no_turns_leave_failures_and_noise_as_they_are(self, people):
        few = order_of(people.train, 0, 0.1)
        full = order_of(people.train, 0, 1.0)
        assert len(few) == 3
        assert (few == full[:3]).all()
        whole, tenth, upright = (
            training_batch(chosen, 0, 7, 40, turned=turned)
            for chosen, turned in ((full, True), (few, True), (full, False))
        )
        for other in (tenth, upright):
            assert (whole.simulated.failed == other.simulated.failed).all()
            assert (whole.spins == other.spins).all()
        turned, kept = (np.abs(body_angle(one.joints, LSP)) for one in (whole, upright))
        assert (kept < 1.5).all()  # the poses' own tilt
        assert (turned > 2.4).any()

    def test_the_turned_copy_is_the_same_people_turned(self, people):
        natural, turned = (draw_test_people(people.test, name) for name in ("natural", "turned"))
        assert (natural.joints == people.test).all()
        sides = [
            np.linalg.norm(one.joints[:, 9] - one.joints[:, 2], axis=1) for one in (natural, turned)
        ]
        np.testing.assert_allclose(*sides)
        apart = body_angle(turned.joints, LSP) - body_angle(natural.joints, LSP)
        assert np.abs(np.sin(apart)).max() > 0.9

    def test_augmentation_keeps_sides_observer_centric(self, people):
        upright = poses(4, 0.0)
        batch = training_batch(upright, 0, 0, 50, turned=False)
        assert (batch.joints[:, 9, 0] > batch.joints[:, 8, 0]).all()  # also where mirrored


class TestFrames:
    def test_the_oracle_turns_by_the_true_angle_about_the_true_center(self, batch):
        maps, joints, spins = tensors(batch)
        rotation = body_frame("oracle", maps, joints, spins)
        np.testing.assert_allclose(rotation.angle, body_angle(batch.joints, LSP), atol=1e-5)
        upright = rotate_joints(joints, rotation)
        center = upright[:, list(LSP.torso)].mean(dim=1)
        np.testing.assert_allclose(upright[:, 12, 0], center[:, 0], atol=1e-4)
        assert (upright[:, 12, 1] < center[:, 1]).all()

    def test_random_angles_mean_nothing_and_keep_the_center_that_was_read(self, batch):
        maps, joints, spins = tensors(batch)
        body, random, center = (
            body_frame(frame, maps, joints, spins) for frame in ("body", "random", "center")
        )
        assert torch.equal(random.angle, spins)
        assert (random.angle - body.angle).abs().median() > 0.5
        assert (center.angle == 0).all()
        for one in (random, center):
            assert torch.equal(one.center, body.center)

    def test_body_reads_the_maps_and_never_the_truth(self, batch):
        maps, joints, spins = tensors(batch)
        read = body_frame("body", maps, joints + 100, spins)
        assert torch.equal(read.angle, read_rotation(maps, LSP).angle)

    def test_raw_maps_come_whole_into_the_canvas_of_all_others(self, batch):
        maps, joints, spins = tensors(batch)
        network = Network(ARM_OF["raw"], TINY, 0)
        seen, rotation = network.body.upright(maps, body_frame("raw", maps, joints, spins))
        assert seen.shape[-2:] == (30, 30)
        assert torch.equal(seen[:, :, 3:27, 3:27], maps)
        assert (seen[:, :14, :3] == 0).all()
        assert (seen[:, 14, :3] == 1).all()
        np.testing.assert_allclose(rotate_joints(joints, rotation), joints + 3, atol=1e-5)

    def test_given_limb_turns_keep_the_root_that_was_read(self, batch):
        maps, joints, _ = tensors(batch)
        network = Network(ARM_OF["limb"], TINY, 0)
        assert network.limbs is not None
        body, rotation = network.body.upright(maps)
        read = network.limbs.read_turns(body)
        true = true_turns(rotation, joints)
        oracle, other = (limb_frames(name, read, rotation, joints) for name in ("oracle", "other"))
        for given, own, right in zip(oracle, read, true, strict=True):
            assert torch.equal(given.center, own.center)
            assert torch.equal(given.angle, right.angle)
        for limb, name in enumerate(("left leg", "right leg", "left arm", "right arm")):
            source = [one.name for one in LSP.limbs].index(name)
            assert torch.equal(other[limb].angle, read[source].angle)
        placed = rotate_joints(joints, rotation)
        for limb, turn in zip(LSP.limbs, true, strict=True):
            hanging = rotate_joints(placed, turn)
            np.testing.assert_allclose(
                hanging[:, limb.middle, 0], placed[:, limb.root, 0], atol=1e-3
            )
            assert (hanging[:, limb.middle, 1] > placed[:, limb.root, 1]).all()

    def test_what_is_given_reaches_the_limbs(self, batch):
        """Another angle than the one that was read changes where the parts lie."""
        parts = {
            name: Network(ARM_OF[name], TINY, 0).refine(batch)[0]
            for name in ("limb", "oracle limb", "another limb's angle")
        }
        true, own, other = (
            parts[name][1].rotation.angle
            for name in ("oracle limb", "limb", "another limb's angle")
        )
        assert (true != own).any()
        assert (own != other).all()
        body, limbs = drawn_errors(batch)
        assert ((limbs >= 0) & (limbs <= 180)).all()
        assert np.median(body) < 15


class TestSameNetwork:
    def test_all_arms_of_a_stage_start_from_the_same_weights(self):
        for limbs in (False, True):
            arms = [arm for arm in ARMS if bool(arm.limbs) == limbs]
            first, *others = (Network(arm, TINY, 4).learning.state_dict() for arm in arms)
            for weights in others:
                assert weights.keys() == first.keys()
                assert all(torch.equal(weights[key], first[key]) for key in first)

    def test_stage_2_leaves_stage_1_as_it_is(self, people):
        network = Network(ARM_OF["limb"], TINY, 0)
        network.loss(training_batch(people.train, 0, 0, 3, turned=True)).backward()
        assert all(one.grad is None for one in network.body.parameters())
        assert all(one.grad is not None for one in network.learning.parameters())


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def report(people, out) -> Report:
    return simulation.reproduce_simulation(people, out, seeds=2, times=1, draws=4, sizes=TINY)


class TestRun:
    def test_the_report_holds_the_registered_words_and_all_seeds(self, report):
        page = format_report(report, "uprightpose reproduce simulation", None)
        for heading, text in registered_sections().items():
            assert f"## {heading}\n\n{text}" in page
        for arm in ARMS:
            assert page.count(f"| {arm.title} | seed 1 |") == 2  # natural and turned
        assert [finding[:2] for finding in report.findings] == ["H1", "H2", "H3", "H4", "H5", "H6"]
        json.dumps(report.numbers, allow_nan=False)

    def test_tables_have_as_many_cells_in_each_line(self, report):
        for text in report.sections.values():
            lines = [line for line in text.splitlines() if line.startswith("| ")]
            assert len({line.count("|") for line in lines}) <= 1

    def test_what_is_finished_is_not_trained_again(self, people, out, report, monkeypatch):
        trained = []

        def learn(network, loss, sizes, title):
            trained.append(title)

        monkeypatch.setattr(simulated_runs, "learn", learn)
        next((out / "simulation").glob("limb-seed1-*.npz")).unlink()
        again = simulation.reproduce_simulation(people, out, seeds=2, times=1, draws=0, sizes=TINY)
        assert trained == ["limb, seed 1"]
        before, after = (one.numbers["results"]["turned"]["rows"] for one in (report, again))
        assert [name for name in before if before[name] != after[name]] in ([], ["limb"])

    def test_other_settings_or_poses_are_other_runs(self, people, tmp_path):
        def name(people: People, sizes: Sizes) -> str:
            return simulated_runs.run_file(tmp_path, BODY, 0, people, sizes).name

        others = [
            name(people, replace(TINY, steps=3)),
            name(People(people.train + 1, people.test), TINY),
        ]
        assert name(people, TINY) not in others


def test_training_learns(people):
    """'raw clearly improves on its detector': here at least the loss falls."""
    network = Network(ARM_OF["body"], replace(TINY, width=4), 0)
    losses = []

    def loss(step: int) -> torch.Tensor:
        found = network.loss(training_batch(people.train, 0, step, 8, turned=True))
        losses.append(found.item())
        return found

    simulated_runs.learn(network.learning, loss, replace(TINY, steps=40, rate=1e-2), "test")
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def planted(batch: Batch, wrong: dict[str, float], upright: dict[str, float]) -> dict:
    """Return arms whose joints are far off with these probabilities, in two seeds.

    ``upright`` replaces the probability below 30 degrees.
    """
    flat = angle_bins(batch.joints, LSP)["0-30"]
    finished: dict[str, list[Finished]] = {}
    for number, arm in enumerate(ARMS):
        share = np.where(
            flat, upright.get(arm.title, wrong.get(arm.title, 0.3)), wrong.get(arm.title, 0.3)
        )
        runs = []
        for seed in range(2):
            random = np.random.default_rng((number, seed))
            off = random.random(batch.joints.shape[:2]) < share[:, None]
            joints: dict[Pictures, np.ndarray] = {
                "natural": batch.joints + 99 * off[..., None],
                "turned": batch.joints + 99 * off[..., None],
            }
            runs.append(Finished(joints, {}, 1, 1.0))
        finished[arm.title] = runs
    return finished


WRONG = {
    "raw": 0.5,
    "body": 0.3,
    "random angle": 0.2,
    "oracle body": 0.31,
    "raw, 1/10 poses": 0.8,
    "body, 1/10 poses": 0.4,
    "raw, no turns": 0.7,
    "body, no turns": 0.3,
    "no limb normalization": 0.6,
    "limb": 0.4,
}


@pytest.fixture(scope="module")
def many():
    return draw_test_people(poses(160, math.pi, 5), "natural")


class TestAnswers:
    """Planted contrasts get their answers."""

    def answers(self, many, wrong, upright):
        finished = planted(many, wrong, upright)
        sets: tuple[Pictures, ...] = ("natural", "turned")
        tested = {pictures: score_arms(finished, pictures, many, 50) for pictures in sets}
        return {one.hypothesis.name: one for one in answer_hypotheses(tested, 50)}

    def test_as_planted(self, many):
        found = self.answers(many, WRONG, {"raw, no turns": 0.35, "body, no turns": 0.3})
        assert {name: one.answer for name, one in found.items()} == {
            "H1": "confirmed",
            "H2": "confirmed",
            "H3": "refuted",  # the random angle was planted to be better than raw
            "H4": "undecided",
            "H5": "confirmed",
            "H6": "confirmed",
        }
        assert found["H5"].found["natural"]["Total"].value == pytest.approx(40 - 20, abs=5)
        assert found["H2"].found["turned"]["Total"].value == pytest.approx(40 - 5, abs=6)
        assert found["H1"].found["natural"]["Total"].p == pytest.approx(1 / 51)

    def test_the_other_way_round(self, many):
        wrong = WRONG | {"raw": 0.2, "raw, 1/10 poses": 0.3, "limb": 0.7}
        found = self.answers(many, wrong, {"raw, no turns": 0.9})
        assert found["H1"].answer == "refuted"
        assert found["H2"].answer == "refuted"
        assert found["H6"].answer == "refuted"

    def test_the_maps_side_is_the_designs(self):
        assert SIDE == 24
