"""Where: one convention for points and pixels, and affine maps that keep it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from uprightpose.frames import (
    Crop,
    apply_affine,
    compose_affine,
    crop_matrices,
    crop_matrix,
    image_to_map,
    invert_affine,
    map_to_image,
    middle,
    sampling_grids,
    shrink_matrix,
    turn_matrices,
    whole_image_box,
)

ANGLES = st.floats(-math.pi, math.pi)
SCALES = st.floats(0.3, 3)
BOXES = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(10, 300), st.floats(10, 300))


def points(count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).uniform(-20, 90, size=(count, 2))


class TestStrides:
    """'Map cell (i, j) of stride s is the image point x = s(j+0.5)-0.5' (SPEC 1.1)."""

    @pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
    def test_first_cell_is_the_middle_of_its_pixels(self, stride):
        covered = np.arange(stride)
        assert map_to_image(0.0, stride) == covered.mean()
        assert map_to_image(3.0, stride) == covered.mean() + 3 * stride

    @given(x=st.floats(-500, 500), stride=st.sampled_from([1, 2, 4, 8, 16, 32]))
    def test_there_and_back(self, x, stride):
        assert abs(map_to_image(image_to_map(x, stride), stride) - x) < 1e-9

    def test_borders_meet(self):
        """The outer edges of picture and map are the same line."""
        assert image_to_map(-0.5, 8) == -0.5
        assert image_to_map(24 - 0.5, 8) == 3 - 0.5


class TestCropMatrix:
    """'We letter-box (long side to 340, centre, pad with the mean)' (SPEC 1.8)."""

    @pytest.mark.parametrize("size", [(40, 100), (100, 40), (33, 33), (1, 1)])
    def test_long_side_fills_the_crop(self, size):
        height, width = size
        matrix = crop_matrix(whole_image_box(size), 64)
        corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])  # edges, as pixels
        low, high = apply_affine(matrix, corners) + 0.5
        long, short = (0, 1) if width >= height else (1, 0)
        assert_allclose([low[long], high[long]], [0, 64], atol=1e-9)
        assert_allclose(low[short] + high[short], 64, atol=1e-9)  # centered
        assert_allclose((high - low)[short], 64 * min(size) / max(size), atol=1e-9)

    @given(box=BOXES, angle=ANGLES, scale=SCALES, flip=st.booleans())
    def test_middle_of_the_box_becomes_the_middle_of_the_crop(self, box, angle, scale, flip):
        matrix = crop_matrix(box, 48, angle=angle, scale=scale, flip=flip)
        center = np.array([[box[0] + box[2] / 2 - 0.5, box[1] + box[3] / 2 - 0.5]])
        assert_allclose(apply_affine(matrix, center), [middle((48, 48))], atol=1e-9)

    @given(box=BOXES, angle=ANGLES, scale=SCALES, flip=st.booleans())
    def test_it_is_a_similarity(self, box, angle, scale, flip):
        linear = crop_matrix(box, 48, angle=angle, scale=scale, flip=flip)[:, :2]
        factor = scale * 48 / max(box[2:])
        assert_allclose(linear @ linear.T, factor**2 * np.eye(2), atol=1e-9)
        assert np.sign(np.linalg.det(linear)) == (-1 if flip else 1)

    def test_positive_angles_turn_clockwise_as_displayed(self):
        turned = crop_matrix((0, 0, 20, 20), 20, angle=math.pi / 2)
        right_of_middle = np.array([[9.5 + 4, 9.5]])
        assert_allclose(apply_affine(turned, right_of_middle), [[9.5, 9.5 + 4]], atol=1e-9)

    def test_flip_comes_before_the_turn(self):
        turned = crop_matrix((0, 0, 20, 20), 20, angle=math.pi / 2, flip=True)
        right_of_middle = np.array([[9.5 + 4, 9.5]])
        assert_allclose(apply_affine(turned, right_of_middle), [[9.5, 9.5 - 4]], atol=1e-9)

    def test_larger_scale_makes_the_person_larger(self):
        double = crop_matrix((0, 0, 20, 20), 20, scale=2)
        assert_allclose(apply_affine(double, np.array([[9.5 + 4, 9.5]])), [[9.5 + 8, 9.5]])


class TestStretch:
    """'Stretching changes angles and bone lengths; `resize=stretch` reproduces the literal
    reading' of 'all input images are resized to 340 x 340' (SPEC 1.8)."""

    @given(box=BOXES)
    def test_both_sides_fill_the_crop(self, box):
        corners = np.array([[box[0], box[1]], [box[0] + box[2], box[1] + box[3]]]) - 0.5
        edges = apply_affine(crop_matrix(box, 48, stretch=True), corners) + 0.5
        assert_allclose(edges, [[0, 0], [48, 48]], atol=1e-9)

    def test_a_turn_comes_after_stretching(self):
        turned = crop_matrix((0, 0, 40, 10), 20, angle=math.pi / 2, stretch=True)
        ends = np.array([[19.5 + 10, 4.5], [19.5, 4.5 + 2]])
        assert_allclose(apply_affine(turned, ends), [[9.5, 9.5 + 5], [9.5 - 4, 9.5]], atol=1e-9)

    @given(side=st.floats(10, 300), angle=ANGLES, scale=SCALES, flip=st.booleans())
    def test_squares_are_the_same_either_way(self, side, angle, scale, flip):
        options = {"angle": angle, "scale": scale, "flip": flip}
        box = (3, -4, side, side)
        stretched = crop_matrix(box, 48, stretch=True, **options)
        assert_allclose(stretched, crop_matrix(box, 48, **options))


class TestCrop:
    """'3 x 340 x 340, padded to 352 = 11 * 32' (SPEC 1.2)."""

    def test_pixels_of_the_content(self):
        """A 100 x 50 picture: 340 pixels across 352, 6 on either side; 170 down, 91 each."""
        matrix = Crop(352, 340).matrix((0, 0, 100, 50))
        edges = apply_affine(matrix, np.array([[0.0, 0.0], [100.0, 50.0]]) - 0.5) + 0.5
        assert_allclose(edges, [[6, 91], [346, 261]])

    def test_stretched_content(self):
        matrix = Crop(352, 340, "stretch").matrix((0, 0, 100, 50))
        edges = apply_affine(matrix, np.array([[0.0, 0.0], [100.0, 50.0]]) - 0.5) + 0.5
        assert_allclose(edges, [[6, 6], [346, 346]])

    @given(box=BOXES, angle=ANGLES, scale=SCALES, flip=st.booleans())
    def test_content_shrinks_about_the_middle(self, box, angle, scale, flip):
        options = {"angle": angle, "flip": flip}
        share = crop_matrix(box, 352, scale=scale * 340 / 352, **options)
        assert_allclose(Crop(352, 340).matrix(box, scale=scale, **options), share)

    @given(box=BOXES, angle=ANGLES, scale=SCALES, flip=st.booleans())
    def test_without_content_all_of_the_crop(self, box, angle, scale, flip):
        options = {"angle": angle, "scale": scale, "flip": flip}
        assert_allclose(Crop(48).matrix(box, **options), crop_matrix(box, 48, **options))
        assert_allclose(Crop(48, 48).matrix(box, **options), crop_matrix(box, 48, **options))
        stretched = crop_matrix(box, 48, stretch=True, **options)
        assert_allclose(Crop(48, resize="stretch").matrix(box, **options), stretched)


class TestAffine:
    """'One affine map from the original image and one resampling' (SPEC 1.17)."""

    @given(angle=ANGLES, scale=SCALES, flip=st.booleans())
    def test_inverse_undoes(self, angle, scale, flip):
        matrix = crop_matrix((3, -4, 50, 30), 64, angle=angle, scale=scale, flip=flip)
        back = apply_affine(invert_affine(matrix), apply_affine(matrix, points()))
        assert_allclose(back, points(), atol=1e-9)

    @given(angle=ANGLES, scale=SCALES)
    def test_composition_is_one_after_the_other(self, angle, scale):
        first = crop_matrix((3, -4, 50, 30), 64, angle=angle, scale=scale)
        second = crop_matrix((9, 1, 20, 70), 32, flip=True)
        both = apply_affine(compose_affine(first, second), points())
        assert_allclose(both, apply_affine(second, apply_affine(first, points())), atol=1e-9)

    def test_nan_stays_nan_and_alone(self):
        moved = apply_affine(crop_matrix((0, 0, 9, 9), 5), np.array([[np.nan, np.nan], [1, 2]]))
        assert np.isnan(moved[0]).all()
        assert np.isfinite(moved[1]).all()

    def test_shrinking_keeps_outer_edges(self):
        matrix = shrink_matrix(0.5, 0.25)
        assert_allclose(apply_affine(matrix, np.array([[-0.5, -0.5]])), [[-0.5, -0.5]])
        assert_allclose(apply_affine(matrix, np.array([[39.5, 79.5]])), [[19.5, 19.5]])


def test_middle_of_a_grid():
    assert middle((4, 7)) == (3.0, 1.5)
    assert middle((1, 1)) == (0.0, 0.0)


class TestManyAtOnce:
    @given(box=BOXES, stretch=st.booleans())
    def test_the_very_maps_of_each_alone(self, box, stretch):
        """Equal to the last bit: pictures and joints of a recipe stay what they were."""
        random = np.random.default_rng(0)
        angle, scale = random.uniform(-4, 4, 9), random.uniform(0.5, 2, 9)
        flip = random.random(9) < 0.5
        found = crop_matrices(box, 77, angle, scale, flip, stretch=stretch)
        for row in range(9):
            keys = {"angle": angle[row], "scale": scale[row], "flip": bool(flip[row])}
            assert np.array_equal(found[row], crop_matrix(box, 77, **keys, stretch=stretch))

    @pytest.mark.parametrize("resize", ["letterbox", "stretch"])
    def test_a_crop_with_a_margin(self, resize):
        crop, box = Crop(88, 80, resize), (3.0, 4.0, 50.0, 20.0)
        angle, scale, flip = np.array([0.3, -2]), np.array([1.1, 0.9]), np.array([True, False])
        found = crop.matrices(box, angle, scale, flip)
        for row in range(2):
            one = crop.matrix(box, angle=angle[row], scale=scale[row], flip=bool(flip[row]))
            assert np.array_equal(found[row], one)


class TestSamplingGrids:
    def test_target_edges_to_source_edges(self):
        """Torch measures from -1 at the first pixel's outer edge to 1 at the last's."""
        source, size = 30, 22
        random = np.random.default_rng(0)
        matrices = crop_matrices(
            (5, 6, 17, 17), size, random.uniform(-3, 3, 4), np.full(4, 1.2), random.random(4) < 0.5
        )
        grids = sampling_grids(matrices, source, size)
        cells = random.uniform(0, size - 1, (6, 2))
        for matrix, grid in zip(matrices, grids, strict=True):
            asked = apply_affine(grid, (2 * cells + 1) / size - 1)
            pixels = apply_affine(invert_affine(matrix), cells)
            assert_allclose(asked, (2 * pixels + 1) / source - 1, atol=1e-12)


class TestTurnMatrices:
    """'Turned about the middle by one resampling' (SPEC 1.17): crops that are turned further."""

    SIZE = 24

    def given(self, count: int = 3) -> np.ndarray:
        random = np.random.default_rng(4)
        return np.stack(
            [
                crop_matrix((3, 5, 40, 31), self.SIZE, angle=angle, scale=scale, flip=bool(row % 2))
                for row, (angle, scale) in enumerate(random.uniform(0.5, 2, (count, 2)))
            ]
        )

    def test_the_very_crops_that_are_cut_at_the_sum_of_the_angles(self):
        first, more = np.array([0.3, -2.0, 1.1]), np.array([1.4, 0.7, -3.0])
        box = (3.0, 5.0, 40.0, 31.0)
        made = turn_matrices(
            np.stack([crop_matrix(box, self.SIZE, angle=angle) for angle in first]), more, self.SIZE
        )
        for row, angle in enumerate(first + more):
            assert_allclose(made[row], crop_matrix(box, self.SIZE, angle=angle), atol=1e-12)

    def test_the_middle_stays_and_positive_angles_turn_clockwise(self):
        turned = turn_matrices(np.eye(2, 3)[None], np.array([math.pi / 2]), self.SIZE)[0]
        center = np.array(middle((self.SIZE, self.SIZE)))
        assert_allclose(apply_affine(turned, center), center, atol=1e-12)
        above, right = center - np.array([0, 5]), center + np.array([5, 0])
        assert_allclose(apply_affine(turned, above), right, atol=1e-12)

    def test_the_opposite_angle_undoes_it_mirrored_or_not(self):
        angle = np.array([0.4, 2.0, -1.0])
        there = turn_matrices(self.given(), angle, self.SIZE)
        assert np.abs(there - self.given()).max() > 0.1
        assert_allclose(turn_matrices(there, -angle, self.SIZE), self.given(), atol=1e-10)
        assert_allclose(np.linalg.det(there[:, :, :2]), np.linalg.det(self.given()[:, :, :2]))
