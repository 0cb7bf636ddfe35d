"""What SPEC 5.4 asks for, made step by step and kept: detectors, angles, maps, refiners, joints.

Two detectors differ in the turns of their training pictures alone: ``upright`` has seen bodies
within 30 degrees of upright, ``circle`` went on from there over the full circle. Neither has seen
the last fifth of LSP train and LSPET, whose maps teach the refiners. Nothing here is chosen on test
people.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

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
from uprightpose.data.writing import make_folder, write_whole
from uprightpose.evaluate import turn_angles
from uprightpose.frames import Crop, map_to_image
from uprightpose.metrics import axis_angle, body_angle
from uprightpose.model import PoseNet
from uprightpose.reproduce.refiner_arms import (
    Arm,
    Found,
    Refiners,
    Size,
    fit_arm,
    predict_arm,
)
from uprightpose.reproduce.turned_maps import (
    TestPictures,
    TrainingPictures,
    make_hypotheses,
    make_maps,
)
from uprightpose.score_maps import decode
from uprightpose.scout import LEFT, NEAR, turn_points, weighted_axis
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps
from uprightpose.train.people import held_out
from uprightpose.train.recipe import Recipe, folder
from uprightpose.weights import load_angle_net, load_weights

COPIES = ("natural", "turned")
"""The test pictures, and their copy turned over the full circle."""

HELD_OUT = 5
"""The last fifth of each dataset teaches refinement alone."""

SCOUT = 64
"""Side of the pictures of the small detector that tells the angle, in pixels."""

QUARTERS = (0.0, np.pi / 2, np.pi, -np.pi / 2)
"""Turns of the rivals that look at several copies of a picture."""

LEARNED = Augmentation(rotation=180.0, upright_share=0.5, shift=0.05)
"""Of the pictures whose maps teach refiners: half are within 30 degrees of how they were taken,
as test pictures are, half anywhere."""


@dataclass(frozen=True)
class Plan:
    """Everything that may be made smaller.

    Attributes:
        detector_steps: of the upright detector.
        circle_steps: of the circle detector, from the upright one's weights on.
        angle_steps: of the angle's posterior.
        scout_steps: of the scout.
        rounds: augmentations of each held-out person whose maps teach refiners.
        refiners: their size and steps.
        seeds: of refiners.
        people: of each dataset at most, 0 for all (tests of the program itself use a few).
        keys: of every recipe, in the place of the study's own (these tests use a smaller trunk).
    """

    detector_steps: int = 2400
    circle_steps: int = 1000
    angle_steps: int = 2000
    scout_steps: int = 2200
    rounds: int = 6
    refiners: Size = field(default_factory=Size)
    seeds: int = 3
    people: int = 0
    keys: Mapping[str, Any] = field(default_factory=dict)

    def times(self, factor: float) -> "Plan":
        """Return the plan with all steps times ``factor``.

        Example:
            >>> Plan().times(0.5).detector_steps
            1200
        """
        size = self.refiners
        return replace(
            self,
            detector_steps=_times(self.detector_steps, factor),
            circle_steps=_times(self.circle_steps, factor),
            angle_steps=_times(self.angle_steps, factor),
            scout_steps=_times(self.scout_steps, factor),
            refiners=replace(
                size,
                body_steps=_times(size.body_steps, factor),
                limbs_steps=_times(size.limbs_steps, factor),
            ),
        )


def _times(steps: int, factor: float) -> int:
    return max(1, round(steps * factor))


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
        """Return the training of ``"upright"``, ``"circle"``, ``"scout"`` or ``"angle"``."""
        return replace(self._own_recipe(name), **self.plan.keys)

    def _own_recipe(self, name: str) -> Recipe:
        plan = self.plan
        common = Recipe(
            out=str(self.out / name),
            lsp=str(self.data / "lsp"),
            lspet=str(self.data / "lspet"),
            labels="pc",
            size=128,
            trunk_weights=str(self.data / "resnet18"),
            frozen_trunk=("conv1", "bn1", "layer1"),
            head_width=64,
            target="gaussians",
            sigma=1.5,
            occluded="drawn",
            held_out=HELD_OUT,
            shift=0.05,
            batch=32,
            schedule="cosine",
            save_every=200,
            threads=self.threads,
            detector_steps=plan.detector_steps,
        )
        match name:
            case "upright":
                return replace(common, upright=True, rotation=30.0)
            case "circle":
                start = str(self.out / "upright" / "detector.safetensors")
                return replace(common, start=start, detector_steps=plan.circle_steps, rate=5e-4)
            case "scout":
                return replace(
                    common,
                    size=SCOUT,
                    head_width=32,
                    sigma=1.0,
                    shift=0.08,
                    batch=48,
                    detector_steps=plan.scout_steps,
                )
            case _:
                return replace(
                    common,
                    size=64,
                    head_width=0,
                    target="own",
                    sigma=1.0,
                    occluded="background",
                    shift=0.08,
                    erase=0.3,
                    batch=48,
                    detector_steps=0,
                    angle_steps=plan.angle_steps,
                    save_every=250,
                )

    def detector(self, name: str) -> PoseNet:
        """Return ``"upright"``, ``"circle"`` or ``"scout"``, trained if it is not there."""
        path = self.out / name / "detector.safetensors"
        if not path.is_file():
            if name == "circle":
                self.detector("upright")
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
        turns = {"natural": None, "turned": turn_angles(len(self.test))}
        return {copy: TestPictures(self.test, Crop(128), turns[copy]) for copy in COPIES}

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

    def angles(self, name: str, copy: str, detector: str = "upright") -> Float[ndarray, " n"]:
        """Return body angles of everyone in a copy.

        Args:
            name: ``"zero"``, for none; ``"maps"``, read from the detector's maps of the pictures as
                they are (NaN where these say nothing); ``"axis"``, of all torso joints, neck and
                head in these maps (SPEC 6.3); ``"posterior"``, the likeliest of the angle net;
                ``"scout"``, the axis in the scout's maps; ``"first"``, the same, but 0 below
                ``scout.NEAR``; ``"corrected"``, the first and what the detector's maps of pictures
                turned by it still show, if more than ``scout.LEFT``; or ``"true"`` (where the body
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


def kept(path: Path, find: Callable[[], Mapping[str, Found]]) -> dict[str, Found]:
    """Return what is found, by stage; only once, then from the file."""
    if not path.is_file():
        make_folder(path.parent)
        stream = BytesIO()
        arrays = {
            f"{stage} {name}": value
            for stage, one in find().items()
            for name, value in one._asdict().items()
        }
        np.savez_compressed(stream, **arrays)
        write_whole(path, stream.getvalue())
    with np.load(path) as arrays:
        stages = dict.fromkeys(name.partition(" ")[0] for name in arrays)
        return {
            stage: Found(arrays[f"{stage} joints"], arrays[f"{stage} scores"]) for stage in stages
        }


def _train(recipe: Recipe) -> None:
    from uprightpose.train.run import train

    train(recipe)


def read_maps(maps: ndarray, stride: float = 4) -> Found:
    """Return the joints of maps in pixels of their squares, turned as seen, and the scores."""
    joints, scores = [], []
    for start in range(0, len(maps), 64):
        own = torch.from_numpy(maps[start : start + 64, : len(LSP.joints)].astype(np.float32))
        found = decode(own)
        joints.append(found.joints.double().numpy())
        scores.append(found.scores.double().numpy())
    return Found(map_to_image(np.concatenate(joints), stride), np.concatenate(scores))


def maps_angle(maps: ndarray) -> Float[ndarray, " n"]:
    """Return the body angles that maps show, as body normalization reads them; NaN for none."""
    from uprightpose.normalize import MIN_SCORE

    found = read_maps(maps)
    axis = found.scores[:, [*LSP.torso, *LSP.neck]]
    angle = body_angle(found.joints, LSP)
    return np.where((axis >= MIN_SCORE).all(axis=1), angle, np.nan)


def _axis(found: Found) -> Float[ndarray, " n"]:
    return weighted_axis(found.joints, found.scores, LSP)


def choose(options: Sequence[Found], scores: Float[ndarray, "n o"]) -> Found:
    """Return for each person the option of the highest score, NaN counting as lowest."""
    best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    rows = np.arange(len(best))
    return Found(
        np.stack([one.joints for one in options], axis=1)[rows, best],
        np.stack([one.scores for one in options], axis=1)[rows, best],
    )


def angle_errors(angle: Float[ndarray, " n"], truth: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Return the size of the difference of angles in degrees; no angle stands for upright."""
    difference = np.nan_to_num(angle) - truth
    error: ndarray = np.abs(np.degrees(np.arctan2(np.sin(difference), np.cos(difference))))
    return error
