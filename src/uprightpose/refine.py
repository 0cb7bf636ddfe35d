"""Refinement: the whole body in the body frame, then four limbs beside the joints between.

Every refiner is *score maps in, score maps out* in image maps, so that they chain behind any
detector. Inside, they work in normalized frames (:mod:`uprightpose.framed`).
"""

from collections.abc import Sequence
from typing import Literal, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from uprightpose.body_frame import (
    canvas_size,
    expect_canvas_of_one,
    expect_lengths,
    expect_maps,
    read_rotation,
    upright_maps,
)
from uprightpose.errors import InputError
from uprightpose.framed import FramedMaps, Merge, merge_joints, merge_maps
from uprightpose.frames import middle
from uprightpose.normalize import Rotation, body_scale, limb_angle, limb_rotation, rotate_maps
from uprightpose.refinement_net import Init, Pairs, RefinementNet, Shape, count_convolutions
from uprightpose.score_maps import decode, soft_positions
from uprightpose.skeletons import Limb, Skeleton

__all__ = [
    "BodyRefiner",
    "FramedMaps",
    "Init",
    "LimbInputs",
    "LimbRefiner",
    "Pairs",
    "RefinementNet",
    "SemiGlobal",
    "count_convolutions",
    "merge_joints",
    "merge_maps",
]

SemiGlobal = Literal["a", "b", "c"]
"""What is refined beside the limbs: joints of no limb; these and the torso; all (SPEC 1.11)."""

LimbInputs = Literal["limb", "all"]
"""What a limb's network reads in the limb's frame: its three maps, or all of them."""

ROOT_HEIGHT = 1 / 3
"""Where a limb's root lies in its canvas, from the top (SPEC 1.8)."""


class BodyRefiner(nn.Module):
    """Stage 1: turn the torso upright, refine all maps, turn back (Secs. 3.2, 3.3).

    Args:
        skeleton: whose maps come in, in its order.
        background: a background map follows the joints' maps, and is refined with them.
        canvas: side of the body frame over the image maps' side; the torso center lies in
            its middle (SPEC 1.8).
        in_place: with ``canvas=1``, the paper's literal turn: the torso center stays where it
            is, and what leaves the map is lost.
        normalize: ``False`` trains the same network in image maps, the paper's control.
        residual: add to the incoming maps instead of replacing them.
        blur: cells by which maps are blurred before angle and center are read (SPEC 1.7).
        subcell: read them between cells.
        bone_lengths: of the skeleton's edges, in cells, as most people have them: everyone is
            brought to this size before refinement (SPEC 6.6). ``None`` leaves sizes as they are.
        **shape: of the network, see :class:`Shape`.

    Raises:
        InputError: if ``in_place`` meets another canvas than 1, or the lengths are not one above 0
            for each edge.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        background: bool = True,
        canvas: float = 1.5,
        in_place: bool = False,
        normalize: bool = True,
        residual: bool = False,
        blur: float = 1.0,
        subcell: bool = True,
        bone_lengths: Sequence[float] | None = None,
        **shape: Unpack[Shape],
    ) -> None:
        """Build the network."""
        super().__init__()
        if in_place:
            expect_canvas_of_one(canvas=canvas)
        if bone_lengths is not None:
            expect_lengths(bone_lengths, skeleton)
        channels = len(skeleton.joints) + background
        kept = range(channels) if residual else None
        self.net = RefinementNet(channels, channels, kept=kept, **shape)
        self.skeleton, self.background = skeleton, background
        self.canvas, self.in_place, self.normalize = canvas, in_place, normalize
        self.blur, self.subcell, self.bone_lengths = blur, subcell, bone_lengths

    def forward(self, score_maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Refine maps in [0, 1]; the result is in the same cells."""
        size = (score_maps.shape[-2], score_maps.shape[-1])
        return self.refine(score_maps).to_image(size)

    def refine(
        self,
        score_maps: Float[Tensor, "b c h w"],
        types: Int[Tensor, " b"] | None = None,  # noqa: ARG002  as the baselines of Table 1
        rotation: Rotation | None = None,
    ) -> FramedMaps:
        """Refine maps in [0, 1] of the image's cells and leave them in the body frame.

        Args:
            score_maps: of the joints, and the background if any.
            types: not used; the baselines of Table 1 learn from them.
            rotation: see :func:`~uprightpose.body_frame.upright_maps`.

        Raises:
            ValueError: if there are more or fewer maps than the skeleton asks for.
        """
        turned, rotation = self.upright(score_maps, rotation)
        return FramedMaps(self.net(turned), rotation, tuple(range(len(self.skeleton.joints))))

    def upright(
        self, score_maps: Float[Tensor, "b c h w"], rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b c _ _"], Rotation]:
        """Turn maps into the body frame (or leave them, without ``normalize``)."""
        expect_maps(score_maps, self.skeleton, background=self.background)
        if not self.normalize:
            return score_maps, Rotation.none(score_maps)
        if self.bone_lengths is not None:
            rotation = self._to_one_size(score_maps, rotation)
        return upright_maps(
            score_maps,
            self.skeleton,
            self.canvas,
            background=self.background,
            in_place=self.in_place,
            blur=self.blur,
            subcell=self.subcell,
            rotation=rotation,
        )

    def _to_one_size(self, maps: Float[Tensor, "b c h w"], rotation: Rotation | None) -> Rotation:
        """Return a turn, or the one that the maps ask for, with the scale that they ask for."""
        assert self.bone_lengths is not None
        found = decode(maps[:, : len(self.skeleton.joints)], sigma=self.blur, subcell=self.subcell)
        if rotation is None:
            rotation = read_rotation(maps, self.skeleton, blur=self.blur, subcell=self.subcell)
        scale = body_scale(found.joints, found.scores, self.skeleton.edges, self.bone_lengths)
        return rotation.scaled(scale)


class LimbRefiner(nn.Module):
    """Stage 2: four limbs, each turned to hang down, beside the joints of no limb.

    The semi-global part refines the joints that no limb owns from all maps in the body
    frame; each limb's part refines its three maps in the limb's frame (Sec. 3.3; SPEC 1.11
    reading a). Limb joints come from their limb; in readings b and c, where both parts show
    them, from the average.

    Args:
        skeleton: whose maps come in, in its order.
        background: a background map follows the joints' maps. It is read; only reading c
            refines it, too.
        canvas: side of the body frame over the image maps' side, when image maps come in.
        limb_canvas: side of a limb's frame over the image maps' side; the root lies in its
            middle column at a third of its height (SPEC 1.8).
        in_place: with both canvases 1, the paper's literal turn about the root on the map as
            it is.
        normalize: ``False`` leaves limbs in the body frame, the paper's control.
        upright: ``False`` leaves the body as it is when image maps come in.
        residual: add to the incoming maps instead of replacing them.
        semi_global: see :data:`SemiGlobal`.
        merge: see :data:`~uprightpose.framed.Merge`; by default the limb's map in reading a,
            where nothing is shown twice, and the average in b and c.
        limb_inputs: see :data:`LimbInputs`.
        share_sides: one network for left and right arms and one for legs: right limbs are
            mirrored, refined and mirrored back (SPEC 6.8).
        blur: cells by which maps are blurred before angles and roots are read (SPEC 1.7).
        subcell: read them between cells.
        soft: sharpness of :func:`~uprightpose.score_maps.soft_positions`, by which angles are
            read in the place of the highest cells; roots stay where they are.
        flow: with ``soft``, gradients flow through the angles into the maps that come in
            (SPEC 6.4).
        **shape: of the networks, see :class:`Shape`.

    Raises:
        InputError: if ``in_place`` meets another canvas than 1, or ``flow`` no ``soft``.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        background: bool = True,
        canvas: float = 1.5,
        limb_canvas: float = 1.5,
        in_place: bool = False,
        normalize: bool = True,
        upright: bool = True,
        residual: bool = False,
        semi_global: SemiGlobal = "a",
        merge: Merge | None = None,
        limb_inputs: LimbInputs = "limb",
        share_sides: bool = False,
        blur: float = 1.0,
        subcell: bool = True,
        soft: float | None = None,
        flow: bool = False,
        **shape: Unpack[Shape],
    ) -> None:
        """Build the semi-global network and one network per limb, or per pair of limbs."""
        super().__init__()
        if in_place:
            expect_canvas_of_one(canvas=canvas, limb_canvas=limb_canvas)
        if flow and soft is None:
            raise InputError("flow: expected soft, too: no gradient flows through highest cells")
        channels = len(skeleton.joints) + background
        self.rest = semi_global_joints(skeleton, semi_global)
        rest = range(channels) if semi_global == "c" else self.rest  # c: background, too
        self.rest_net = RefinementNet(channels, len(rest), kept=rest if residual else None, **shape)
        self.owners = limb_owners(skeleton, share_sides=share_sides)
        self.limb_nets = nn.ModuleList(
            RefinementNet(len(inputs), 3, kept=kept if residual else None, **shape)
            for inputs, kept in (
                (range(channels), limb.joints) if limb_inputs == "all" else (range(3), range(3))
                for limb in dict.fromkeys(self.owners)
            )
        )
        self.skeleton, self.background = skeleton, background
        self.canvas, self.limb_canvas, self.in_place = canvas, limb_canvas, in_place
        self.normalize, self.upright, self.limb_inputs = normalize, upright, limb_inputs
        self.blur, self.subcell, self.soft, self.flow = blur, subcell, soft, flow
        self.merge: Merge = merge or ("limb" if semi_global == "a" else "average")

    def forward(self, score_maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Refine maps in [0, 1]; returns the joints' maps in the same cells."""
        expect_maps(score_maps, self.skeleton, background=self.background)
        size = (score_maps.shape[-2], score_maps.shape[-1])
        turned, rotation = score_maps, Rotation.none(score_maps)
        if self.upright:
            turned, rotation = upright_maps(
                score_maps,
                self.skeleton,
                self.canvas,
                background=self.background,
                in_place=self.in_place,
                blur=self.blur,
                subcell=self.subcell,
            )
        parts = self.refine(turned, rotation, size)
        return merge_maps(parts, len(self.skeleton.joints), size, merge=self.merge)

    def refine(
        self,
        body_maps: Float[Tensor, "b c h w"],
        rotation: Rotation,
        size: tuple[int, int],
        turns: Sequence[Rotation] | None = None,
    ) -> tuple[FramedMaps, ...]:
        """Refine maps of the body frame and leave each part in its own frame.

        Args:
            body_maps: scores in [0, 1]; angles and roots are read from these.
            rotation: image maps -> body frame.
            size: ``(h, w)`` of the image maps.
            turns: each limb's turn about its root, in cells of ``body_maps``, in the place of
                :meth:`read_turns`; its target does not count.

        Returns:
            The semi-global part, then one part per limb.

        Raises:
            ValueError: if there are more or fewer maps than the skeleton asks for.
        """
        expect_maps(body_maps, self.skeleton, background=self.background)
        maps, turns = self._hanging(body_maps, turns, size)
        limbs = zip(self._scores(maps), turns, self.skeleton.limbs, strict=True)
        return (
            FramedMaps(self.rest_net(body_maps), rotation, self.rest),
            *(FramedMaps(scores, rotation.then(turn), limb.joints) for scores, turn, limb in limbs),
        )

    def read_turns(self, body_maps: Float[Tensor, "b c h w"]) -> list[Rotation]:
        """Return the turns about their roots that the maps ask for, one per limb, in place."""
        joint_maps = body_maps[:, : len(self.skeleton.joints)]
        joints = decode(joint_maps, sigma=self.blur, subcell=self.subcell).joints
        otherwise = middle((body_maps.shape[-2], body_maps.shape[-1]))
        hard = [limb_rotation(joints, limb, otherwise) for limb in self.skeleton.limbs]
        if self.soft is None:
            return hard
        seen = joint_maps if self.flow else joint_maps.detach()
        places = soft_positions(seen, sigma=self.blur, sharpness=self.soft)
        return [
            Rotation.about(turn.center, limb_angle(places, limb))
            for turn, limb in zip(hard, self.skeleton.limbs, strict=True)
        ]

    def _hanging(
        self,
        maps: Float[Tensor, "b c h w"],
        turns: Sequence[Rotation] | None,
        size: tuple[int, int],
    ) -> tuple[list[Float[Tensor, "b i _ _"]], list[Rotation]]:
        """Turn what the limbs' networks read into their frames (or not, without ``normalize``).

        All limbs turn as one batch.
        """
        whole, limbs = self.limb_inputs == "all", self.skeleton.limbs
        chosen = self._read_by_limbs(maps)
        if not self.normalize:
            return list(chosen.chunk(len(limbs))), [Rotation.none(maps)] * len(limbs)
        turns = self.read_turns(maps) if turns is None else list(turns)
        canvas = (maps.shape[-2], maps.shape[-1])
        if not self.in_place:
            canvas = canvas_size(size, self.limb_canvas)
            turns = [turn.placed((middle(canvas)[0], canvas[0] * ROOT_HEIGHT)) for turn in turns]
        background = whole and self.background
        turned = rotate_maps(
            chosen,
            Rotation.joined(turns),
            canvas,
            background=background,
            flow=self.flow,
        )
        return list(turned.chunk(len(limbs))), turns

    def _read_by_limbs(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "lb i h w"]:
        """Return what the networks read of everybody, limb after limb, by one copy."""
        limbs = self.skeleton.limbs
        if self.limb_inputs == "all":
            return maps.repeat(len(limbs), 1, 1, 1)
        joints = torch.tensor([limb.joints for limb in limbs], device=maps.device)
        people = torch.arange(maps.shape[0], device=maps.device)
        rows = joints[:, None] + maps.shape[1] * people[:, None]
        read = maps.flatten(0, 1).index_select(0, rows.flatten())
        return read.view(len(limbs) * maps.shape[0], joints.shape[1], *maps.shape[2:])

    def _scores(self, maps: list[Float[Tensor, "b i h w"]]) -> list[Float[Tensor, "b 3 h w"]]:
        """Refine the limbs' maps, those of one network as one batch.

        Where the other side's network does it, by way of the mirror: the whole canvas is
        flipped. The root lies in its middle column, and in place it comes to lie where the
        mirrored picture has it.
        """
        mirrored = [
            owner != limb for owner, limb in zip(self.owners, self.skeleton.limbs, strict=True)
        ]
        seen = [
            self._mirrored(own) if flip else own for own, flip in zip(maps, mirrored, strict=True)
        ]
        scores = list(seen)
        for owner, net in zip(dict.fromkeys(self.owners), self.limb_nets, strict=True):
            shared = [at for at, one in enumerate(self.owners) if one == owner]
            read = torch.cat([seen[at] for at in shared]) if len(shared) > 1 else seen[shared[0]]
            for at, one in zip(shared, net(read).chunk(len(shared)), strict=True):
                scores[at] = one.flip(3) if mirrored[at] else one
        return scores

    def _mirrored(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b i h w"]:
        """Show a limb's maps to the other side's network; of all maps, sides change places."""
        if self.limb_inputs == "all":
            background = [len(self.skeleton.joints)] * self.background
            maps = maps[:, [*self.skeleton.mirror, *background]]
        return maps.flip(3)


def semi_global_joints(skeleton: Skeleton, reading: SemiGlobal) -> tuple[int, ...]:
    """Return the joints that the semi-global part refines, in skeleton order (SPEC 1.11).

    Example:
        >>> from uprightpose.skeletons import LSP
        >>> [LSP.joints[joint] for joint in semi_global_joints(LSP, "b")[-4:]]
        ['right_shoulder', 'left_shoulder', 'neck', 'head_top']
    """
    match reading:
        case "a":
            return skeleton.rest
        case "b":
            return tuple(sorted({*skeleton.rest, *skeleton.torso}))
        case "c":
            return tuple(range(len(skeleton.joints)))


def limb_owners(skeleton: Skeleton, *, share_sides: bool) -> tuple[Limb, ...]:
    """Return for each limb the limb whose network refines it: itself, or the left one."""
    if not share_sides:
        return skeleton.limbs
    first = {limb.name.split()[-1]: limb for limb in reversed(skeleton.limbs)}
    return tuple(first[limb.name.split()[-1]] for limb in skeleton.limbs)
