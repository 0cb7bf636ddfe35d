"""Recipe: everything that decides a training run, flat, from one YAML file."""

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from uprightpose.data.images import SHRINK
from uprightpose.errors import InputError
from uprightpose.settings import Settings
from uprightpose.skeletons import SKELETONS

DATASETS = ("lsp", "lspet", "flic", "mpii", "coco")
"""Keys that name dataset folders."""

POSITIVE = (
    *("batch", "size", "refine_width", "canvas", "limb_canvas", "sigma", "large_layers"),
    *("rate", "fine_tune_rate", "clip", "save_every", "devices", "nodes"),
)
NOT_NEGATIVE = (
    *(
        "detector_steps",
        "body_steps",
        "limbs_steps",
        "all_steps",
        "angle_steps",
        "workers",
        "seed",
        "threads",
    ),
    *("rotation", "upright_share", "shift", "flip", "erase", "content", "head_width", "fold_steps"),
    *("blur", "held_out", "phase_share"),
)
SHARES = ("upright_share", "flip", "erase", "phase_share")
SIDES = {"compact": 16, "fcn": 32, "resnet": 16, "hourglass": 64}
"""What each detector halves away: a crop's side is a multiple of it."""

SMALLEST_CANVAS = 0.5
"""Below half of the map's side most of a person is cut off."""

PRESETS = {
    "adam": ("cosine", 1e-4),
    "sgd": ("drops", 5e-4),
    "rmsprop": ("constant", 0.0),
}
"""Schedule and weight decay that belong to an optimizer (SPEC 1.16; hourglass: SPEC 1.5)."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """One training run. Unknown keys are refused.

    Attributes:
        out: folder for checkpoints and weights.
        lsp: LSP folder; its images 1-1000 are used. Environment variables are expanded.
        lspet: LSPET folder; all its images are used.
        flic: FLIC folder; its training pictures are used.
        mpii: MPII folder; its training people are used.
        coco: COCO folder or keypoints file; all its people are used.
        cache: folder for packed pictures.
        seed: of weights, order and augmentation.
        trunk_weights: ``"none"``, ``"timm"`` (by name, from the network) or a folder with
            folded convolutions.
        frozen_trunk: names of the trunk's children that stay as they are.
        freeze_norms: leave all of the detector's norms as they are.
        init: how the large kernels of refinement start (SPEC 1.9).
        target: what is drawn: disks (the paper's FCN, ResNet) or Gaussians; ``"own"`` is the
            detector's: Gaussians for the hourglass and compact, disks else.
        sigma: standard deviation of the Gaussians in cells.
        loss: cross-entropy or squared error of detectors without a softmax and of refinement;
            ``"own"`` is the detector's: squared for the hourglass, cross-entropy else.
        occluded: what occluded joints teach the detector: background, as in the paper,
            nothing, or themselves. Refinement always learns them.
        out_of_fold: so many detectors, each trained without a part of the people, make the
            maps of that part for refinement (SPEC 1.16's trap); 0 for none.
        fold_steps: steps of each of these.
        folds: folder where these detectors are, or will be, so that runs can share them; by
            default ``out``.
        held_out: the last of so many parts of each dataset teaches refinement alone, the others
            the detector alone: refinement sees maps of new people without further detectors; 0
            teaches everyone to all. Stage ``all`` always learns from everyone.
        rotation: largest turn in degrees; with ``upright`` from the turn that the true body angle
            asks for, and people without such an angle teach nothing.
        upright_share: share of pictures turned by at most 30 degrees instead.
        scale_low: smallest size factor.
        scale_high: largest size factor.
        shift: largest shift in parts of the crop's side.
        flip: probability of mirroring.
        erase: probability of covering up to three rectangles of a picture.
        augment_on: ``"cpu"`` warps pictures by OpenCV while the network learns, ``"device"`` by
            torch where the network is: the same draws, values that differ by a grey level.
        start: weights to begin from, e.g. another run's detector; its trunk replaces
            ``trunk_weights``. They may be of another ``size`` where the detector learns on: by
            ``detector_steps``, or by ``all_steps`` with no refinement trained alone before.
        detector_steps: steps of stage 0; 0 skips a stage.
        phase_share: share of these steps that each phase but the last takes, where the detector
            learns scale by scale (Sec. 3.4); 0 for phases of equal length.
        body_steps: steps of stage 1.
        limbs_steps: steps of stage 2.
        all_steps: steps of everything together.
        angle_steps: steps of the body angle's posterior, which has a trunk of its own and nothing
            to do with the stages; its weights are ``angle.safetensors``.
        batch: people per step, over all devices.
        optimizer: ``"adam"`` (AdamW), ``"sgd"`` (momentum 0.9) or ``"rmsprop"`` (alpha 0.99).
        rate: learning rate of each stage alone.
        fine_tune_rate: learning rate of everything together.
        schedule: ``"cosine"`` after a warm-up of 5 %, ``"drops"`` by 10 at 70 % and 90 %, or
            ``"constant"``; ``"own"`` is the optimizer's: cosine, drops, constant.
        weight_decay: of the optimizer; by default 1e-4 for adam, 5e-4 for sgd, 0 for rmsprop.
        clip: largest norm of the gradient.
        precision: Lightning's, e.g. ``"32-true"`` or ``"bf16-mixed"``.
        save_every: steps between checkpoints.
        workers: processes that read pictures; 0 reads in the training process.
        accelerator: Lightning's, e.g. ``"auto"``, ``"cpu"``, ``"gpu"``.
        devices: processes per machine, each with its part of every batch.
        nodes: machines; start each with ``torchrun``.
        threads: CPU threads of PyTorch; 0 for its default.
    """

    out: str
    lsp: str | None = None
    lspet: str | None = None
    flic: str | None = None
    mpii: str | None = None
    coco: str | None = None
    cache: str = "~/.cache/uprightpose"
    seed: int = 0
    trunk_weights: str = "timm"
    frozen_trunk: tuple[str, ...] = ()
    freeze_norms: bool = False
    init: Literal["he", "var0.001", "std0.001"] = "he"
    target: Literal["own", "disks", "gaussians"] = "own"
    sigma: float = 1.0
    loss: Literal["own", "entropy", "squared"] = "own"
    occluded: Literal["background", "ignored", "drawn"] = "background"
    out_of_fold: int = 0
    fold_steps: int = 0
    folds: str | None = None
    held_out: int = 0
    rotation: float = 180.0
    upright_share: float = 0.0
    scale_low: float = 0.80
    scale_high: float = 1.25
    shift: float = 0.0
    flip: float = 0.5
    erase: float = 0.0
    augment_on: Literal["cpu", "device"] = "cpu"
    start: str | None = None
    detector_steps: int = 0
    phase_share: float = 0.0
    body_steps: int = 0
    limbs_steps: int = 0
    all_steps: int = 0
    angle_steps: int = 0
    batch: int = 16
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    rate: float = 1e-3
    fine_tune_rate: float = 2e-4
    schedule: Literal["own", "cosine", "drops", "constant"] = "own"
    weight_decay: float | None = None
    clip: float = 5.0
    precision: str = "32-true"
    save_every: int = 500
    workers: int = 0
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InputError: naming the key, what it holds and what is allowed.
        """
        for key in POSITIVE:
            if not getattr(self, key) > 0:
                raise InputError(f"recipe: {key} must be above 0, found {getattr(self, key)}")
        for key in NOT_NEGATIVE:
            if getattr(self, key) < 0:
                raise InputError(f"recipe: {key} must not be negative, found {getattr(self, key)}")
        if self.decay < 0:
            raise InputError(f"recipe: weight_decay must not be negative, found {self.decay}")
        if not self.kernels or any(side < 1 or side % 2 == 0 for side in self.kernels):
            raise InputError(f"recipe: kernels must be odd sides, found {list(self.kernels)}")
        for key in SHARES:
            if getattr(self, key) > 1:
                raise InputError(f"recipe: {key} must be at most 1, found {getattr(self, key)}")
        if self.size % SIDES[self.detector]:
            raise InputError(
                f"recipe: size must be a multiple of {SIDES[self.detector]} for {self.detector}, "
                f"found {self.size}"
            )
        if self.content > self.size:
            raise InputError(f"recipe: content must not exceed size, found {self.content}")
        if min(self.canvas, self.limb_canvas) < SMALLEST_CANVAS:
            raise InputError(
                f"recipe: canvas and limb_canvas must be at least {SMALLEST_CANVAS}, found "
                f"{self.canvas} and {self.limb_canvas}"
            )
        if not 0 < self.scale_low <= self.scale_high < math.inf:
            raise InputError("recipe: expected 0 < scale_low <= scale_high")
        if self.augment_on == "device" and self.smallest < SHRINK:
            raise InputError(
                f"recipe: augment_on device takes pictures that shrink to {SHRINK} at least, found "
                f"scale_low times content over size to be {self.smallest:.2f}; use augment_on cpu"
            )
        if not 1 <= self.stacks <= 8:
            raise InputError(f"recipe: stacks must be 1 to 8, found {self.stacks}")
        if self.out_of_fold == 1 or self.out_of_fold < 0:
            raise InputError(
                f"recipe: out_of_fold must be 0 or at least 2, found {self.out_of_fold}"
            )
        if bool(self.out_of_fold) != bool(self.fold_steps):
            raise InputError(
                "recipe: out_of_fold and fold_steps go together, found "
                f"{self.out_of_fold} and {self.fold_steps}"
            )
        if self.held_out == 1 or (self.held_out and self.out_of_fold):
            raise InputError(
                "recipe: held_out must be 0 or at least 2, and 0 with out_of_fold, found held_out "
                f"{self.held_out}, out_of_fold {self.out_of_fold}"
            )
        if self.batch % self.processes:
            raise InputError(
                f"recipe: batch {self.batch} must be a multiple of its {self.processes} processes"
            )
        if self.skeleton not in SKELETONS:
            raise InputError(
                f"recipe: skeleton must be {' or '.join(SKELETONS)}, found {self.skeleton}"
            )
        if not any(getattr(self, name) for name in DATASETS):
            raise InputError(f"recipe: name a dataset folder: {', '.join(DATASETS)}")

    def settings(self, last: str | None = None) -> Settings:
        """Return what the network is built from.

        Args:
            last: its last stage; by default the last one that the recipe trains.
        """
        trained = [name for name in ("detector", "body", "limbs") if getattr(self, f"{name}_steps")]
        values = {field.name: getattr(self, field.name) for field in fields(Settings)}
        found = "limbs" if self.all_steps else trained[-1] if trained else "detector"
        return Settings(**{**values, "last": last or found})

    @property
    def processes(self) -> int:
        """Over all machines."""
        return self.devices * self.nodes

    @property
    def smallest(self) -> float:
        """Size factor from packed pictures to the smallest crops: packs hold boxes of ``size``."""
        return self.scale_low * (self.content or self.size) / self.size

    @property
    def drawn(self) -> Literal["disks", "gaussians"]:
        """The target, the detector's own resolved (SPEC 1.15)."""
        if self.target != "own":
            return self.target
        return "gaussians" if self.detector in ("compact", "hourglass") else "disks"

    @property
    def error(self) -> Literal["entropy", "squared"]:
        """The loss, the detector's own resolved (SPEC 1.15)."""
        if self.loss != "own":
            return self.loss
        return "squared" if self.detector == "hourglass" else "entropy"

    @property
    def decay(self) -> float:
        """Weight decay, the optimizer's own resolved."""
        return PRESETS[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    @property
    def factor(self) -> str:
        """Schedule, the optimizer's own resolved."""
        return PRESETS[self.optimizer][0] if self.schedule == "own" else self.schedule


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from its YAML file.

    Raises:
        InputError: if it cannot be read, a key is unknown or a value cannot work.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, fail_untyped=False, skip={"last"})
    try:
        values = parser.parse_path(str(path))
    except InputError:
        raise
    except Exception as error:  # jsonargparse's own kinds, and those of YAML and the disk
        raise InputError(f"{path}: is no recipe: {error}") from error
    return Recipe(**values.as_dict())


def folder(text: str) -> Path:
    """Expand ``~`` and environment variables of a recipe's path.

    Raises:
        InputError: if a variable is not set.
    """
    path = os.path.expandvars(text)
    if "$" in path:
        raise InputError(
            f"{text}: the environment variable in it is not set; "
            "set UPRIGHTPOSE_DATA to the folder that holds lsp/ and lspet/"
        )
    return Path(path).expanduser()
