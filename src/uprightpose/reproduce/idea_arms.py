"""Refiners that learn by one idea beyond the paper each, beside those of the weighted axis.

All refine the circle detector's maps of pictures as they are, turned by the weighted axis, and
start from the same seeds; weights are files, and what is there is not trained again.
"""

from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

from uprightpose.data.writing import make_folder
from uprightpose.framed import FramedMaps
from uprightpose.frames import image_to_map
from uprightpose.reproduce.found_joints import read_maps
from uprightpose.reproduce.refiner_arms import (
    Arm,
    Refiners,
    Teaching,
    alone,
    build_refiners,
    hanging,
    refine_limbs,
    turned_by,
)
from uprightpose.reproduce.simulated_maps import draw_maps
from uprightpose.reproduce.study import Study
from uprightpose.scout import weighted_axis
from uprightpose.skeletons import LSP
from uprightpose.train.on_maps import LabeledMaps, labeled_maps

DETECTOR, VIEW = "circle", "zero"
"""Whose maps are refined, and by what pictures are turned first: nothing."""

AXIS = Arm("axis")
"""The arm that every idea is compared with."""

STRIDE = 4
"""Pixels per cell."""

SOFT = 4.0
"""Sharpness of the angles that are read softly."""

SEED = 611
"""Of the drawn maps, which are the same for all seeds of refinement."""

AT_A_TIME = 200
"""People whose maps are drawn at a time."""


class IdeaArms:
    """All trained ideas, made when they are asked for.

    Args:
        study: keeps everything.
    """

    def __init__(self, study: Study) -> None:
        """Train nothing yet."""
        self.study = study
        self.axis = lru_cache(self._axis)

    def _axis(self, seed: int) -> Refiners:
        """Return the baseline's refiners."""
        return self.study.refiners(DETECTOR, VIEW, AXIS, seed)

    def shared(self, seed: int) -> Refiners:
        """Return the baseline's stage 1 below limbs that share their networks by sides (6.8)."""
        torch.manual_seed(seed)
        limbs = build_refiners(self.study.plan.refiners, normalize=True, share_sides=True).limbs
        found = Refiners(self.axis(seed).body, limbs)
        self._fit_limbs(found, "shared", seed)
        return found

    def synthetic(self, seed: int) -> Refiners:
        """Return refiners that learn on drawn maps, half as many steps, and nothing else (6.11)."""
        found = self._built(seed)
        people, angle = self.drawn
        teaching, folder = self._teaching(people, seed), self.folder("synthetic", seed)
        size, turned = self.study.plan.refiners, turned_by(found.body, angle)
        body, limbs = ((steps + 1) // 2 for steps in (size.body_steps, size.limbs_steps))
        teaching.fit(found.body, alone(turned), folder / "body.safetensors", body)
        hung = hanging(turned, found.limbs)
        teaching.fit(found.limbs, hung, folder / "limbs.safetensors", limbs)
        return found

    def pretrained(self, seed: int) -> Refiners:
        """Return refiners that go on from :meth:`synthetic` on the detector's maps (6.11)."""
        found = self._built(seed)
        for part, start in zip(found, self.synthetic(seed), strict=True):
            part.load_state_dict(start.state_dict())
        self._fit_body(found, "pretrained", seed)
        self._fit_limbs(found, "pretrained", seed)
        return found

    def scaled(self, seed: int) -> Refiners:
        """Return a stage 1 that sees people at one size (6.6); its stage 2 is not trained."""
        torch.manual_seed(seed)
        size = self.study.plan.refiners
        found = build_refiners(size, normalize=True, bone_lengths=self.bone_lengths)
        self._fit_body(found, "scaled", seed)
        return found

    def together(self, seed: int, *, flow: bool) -> Refiners:
        """Return both stages, trained on together from the baseline's weights (6.4).

        Args:
            seed: of refinement.
            flow: limb angles pass gradients on to stage 1; else they are constants. Both read
                them softly.
        """
        found = build_refiners(self.study.plan.refiners, normalize=True, soft=SOFT, flow=flow)
        for part, start in zip(found, self.axis(seed), strict=True):
            part.load_state_dict(start.state_dict())
        turned = turned_by(found.body, self.angle)

        def both(maps: Tensor, who: Tensor) -> list[FramedMaps]:
            body = turned(maps, who)
            return [body, *refine_limbs(found.limbs, body, maps)]

        path = self.folder("flowing" if flow else "together", seed) / "both.safetensors"
        steps = self.study.plan.refiners.limbs_steps
        self._teaching(self.people, seed).fit(nn.ModuleList(found), both, path, steps)
        return found

    def folder(self, name: str, seed: int) -> Path:
        """Return where an idea's files of one seed are kept, made if needed."""
        found = self.study.out / "refiners" / f"{DETECTOR}-{VIEW}-{name}-{seed}"
        make_folder(found)
        return found

    @cached_property
    def people(self) -> LabeledMaps:
        """The detector's maps of people whom it has not seen."""
        return self.study.labeled(DETECTOR, VIEW)

    @cached_property
    def angle(self) -> Float[ndarray, " n"]:
        """Their weighted axes."""
        return self.study.angles(AXIS.angle, "training", DETECTOR)

    @cached_property
    def drawn(self) -> tuple[LabeledMaps, Float[ndarray, " m"]]:
        """Drawn maps of those of them whose joints are all known, and their weighted axes."""
        joints = self.people.joints[np.isfinite(self.people.joints).all(axis=(1, 2))]
        side = self.people.maps.shape[-1]
        cells, generator = image_to_map(joints, STRIDE), np.random.default_rng(SEED)
        starts = range(0, len(cells), AT_A_TIME)
        maps = np.concatenate(
            [
                draw_maps(cells[start : start + AT_A_TIME], LSP, side, generator)
                .maps.numpy()
                .astype(np.float16)
                for start in tqdm(starts, desc="drawn maps", mininterval=5.0, disable=None)
            ]
        )
        found = read_maps(maps, STRIDE)
        angle = weighted_axis(found.joints, found.scores, LSP)
        return labeled_maps(maps, joints, STRIDE), angle

    @cached_property
    def bone_lengths(self) -> list[float]:
        """Median lengths of the skeleton's edges in cells, over all whose ends are known."""
        starts, ends = zip(*LSP.edges, strict=True)
        joints = self.people.joints / STRIDE
        bones = np.linalg.norm(joints[:, list(starts)] - joints[:, list(ends)], axis=2)
        lengths: list[float] = np.nanmedian(bones, axis=0).tolist()
        return lengths

    def _built(self, seed: int) -> Refiners:
        torch.manual_seed(seed)
        return build_refiners(self.study.plan.refiners, normalize=True)

    def _teaching(self, people: LabeledMaps, seed: int) -> Teaching:
        return Teaching(people, self.study.plan.refiners, seed)

    def _fit_body(self, found: Refiners, name: str, seed: int) -> None:
        path = self.folder(name, seed) / "body.safetensors"
        steps = self.study.plan.refiners.body_steps
        refine = alone(turned_by(found.body, self.angle))
        self._teaching(self.people, seed).fit(found.body, refine, path, steps)

    def _fit_limbs(self, found: Refiners, name: str, seed: int) -> None:
        path = self.folder(name, seed) / "limbs.safetensors"
        steps = self.study.plan.refiners.limbs_steps
        refine = hanging(turned_by(found.body, self.angle), found.limbs)
        self._teaching(self.people, seed).fit(found.limbs, refine, path, steps)
