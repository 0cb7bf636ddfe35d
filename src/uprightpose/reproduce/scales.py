"""Two sizes of every experiment, the paper's and a laptop's, as keys of recipes.

Both run the same rows through the same code. The paper does not print its numbers of steps: ours
are passes over the data, chosen so that a detector sees LSP's 1000 pictures 320 times; refinement
gets half and fine-tuning a quarter. Larger training sets get more steps, but fewer passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Keys = Mapping[str, Any]
"""Keys of a :class:`~uprightpose.train.recipe.Recipe` that differ from its defaults."""

FOLDED = "resnet18"
"""As ``trunk_weights``: the folder of this name beside the datasets."""

LONGER: Mapping[tuple[str, ...], float] = {
    ("lsp",): 1,
    ("flic",): 1.5,
    ("lsp", "lspet"): 3,
    ("mpii",): 5,
    ("mpii", "lspet", "lsp"): 6,
}
"""Steps by the training sets, over those for LSP alone."""

ROTATIONS = {"lsp": 180.0, "flic": 30.0, "mpii": 30.0}
"""Degrees, by the test set: the full circle on LSP, +/-30 on FLIC and MPII (SPEC 1.17)."""


@dataclass(frozen=True)
class Scale:
    """A size of the experiments.

    Attributes:
        name: of the option ``--scale``.
        common: keys of every recipe.
        detectors: keys by the detector of a row.
        test_sets: keys by the test set of a table.
        steps: of each stage, on LSP alone.
        refinement: keys of all stages but the detector's.
        folds: detectors that give refinement maps of people whom they have not seen (SPEC 1.16),
            each of as many steps as the row's own; 0 for its own maps, as in the paper.
    """

    name: Literal["small", "paper"]
    common: Keys
    detectors: Mapping[str, Keys]
    test_sets: Mapping[str, Keys]
    steps: Mapping[str, int]
    refinement: Keys = field(default_factory=dict)
    folds: int = 0

    def steps_of(self, stage: str, datasets: tuple[str, ...], times: float) -> int:
        """Return the steps of a stage.

        Args:
            stage: detector, body, limbs or all.
            datasets: that it learns from, a key of :data:`LONGER`.
            times: factor asked for.

        Example:
            >>> PAPER.steps_of("body", ("lsp", "lspet"), 1)
            30000
        """
        return max(1, round(self.steps[stage] * LONGER[datasets] * times))


_SGD = {"optimizer": "sgd", "rate": 1e-3, "fine_tune_rate": 2e-4, "batch": 16}
"""Sec. 3.4 and, where it is silent, SPEC 1.16."""

_RMSPROP = {"optimizer": "rmsprop", "rate": 2.5e-4, "fine_tune_rate": 5e-5, "batch": 6}
"""Of Newell et al. (SPEC 1.5); fine-tuning a fifth of it, as Sec. 3.4 has for the FCN."""

PAPER = Scale(
    name="paper",
    common={
        "trunk_weights": "timm",
        "refine_width": 128,
        "kernels": (9, 15, 15),
        "canvas": 1.5,
        "limb_canvas": 1.5,
        "occluded": "background",
        "workers": 8,
    },
    detectors={
        "fcn": {"trunk": "vgg16", "fc6_kernel": 7, "loss_stride": 1, **_SGD},
        "resnet": {"trunk": "resnet152", "freeze_norms": True, **_SGD},
        "hourglass": {"stacks": 8, "trunk_weights": "none", "size": 256, "content": 0, **_RMSPROP},
    },
    test_sets={
        "lsp": {"size": 352, "content": 340},
        "flic": {"size": 256},
        "mpii": {"size": 256},
    },
    steps={"detector": 20_000, "body": 10_000, "limbs": 10_000, "all": 5_000},
)

SMALL = Scale(
    name="small",
    common={
        "size": 128,
        "trunk": "resnet18",
        "trunk_weights": FOLDED,
        "frozen_trunk": ("conv1", "bn1", "layer1"),
        "refine_width": 24,
        "kernels": (5, 7, 7),
        "canvas": 1.5,
        "limb_canvas": 1.5,
        "occluded": "background",
        "optimizer": "adam",
        "rate": 1e-3,
        "fine_tune_rate": 2e-4,
        "batch": 16,
        "save_every": 100,
    },
    detectors={
        # equal phases of so few steps leave the finest scale a rate near zero
        "fcn": {"head_width": 128, "fc6_kernel": 3, "loss_stride": 8, "phase_share": 0.1},
        "resnet": {},
        "hourglass": {
            "stacks": 2,
            "head_width": 48,
            "trunk_weights": "none",
            "frozen_trunk": (),
            "optimizer": "rmsprop",
        },
    },
    test_sets={"lsp": {}, "flic": {}, "mpii": {}},
    steps={"detector": 700, "body": 400, "limbs": 400, "all": 200},
    # From scratch, 400 steps teach refinement less than its detector knows
    # (docs/results/table1-replacing.md); added to the incoming maps it starts as good.
    refinement={"residual": True},
    folds=2,
)

SCALES = {scale.name: scale for scale in (SMALL, PAPER)}
"""By the name of the option."""
