"""What SPEC 5.4 asks for, made step by step and kept: detectors, angles, maps, refiners, joints.

Two detectors differ in the turns of their training pictures alone: ``upright`` has seen bodies
within 30 degrees of upright, ``circle`` went on from there over the full circle. Neither has seen
the last fifth of LSP train and LSPET, whose maps teach the refiners. Nothing here is chosen on test
people.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from uprightpose.angle_net import AngleNet, Hypotheses
from uprightpose.data.augment import Augmentation
from uprightpose.data.loader import SampleStream
from uprightpose.data.lsp import read_lsp, read_lspet
from uprightpose.data.pack import pack_samples
from uprightpose.data.sample import Sample
from uprightpose.frames import Crop
from uprightpose.looks import LEFT
from uprightpose.metrics import axis_angle
from uprightpose.model import PoseNet
from uprightpose.reproduce.found_joints import Found, kept, maps_angle, read_maps
from uprightpose.reproduce.refiner_arms import Arm, Refiners, fit_arm, predict_arm
from uprightpose.reproduce.study_plan import HELD_OUT, LARGER, SCOUT, Plan, recipe_of
from uprightpose.reproduce.turned_maps import (
    TestPictures,
    TrainingPictures,
    make_hypotheses,
    make_maps,
)
from uprightpose.sample_predictions import turn_angles
from uprightpose.scout import NEAR, turn_points, weighted_axis
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps
from uprightpose.train.people import held_out
from uprightpose.train.recipe import Recipe, folder
from uprightpose.weights import load_angle_net, load_weights

COPIES = ("natural", "turned")
"""The test pictures, and their copy turned over the full circle."""

QUARTERS = (0.0, np.pi / 2, np.pi, -np.pi / 2)
"""Turns of the rivals that look at several copies of a picture."""

LEARNED = Augmentation(rotation=180.0, upright_share=0.5, shift=0.05)
"""Of the pictures whose maps teach refiners: half are within 30 degrees of how they were taken,
as test pictures are, half anywhere."""


class Study:
    """All that was made so far, and how to make the rest.

    Args:
        data: folder with ``lsp/``, ``lspet/`` and ``resnet18/``.
        out: for everything that is made.
        plan: sizes.
        threads: CPU threads of training; 0 for PyTorch's default.
    """

    def __init__(self, data: Path, out: Path, plan: Plan, *, threads: int = 0) -> None:
        """Read nothing yet."""
        self.data, self.out, self.plan, self.threads = data, out, plan, threads

    @cached_property
    def test(self) -> list[Sample]:
        """LSP's test people, person-centric."""
        found = [one for one in read_lsp(self.data / "lsp", "pc") if one.split == "test"]
        return found[: self.plan.people or None]

    @cached_property
    def learners(self) -> list[Sample]:
        """LSP's training people and LSPET's."""
        lsp = [one for one in read_lsp(self.data / "lsp", "pc") if one.split == "train"]
        few = self.plan.people or None
        return lsp[:few] + read_lspet(self.data / "lspet")[:few]

    def recipe(self, name: str) -> Recipe:
        """Return the training of a name that :func:`recipe_of` knows."""
        return recipe_of(self.plan, name, self.data, self.out, threads=self.threads)

    def detector(self, name: str) -> PoseNet:
        """Return ``"upright"``, ``"circle"``, ``"larger"`` or ``"scout"``, trained if need be."""
        path = self.out / name / "detector.safetensors"
        if not path.is_file():
            if before := {"circle": "upright", "larger": "circle"}.get(name):
                self.detector(before)
            _train(self.recipe(name))
        return load_weights(path)[0].to(memory_format=torch.channels_last)

    @cached_property
    def angle_net(self) -> AngleNet:
        """The posterior of the body angle, trained if it is not there."""
        path = self.out / "angle" / "angle.safetensors"
        if not path.is_file():
            _train(self.recipe("angle"))
        return load_angle_net(path)

    def pictures(self, copy: str) -> TestPictures:
        """Return the test pictures of one of :data:`COPIES`."""
        return self._pictures[copy]

    @cached_property
    def _pictures(self) -> dict[str, TestPictures]:
        return self._copies(128)

    def _copies(self, size: int) -> dict[str, TestPictures]:
        turns = {"natural": None, "turned": turn_angles(len(self.test))}
        return {copy: TestPictures(self.test, Crop(size), turns[copy]) for copy in COPIES}

    @cached_property
    def truth(self) -> dict[str, Float[ndarray, "n k 2"]]:
        """True joints by copy, in pixels of the unturned squares."""
        return {copy: self.pictures(copy).joints() for copy in COPIES}

    @cached_property
    def training(self) -> TrainingPictures:
        """The held-out people, several augmentations of each."""
        cache = folder(Recipe.cache)
        pack = pack_samples(self.learners, 128, cache, threads=self.threads)
        items = held_out([one.source for one in self.learners], HELD_OUT)
        stream = SampleStream(pack, LSP, Crop(128), LEARNED, seed=5, items=items)
        return TrainingPictures(stream, len(items) * self.plan.rounds)

    def hypotheses(self, copy: str) -> Hypotheses:
        """Return the posterior's angles of a copy, or of ``"training"``."""
        pictures = self.training if copy == "training" else self.pictures(copy)
        return make_hypotheses(self.angle_net, pictures, self.out / "maps" / f"{copy}-angle.npy")

    def view(
        self,
        detector: str,
        copy: str,
        name: str,
        angle: Float[ndarray, " n"],
        first: int | None = None,
    ) -> ndarray:
        """Return a detector's maps of a copy whose pictures are turned; NaN turns nothing.

        Args:
            detector: which.
            copy: one of :data:`COPIES`, or ``"training"``.
            name: of the angles.
            angle: radians.
            first: only so many people, from the first on.
        """
        pictures = self.training if copy == "training" else self.pictures(copy)
        some = "" if first is None else f"-{first}"
        path = self.out / "maps" / f"{detector}-{copy}-{name}{some}.npy"
        model = None if path.is_file() else self.detector(detector)
        places = None if first is None else np.arange(first)
        return make_maps(model, pictures, np.nan_to_num(angle), path, places)

    def scouted(self, copy: str) -> Found:
        """Return the joints that the scout finds in a copy, or in ``"training"``."""
        pictures = self.training if copy == "training" else self.pictures(copy)
        path = self.out / "maps" / f"scout-{copy}.npy"
        model = None if path.is_file() else self.detector("scout")
        maps = make_maps(model, pictures, np.zeros(len(pictures)), path, side=SCOUT)
        return read_maps(maps, 4 * 128 / SCOUT)

    def seen_larger(self, copy: str) -> Found:
        """Return the joints that the larger detector finds in a copy's pictures as they are."""
        pictures = self._copies(LARGER)[copy]
        path = self.out / "maps" / f"larger-{copy}.npy"
        model = None if path.is_file() else self.detector("larger")
        maps = make_maps(model, pictures, np.zeros(len(pictures)), path)
        return read_maps(maps, 4 * 128 / LARGER)

    def angles(self, name: str, copy: str, detector: str = "upright") -> Float[ndarray, " n"]:
        """Return body angles of everyone in a copy.

        Args:
            name: ``"zero"``, for none; ``"maps"``, read from the detector's maps of the pictures as
                they are (NaN where these say nothing); ``"axis"``, of all torso joints, neck and
                head in these maps (SPEC 6.3); ``"posterior"``, the likeliest of the angle net;
                ``"scout"``, the axis in the scout's maps; ``"first"``, the same, but 0 below
                ``scout.NEAR``; ``"corrected"``, the first and what the detector's maps of pictures
                turned by it still show, if more than ``looks.LEFT``; or ``"true"`` (where the body
                angle is not known, that of :func:`~uprightpose.metrics.axis_angle`).
            copy: one of :data:`COPIES`, or ``"training"``.
            detector: whose maps.
        """
        count = len(self.training if copy == "training" else self.test)
        match name:
            case "zero":
                return np.zeros(count)
            case "posterior":
                return self.hypotheses(copy).angle[:, 0].double().numpy()
            case "scout":
                return _axis(self.scouted(copy))
            case "first":
                first = _axis(self.scouted(copy))
                return np.where(np.abs(first) < NEAR, 0.0, first)
            case "corrected":
                return self._corrected(copy, detector)
            case "maps":
                return maps_angle(self.view(detector, copy, "zero", np.zeros(count)))
            case "axis":
                return _axis(read_maps(self.view(detector, copy, "zero", np.zeros(count))))
            case "true":
                joints = self.training.labels()[0] if copy == "training" else self.truth[copy]
                return axis_angle(joints, LSP)
        raise ValueError(f"expected the name of an angle, found {name!r}")

    def _corrected(self, copy: str, detector: str) -> Float[ndarray, " n"]:
        first = self.angles("first", copy)
        few = len(self.training) // self.plan.rounds if copy == "training" else len(first)
        left = np.zeros(len(first))
        left[:few] = _axis(read_maps(self.view(detector, copy, "first", first)[:few]))
        return first + np.where(np.abs(left) > LEFT, left, 0.0)

    def labeled(self, detector: str, name: str) -> LabeledMaps:
        """Return what refiners learn from: maps of turned training pictures, joints likewise."""
        angle = np.nan_to_num(self.angles(name, "training", detector))
        joints, state = self.training.labels()
        maps = self.view(detector, "training", name, angle)
        return LabeledMaps(maps, turn_points(joints, angle, 128), state, 4)

    def refiners(self, detector: str, view: str, arm: Arm, seed: int) -> Refiners:
        """Return an arm's refiners, trained if they are not there.

        Args:
            detector: whose maps are refined.
            view: name of the angle by which *pictures* are turned first, ``"zero"`` for none.
            arm: how *maps* are turned then.
            seed: of the refiners.
        """
        people = self.labeled(detector, view)
        own = self._left_over(arm, "training", view, detector)
        where = self._arm_folder(detector, view, arm, seed)
        return fit_arm(arm, people, own, self.plan.refiners, seed, where)

    def refined(self, detector: str, view: str, arm: Arm, seed: int, copy: str) -> dict[str, Found]:
        """Return the joints that an arm finds in a copy, by stage; see :meth:`refiners`."""
        path = self._arm_folder(detector, view, arm, seed) / f"{copy}.npz"
        angle = np.nan_to_num(self.angles(view, copy, detector))

        def find() -> dict[str, Found]:
            maps = self.view(detector, copy, view, angle)
            given = self._left_over(arm, copy, view, detector)
            return predict_arm(self.refiners(detector, view, arm, seed), maps, given, 4)

        found = kept(path, find)
        return {stage: self.turned_back(one, angle) for stage, one in found.items()}

    def _arm_folder(self, detector: str, view: str, arm: Arm, seed: int) -> Path:
        return self.out / "refiners" / f"{detector}-{view}-{arm.angle}-{seed}"

    def _left_over(
        self, arm: Arm, copy: str, view: str, detector: str
    ) -> Float[ndarray, " n"] | None:
        """Return the angle by which maps of already turned pictures are still to be turned."""
        if arm.angle in ("none", "maps"):
            return None
        done = np.nan_to_num(self.angles(view, copy, detector))
        left: Float[ndarray, " n"] = self.angles(arm.angle, copy, detector) - done
        return left

    def seen(self, detector: str, copy: str, view: str) -> Found:
        """Return what a detector finds in a copy's pictures that are turned first."""
        angle = np.nan_to_num(self.angles(view, copy, detector))
        found = read_maps(self.view(detector, copy, view, angle))
        return self.turned_back(found, angle)

    def turned_back(self, found: Found, angle: Float[ndarray, " n"]) -> Found:
        """Return joints of turned test pictures in pixels of the unturned squares."""
        return Found(turn_points(found.joints, -angle, 128), found.scores)

    def quarters(self, detector: str, copy: str) -> list[ndarray]:
        """Return a detector's maps of the pictures turned by each of :data:`QUARTERS`."""
        count = len(self.test)
        return [
            self.view(detector, copy, "zero" if not turn else f"turn{number}", np.full(count, turn))
            for number, turn in enumerate(QUARTERS)
        ]


def _train(recipe: Recipe) -> None:
    from uprightpose.train.run import train

    train(recipe)


def _axis(found: Found) -> Float[ndarray, " n"]:
    return weighted_axis(found.joints, found.scores, LSP)
