"""Type supervision and multi-branch refinement: what Table 1 compares normalization with.

Both refine the detector's maps where they are, without normalization, and know pose types
instead (SPEC 1.14). Each can stand in for :class:`~uprightpose.refine.BodyRefiner`.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from uprightpose.body_frame import expect_maps
from uprightpose.framed import FramedMaps
from uprightpose.normalize import Rotation
from uprightpose.refinement_net import RefinementNet, Shape
from uprightpose.score_maps import decode
from uprightpose.skeletons import Skeleton

Centers = Float[Tensor, "t k 2"] | Float[ndarray, "t k 2"]
"""Of :func:`uprightpose.pose_types.pose_clusters`."""


class TypeSupervisedRefiner(nn.Module):
    """One network with a set of joint maps per pose type, 3K+1 outputs (Table 1).

    In training a person's type supervises its own set; the other sets learn that nothing is
    there. In a test each joint is the maximum over the sets.

    Args:
        skeleton: whose maps come in, in its order.
        centers: of the pose types; stored with the weights.
        background: a background map follows the joints' maps; one is refined for all types.
        residual: add to the incoming maps instead of replacing them.
        **shape: of the network, see :class:`~uprightpose.refinement_net.Shape`.
    """

    centers: Tensor

    def __init__(
        self,
        skeleton: Skeleton,
        centers: Centers,
        *,
        background: bool = True,
        residual: bool = False,
        **shape: Unpack[Shape],
    ) -> None:
        """Build the network."""
        super().__init__()
        joints = range(len(skeleton.joints))
        self.joints = tuple(joints) * len(centers)
        inputs = len(joints) + background
        kept = [*self.joints, *range(len(joints), inputs)]
        self.net = RefinementNet(inputs, len(kept), kept=kept if residual else None, **shape)
        self.skeleton, self.background = skeleton, background
        self.register_buffer("centers", torch.as_tensor(centers, dtype=torch.float32))

    def forward(self, score_maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Refine maps in [0, 1]; one map per joint in the same cells, in training, too."""
        return self._highest(self._scores(score_maps)).sigmoid()

    def refine(
        self,
        score_maps: Float[Tensor, "b c h w"],
        types: Int[Tensor, " b"] | None = None,  # noqa: ARG002  they matter to the loss alone
    ) -> FramedMaps:
        """Refine maps in [0, 1] of the image's cells.

        Args:
            score_maps: of the joints, and the background if any.
            types: not used; the loss needs them (see :meth:`assign`).

        Returns:
            In training all sets, one after the other, then the background; else each joint's
            highest map, then the background.
        """
        scores, joints = self._scores(score_maps), self.joints
        if not self.training:
            scores, joints = self._highest(scores), tuple(range(len(self.skeleton.joints)))
        return FramedMaps(scores, Rotation.none(scores), joints)

    def assign(self, joints: Float[Tensor, "b k 2"]) -> Int[Tensor, " b"]:
        """Return the types of poses; see :func:`nearest_center`."""
        return nearest_center(joints, self.centers, self.skeleton.torso)

    def _scores(self, score_maps: Tensor) -> Float[Tensor, "b o h w"]:
        expect_maps(score_maps, self.skeleton, background=self.background)
        scores: Tensor = self.net(score_maps)
        return scores

    def _highest(self, scores: Float[Tensor, "b o h w"]) -> Float[Tensor, "b c h w"]:
        sets = torch.split(scores[:, : len(self.joints)], len(self.skeleton.joints), dim=1)
        highest = torch.stack(sets).amax(dim=0)
        return torch.cat([highest, scores[:, len(self.joints) :]], dim=1)


class BranchedRefiner(nn.Module):
    """A network of its own for each pose type (Table 1, "multi-branch").

    In training the true type chooses the network; in a test the type nearest to the pose that
    the incoming maps show.

    Args:
        skeleton: whose maps come in, in its order.
        centers: of the pose types; stored with the weights.
        background: a background map follows the joints' maps, and is refined with them.
        residual: add to the incoming maps instead of replacing them.
        **shape: of the networks, see :class:`~uprightpose.refinement_net.Shape`.
    """

    centers: Tensor

    def __init__(
        self,
        skeleton: Skeleton,
        centers: Centers,
        *,
        background: bool = True,
        residual: bool = False,
        **shape: Unpack[Shape],
    ) -> None:
        """Build one network per type."""
        super().__init__()
        channels = len(skeleton.joints) + background
        kept = range(channels) if residual else None
        self.nets = nn.ModuleList(
            RefinementNet(channels, channels, kept=kept, **shape) for _ in centers
        )
        self.skeleton, self.background = skeleton, background
        self.register_buffer("centers", torch.as_tensor(centers, dtype=torch.float32))

    def forward(self, score_maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Refine maps in [0, 1]; the result is in the same cells."""
        return self.refine(score_maps).maps

    def refine(
        self, score_maps: Float[Tensor, "b c h w"], types: Int[Tensor, " b"] | None = None
    ) -> FramedMaps:
        """Refine maps in [0, 1] of the image's cells, each person's by the network of its type.

        Args:
            score_maps: of the joints, and the background if any.
            types: of the true poses, which choose in training alone: no truth leaks into a
                test.
        """
        expect_maps(score_maps, self.skeleton, background=self.background)
        count = len(self.skeleton.joints)
        if types is None or not self.training:
            types = self.assign(decode(score_maps[:, :count]).joints)
        people = [(types == kind).nonzero()[:, 0] for kind in range(len(self.nets))]
        refined = [net(score_maps[own]) for net, own in zip(self.nets, people, strict=True)]
        scores = torch.cat(refined)[torch.cat(people).argsort()]
        return FramedMaps(scores, Rotation.none(scores), tuple(range(count)))

    def assign(self, joints: Float[Tensor, "b k 2"]) -> Int[Tensor, " b"]:
        """Return the types of poses; see :func:`nearest_center`."""
        return nearest_center(joints, self.centers, self.skeleton.torso)


def nearest_center(
    joints: Float[Tensor, "b k 2"], centers: Float[Tensor, "t k 2"], torso: Sequence[int]
) -> Int[Tensor, " b"]:
    """Return each pose's nearest center, as :func:`uprightpose.pose_types.nearest_type` does.

    Args:
        joints: in any unit; NaN where absent. Without any joint the type is 0.
        centers: of :func:`uprightpose.pose_types.pose_clusters`.
        torso: indices of the torso's joints, whose mean is the center of a pose.
    """
    known = joints.isfinite().all(dim=2, keepdim=True)
    of_torso = torch.zeros_like(known)
    of_torso[:, list(torso)] = known[:, list(torso)]
    used = torch.where(of_torso.any(dim=1, keepdim=True), of_torso, known)
    offsets = joints - _mean(joints, used)
    spread = _mean(offsets.square().sum(dim=2, keepdim=True), known).sqrt()
    poses = offsets / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    distances = (poses[:, None] - centers.to(poses)).square()
    return distances.nansum(dim=(2, 3)).argmin(dim=1)


def _mean(values: Float[Tensor, "b k d"], used: Tensor) -> Float[Tensor, "b 1 d"]:
    """Return the mean of the joints that are used; 0 if there are none."""
    total = torch.where(used, values, 0.0).sum(dim=1, keepdim=True)
    return total / used.sum(dim=1, keepdim=True).clamp(min=1)
