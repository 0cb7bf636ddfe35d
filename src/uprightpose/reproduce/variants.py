"""Every way from a picture to joints that the study compares: what it finds and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.frames import middle
from uprightpose.looks import WEAK, Look, take_looks
from uprightpose.normalize import Rotation, rotate_maps
from uprightpose.reproduce.credible import Credibility, fit_credibility
from uprightpose.reproduce.found_joints import Found, angle_errors, choose, kept, read_maps
from uprightpose.reproduce.refiner_arms import Arm, predict_arm
from uprightpose.reproduce.study import COPIES, QUARTERS, Study
from uprightpose.scout import turn_points

LOOKS = ("first", "zero", "corrected")
"""Angles from which a person is looked at, in this order (:meth:`Study.angles`): the scout's; none;
the scout's and what the detector still sees of it."""


RIGHT_LOOK = 45.0
"""Degrees by which the angle of a look may be wrong for the look to count as right."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One way, with all its seeds.

    Attributes:
        title: of its row.
        joints: by copy ``(s, n, k, 2)`` pixels of the unturned squares.
        passes: by copy, how often the detector runs for a person, on average.
        steps: names of other parts that run once for a person (see ``timing``).
        detector: name of the part that a pass is.
    """

    title: str
    joints: dict[str, Float[ndarray, "s n k 2"]]
    passes: dict[str, float]
    steps: tuple[str, ...] = ()
    detector: str = "detector"


@dataclass(frozen=True, eq=False)
class Looks:
    """A detector's looks at everyone from up to three angles, and which is believed.

    Attributes:
        found: at each of :data:`LOOKS`.
        choice: ``(n,)`` which of them is believed.
        count: ``(n,)`` how many were taken.
        probability: ``(n,)`` that the believed angle is right.
    """

    found: tuple[Found, ...]
    choice: Int[ndarray, " n"]
    count: Float[ndarray, " n"]
    probability: Float[ndarray, " n"]

    @property
    def best(self) -> Found:
        """What the believed looks found."""
        return choose(self.found, self.choice)

    @property
    def passes(self) -> float:
        """Looks per person."""
        return float(self.count.mean())


class Chooser:
    """Takes looks at a person until one is good enough, and believes the best.

    Args:
        study: that makes what is needed.
        detector: whose looks these are.
        weak: mean peak of the maps below which the next look is taken.
    """

    def __init__(self, study: Study, detector: str, weak: float = WEAK) -> None:
        """Look at nobody yet."""
        self.study, self.detector, self.weak = study, detector, weak
        self._looks: dict[str, Looks] = {}

    @cached_property
    def credibility(self) -> Credibility:
        """Fitted to all looks at the first augmentation of everyone held out."""
        study = self.study
        people = len(study.training) // study.plan.rounds
        truth = study.angles("true", "training")[:people]
        peaks, right = [], []
        for name in LOOKS:
            angle = study.angles(name, "training", self.detector)
            only = None if name == "first" else people  # of the first all are there
            maps = study.view(self.detector, "training", name, angle, only)[:people]
            errors = angle_errors(angle[:people], truth)
            known = np.isfinite(errors)
            peaks.append(read_maps(maps).scores.mean(axis=1)[known])
            right.append(errors[known] < RIGHT_LOOK)
        return fit_credibility(np.concatenate(peaks)[:, None], np.concatenate(right))

    def looks(self, copy: str) -> Looks:
        """Return the looks at a copy's people; made once, then kept."""
        if copy not in self._looks:
            self._looks[copy] = self._looked(copy)
        return self._looks[copy]

    def _looked(self, copy: str) -> Looks:
        study = self.study
        angles = np.stack([study.angles(name, copy, self.detector) for name in LOOKS], axis=1)
        found = tuple(study.seen(self.detector, copy, name) for name in LOOKS)
        peaks = np.stack([one.scores.mean(axis=1) for one in found], axis=1)
        first, _, corrected = angles.T

        def see(places: ndarray, turns: ndarray) -> Look:
            which = np.where(turns == first[places], 0, np.where(turns == 0, 1, 2))
            left = (corrected - first)[places]
            return Look(peaks[places, which], left, {"which": which})

        _, believed, count = take_looks(first, see, weak=self.weak)
        choice = believed["which"]
        probability = self.credibility(peaks[np.arange(len(choice)), choice, None])
        return Looks(found, choice, count, probability)

    def refined(self, arm: Arm, seed: int, copy: str) -> dict[str, Found]:
        """Return what an arm of the first looks' maps finds in the believed looks, by stage."""
        study = self.study
        maps, angle = self.maps(copy)
        folder = study.out / "refiners" / f"{self.detector}-looks-{arm.angle}-{seed}"
        path = folder / f"{copy}-{self.weak:g}.npz"

        def find() -> dict[str, Found]:
            return predict_arm(study.refiners(self.detector, "first", arm, seed), maps, None, 4)

        return {stage: study.turned_back(one, angle) for stage, one in kept(path, find).items()}

    def maps(self, copy: str) -> tuple[ndarray, Float[ndarray, " n"]]:
        """Return the maps of the believed looks, and by how much their pictures are turned."""
        study, choice = self.study, self.looks(copy).choice
        angles = np.stack([study.angles(name, copy, self.detector) for name in LOOKS], axis=1)
        views = [
            study.view(self.detector, copy, name, angles[:, at]) for at, name in enumerate(LOOKS)
        ]
        maps = np.stack([views[look][place] for place, look in enumerate(choice)])
        return maps, angles[np.arange(len(choice)), choice]


def alone(
    title: str,
    find: Callable[[str], Found],
    passes: Mapping[str, float] | float,
    steps: tuple[str, ...] = (),
    detector: str = "detector",
) -> Variant:
    """Return a variant without seeds.

    Args:
        title: of its row.
        find: copy -> joints.
        passes: by copy, or the same for all.
        steps: other parts that run.
        detector: whose passes these are.
    """
    joints = {copy: find(copy).joints[None] for copy in COPIES}
    each = {copy: passes if isinstance(passes, float) else passes[copy] for copy in COPIES}
    return Variant(title, joints, each, steps, detector)


def best_of_quarters(study: Study, detector: str, copy: str) -> Found:
    """Return the joints of the quarter turn whose maps have the highest mean peak."""
    looks = []
    for maps, turn in zip(study.quarters(detector, copy), QUARTERS, strict=True):
        found = read_maps(maps)
        back = turn_points(found.joints, np.full(len(maps), -turn), 128)
        looks.append(Found(back, found.scores))
    peaks = np.stack([one.scores.mean(axis=1) for one in looks], axis=1)
    return choose(looks, peaks.argmax(axis=1))


def mean_of_quarters(study: Study, detector: str, copy: str) -> Found:
    """Return the joints of the mean of the maps of all quarter turns, each turned back."""
    every = study.quarters(detector, copy)
    parts = []
    for start in range(0, len(every[0]), 64):
        total: torch.Tensor | None = None
        for maps, turn in zip(every, QUARTERS, strict=True):
            own = torch.from_numpy(maps[start : start + 64].astype(np.float32))
            size = (own.shape[-2], own.shape[-1])
            center = own.new_tensor(middle(size)).expand(len(own), 2)
            back = Rotation.about(center, own.new_full((len(own),), -turn))
            turned = rotate_maps(own, back, background=True)
            total = turned if total is None else total + turned
        assert total is not None
        parts.append((total / len(every)).numpy())
    return read_maps(np.concatenate(parts))


def refined_looks(chooser: Chooser, title: str, arm: Arm, stage: str) -> Variant:
    """Return the joints that an arm of the first looks' maps finds in the believed looks."""
    study = chooser.study
    seeds = range(study.plan.seeds)
    joints = {
        copy: np.stack([chooser.refined(arm, seed, copy)[stage].joints for seed in seeds])
        for copy in COPIES
    }
    passes = {copy: chooser.looks(copy).passes for copy in COPIES}
    return Variant(title, joints, passes, ("scout", f"{stage} refinement"))


def refined(
    study: Study, title: str, detector: str, view: str, arm: Arm, stage: str, passes: float
) -> Variant:
    """Return an arm's joints of one stage with all seeds."""
    joints = {
        copy: np.stack(
            [
                study.refined(detector, view, arm, seed, copy)[stage].joints
                for seed in range(study.plan.seeds)
            ]
        )
        for copy in COPIES
    }
    steps = ("scout",) * (view == "first")
    return Variant(title, joints, dict.fromkeys(COPIES, passes), (*steps, f"{stage} refinement"))
