"""Settings: what a network is built from; stored with its weights, part of every recipe."""

from dataclasses import dataclass
from typing import Literal

from uprightpose.data.sample import Labels
from uprightpose.frames import Crop, Resize

DetectorName = Literal["compact", "fcn", "resnet", "hourglass"]
Variant = Literal["32s", "16s", "8s", "16s-extra", "8s-extra", "16s-fusion", "8s-fusion"]
"""Of the FCN, a row of Table 11 each."""

Baseline = Literal["none", "type-supervision", "multi-branch"]

HEAD_WIDTHS = {"compact": 64, "fcn": 4096, "resnet": 0, "hourglass": 256}
"""Each detector's own ``head_width``; the ResNet's head has none."""


@dataclass(frozen=True)
class Settings:
    """All that is needed to build a network again; stored with its weights.

    Attributes:
        skeleton: name of the skeleton.
        labels: whose left and right it was taught, ``"pc"`` or ``"oc"``.
        size: side of the square crops it was trained on, in pixels.
        content: pixels that the longer side of a person's box fills; 0 for all of ``size``.
        resize: letter-box the box into the crop, or stretch it (SPEC 1.8).
        detector: compact, or one of the paper's three (SPEC 1.3-1.5).
        trunk: timm's name; the hourglass has none.
        head_width: channels of the detector's head; 0 for its own (:data:`HEAD_WIDTHS`).
        variant: of the FCN, a row of Table 11.
        loss_stride: of the FCN's losses: image resolution or the maps' stride (SPEC 1.3).
        fc6_kernel: side of the FCN's first fully connected layer as a convolution.
        stacks: of the hourglass.
        baseline: of Table 1, in place of stage 1.
        refine_width: channels of the refinement networks.
        kernels: sides of their large kernels.
        large_layers: layers with the last of these kernels; 3 gives Table 1's "+11M".
        pairs: the sigmoid's w and b, one pair per network or per map (SPEC 1.6).
        canvas: side of the body frame over the image maps' side.
        limb_canvas: side of a limb's frame over the image maps' side.
        in_place: turn where the body part lies instead of bringing it to a fixed cell.
        normalize: ``False`` for the control that refines without turning the body.
        normalize_limbs: the same of the limbs.
        semi_global: which joints are refined beside the limbs (SPEC 1.11).
        limb_inputs: a limb's network reads its three maps or all.
        merge: where semi-global part and limb show a joint: average the maps, or the limb wins.
        share_sides: one network for left and right limbs, by mirroring.
        residual: refinement adds to the incoming maps.
        blur: cells by which maps are blurred before angles and centers are read (SPEC 1.7).
        subcell: read these between cells.
        upright: it learned people whom their true angle turned upright: in use, a scout turns them
            (:mod:`uprightpose.scout`).
        last: last trained stage, a name of :data:`uprightpose.model.STAGES`; later ones are
            not built.
    """

    skeleton: str = "lsp"
    labels: Labels = "pc"
    size: int = 128
    content: int = 0
    resize: Resize = "letterbox"
    detector: DetectorName = "compact"
    trunk: str = "resnet18"
    head_width: int = 0
    variant: Variant = "8s-fusion"
    loss_stride: Literal[1, 8] = 8
    fc6_kernel: int = 7
    stacks: int = 8
    baseline: Baseline = "none"
    refine_width: int = 128
    kernels: tuple[int, ...] = (9, 15, 15)
    large_layers: int = 2
    pairs: Literal["shared", "per map"] = "shared"
    canvas: float = 1.5
    limb_canvas: float = 1.5
    in_place: bool = False
    normalize: bool = True
    normalize_limbs: bool = True
    semi_global: Literal["a", "b", "c"] = "a"
    limb_inputs: Literal["limb", "all"] = "limb"
    merge: Literal["average", "limb"] = "average"
    share_sides: bool = False
    residual: bool = False
    blur: float = 1.0
    subcell: bool = True
    upright: bool = False
    last: str = "limbs"

    @property
    def width(self) -> int:
        """Channels of the detector's head, the detector's own resolved."""
        return self.head_width or HEAD_WIDTHS[self.detector]

    @property
    def crop(self) -> Crop:
        """How the network sees a person."""
        return Crop(self.size, self.content, self.resize)
