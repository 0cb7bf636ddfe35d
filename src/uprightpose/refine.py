"""Refinement: the whole body in the body frame, then four limbs beside the joints between.

Every refiner is *score maps in, score maps out* in image maps, so that they chain behind any
detector. Inside, they work in normalized frames; :class:`FramedMaps` carries the frame along
so that a chain resamples once per branch (SPEC 1.12).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.errors import InputError
from uprightpose.frames import middle
from uprightpose.normalize import (
    Rotation,
    body_rotation,
    limb_rotation,
    rotate_joints,
    rotate_maps,
)
from uprightpose.score_maps import Decoded, decode, full_precision
from uprightpose.skeletons import Limb, Skeleton

Init = Literal["he", "var0.001", "std0.001"]
"""How large kernels start: He, or the two readings of the paper's "variance 0.001"."""

KERNELS = (9, 15, 15)
"""Sec. 3.3: 9 x 9, 15 x 15, 15 x 15, then 1 x 1."""

POSITIVE_RATE = 0.01
"""Share of cells within a joint's disk; its log-odds is the output bias (SPEC 1.9)."""

ROOT_HEIGHT = 1 / 3
"""Where a limb's root lies in its canvas, from the top (SPEC 1.8)."""


@dataclass(frozen=True, eq=False)
class FramedMaps:
    """Score maps of some joints, in a frame of their own.

    Attributes:
        scores: ``(b, c, h, w)`` logits; one channel per joint, then background if any.
        rotation: cells of the image maps -> cells of these maps.
        joints: skeleton indices of the first ``len(joints)`` channels.
    """

    scores: Float[Tensor, "b c h w"]
    rotation: Rotation
    joints: tuple[int, ...]

    @property
    def maps(self) -> Float[Tensor, "b c h w"]:
        """Scores in [0, 1]."""
        return self.scores.sigmoid()

    def decode(self, *, sigma: float = 1.0, subcell: bool = True) -> Decoded:
        """Find the joints in this frame and turn them back exactly, without resampling.

        Returns:
            ``(b, len(joints), 2)`` cells of the image maps, and scores.
        """
        found = decode(self.maps[:, : len(self.joints)], sigma=sigma, subcell=subcell)
        return Decoded(rotate_joints(found.joints, self.rotation.inverse()), found.scores)

    def to_image(self, size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
        """Turn the maps back to the image's ``(h, w)`` cells by one resampling (SPEC 1.12)."""
        background = self.scores.shape[1] > len(self.joints)
        return rotate_maps(self.maps, self.rotation.inverse(), size, background=background)


class RefinementNet(nn.Module):
    """Four convolutions, 9x9 - 15x15 - 15x15 - 1x1, and a learnable sigmoid (Sec. 3.3).

    Args:
        inputs: channels in.
        outputs: channels out.
        width: channels between, the paper's 128.
        kernels: sides of the large kernels.
        init: see :data:`Init`; ``"he"`` also shrinks the last layer by 10.
        kept: for each output the input channel that holds the same map. If given, the
            network's output is added to that map's logit, so that what was right stays
            (not in the paper; SPEC 5.4).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 128,
        *,
        kernels: Sequence[int] = KERNELS,
        init: Init = "he",
        kept: Sequence[int] | None = None,
    ) -> None:
        """Build and initialize the layers."""
        super().__init__()
        if any(side % 2 == 0 for side in kernels):
            raise InputError(f"kernels: expected odd sides, found {list(kernels)}")
        if kept is not None and len(kept) != outputs:
            raise ValueError(f"expected {outputs} kept channels, found {len(kept)}")
        widths = [inputs, *[width] * len(kernels)]
        layers: list[nn.Module] = []
        for before, after, side in zip(widths, widths[1:], kernels, strict=False):
            layers += [nn.Conv2d(before, after, side, padding=side // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, outputs, 1))
        self.slope = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))
        self.kept = None if kept is None else list(kept)
        self._initialize(init)

    def forward(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Return logits ``w z + b``; their sigmoid is the paper's mapping ``1/(1+exp(-(wz+b)))``.

        Args:
            maps: scores in [0, 1], in a normalized frame.
        """
        logits = self.slope * full_precision(self.layers(maps)) + self.offset
        if self.kept is None:
            return logits
        return logits + torch.logit(full_precision(maps[:, self.kept]), eps=1e-4)

    def _initialize(self, init: Init) -> None:
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        for conv in convolutions:
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            if init == "he":
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            else:
                nn.init.normal_(conv.weight, std={"var0.001": 0.001**0.5, "std0.001": 0.001}[init])
        last = convolutions[-1]
        assert last.bias is not None
        if init == "he":
            last.weight.data *= 0.1
            if self.kept is None:
                nn.init.constant_(last.bias, math.log(POSITIVE_RATE / (1 - POSITIVE_RATE)))


class BodyRefiner(nn.Module):
    """Stage 1: turn the torso upright, refine all maps, turn back (Secs. 3.2, 3.3).

    Args:
        skeleton: whose maps come in, in its order.
        background: a background map follows the joints' maps, and is refined with them.
        width: channels of the network.
        canvas: side of the body frame over the image maps' side; the torso center lies in
            its middle (SPEC 1.8).
        normalize: ``False`` trains the same network in image maps, the paper's control.
        residual: add to the incoming maps instead of replacing them.
        kernels: sides of the large kernels.
        init: how they start.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        background: bool = True,
        width: int = 128,
        canvas: float = 1.5,
        normalize: bool = True,
        residual: bool = False,
        kernels: Sequence[int] = KERNELS,
        init: Init = "he",
    ) -> None:
        """Build the network."""
        super().__init__()
        channels = len(skeleton.joints) + background
        kept = range(channels) if residual else None
        self.net = RefinementNet(channels, channels, width, kernels=kernels, init=init, kept=kept)
        self.skeleton, self.background = skeleton, background
        self.canvas, self.normalize = canvas, normalize

    def forward(self, score_maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Refine maps in [0, 1]; the result is in the same cells."""
        size = (score_maps.shape[-2], score_maps.shape[-1])
        return self.refine(score_maps).to_image(size)

    def refine(self, score_maps: Float[Tensor, "b c h w"]) -> FramedMaps:
        """Refine maps in [0, 1] of the image's cells and leave them in the body frame."""
        turned, rotation = self.upright(score_maps)
        return FramedMaps(self.net(turned), rotation, tuple(range(len(self.skeleton.joints))))

    def upright(
        self, score_maps: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c _ _"], Rotation]:
        """Turn maps into the body frame (or leave them, without ``normalize``)."""
        if not self.normalize:
            return score_maps, Rotation.none(score_maps)
        return upright_maps(score_maps, self.skeleton, self.canvas, background=self.background)


class LimbRefiner(nn.Module):
    """Stage 2: four limbs, each turned to hang down, beside the joints of no limb.

    The semi-global part refines the joints that no limb owns from all maps in the body
    frame; each limb's part refines its three maps in the limb's frame (Sec. 3.3; SPEC 1.11
    reading a). Limb joints come from their limb.

    Args:
        skeleton: whose maps come in, in its order.
        background: a background map follows the joints' maps (it is read, not refined).
        width: channels of the networks.
        canvas: side of the body frame over the image maps' side, when image maps come in.
        limb_canvas: side of a limb's frame over the image maps' side; the root lies in its
            middle column at a third of its height (SPEC 1.8).
        normalize: ``False`` leaves limbs in the body frame, the paper's control.
        upright: ``False`` leaves the body as it is when image maps come in.
        residual: add to the incoming maps instead of replacing them.
        kernels: sides of the large kernels.
        init: how they start.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        background: bool = True,
        width: int = 128,
        canvas: float = 1.5,
        limb_canvas: float = 1.5,
        normalize: bool = True,
        upright: bool = True,
        residual: bool = False,
        kernels: Sequence[int] = KERNELS,
        init: Init = "he",
    ) -> None:
        """Build the semi-global network and one network per limb."""
        super().__init__()
        channels, rest = len(skeleton.joints) + background, skeleton.rest
        self.rest_net = RefinementNet(
            channels,
            len(rest),
            width,
            kernels=kernels,
            init=init,
            kept=rest if residual else None,
        )
        kept = range(3) if residual else None
        self.limb_nets = nn.ModuleList(
            RefinementNet(3, 3, width, kernels=kernels, init=init, kept=kept)
            for _ in skeleton.limbs
        )
        self.skeleton, self.background = skeleton, background
        self.canvas, self.limb_canvas = canvas, limb_canvas
        self.normalize, self.upright = normalize, upright

    def forward(self, score_maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Refine maps in [0, 1]; returns the joints' maps in the same cells."""
        size = (score_maps.shape[-2], score_maps.shape[-1])
        turned, rotation = score_maps, Rotation.none(score_maps)
        if self.upright:
            turned, rotation = upright_maps(
                score_maps, self.skeleton, self.canvas, background=self.background
            )
        parts = self.refine(turned, rotation, size)
        return merge_maps(parts, len(self.skeleton.joints), size)

    def refine(
        self,
        body_maps: Float[Tensor, "b c h w"],
        rotation: Rotation,
        size: tuple[int, int],
    ) -> tuple[FramedMaps, ...]:
        """Refine maps of the body frame and leave each part in its own frame.

        Args:
            body_maps: scores in [0, 1]; angles and roots are read from these.
            rotation: image maps -> body frame.
            size: ``(h, w)`` of the image maps.

        Returns:
            The semi-global part, then one part per limb.
        """
        joints = decode(body_maps[:, : len(self.skeleton.joints)]).joints
        parts = [FramedMaps(self.rest_net(body_maps), rotation, self.skeleton.rest)]
        for limb, net in zip(self.skeleton.limbs, self.limb_nets, strict=True):
            maps, turn = self._hanging(body_maps[:, list(limb.joints)], joints, limb, size)
            parts.append(FramedMaps(net(maps), rotation.then(turn), limb.joints))
        return tuple(parts)

    def _hanging(
        self, maps: Tensor, joints: Tensor, limb: Limb, size: tuple[int, int]
    ) -> tuple[Tensor, Rotation]:
        """Turn one limb's maps into its frame (or leave them, without ``normalize``)."""
        if not self.normalize:
            return maps, Rotation.none(maps)
        canvas = canvas_size(size, self.limb_canvas)
        root = (middle(canvas)[0], canvas[0] * ROOT_HEIGHT)
        body = (maps.shape[-2], maps.shape[-1])
        turn = limb_rotation(joints, limb, otherwise=middle(body)).placed(root)
        return rotate_maps(maps, turn, canvas), turn


def upright_maps(
    score_maps: Float[Tensor, "b c h w"],
    skeleton: Skeleton,
    canvas: float,
    *,
    background: bool,
) -> tuple[Float[Tensor, "b c _ _"], Rotation]:
    """Turn image maps into the body frame: neck above the torso center, center in the middle.

    Where the maps support no angle the whole picture is kept upright as it is, its middle
    in the canvas's middle.
    """
    size = (score_maps.shape[-2], score_maps.shape[-1])
    larger = canvas_size(size, canvas)
    found = decode(score_maps[:, : len(skeleton.joints)])
    rotation = body_rotation(
        found.joints, skeleton.torso, skeleton.neck, found.scores, otherwise=middle(size)
    ).placed(middle(larger))
    return rotate_maps(score_maps, rotation, larger, background=background), rotation


def canvas_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return ``(h, w)`` times ``factor`` in whole cells."""
    return (round(size[0] * factor), round(size[1] * factor))


def merge_maps(
    parts: Sequence[FramedMaps], joints: int, size: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Turn every part's maps back to the image's cells, each joint from its part (SPEC 1.11)."""
    turned = [part.to_image(size)[:, : len(part.joints)] for part in parts]
    return torch.cat(turned, dim=1)[:, _places(parts, joints)]


def merge_joints(parts: Sequence[FramedMaps], joints: int) -> Decoded:
    """Decode every part in its own frame and turn the joints back, each from its part."""
    found = [part.decode() for part in parts]
    order = _places(parts, joints)
    return Decoded(
        torch.cat([one.joints for one in found], dim=1)[:, order],
        torch.cat([one.scores for one in found], dim=1)[:, order],
    )


def _places(parts: Sequence[FramedMaps], joints: int) -> list[int]:
    """Return where each skeleton joint stands among the parts' channels."""
    listed = [joint for part in parts for joint in part.joints]
    return [listed.index(joint) for joint in range(joints)]
