"""Picture and joints move together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from uprightpose.data import augment
from uprightpose.data.augment import (
    UPRIGHT,
    VALUES,
    Augmentation,
    Draws,
    augmented_matrices,
    cover,
    covered_pixels,
    draw_augmentations,
    exchange_sides,
    no_augmentations,
    turned_further,
)
from uprightpose.data.images import MEAN_COLOR, crop_image
from uprightpose.data.lsp import observer_centric
from uprightpose.frames import Crop, apply_affine, compose_affine, whole_image_box
from uprightpose.skeletons import LSP

SIZE = 96
IMAGE = (90, 130)  # h, w
DRAWS = st.fixed_dictionaries(  # of a Draw's arguments
    {
        "angle": st.floats(-math.pi, math.pi),
        "scale": st.floats(0.8, 1.25),
        "shift": st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
        "flip": st.booleans(),
    }
)


@dataclass(frozen=True)
class Draw:
    """One person's row of :class:`Draws`."""

    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False

    def between(self, others: "Sequence[Draw]" = ()) -> Draws:
        """Return a batch of this draw and others."""
        fields = ("angle", "scale", "shift", "flip")
        parts = (np.array([getattr(draw, name) for draw in (self, *others)]) for name in fields)
        return Draws(*parts, covers=np.zeros((1 + len(others), 3, 4)))


OTHERS = (Draw(1.0, 1.1, (0.1, 0.0), flip=True), Draw(-2.0, 0.9))


def augmented_matrix(box, crop, draw) -> np.ndarray:
    """Return one map of a batch of three."""
    return augmented_matrices(box, crop, draw.between(OTHERS))[0]


def move_joints(joints, matrix, mirror) -> np.ndarray:
    """Move one person of a batch of three, the others mirrored or not."""
    matrices = np.stack([matrix, np.eye(2, 3), np.diag([-1.0, 1, 1])[:2]])
    return augment.move_joints(np.stack([joints, joints, joints]), matrices, mirror)[0]


def picture(dot) -> np.ndarray:
    """Return an even picture with a soft dark dot at ``(x, y)``."""
    y, x = np.mgrid[: IMAGE[0], : IMAGE[1]]
    bump = np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * 2.0**2))
    return np.round(np.array(MEAN_COLOR) * (1 - 0.95 * bump[..., None])).astype(np.uint8)


def place_of_dot(crop: np.ndarray) -> np.ndarray:
    dark = np.clip(np.array(MEAN_COLOR) - crop.astype(float) - 3, 0, None).sum(axis=2)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    return np.array([(x * dark).sum(), (y * dark).sum()]) / dark.sum()


def joints_at(dot) -> np.ndarray:
    """Return joints that lie at different places, the left wrist under the dot."""
    joints = np.random.default_rng(0).uniform(0, 90, size=(14, 2))
    joints[11] = dot
    return joints


class TestMovingTogether:
    """'Random scale 0.80-1.25, horizontal flip, rotation over the full 360 degrees' (paper)."""

    @given(drawn=DRAWS, x=st.floats(45, 85), y=st.floats(30, 60))
    def test_a_dot_stays_under_its_joint(self, drawn, x, y):
        draw = Draw(**drawn)
        matrix = augmented_matrix(whole_image_box(IMAGE), Crop(SIZE), draw)
        joints = move_joints(joints_at((x, y)), matrix, LSP.mirror)
        joint = joints[LSP.mirror[11] if draw.flip else 11]
        crop = crop_image(picture((x, y)), matrix, SIZE)
        assert np.abs(place_of_dot(crop) - joint).max() < 0.25

    def test_also_where_the_picture_is_averaged_down(self):
        large = np.repeat(np.repeat(picture((70, 40)), 6, axis=0), 6, axis=1)
        dot = 6 * (np.array([70, 40]) + 0.5) - 0.5
        matrix = augmented_matrix(whole_image_box(large.shape[:2]), Crop(SIZE), Draw(angle=0.5))
        crop = crop_image(large, matrix, SIZE)
        assert np.abs(place_of_dot(crop) - apply_affine(matrix, dot[None])[0]).max() < 0.25

    def test_in_crops_with_a_margin(self):
        """'340 x 340, padded to 352': scale and shift are of the person, in parts of the crop."""
        box, dot = (10.0, 20.0, 40.0, 40.0), np.array([[34.5, 39.5]])  # 5 px right of the middle
        crop = Crop(88, 80)
        cases = {
            Draw(): (43.5 + 10, 43.5),
            Draw(scale=1.2): (43.5 + 12, 43.5),
            Draw(shift=(0.125, 0.0)): (43.5 + 10 + 11, 43.5),
        }
        for draw, expected in cases.items():
            assert_allclose(apply_affine(augmented_matrix(box, crop, draw), dot), [expected])

    def test_stretched_before_they_turn(self):
        box, dot = (10.0, 20.0, 40.0, 20.0), np.array([[34.5, 34.5]])  # 5 px right, 5 px below
        crop = Crop(80, resize="stretch")
        turned = augmented_matrix(box, crop, Draw(angle=math.pi / 2))
        assert_allclose(apply_affine(augmented_matrix(box, crop, Draw()), dot), [(49.5, 59.5)])
        assert_allclose(apply_affine(turned, dot), [(19.5, 49.5)], atol=1e-9)

    def test_each_draw_alone(self):
        box, dot = (10.0, 20.0, 40.0, 40.0), np.array([[34.5, 39.5]])  # 5 px right of the middle
        middle = 39.5
        cases = {
            Draw(): (middle + 10, middle),
            Draw(flip=True): (middle - 10, middle),
            Draw(scale=1.2): (middle + 12, middle),
            Draw(angle=math.pi / 2): (middle, middle + 10),
            Draw(shift=(0.1, -0.2)): (middle + 18, middle - 16),
            Draw(angle=math.pi / 2, flip=True): (middle, middle - 10),
        }
        for draw, expected in cases.items():
            found = apply_affine(augmented_matrix(box, Crop(80), draw), dot)
            assert_allclose(found, [expected], atol=1e-9, err_msg=str(draw))


class TestMoveJoints:
    """'Flip swaps left/right indices in OC and in PC alike' (SPEC 1.17)."""

    def test_flip_swaps_sides(self):
        joints = np.random.default_rng(0).uniform(0, 60, size=(14, 2))
        matrix = augmented_matrix((0, 0, 60, 60), Crop(60), Draw(flip=True))
        moved = move_joints(joints, matrix, LSP.mirror)
        for name, joint in zip(LSP.joints, moved, strict=True):
            other = LSP.joints[LSP.mirror[LSP.joints.index(name)]]
            x, y = joints[LSP.joints.index(other)]
            assert_allclose(joint, (59 - x, y))

    def test_turns_swap_nothing(self):
        joints = np.random.default_rng(0).uniform(0, 60, size=(14, 2))
        matrix = augmented_matrix((0, 0, 60, 60), Crop(60), Draw(angle=math.pi))
        assert_allclose(move_joints(joints, matrix, LSP.mirror), 59 - joints)

    def test_absent_joints_stay_absent_on_their_side(self):
        joints = np.zeros((14, 2))
        joints[11] = np.nan
        matrix = augmented_matrix((0, 0, 60, 60), Crop(60), Draw(flip=True))
        absent = np.isnan(move_joints(joints, matrix, LSP.mirror)).all(axis=1)
        assert np.flatnonzero(absent).tolist() == [LSP.mirror[11]]

    @given(drawn=DRAWS)
    def test_observer_centric_labels_stay_so(self, drawn):
        """'OC labels need no change under rotation'; nor under mirroring with exchange."""
        draw = Draw(**drawn)
        joints, _ = observer_centric(np.random.default_rng(5).uniform(0, 60, size=(14, 2)))
        moved = move_joints(joints, augmented_matrix((0, 0, 60, 60), Crop(60), draw), LSP.mirror)
        assert observer_centric(moved)[1] == list(range(14))


class TestDrawAugmentations:
    """'Scale log-uniform, flip 0.5, angle uniform' (SPEC 1.17)."""

    def draws(self, augmentation, count=4000) -> Draws:
        return draw_augmentations(augmentation, np.random.default_rng(0).random((count, VALUES)))

    def test_the_papers_ranges(self):
        draws = self.draws(Augmentation())
        angles, scales = np.degrees(draws.angle), np.log(draws.scale)
        assert -180 <= angles.min() < -175
        assert 175 < angles.max() <= 180
        assert abs(angles.mean()) < 6
        assert abs(angles.std() - 360 / 12**0.5) < 3  # uniform
        assert_allclose(np.exp([scales.min(), scales.max()]), [0.80, 1.25], rtol=0.001)
        assert abs(scales.mean()) < 0.01
        assert abs(draws.flip.mean() - 0.5) < 0.03
        assert not draws.shift.any()

    @pytest.mark.parametrize("rotation", [0.0, 20.0, 30.0, 180.0])
    def test_upright_share(self, rotation):
        draws = self.draws(Augmentation(rotation=rotation, upright_share=0.75), 2000)
        angles = np.abs(np.degrees(draws.angle))
        assert angles.max() <= rotation + 1e-9
        expected = 1.0 if rotation <= UPRIGHT else 0.75 + 0.25 * UPRIGHT / rotation
        assert abs((angles <= UPRIGHT + 1e-9).mean() - expected) < 0.03

    def test_shift(self):
        shifts = self.draws(Augmentation(shift=0.05)).shift
        assert_allclose([shifts.min(), shifts.max()], [-0.05, 0.05], atol=0.001)
        assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.05

    @pytest.mark.parametrize("flip", [0.0, 1.0])
    def test_flip_always_or_never(self, flip):
        assert set(self.draws(Augmentation(flip=flip), 200).flip.tolist()) == {bool(flip)}

    def test_a_persons_draw_is_a_function_of_its_values_alone(self):
        values = np.random.default_rng(4).random((7, VALUES))
        augmentation = Augmentation(upright_share=0.5, shift=0.1, erase=0.7)
        whole = draw_augmentations(augmentation, values)
        for row in range(7):
            one = draw_augmentations(augmentation, values[[row]])
            for name, value in vars(one).items():
                assert np.array_equal(value[0], getattr(whole, name)[row]), name

    def test_nothing_drawn_changes_nothing(self):
        draws = no_augmentations(3)
        plain = Crop(SIZE, 80).matrix((10, 20, 40, 30))
        found = augmented_matrices((10, 20, 40, 30), Crop(SIZE, 80), draws)
        assert np.array_equal(found, np.stack([plain] * 3))
        assert not covered_pixels(draws, SIZE).any()


def test_turned_further_comes_before_what_was_drawn():
    """'Turn every person upright first': a mirror that follows turns the other way."""
    box, crop = whole_image_box(IMAGE), Crop(SIZE)
    angle = np.array([0.7, -1.2, 2.0])
    shift = np.array([[0.05, -0.02]] * 3)
    flip = np.array([False, True, True])
    drawn = replace(no_augmentations(3), angle=np.array([0.1, 0.2, -0.3]), shift=shift, flip=flip)
    found = augmented_matrices(box, crop, turned_further(drawn, angle))
    later = augmented_matrices((0, 0, SIZE, SIZE), crop, drawn)
    for row in range(3):
        expected = compose_affine(crop.matrix(box, angle=float(angle[row])), later[row])
        assert_allclose(found[row], expected, atol=1e-9)


def test_sides_are_exchanged_of_the_mirrored_alone():
    values = np.arange(3 * 14).reshape(3, 14)
    kept = values.copy()
    found = exchange_sides(values, np.array([True, False, True]), LSP.mirror)
    assert np.array_equal(found[1], values[1])
    assert np.array_equal(found[[0, 2]], values[[0, 2]][:, list(LSP.mirror)])
    assert np.array_equal(values, kept)


class TestErase:
    """'Refinement trained on score maps of images the detector was fitted to sees too clean
    maps' (SPEC 1.16): covered pictures make it fail in training, too."""

    def test_off_changes_no_other_draw(self):
        values = np.random.default_rng(3).random((50, VALUES))
        plain, covered = (draw_augmentations(Augmentation(erase=e), values) for e in (0.0, 1.0))
        assert not plain.covers.any()
        counts = covered.covers.any(axis=2).sum(axis=1)
        assert set(counts.tolist()) == {1, 2, 3}
        for name in ("angle", "scale", "shift", "flip"):
            assert np.array_equal(getattr(plain, name), getattr(covered, name))

    def test_share_of_covered_pictures(self):
        values = np.random.default_rng(0).random((2000, VALUES))
        covers = draw_augmentations(Augmentation(erase=0.3), values).covers
        assert covers.any(axis=(1, 2)).mean() == pytest.approx(0.3, abs=0.03)

    def test_rectangles_are_filled_and_the_rest_stays(self):
        images = np.zeros((3, 40, 40, 3), np.uint8)
        draws = no_augmentations(3)
        draws.covers[1, :2] = (0.25, 0.5, 0.75, 0.6), (-0.2, -0.2, 0.1, 0.05)
        cover(images, covered_pixels(draws, 40), (1, 2, 3))
        assert (images[1, 20:24, 10:30] == (1, 2, 3)).all()
        assert (images[1, :2, :4] == (1, 2, 3)).all()
        assert (images[1] > 0).all(-1).sum() == 4 * 20 + 2 * 4
        assert not images[[0, 2]].any()
