"""What every idea beyond the paper finds in the test pictures, and what it chose there."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from uprightpose.data.writing import write_whole
from uprightpose.framed import FramedMaps
from uprightpose.limb_modes import refine_limb_modes
from uprightpose.model import shown_maps
from uprightpose.refine import LimbRefiner
from uprightpose.reproduce.credible import Credibility
from uprightpose.reproduce.found_joints import Found, choose, kept, read_kept, read_maps
from uprightpose.reproduce.gate import LEAST, axis_measures, gate_of
from uprightpose.reproduce.idea_arms import AXIS, DETECTOR, STRIDE, VIEW, IdeaArms
from uprightpose.reproduce.refiner_arms import RefineLimbs, Refiners, predict_arm, refine_limbs
from uprightpose.reproduce.study import COPIES, Study
from uprightpose.reproduce.variants import Variant

HYPOTHESES = ("axis", "scout", "posterior")
"""Angles of a body that compete: of the detector's maps, of the scout's, of the angle net."""


class Ideas:
    """Every way beyond the paper; finds what is not there yet.

    Args:
        study: keeps everything.
    """

    def __init__(self, study: Study) -> None:
        """Find nothing yet."""
        self.study, self.arms = study, IdeaArms(study)
        self.angle = lru_cache(self._angle)
        self.measures = lru_cache(self._measures)
        self.gate = lru_cache(self._gate)

    def trained(
        self, title: str, name: str, refiners: Callable[[int], Refiners], stage: str
    ) -> Variant:
        """Return the joints of refiners that were trained by an idea.

        Args:
            title: of the row.
            name: of its files.
            refiners: seed -> both stages.
            stage: ``"body"`` or ``"limbs"``.
        """
        limbs = refine_limbs if stage == "limbs" else None

        def find(seed: int, copy: str) -> Found:
            path, angle = self._file(name, seed, copy), self.angle("axis", copy)
            found = kept(path, lambda: self._predicted(refiners(seed), copy, angle, limbs))
            return found[stage]

        return self._variant(title, find, f"{stage} refinement")

    def stage_one(self, name: str | None, seed: int, copy: str) -> Found:
        """Return what stage 1 of a trained idea finds, or of the baseline for ``None``."""
        if name is None:
            return self.study.refined(DETECTOR, VIEW, AXIS, seed, copy)["body"]
        return read_kept(self._file(name, seed, copy))["body"]

    def gated(self, title: str) -> Variant:
        """Return the baseline's joints where people whose angle is not credible are not turned."""

        def find(seed: int, copy: str) -> Found:
            path = self._file("gated", seed, copy)
            angle = np.where(self.credible("axis", copy), self.angle("axis", copy), 0.0)
            found = kept(path, lambda: self._predicted(self.arms.axis(seed), copy, angle))
            return found["limbs"]

        return self._variant(title, find, "limbs refinement")

    def limb_modes(self, title: str) -> Variant:
        """Return the baseline's joints where each limb hangs by the better of two turns."""

        def find(seed: int, copy: str) -> Found:
            path, angle = self._file("modes", seed, copy), self.angle("axis", copy)

            def look() -> dict[str, Found]:
                counted = _Counted()
                found = self._predicted(self.arms.axis(seed), copy, angle, counted)
                write_whole(path.with_suffix(".json"), json.dumps(counted.shares).encode())
                return found

            return kept(path, look)["limbs"]

        return self._variant(title, find, "limbs refinement", "second limb turns")

    def limb_choices(self, copy: str) -> dict[str, float]:
        """Return the shares of limbs that were offered a second turn and took it, over seeds."""
        paths = [self._file("modes", seed, copy) for seed in range(self.study.plan.seeds)]
        every = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
        return {name: float(np.mean([one[name] for one in every])) for name in every[0]}

    def best_angles(self, title: str) -> Variant:
        """Return the joints of the credible angle whose refined maps have the highest mean peak."""

        def find(seed: int, copy: str) -> Found:
            options = self._each_angle(seed, copy)
            return choose(list(options.values()), self.choice(seed, copy))

        each = ("body refinement",) * (len(HYPOTHESES) + 1)
        return self._variant(title, find, "scout", "angle net", *each)

    def choice(self, seed: int, copy: str) -> Int[ndarray, " n"]:
        """Return which of :data:`HYPOTHESES` is taken, one beyond them for none."""
        peaks = [one.scores.mean(axis=1) for one in self._each_angle(seed, copy).values()]
        credible = [self.credible(name, copy) for name in HYPOTHESES]
        worth = np.where(credible, peaks[: len(HYPOTHESES)], -np.inf)
        best: ndarray = np.where(np.any(credible, axis=0), worth.argmax(axis=0), len(HYPOTHESES))
        return best

    def chosen_angle(self, seed: int, copy: str) -> Float[ndarray, " n"]:
        """Return the angles that are taken, 0 for none."""
        angles = [self.angle(name, copy) for name in HYPOTHESES]
        options = np.stack([*angles, np.zeros_like(angles[0])], axis=1)
        found: ndarray = options[np.arange(len(options)), self.choice(seed, copy)]
        return found

    def _file(self, name: str, seed: int, copy: str) -> Path:
        return self.arms.folder(name, seed) / f"{copy}.npz"

    def _each_angle(self, seed: int, copy: str) -> dict[str, Found]:
        def find() -> dict[str, Found]:
            angles = {name: self.angle(name, copy) for name in HYPOTHESES}
            angles["none"] = np.zeros_like(angles["axis"])
            refiners = self.arms.axis(seed)
            return {
                name: self._predicted(refiners, copy, angle, None)["body"]
                for name, angle in angles.items()
            }

        return kept(self._file("angles", seed, copy), find)

    def probability(self, name: str, copy: str) -> Float[ndarray, " n"]:
        """Return how likely each person's angle is right."""
        return self.gate(name)(self.measures(name, copy))

    def credible(self, name: str, copy: str) -> Bool[ndarray, " n"]:
        """Return whose angle is right more likely than not."""
        sure: ndarray = self.probability(name, copy) >= LEAST
        return sure

    def _angle(self, name: str, copy: str) -> Float[ndarray, " n"]:
        if (name, copy) == ("axis", "training"):
            return self.arms.angle
        return self.study.angles(name, copy, DETECTOR)

    def _gate(self, name: str) -> Credibility:
        """Fit how likely an angle is right to the people whom the detector has not seen."""
        measures, angle = self.measures(name, "training"), self.angle(name, "training")
        return gate_of(measures, angle, self.angle("true", "training"))

    def _measures(self, name: str, copy: str) -> Float[ndarray, "n f"]:
        match name:
            case "posterior":
                mass: ndarray = self.study.hypotheses(copy).mass[:, :1].double().numpy()
                return mass
            case "scout":
                return axis_measures(self.study.scouted(copy))
            case _:
                return axis_measures(read_maps(self._maps(copy), STRIDE))

    def _maps(self, copy: str) -> ndarray:
        count = len(self.study.training if copy == "training" else self.study.test)
        return self.study.view(DETECTOR, copy, VIEW, np.zeros(count))

    def _predicted(
        self,
        refiners: Refiners,
        copy: str,
        angle: Float[ndarray, " n"],
        limbs: RefineLimbs | None = refine_limbs,
    ) -> dict[str, Found]:
        return predict_arm(refiners, self._maps(copy), angle, STRIDE, limbs=limbs)

    def _variant(self, title: str, find: Callable[[int, str], Found], *steps: str) -> Variant:
        seeds = range(self.study.plan.seeds)
        joints = {copy: np.stack([find(seed, copy).joints for seed in seeds]) for copy in COPIES}
        return Variant(title, joints, dict.fromkeys(COPIES, 1.0), steps)


class _Counted:
    """Stage 2 by two turns for each limb, which counts what it does."""

    def __init__(self) -> None:
        self.limbs = self.offered = self.taken = 0

    def __call__(
        self, limbs: LimbRefiner, body: FramedMaps, maps: Tensor
    ) -> tuple[FramedMaps, ...]:
        size = (maps.shape[-2], maps.shape[-1])
        found = refine_limb_modes(limbs, shown_maps(body), body.rotation, size)
        self.limbs += found.offered.numel()
        self.offered += int(found.offered.sum())
        self.taken += int(found.taken.sum())
        return found.parts

    @property
    def shares(self) -> dict[str, float]:
        """Of all limbs."""
        return {
            "offered": self.offered / max(1, self.limbs),
            "taken": self.taken / max(1, self.limbs),
        }
