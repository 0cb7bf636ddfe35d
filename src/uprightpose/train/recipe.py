"""Recipe: everything that decides a training run, flat, from one YAML file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uprightpose.errors import InputError

POSITIVE = (
    *("batch", "size", "head_width", "refine_width", "canvas", "limb_canvas", "sigma"),
    *("rate", "fine_tune_rate", "clip", "save_every"),
)
NOT_NEGATIVE = (
    *("detector_steps", "body_steps", "limbs_steps", "all_steps", "workers", "seed", "threads"),
    *("rotation", "upright_share", "shift", "flip", "erase", "weight_decay"),
)


@dataclass(frozen=True)
class Recipe:
    """One training run. Unknown keys are refused.

    Attributes:
        out: folder for checkpoints and weights.
        lsp: LSP folder; its images 1-1000 are used. Environment variables are expanded.
        lspet: LSPET folder; all its images are used.
        labels: person-centric or observer-centric sides.
        cache: folder for packed pictures.
        seed: of weights, order and augmentation.
        size: side of the square crops, in pixels, a multiple of 16.
        trunk: name of a timm model with features at strides 4, 8, 16.
        trunk_weights: ``"none"``, ``"timm"`` (by name, from the network) or a folder with
            folded convolutions.
        frozen_trunk: names of the trunk's children that stay as they are.
        head_width: channels of the detector's head.
        refine_width: channels of the refinement networks.
        kernels: sides of their large kernels.
        canvas: side of the body frame over the image maps' side.
        limb_canvas: side of a limb's frame over the image maps' side.
        normalize: ``False`` trains the control without normalization.
        residual: refinement adds to the incoming maps.
        target: what is drawn: disks (the paper's FCN, ResNet) or Gaussians.
        sigma: standard deviation of the Gaussians in cells.
        visible_only: the detector learns visible joints only, as in the paper.
        rotation: largest turn in degrees.
        upright_share: share of pictures turned by at most 30 degrees instead.
        scale_low: smallest size factor.
        scale_high: largest size factor.
        shift: largest shift in parts of the crop's side.
        flip: probability of mirroring.
        erase: probability of covering up to three rectangles of a picture.
        start: weights to begin from, e.g. another run's detector; its trunk replaces
            ``trunk_weights``.
        detector_steps: steps of stage 0; 0 skips a stage.
        body_steps: steps of stage 1.
        limbs_steps: steps of stage 2.
        all_steps: steps of everything together.
        batch: people per step.
        optimizer: ``"adam"`` (AdamW) or ``"sgd"`` (momentum 0.9).
        rate: learning rate of each stage alone.
        fine_tune_rate: learning rate of everything together.
        schedule: ``"cosine"`` after a warm-up of 5 %, or ``"steps"``: / 10 at 70 % and 90 %.
        weight_decay: of the optimizer.
        clip: largest norm of the gradient.
        precision: Lightning's, e.g. ``"32-true"`` or ``"bf16-mixed"``.
        save_every: steps between checkpoints.
        workers: processes that read pictures; 0 reads in the training process.
        accelerator: Lightning's, e.g. ``"auto"``, ``"cpu"``, ``"gpu"``.
        threads: CPU threads of PyTorch; 0 for its default.
    """

    out: str
    lsp: str | None = None
    lspet: str | None = None
    labels: Literal["pc", "oc"] = "pc"
    cache: str = "~/.cache/uprightpose"
    seed: int = 0
    size: int = 128
    trunk: str = "resnet18"
    trunk_weights: str = "timm"
    frozen_trunk: tuple[str, ...] = ()
    head_width: int = 64
    refine_width: int = 128
    kernels: tuple[int, ...] = (9, 15, 15)
    canvas: float = 1.5
    limb_canvas: float = 1.5
    normalize: bool = True
    residual: bool = False
    target: Literal["disks", "gaussians"] = "disks"
    sigma: float = 1.0
    visible_only: bool = True
    rotation: float = 180.0
    upright_share: float = 0.0
    scale_low: float = 0.80
    scale_high: float = 1.25
    shift: float = 0.0
    flip: float = 0.5
    erase: float = 0.0
    start: str | None = None
    detector_steps: int = 0
    body_steps: int = 0
    limbs_steps: int = 0
    all_steps: int = 0
    batch: int = 16
    optimizer: Literal["adam", "sgd"] = "adam"
    rate: float = 1e-3
    fine_tune_rate: float = 2e-4
    schedule: Literal["cosine", "steps"] = "cosine"
    weight_decay: float = 1e-4
    clip: float = 5.0
    precision: str = "32-true"
    save_every: int = 500
    workers: int = 0
    accelerator: str = "auto"
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
        if not self.kernels or any(side < 1 or side % 2 == 0 for side in self.kernels):
            raise InputError(f"recipe: kernels must be odd sides, found {list(self.kernels)}")
        if self.size % 16:
            raise InputError(f"recipe: size must be a multiple of 16, found {self.size}")
        if not 0 < self.scale_low <= self.scale_high:
            raise InputError("recipe: expected 0 < scale_low <= scale_high")
        if self.lsp is None and self.lspet is None:
            raise InputError("recipe: name a dataset folder: lsp, lspet or both")


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
