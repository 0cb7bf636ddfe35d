"""Maps in frames of their own: mappings, joints of several channels, merging."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.testing import assert_close

from uprightpose.framed import FramedMaps, merge_joints, merge_maps
from uprightpose.normalize import Rotation, rotate_joints
from uprightpose.score_maps import decode, encode_gaussians
from uprightpose.skeletons import SKELETONS

# Three joints of one person.
JOINTS = torch.tensor([[[16.0, 31], [17, 26], [17, 21]]])


def tilt(angle: float, center=(19.5, 18.0)) -> Rotation:
    return Rotation.about(torch.tensor([center]), torch.tensor([angle]))


def peaks(places, heights: list[float], size=(12, 17)) -> torch.Tensor:
    """One channel per place, as high as told."""
    return (
        encode_gaussians(torch.tensor(places).float()[None], size)
        * torch.tensor(heights)[:, None, None]
    )


class TestMapping:
    """'Softmax for FCN, sigmoid for ResNet, nothing for hourglass', 'clipped to [0, 1]'
    (SPEC 1.5, 1.6)."""

    SCORES = torch.tensor([-3.0, 0.0, 0.4, 2.0]).view(1, 4, 1, 1).expand(2, 4, 3, 5)

    def framed(self, *mapping):
        return FramedMaps(self.SCORES, Rotation.none(self.SCORES), (0, 1, 2), *mapping)

    def test_sigmoid_is_the_default(self):
        expected = 1 / (1 + torch.exp(-self.SCORES))
        assert_close(self.framed().maps, expected)
        assert_close(self.framed("sigmoid").maps, expected)

    def test_softmax_goes_over_all_channels(self):
        maps = self.framed("softmax").maps
        assert_close(maps.sum(dim=1), torch.ones(2, 3, 5))
        assert_close(maps[:, 2] / maps[:, 3], torch.full((2, 3, 5), math.exp(0.4 - 2.0)))

    def test_clip(self):
        assert self.framed("clip").maps[0, :, 0, 0].tolist() == pytest.approx([0, 0, 0.4, 1])

    def test_decode_and_image_read_the_mapped_scores(self):
        """Where the background takes a softmax's share, a high score is no peak."""
        scores = torch.zeros(1, 3, 6, 9)
        scores[0, 0, 2, 3], scores[0, 2, 2, 3] = 5.0, 9.0
        scores[0, 0, 4, 7] = 3.0
        still = Rotation.none(scores)
        places = {}
        for mapping in ("softmax", "sigmoid"):
            framed = FramedMaps(scores, still, (0, 1), mapping)
            places[mapping] = framed.decode(sigma=0, subcell=False).joints[0, 0].tolist()
            assert torch.equal(framed.to_image((6, 9)), framed.maps)
        assert places == {"softmax": [7, 4], "sigmoid": [3, 2]}

    @pytest.mark.parametrize("mapping", ["sigmoid", "softmax", "clip"])
    def test_gradient(self, mapping):
        scores = (torch.rand(2, 4, 3, 5).double() * 0.8 + 0.1).requires_grad_()
        still = Rotation.none(scores)

        def call(scores):
            return FramedMaps(scores, still, (0, 1, 2), mapping).maps

        assert torch.autograd.gradcheck(call, scores, atol=1e-8, rtol=1e-6)


class TestFramedMaps:
    """'Coordinates can instead be decoded in the canonical frame and rotated back exactly'."""

    @given(turn=st.floats(-math.pi, math.pi))
    def test_decoding_turns_back(self, turn):
        there = tilt(turn).placed((24.0, 26.0))
        maps = encode_gaussians(rotate_joints(JOINTS, there), (48, 56))
        framed = FramedMaps(maps.logit(eps=1e-6), there, (0, 1, 2))
        assert (framed.decode().joints - JOINTS).abs().max() < 0.06

    def test_to_image_fills_background_only_if_there_is_one(self):
        away = tilt(0.0).placed((500.0, 500.0))
        scores = torch.zeros(1, 4, 6, 7)
        image = FramedMaps(scores, away, (3, 1, 0)).to_image((5, 8))
        assert image[:, :3].max() == 0
        assert image[:, 3].min() == 1
        assert not FramedMaps(scores, away, (3, 1, 0, 2)).to_image((5, 8)).any()

    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
    def test_each_joint_comes_from_its_part(self, skeleton):
        """'Limb joints from their branch, the rest from semi-global' (SPEC 1.11)."""
        count = len(skeleton.joints)
        cells = torch.stack([torch.arange(count) + 4.0, 2.0 * torch.arange(count) + 4], dim=-1)
        joints, size = cells[None], (41, 25)
        still = Rotation.none(joints)
        owners = [skeleton.rest, *(limb.joints for limb in skeleton.limbs)]
        maps = encode_gaussians(joints, size)
        parts = [FramedMaps(maps[:, list(own)].logit(eps=1e-6), still, own) for own in owners]
        assert_close(merge_maps(parts, count, size), maps, atol=1e-5, rtol=0)
        assert_close(merge_joints(parts, count).joints, joints, atol=0.06, rtol=0)

    def test_options_of_decoding_are_passed_on(self):
        maps = peaks([[4.3, 5.0], [9.0, 6.4]], [0.9, 0.8])
        framed = FramedMaps(maps, Rotation.none(maps), (1, 0), "clip")
        for options in ({}, {"sigma": 0.0}, {"subcell": False}, {"upsample": 4}):
            assert torch.equal(framed.decode(**options).joints, decode(maps, **options).joints)
        for options in ({"subcell": False}, {"subcell": "quarter"}, {"upsample": 4}):
            expected = decode(maps, **options).joints.flip(1)
            assert torch.equal(merge_joints([framed], 2, **options).joints, expected)


class TestJointsOfSeveralChannels:
    """'Test: per joint the maximum over the three sets' (SPEC 1.14)."""

    PLACES = ((3, 4), (9, 5), (12, 8), (6, 2), (14, 3))

    def framed(self):
        heights = ([0.3, 0.5, 0.8, 0.6, 0.1], [0.9, 0.7, 0.2, 0.6, 0.9], [0.1, 0.2, 0.3, 0.6, 0.5])
        maps = torch.cat([peaks(self.PLACES, high) for high in heights])
        return FramedMaps(maps, Rotation.none(maps), (2, 0, 2, 0, 2), "clip")

    def test_each_joint_once_in_the_order_of_channels(self):
        assert self.framed().shown == (2, 0)

    def test_the_highest_channel_of_each_person_places_the_joint(self):
        found = self.framed().decode()
        cells = [[self.PLACES[at] for at in row] for row in ((2, 3), (0, 1), (4, 3))]
        assert_close(found.joints, torch.tensor(cells).float(), atol=0.06, rtol=0)
        assert_close(found.scores, torch.tensor([[0.8, 0.6], [0.9, 0.7], [0.5, 0.6]]))

    def test_they_turn_back(self):
        framed = self.framed()
        turn = Rotation.about(torch.tensor([[3.0, 4], [1, 2], [9, 7]]), torch.tensor([0.5, 2, -1]))
        turned = FramedMaps(framed.scores, turn, framed.joints, "clip")
        expected = rotate_joints(framed.decode().joints, turn.inverse())
        assert_close(turned.decode().joints, expected)

    @pytest.mark.parametrize("merge", ["average", "limb"])
    def test_merging(self, merge):
        framed = self.framed()
        other = FramedMaps(framed.scores[:, :1], framed.rotation, (1,), "clip")
        found = merge_joints([framed, other], 3, merge=merge)
        alone = framed.decode()
        assert torch.equal(found.joints[:, [2, 0]], alone.joints)
        assert torch.equal(found.scores[:, [2, 0]], alone.scores)
        maps = merge_maps([framed, other], 3, (12, 17), merge=merge)
        assert torch.equal(maps[:, 0], framed.maps[:, [1, 3]].amax(dim=1))
        assert torch.equal(maps[:, 2], framed.maps[:, [0, 2, 4]].amax(dim=1))
        assert torch.equal(maps[:, 1], framed.maps[:, 0])


class TestMerge:
    """'Under (b)/(c) average the probabilities of joints that have two estimates' (SPEC 1.11)."""

    SIZE = (36, 40)

    def parts(self, second=((23.0, 17), (14, 24)), high=0.6, turn=0.7):
        """Joints 0, 1, 2 upright in a larger frame; 1 and 3 hanging in another."""
        body = tilt(turn).placed((26.0, 28.0))
        limb = body.then(Rotation.about(torch.tensor([[20.0, 21]]), torch.tensor([-1.3])))
        first = torch.tensor([[[10.0, 12], [23, 17], [15, 27]]])
        maps = encode_gaussians(rotate_joints(first, body), (55, 53), 1.5) * 0.9
        others = rotate_joints(torch.tensor([second]), limb)
        hanging = encode_gaussians(others, (50, 48), 1.5) * high
        return [
            FramedMaps(maps, body, (0, 1, 2), "clip"),
            FramedMaps(hanging, limb, (1, 3), "clip"),
        ]

    def test_maps_are_averaged_in_the_image(self):
        parts = self.parts()
        first, second = (part.to_image(self.SIZE) for part in parts)
        merged = merge_maps(parts, 4, self.SIZE)
        assert merged.shape == (1, 4, *self.SIZE)
        assert_close(merged[:, 1], (first[:, 1] + second[:, 0]) / 2)
        assert torch.equal(
            merged[:, [0, 2, 3]], torch.stack([first[:, 0], first[:, 2], second[:, 1]], 1)
        )

    def test_the_limb_wins(self):
        parts = self.parts()
        merged = merge_maps(parts, 4, self.SIZE, merge="limb")
        assert torch.equal(merged[:, 1], parts[1].to_image(self.SIZE)[:, 0])
        found = merge_joints(parts, 4, merge="limb")
        assert torch.equal(found.joints[:, 1], parts[1].decode().joints[:, 0])
        assert torch.equal(found.joints[:, 0], parts[0].decode().joints[:, 0])
        assert torch.equal(found.scores[:, 3], parts[1].decode().scores[:, 1])

    @pytest.mark.parametrize("merge", ["average", "limb"])
    def test_parts_of_one_size_are_as_each_by_itself(self, merge):
        """They turn and are read together, whatever their mapping, channels and background."""
        size, parts = (21, 24), []
        for joints, extra, mapping in (
            ((0, 1), 1, "sigmoid"),
            ((2, 4), 1, "softmax"),
            ((3, 1, 3), 0, "clip"),
            ((5, 4), 1, "clip"),
        ):
            scores = 0.5 + torch.randn(3, len(joints) + extra, *size)
            turn = Rotation(20 * torch.rand(3, 2), torch.randn(3), 20 * torch.rand(3, 2))
            parts.append(FramedMaps(scores, turn, joints, mapping))
        found = merge_maps(parts, 6, (18, 17), merge=merge)
        for joint in range(6):
            own = [
                part.map_of(joint, part.to_image((18, 17)))
                for part in parts
                if joint in part.joints
            ]
            expected = torch.stack(own).mean(dim=0) if merge == "average" else own[-1]
            assert_close(found[:, joint], expected)
        read = merge_joints(parts, 6, merge=merge)
        for joint, part in ((0, parts[0]), (2, parts[1]), (5, parts[3])):
            alone = part.decode()
            at = part.shown.index(joint)
            assert_close(read.joints[:, joint], alone.joints[:, at])
            assert_close(read.scores[:, joint], alone.scores[:, at])

    @given(turn=st.floats(-math.pi, math.pi), x=st.floats(8, 30), y=st.floats(8, 27))
    def test_joints_are_read_from_the_averaged_map(self, turn, x, y):
        assume(not 1 < math.dist((x, y), (23, 17)) < 5)  # two peaks on one ridge: no one place
        parts = self.parts(((x, y), (14.0, 24)), turn=turn)
        found = merge_joints(parts, 4)
        image = decode(merge_maps(parts, 4, self.SIZE))
        assert (found.joints - image.joints).norm(dim=-1).max() < 0.25
        assert (found.scores - image.scores).abs().max() < 0.12

    def test_of_two_that_disagree_the_higher_stays(self):
        for high, place in ((0.4, (23.0, 17)), (1.0, (9.0, 26))):
            found = merge_joints(self.parts(((9.0, 26), (14, 24)), high), 4)
            assert_close(found.joints[0, 1], torch.tensor(place), atol=0.1, rtol=0)
            assert found.scores[0, 1].item() == pytest.approx(max(high, 0.9) / 2, abs=0.05)

    def test_of_two_that_nearly_agree_the_joint_lies_between(self):
        found = merge_joints(self.parts(((25.0, 17), (14, 24)), 0.9), 4)
        assert_close(found.joints[0, 1], torch.tensor([24.0, 17]), atol=0.15, rtol=0)

    def test_a_joint_of_one_part_is_not_resampled(self):
        parts = self.parts()
        found, body, limb = merge_joints(parts, 4), parts[0].decode(), parts[1].decode()
        assert torch.equal(found.joints[:, [0, 2]], body.joints[:, [0, 2]])
        assert torch.equal(found.scores[:, [0, 2]], body.scores[:, [0, 2]])
        assert torch.equal(found.joints[:, 3], limb.joints[:, 1])

    def test_a_part_with_nothing_of_its_own_counts_too(self):
        """Reading c: the semi-global part shows every joint of the limbs."""
        maps = peaks([[4, 5], [9, 6]], [0.8, 0.6])
        still = Rotation.none(maps)
        parts = [
            FramedMaps(maps, still, (0, 1), "clip"),
            FramedMaps(maps[:, :1] / 2, still, (0,), "clip"),
        ]
        found = merge_joints(parts, 2)
        assert_close(found.scores, torch.tensor([[0.6, 0.6]]))
        assert_close(found.joints, decode(maps).joints)

    def test_without_joints_shown_twice_both_rules_are_one(self):
        first, second = self.parts()
        parts = [first, FramedMaps(second.scores[:, 1:], second.rotation, (3,), "clip")]
        pair = [merge_joints(parts, 4, merge=merge) for merge in ("average", "limb")]
        assert torch.equal(pair[0].joints, pair[1].joints)
        maps = [merge_maps(parts, 4, self.SIZE, merge=merge) for merge in ("average", "limb")]
        assert torch.equal(*maps)

    @pytest.mark.parametrize("merge", ["average", "limb"])
    def test_gradient(self, merge):
        """'Relative error < 1e-6' (SPEC 5.1)."""
        body, limb = tilt(0.7, (4.0, 3.0)), tilt(-0.4, (2.0, 5.0))
        turns = [
            Rotation(*(v.double() for v in (r.center, r.angle, r.target))) for r in (body, limb)
        ]
        scores = [torch.randn(1, c, 6, 7).double().requires_grad_() for c in (3, 2)]

        def call(*scores):
            parts = [
                FramedMaps(scores[0], turns[0], (0, 1)),
                FramedMaps(scores[1], turns[1], (1, 2)),
            ]
            return merge_maps(parts, 3, (6, 7), merge=merge)

        assert torch.autograd.gradcheck(call, tuple(scores), atol=1e-8, rtol=1e-6)

    def test_nothing_flows_into_the_frame(self):
        """'It does not flow through theta, c' (SPEC 1.13)."""
        parts = self.parts()
        leaves = [
            v.clone().requires_grad_() for v in (parts[1].rotation.center, parts[1].rotation.angle)
        ]
        framed = FramedMaps(
            parts[1].scores.requires_grad_(), Rotation.about(*leaves), (1, 3), "clip"
        )
        total = merge_maps([parts[0], framed], 4, self.SIZE).sum()
        found = torch.autograd.grad(total, [framed.scores, *leaves], allow_unused=True)
        assert found[0].any()
        assert found[1:] == (None, None)
