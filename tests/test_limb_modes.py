"""'Two modes of the elbow map, refine both, keep the higher score' (SPEC 6.3d)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uprightpose.framed import merge_joints
from uprightpose.limb_modes import REACH, refine_limb_modes, second_peaks
from uprightpose.normalize import Rotation
from uprightpose.refine import LimbRefiner
from uprightpose.score_maps import decode, encode_gaussians, with_background
from uprightpose.skeletons import LSP

SIZE = (36, 40)
PERSON = torch.tensor(
    [[16, 31], [17, 26], [17, 21], [22, 21], [23, 26], [21, 31], [12, 17], [14, 14], [16, 11],
     [23, 11], [26, 14], [28, 11], [19, 10], [20, 6]]
).float()[None]  # fmt: skip
ELBOW = LSP.joints.index("left_elbow")
ARM = [limb.name for limb in LSP.limbs].index("left arm")


def maps_of(joints: torch.Tensor, other: tuple[float, float], high: float, low: float):
    """Return body maps whose left elbow peaks at its place (high) and elsewhere (low)."""
    maps = encode_gaussians(joints, SIZE, 1.5)
    wrong = encode_gaussians(torch.tensor([[other]]).expand(len(joints), 1, 2), SIZE, 1.5)
    maps[:, ELBOW] = torch.maximum(high * maps[:, ELBOW], low * wrong[:, 0])
    return with_background(maps)


class TestSecondPeaks:
    @given(
        first=st.tuples(st.floats(4, 14), st.floats(4, 30)),
        second=st.tuples(st.floats(22, 35), st.floats(4, 30)),
        low=st.floats(0.55, 0.9),
    )
    def test_it_is_found_where_it_is(self, first, second, low):
        both = encode_gaussians(torch.tensor([[first, second]]), SIZE, 1.5)
        maps = both[:, :1] + low * both[:, 1:]
        found, there = second_peaks(maps, decode(maps))
        assert there.all()
        assert (found.joints - torch.tensor([[second]])).abs().max() < 0.2

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
    def test_it_needs_a_share_of_the_first(self, share):
        joints = torch.tensor([[[8.0, 9.0], [30.0, 20.0]]])
        both = 0.7 * encode_gaussians(joints, SIZE, 1.5)
        for low in (share - 0.05, share + 0.05):
            maps = both[:, :1] + low * both[:, 1:]
            _, there = second_peaks(maps, decode(maps), share=share)
            assert there.item() == (low > share)

    @pytest.mark.parametrize("distance", [2.0, 3.0])
    def test_the_first_ones_slope_is_none(self, distance):
        """A broad peak, whose slope beyond its neighborhood is higher than any other peak."""
        joints = torch.tensor([[[15.0, 15.0], [15.0 + distance, 15.0], [33.0, 28.0]]])
        maps = encode_gaussians(joints, SIZE, 4.0)
        maps = maps[:, :1] + 0.5 * maps[:, 1:2]
        _, there = second_peaks(maps, decode(maps), share=0.1)
        assert not there.any()

    def test_nothing_is_found_in_the_neighborhood(self):
        joints = torch.tensor([[[15.0, 15.0], [15.0 + REACH - 1, 15.0]]])
        maps = encode_gaussians(joints, SIZE, 0.7)
        maps = torch.maximum(maps[:, :1], 0.9 * maps[:, 1:])
        assert not second_peaks(maps, decode(maps))[1].any()
        assert second_peaks(maps, decode(maps), reach=1.5, sigma=0.5)[1].all()

    def test_empty_and_flat_maps_have_none(self):
        for value in (0.0, 0.5):
            maps = torch.full((2, 3, 9, 11), value)
            found, there = second_peaks(maps, decode(maps), share=0.5)
            assert found.joints.isfinite().all()
            assert value > 0 or not there.any()


def planted(monkeypatch: pytest.MonkeyPatch, good: float) -> LimbRefiner:
    """Return limbs whose scores are high where they hang by the angle ``good`` (radians)."""
    torch.manual_seed(0)
    limbs = LimbRefiner(LSP, width=2, kernels=(3,), limb_canvas=1.0, residual=True).eval()
    refine = limbs.refine

    def scored(maps, rotation, size, turns=None):
        rest, *parts = refine(maps, rotation, size, turns)
        for part, turn in zip(parts, turns, strict=True):
            near = (turn.angle - good).cos()[:, None, None, None]
            part.scores.copy_(part.scores + 3 * near)
        return (rest, *parts)

    monkeypatch.setattr(limbs, "refine", scored)
    return limbs


def elbow_angle(place: tuple[float, float]) -> float:
    shoulder = PERSON[0, LSP.limbs[ARM].root]
    down = torch.tensor(place) - shoulder
    return torch.atan2(down[0], down[1]).item()


OTHER = (20.0, 19.0)


class TestRefineLimbModes:
    @pytest.mark.parametrize("good", ["first", "second"])
    @torch.no_grad()
    def test_the_higher_score_is_kept(self, monkeypatch, good):
        first, second = tuple(PERSON[0, ELBOW].tolist()), OTHER
        angles = {"first": elbow_angle(first), "second": elbow_angle(second)}
        limbs = planted(monkeypatch, angles[good])
        maps = maps_of(PERSON.expand(2, -1, -1), OTHER, 0.9, 0.7)
        found = refine_limb_modes(limbs, maps, Rotation.none(maps), SIZE)
        arm = found.parts[1 + ARM]
        assert (arm.rotation.angle - angles[good]).sin().abs().max() < 0.1
        assert found.offered.sum(dim=0).tolist() == [2 * (at == ARM) for at in range(4)]
        assert found.taken[:, ARM].tolist() == [good == "second"] * 2
        assert not found.taken[:, [at for at in range(4) if at != ARM]].any()

    @torch.no_grad()
    def test_each_person_has_their_own(self, monkeypatch):
        limbs = planted(monkeypatch, elbow_angle(OTHER))
        two = maps_of(PERSON, OTHER, 0.9, 0.7)
        one = maps_of(PERSON, OTHER, 0.9, 0.0)
        maps = torch.cat([one, two, one])
        found = refine_limb_modes(limbs, maps, Rotation.none(maps), SIZE)
        assert found.taken[:, ARM].tolist() == [False, True, False]
        plain = limbs.refine(maps, Rotation.none(maps), SIZE, limbs.read_turns(maps))
        arm, before = found.parts[1 + ARM], plain[1 + ARM]
        assert torch.equal(arm.scores[[0, 2]], before.scores[[0, 2]])
        assert torch.equal(arm.rotation.angle[[0, 2]], before.rotation.angle[[0, 2]])
        assert not torch.equal(arm.scores[1], before.scores[1])

    @torch.no_grad()
    def test_without_second_peaks_nothing_changes(self):
        torch.manual_seed(0)
        limbs = LimbRefiner(LSP, width=2, kernels=(3,)).eval()
        maps = maps_of(PERSON, OTHER, 1.0, 0.0)
        found = refine_limb_modes(limbs, maps, Rotation.none(maps), SIZE)
        plain = limbs.refine(maps, Rotation.none(maps), SIZE)
        assert not found.offered.any()
        one, other = (merge_joints(parts, 14, merge="limb") for parts in (found.parts, plain))
        assert torch.equal(one.joints, other.joints)
        assert torch.equal(one.scores, other.scores)

    @torch.no_grad()
    def test_joints_come_back_to_the_image(self, monkeypatch):
        limbs = planted(monkeypatch, elbow_angle(OTHER))
        for net in limbs.limb_nets:
            for value in net.layers.parameters():
                value.mul_(1e-3)
        maps = maps_of(PERSON, OTHER, 0.9, 0.7)
        found = refine_limb_modes(limbs, maps, Rotation.none(maps), SIZE)
        joints = merge_joints(found.parts, 14, merge="limb").joints
        ends = [LSP.limbs[ARM].root, LSP.limbs[ARM].end]
        assert (joints[:, ends] - PERSON[:, ends]).abs().max() < 0.5
