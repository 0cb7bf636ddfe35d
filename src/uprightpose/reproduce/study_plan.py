"""Sizes of the study of SPEC 5.4, and the recipes of what it trains on pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uprightpose.reproduce.refiner_arms import Size
from uprightpose.train.recipe import Recipe

HELD_OUT = 5
"""The last fifth of each dataset teaches refinement alone."""

SCOUT = 64
"""Side of the pictures of the small detector that tells the angle, in pixels."""

LARGER = 176
"""Side of the pictures of the rival that costs as much as looking again does, in pixels."""


@dataclass(frozen=True)
class Plan:
    """Everything that may be made smaller.

    Attributes:
        detector_steps: of the upright detector.
        circle_steps: of the circle detector, from the upright one's weights on.
        larger_steps: of the larger detector, from the circle one's weights on.
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
    larger_steps: int = 600
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
            larger_steps=_times(self.larger_steps, factor),
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


def recipe_of(plan: Plan, name: str, data: Path, out: Path, *, threads: int = 0) -> Recipe:
    """Return the training of ``"upright"``, ``"circle"``, ``"larger"``, ``"scout"`` or ``"angle"``.

    Args:
        plan: steps.
        name: which.
        data: folder with ``lsp/``, ``lspet/`` and ``resnet18/``.
        out: folder of all trainings.
        threads: CPU threads; 0 for PyTorch's default.
    """
    return replace(_own_recipe(plan, name, data, out, threads), **plan.keys)


def _own_recipe(plan: Plan, name: str, data: Path, out: Path, threads: int) -> Recipe:
    common = Recipe(
        out=str(out / name),
        lsp=str(data / "lsp"),
        lspet=str(data / "lspet"),
        labels="pc",
        size=128,
        trunk_weights=str(data / "resnet18"),
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
        threads=threads,
        detector_steps=plan.detector_steps,
    )
    match name:
        case "upright":
            return replace(common, upright=True, rotation=30.0)
        case "circle":
            start = str(out / "upright" / "detector.safetensors")
            return replace(common, start=start, detector_steps=plan.circle_steps, rate=5e-4)
        case "larger":
            start = str(out / "circle" / "detector.safetensors")
            steps = plan.larger_steps
            return replace(common, start=start, size=LARGER, detector_steps=steps, rate=5e-4)
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
