"""Encode and decode: each undoes the other."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from uprightpose.score_maps import (
    MIN_RADIUS,
    decode,
    disk_radius,
    encode_disks,
    encode_gaussians,
    encode_labels,
    with_background,
)
from uprightpose.skeletons import COCO, LSP

SIZE = (24, 32)  # h, w


def grid_of_offsets(steps: int = 8) -> torch.Tensor:
    """Joints at every fraction of a cell, in the middle of the map: one batch entry each."""
    part = torch.arange(steps) / steps - 0.5
    y, x = torch.meshgrid(part, part, indexing="ij")
    return torch.stack([x.flatten() + 15, y.flatten() + 11], dim=-1)[:, None]


class TestEncode:
    """'Pixels within r of the joint are 1'; '2-D Gaussian, sigma 1 cell, peak 1' (SPEC 1.15)."""

    def test_each_map_shows_its_joint(self):
        joints = torch.tensor([[[3.0, 1], [6, 4], [0, 5]], [[7.0, 0], [2, 2], [5, 3]]])
        for maps in (
            encode_gaussians(joints, (6, 8)),
            encode_disks(joints, (6, 8), torch.tensor([0.5, 0.9])),
        ):
            assert maps.shape == (2, 3, 6, 8)
            for b in range(2):
                for k in range(3):
                    x, y = joints[b, k].int().tolist()
                    assert maps[b, k, y, x] == maps[b, k].max() == 1

    def test_gaussian_values(self):
        maps = encode_gaussians(torch.tensor([[[2.5, 1.0]]]), (3, 5), sigma=2.0)
        assert_close(maps[0, 0, 2, 4].item(), math.exp(-(1.5**2 + 1) / 8))

    def test_disk_counts_cells_within_each_persons_radius(self):
        joints = torch.tensor([[[9.3, 8.1]], [[20.0, 11.0]]])
        radius = torch.tensor([4.2, 2.0])
        maps = encode_disks(joints, SIZE, radius)
        for b in range(2):
            inside = [
                math.dist((x, y), joints[b, 0].tolist()) <= radius[b]
                for y in range(SIZE[0])
                for x in range(SIZE[1])
            ]
            assert maps[b, 0].sum() == sum(inside)
        assert maps[1].sum() == 13  # a circle of radius 2 on whole cells

    @given(x=st.floats(0, 31), y=st.floats(0, 23))
    def test_smallest_disk_is_never_empty(self, x, y):
        maps = encode_disks(torch.tensor([[[x, y]]]), SIZE, torch.tensor([MIN_RADIUS]))
        assert 1 <= maps.sum() <= 4

    def test_missing_joints_give_empty_maps(self):
        joints = torch.tensor([[[3.0, 4], [math.nan, math.nan]]])
        for maps in (
            encode_gaussians(joints, SIZE),
            encode_disks(joints, SIZE, torch.tensor([2.0])),
        ):
            assert maps[0, 0].any()
            assert not maps[0, 1].any()

    def test_background_is_what_no_joint_is(self):
        """'Target of the background map: 1 - max of the joint targets' (SPEC 1.10)."""
        maps = torch.rand(2, 3, 4, 5)
        full = with_background(maps)
        assert full.shape == (2, 4, 4, 5)
        assert torch.equal(full[:, :3], maps)
        assert_close(full[:, 3] + maps.amax(dim=1), torch.ones(2, 4, 5))


class TestEncodeLabels:
    """'FCN softmax is single-label: in overlaps the nearest joint wins' (SPEC 1.15)."""

    def test_each_cell_is_the_nearest_joint_within_its_persons_radius(self):
        joints = torch.rand(3, 6, 2) * torch.tensor([31.0, 23.0])
        joints[2, :2], radius = joints[2, 2] + 1.3, torch.tensor([4.2, 0.9, 3.0])
        labels = encode_labels(joints, SIZE, radius)
        assert labels.shape == (3, *SIZE)
        for b, y, x in torch.cartesian_prod(torch.arange(3), torch.arange(24), torch.arange(32)):
            far = [math.dist((x, y), joint) for joint in joints[b].tolist()]
            expected = min(range(6), key=far.__getitem__) if min(far) <= radius[b] else 6
            assert labels[b, y, x] == expected

    @given(x=st.floats(5, 20), y=st.floats(5, 15), radius=st.floats(1, 3))
    def test_together_they_cover_the_disks(self, x, y, radius):
        joints = torch.tensor([[[x, y], [x + 1.5, y + 0.5], [x, y - 4]]])
        labels = encode_labels(joints, SIZE, torch.tensor([radius]))
        disks = encode_disks(joints, SIZE, torch.tensor([radius]))
        assert torch.equal(labels != 3, disks.amax(dim=1) > 0)
        own = disks.gather(1, labels.clamp(max=2)[:, None])[:, 0]
        assert own[labels != 3].all()

    def test_missing_joints_are_nowhere(self):
        joints = torch.tensor([[[math.nan, math.nan], [6.0, 4.0]]])
        labels = encode_labels(joints, (8, 10), torch.tensor([2.0]))
        assert set(labels.unique().tolist()) == {1, 2}
        nobody = encode_labels(torch.full((1, 2, 2), math.nan), (8, 10), torch.tensor([2.0]))
        assert (nobody == 2).all()


class TestDiskRadius:
    """'r = 0.15 * |left shoulder - right hip|', the paper's Sec. 3.4; guards of SPEC 1.15."""

    def torso(self, main: float, other: float) -> torch.Tensor:
        joints = torch.full((1, 14, 2), math.nan)
        joints[0, 9] = torch.tensor([5.0, 5.0])  # left shoulder
        joints[0, 2] = torch.tensor([5.0, 5.0 + main])  # right hip
        joints[0, 8] = torch.tensor([1.0, 2.0])  # right shoulder
        joints[0, 3] = torch.tensor([1.0 + other, 2.0])  # left hip
        return joints

    def test_paper(self):
        assert_close(disk_radius(self.torso(20, 30), LSP), torch.tensor([3.0]))

    def test_foreshortened_takes_the_other_diagonal(self):
        assert_close(disk_radius(self.torso(9.9, 20), LSP), torch.tensor([3.0]))
        assert_close(disk_radius(self.torso(10.1, 20), LSP), torch.tensor([1.515]))

    def test_floor(self):
        assert_close(disk_radius(self.torso(3, 4), LSP), torch.tensor([MIN_RADIUS]))

    def test_missing_diagonals(self):
        main, other = self.torso(20, 30), self.torso(20, 30)
        main[:, 2] = math.nan
        other[:, 8] = math.nan
        assert_close(disk_radius(main, LSP), torch.tensor([4.5]))
        assert_close(disk_radius(other, LSP), torch.tensor([3.0]))
        nothing = torch.full((3, 17, 2), math.nan)
        assert_close(disk_radius(nothing, COCO), torch.full((3,), MIN_RADIUS))


class TestDecode:
    """'Mapping, Gaussian blur, position of the maximum', with a sub-cell parabola (SPEC 1.7)."""

    @given(x=st.floats(4, 27), y=st.floats(4, 19), sigma=st.sampled_from([1.0, 1.5, 2.0]))
    def test_finds_gaussians(self, x, y, sigma):
        joints = torch.tensor([[[x, y]]])
        found = decode(encode_gaussians(joints, SIZE, sigma)).joints
        assert (found - joints).abs().max() < 0.05

    @given(x=st.floats(6, 25), y=st.floats(6, 17), radius=st.floats(1, 3))
    def test_finds_disks(self, x, y, radius):
        joints = torch.tensor([[[x, y]]])
        maps = encode_disks(joints, SIZE, torch.tensor([radius]))
        assert (decode(maps).joints - joints).abs().max() < 0.5

    @pytest.mark.parametrize("radius", [0.75, 1.25, 1.75, 2.2, 2.7])
    def test_disks_have_no_bias(self, radius):
        """'Without blur the argmax sits on the plateau edge'; with it, bias < 0.02 px."""
        joints = grid_of_offsets()
        maps = encode_disks(joints, SIZE, torch.full((len(joints),), radius))
        error = decode(maps).joints - joints
        assert error.mean(dim=0).abs().max() < 0.05
        assert error.square().mean().sqrt() < 0.25
        edge = decode(maps, sigma=0, subcell=False).joints - joints
        if radius > 1:
            assert edge.mean(dim=0).amax() < -0.4

    def test_gaussians_have_no_bias(self):
        joints = grid_of_offsets()
        error = decode(encode_gaussians(joints, SIZE)).joints - joints
        # the 8 x 8 offsets are -1/2 ... 3/8: ties at -1/2 go to the first cell
        assert error[joints[..., 0].frac() != 0.5].mean().abs() < 0.01
        assert error.abs().max() < 0.05

    def test_maps_keep_their_places(self):
        joints = torch.tensor([[[5.0, 7], [20, 9], [11, 15]], [[25.0, 5], [9, 18], [16, 12]]])
        assert_close(decode(encode_gaussians(joints, SIZE)).joints, joints, atol=0.01, rtol=0)

    def test_ties_go_to_the_first_cell(self):
        maps = torch.zeros(1, 2, 5, 7)
        maps[0, 0, 3, 2] = maps[0, 0, 3, 5] = maps[0, 0, 4, 0] = 0.5
        assert decode(maps, sigma=0).joints.tolist() == [[[2.0, 3.0], [0.0, 0.0]]]

    @pytest.mark.parametrize("cell", [(0, 0), (31, 0), (0, 23), (31, 23), (0, 9), (14, 23)])
    def test_borders(self, cell):
        joints = torch.tensor([[cell]]).float()
        found = decode(encode_gaussians(joints, SIZE))
        assert_close(found.joints, joints, atol=0.01, rtol=0)
        assert found.scores.item() == 1

    def test_without_subcell_whole_cells(self):
        joints = grid_of_offsets()
        found = decode(encode_gaussians(joints, SIZE), subcell=False).joints
        assert torch.equal(found, found.round())
        assert (found - joints).abs().max() <= 0.5

    def test_scores_are_the_unblurred_values(self):
        maps = 0.3 * encode_gaussians(torch.tensor([[[7.0, 8.0], [20.0, 3.0]]]), SIZE)
        assert_close(decode(maps).scores, torch.full((1, 2), 0.3))

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
    def test_tiny_maps(self, size):
        assert decode(torch.rand(2, 3, *size)).joints.isfinite().all()

    def test_nothing_flows_back(self):
        maps = torch.rand(1, 2, 5, 6, requires_grad=True)
        found = decode(maps)
        assert not found.joints.requires_grad
        assert not found.scores.requires_grad

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions(self, dtype):
        maps = encode_gaussians(torch.tensor([[[9.3, 12.8]]]), SIZE)
        expected = decode(maps.to(dtype).float()).joints
        found = decode(maps.to(dtype)).joints
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert_close(found.float(), expected)

    def test_mixed_precision_does_not_move_joints(self):
        """Under autocast a product has 8 bits: enough to turn an angle by degrees."""
        maps = encode_gaussians(grid_of_offsets(4), SIZE, sigma=1.5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = decode(maps).joints
        assert torch.equal(found, decode(maps).joints)


class TestQuarter:
    """'Quarter-pixel shift towards the higher neighbour at test time' (SPEC 1.5, Newell)."""

    @pytest.mark.parametrize("x", [14.7, 14.9, 15.1, 15.3])
    @pytest.mark.parametrize("y", [10.6, 11.4])
    def test_towards_the_higher_neighbor(self, x, y):
        maps = encode_gaussians(torch.tensor([[[x, y]]]), SIZE)
        found = decode(maps, subcell="quarter").joints[0, 0]
        assert_close(
            found,
            torch.tensor([15 + math.copysign(0.25, x - 15), 11 + math.copysign(0.25, y - 11)]),
        )

    def test_none_between_equals_nor_at_the_border(self):
        maps = encode_gaussians(torch.tensor([[[15.0, 11.0], [0.0, 23.0], [31.2, 4.0]]]), SIZE)
        found = decode(maps, subcell="quarter").joints[0]
        assert found.tolist() == [[15, 11], [0, 23], [31, 4]]

    def test_it_halves_the_error_of_whole_cells(self):
        joints = grid_of_offsets()
        maps = encode_gaussians(joints, SIZE)
        errors = [decode(maps, subcell=way).joints - joints for way in (False, "quarter")]
        whole, quarter = (error.square().mean().sqrt() for error in errors)
        assert quarter < 0.6 * whole
        assert errors[1].abs().max() <= 0.2501


class TestGaussian:
    """'DARK (Taylor step on the log of the blurred map)' (SPEC 6.2): exact on Gaussians."""

    @given(x=st.floats(4, 27), y=st.floats(4, 19), sigma=st.sampled_from([1.0, 1.5, 2.0, 2.5]))
    def test_finds_gaussians_of_any_width(self, x, y, sigma):
        joints = torch.tensor([[[x, y]]])
        found = decode(encode_gaussians(joints, SIZE, sigma), subcell="gaussian").joints
        assert (found - joints).abs().max() < 5e-4

    @given(turn=st.floats(-math.pi, math.pi))
    def test_finds_slanted_gaussians(self, turn):
        """A ridge from corner to corner: its axes are not the map's."""
        place = torch.tensor([14.3, 10.8])
        y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
        along = math.cos(turn) * (x - place[0]) + math.sin(turn) * (y - place[1])
        across = math.cos(turn) * (y - place[1]) - math.sin(turn) * (x - place[0])
        maps = torch.exp(-(along**2) / (2 * 2.2**2) - across**2 / (2 * 1.4**2))[None, None]
        errors = [
            (decode(maps, subcell=way).joints[0, 0] - place).abs().max()
            for way in ("gaussian", True)
        ]
        assert errors[0] < 2e-3
        assert errors[0] < errors[1]

    @pytest.mark.parametrize("height", [1e-3, 0.3, 1.0])
    def test_the_height_does_not_matter(self, height):
        joints = torch.tensor([[[9.3, 12.8], [20.6, 7.2]]])
        maps = height * encode_gaussians(joints, SIZE, 1.5)
        assert_close(decode(maps, subcell="gaussian").joints, joints, atol=1e-3, rtol=0)

    def test_noise_hurts_it_less_than_the_parabola(self):
        joints = grid_of_offsets(16)
        maps = encode_gaussians(joints, SIZE, 1.0)
        maps = (maps + 0.02 * torch.randn(maps.shape)).clamp(0, 1)
        gaussian, parabola = (
            (decode(maps, subcell=way).joints - joints).square().mean().sqrt()
            for way in ("gaussian", True)
        )
        assert gaussian < 0.8 * parabola

    @pytest.mark.parametrize("cell", [(0, 0), (31, 0), (0, 23), (31, 23), (0, 9), (14, 23)])
    def test_at_a_border_it_steps_along_the_border_alone(self, cell):
        joints = torch.tensor([[cell]]).float() + 0.3
        on_border = (joints < 1) | (joints > torch.tensor([31.0, 23.0]))
        found = decode(encode_gaussians(joints, SIZE), subcell="gaussian").joints
        expected = torch.where(on_border, joints - 0.3, joints)
        assert_close(found, expected, atol=0.01, rtol=0)

    def test_on_a_saddle_each_axis_steps_by_itself(self):
        """Higher along a diagonal than a peak can bend: a Newton step would lead downhill."""
        cells = [[0.99, 0.95, 0.3], [0.95, 1.0, 0.97], [0.3, 0.96, 0.99]]
        maps = torch.zeros(1, 1, 7, 9)
        maps[0, 0, 2:5, 3:6] = torch.tensor(cells)
        found = decode(maps, sigma=0, subcell="gaussian").joints[0, 0]
        left, right, up, down = (math.log(value) for value in (0.95, 0.97, 0.95, 0.96))
        shift = [(left - right) / (2 * (left + right)), (up - down) / (2 * (up + down))]
        assert_close(found, torch.tensor([4.0, 3.0]) + torch.tensor(shift), atol=1e-4, rtol=0)

    def test_it_never_leaves_the_cell_nor_is_nan(self):
        for maps in (torch.rand(20, 3, 9, 11), torch.zeros(1, 2, 5, 6), torch.ones(1, 2, 5, 6)):
            for sigma in (0.0, 1.0):
                whole = decode(maps, sigma=sigma, subcell=False).joints
                found = decode(maps, sigma=sigma, subcell="gaussian").joints
                assert (found - whole).abs().max() <= 0.5

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
    def test_tiny_maps(self, size):
        assert decode(torch.rand(2, 3, *size), subcell="gaussian").joints.isfinite().all()


class TestPaperMode:
    """'Upsample x8 bilinear + blur + argmax (`paper` mode)' (SPEC 1.18)."""

    @pytest.mark.parametrize("stride", [8, 4])
    @pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
    def test_within_half_a_pixel(self, stride, sigma):
        joints = grid_of_offsets(2 * stride) + 0.25 / stride  # never between two pixels
        maps = encode_gaussians(joints, SIZE, sigma)
        found = decode(maps, subcell=False, upsample=stride).joints
        error = stride * (found - joints)  # in pixels
        assert error.abs().max() < 0.5
        assert error.mean(dim=0).abs().max() < 0.02

    def test_it_answers_in_cells_of_the_maps(self):
        """Whole pixels of the picture: ``x = stride (cell + 0.5) - 0.5`` (SPEC 1.1)."""
        joints = torch.tensor([[[5.03, 7.09], [20.0625, 9.1875]]])
        found = decode(encode_gaussians(joints, SIZE), subcell=False, upsample=8).joints
        pixels = 8 * (found + 0.5) - 0.5
        assert_close(pixels, pixels.round())
        assert pixels.tolist() == [[[44, 60], [164, 77]]]

    def test_upsampling_once_is_nothing(self):
        maps = torch.rand(2, 3, 9, 11)
        for way in (True, False, "quarter", "gaussian"):
            plain, once = decode(maps, subcell=way), decode(maps, subcell=way, upsample=1)
            assert torch.equal(plain.joints, once.joints)

    @pytest.mark.parametrize("upsample", [2, 3, 8])
    def test_it_also_goes_with_a_parabola(self, upsample):
        joints = grid_of_offsets()
        found = decode(encode_gaussians(joints, SIZE, 1.5), upsample=upsample)
        assert (found.joints - joints).abs().max() < 0.06
        assert found.scores.min() > 0.7

    def test_borders_repeat_the_outermost_cell(self):
        joints = torch.tensor([[[0.0, 0.0], [31.0, 23.0], [0.0, 23.0]]])
        maps = encode_gaussians(joints, SIZE)
        found = decode(maps, subcell=False, upsample=8)
        assert (found.joints - joints).abs().max() < 0.5
        assert_close(found.scores, torch.ones(1, 3))


def test_people_decoded_some_at_a_time_are_the_same(monkeypatch):
    maps = torch.rand(7, 3, 9, 11)
    together = decode(maps)
    for cells in (1, 3 * 9 * 11 * 2, 3 * 9 * 11 * 6):
        monkeypatch.setattr("uprightpose.score_maps.AT_A_TIME", cells)
        found = decode(maps)
        assert_close(found.joints, together.joints)
        assert_close(found.scores, together.scores)
    assert decode(maps[:0]).joints.shape == (0, 3, 2)
