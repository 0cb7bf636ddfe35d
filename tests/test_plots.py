"""Overlays: colors tell the side, faintness the score, and no input breaks them."""

import numpy as np
import pytest

from uprightpose.data.person import Person
from uprightpose.plots import (
    COLORS,
    FAINTEST,
    LARGEST_PANEL,
    SMALLEST,
    before_after,
    draw_people,
    draw_stages,
    opacity,
    side_of,
)
from uprightpose.skeletons import COCO, FLIC, LSP, MPII

WIDTH, HEIGHT = 640, 520
SPOTS = {  # of a person seen from the front, in LSP's order
    "right_ankle": (250, 480),
    "right_knee": (255, 400),
    "right_hip": (280, 300),
    "left_hip": (360, 300),
    "left_knee": (385, 400),
    "left_ankle": (390, 480),
    "right_wrist": (180, 290),
    "right_elbow": (200, 220),
    "right_shoulder": (260, 140),
    "left_shoulder": (380, 140),
    "left_elbow": (440, 220),
    "left_wrist": (460, 290),
    "neck": (320, 120),
    "head_top": (320, 40),
}


def person(joints=None, scores=None):
    joints = np.array([SPOTS[name] for name in LSP.joints], float) if joints is None else joints
    scores = np.ones(len(joints)) if scores is None else scores
    return Person(joints, scores, (0.0, 0.0, 1.0, 1.0), float(scores.mean()), None)


@pytest.fixture
def grey():
    return np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def changed(drawn, before):
    return (drawn != before).any(axis=2)


class TestDrawPeople:
    def test_each_joint_has_the_color_of_its_side(self, grey):
        drawn = draw_people(grey, [person()], LSP)
        for name, (x, y) in SPOTS.items():
            assert tuple(drawn[y, x]) == COLORS[side_of(name)], name

    @pytest.mark.parametrize(
        ("a", "b", "side"),
        [
            ("left_shoulder", "left_elbow", "left"),
            ("right_hip", "right_knee", "right"),
            ("neck", "left_shoulder", "left"),
            ("left_hip", "right_hip", "middle"),
            ("neck", "head_top", "middle"),
        ],
    )
    def test_each_bone_has_the_color_of_its_side(self, grey, a, b, side):
        drawn = draw_people(grey, [person()], LSP)
        x, y = (np.array(SPOTS[a]) + SPOTS[b]) // 2
        assert tuple(drawn[y, x]) == COLORS[side]

    def test_low_scores_are_faint(self, grey):
        scores = np.ones(14)
        scores[LSP.joints.index("left_wrist")] = 0.01
        drawn = draw_people(grey, [person(scores=scores)], LSP).astype(int)
        strength = {name: np.abs(drawn[y, x] - 128).max() for name, (x, y) in SPOTS.items()}
        assert 5 < strength["left_wrist"] < 0.5 * strength["left_elbow"]
        x, y = (np.array(SPOTS["left_wrist"]) + SPOTS["left_elbow"]) // 2
        assert np.abs(drawn[y, x] - 128).max() < 0.5 * strength["left_elbow"]

    def test_sides_differ_in_more_than_hue(self):
        """Blue and orange stay apart for every kind of color blindness."""
        left, right, middle = (np.array(COLORS[side]) for side in ("left", "right", "middle"))
        for a, b in ((left, right), (left, middle), (right, middle)):
            assert abs(int(a[2]) - int(b[2])) > 100 or abs(a.mean() - b.mean()) > 60

    def test_opacity_grows_with_the_score(self):
        values = [opacity(score) for score in (0, 0.1, 0.3, 0.5, 1)]
        assert values == sorted(values)
        assert (values[0], values[-1]) == (FAINTEST, 1)

    def test_the_picture_stays_as_it_is(self, grey):
        draw_people(grey, [person()], LSP)
        assert (grey == 128).all()

    def test_nobody_changes_nothing(self, grey):
        assert (draw_people(grey, [], LSP) == grey).all()

    @pytest.mark.parametrize("factor", [0.1, 0.5])
    def test_small_pictures_are_enlarged_and_joints_with_them(self, grey, factor):
        small = grey[: int(HEIGHT * factor), : int(WIDTH * factor)]
        joints = (person().joints + 0.5) * factor - 0.5
        drawn = draw_people(small, [person(joints)], LSP)
        assert max(drawn.shape[:2]) == SMALLEST
        scale = SMALLEST / WIDTH
        for name, spot in SPOTS.items():
            x, y = np.rint((np.array(spot) + 0.5) * scale - 0.5).astype(int)
            assert tuple(drawn[y, x]) == COLORS[side_of(name)], name

    def test_large_pictures_keep_their_size_and_have_thicker_lines(self, grey):
        large = grey.repeat(4, axis=0).repeat(4, axis=1)
        drawn = draw_people(large, [person(person().joints * 4)], LSP)
        assert drawn.shape == large.shape
        share = (
            changed(drawn, large).mean() / changed(draw_people(grey, [person()], LSP), grey).mean()
        )
        assert 0.6 < share < 1.4

    def test_a_small_person_has_thin_lines(self, grey):
        there = changed(draw_people(grey, [person(person().joints / 8)], LSP), grey)
        assert 50 < there.sum() < 0.1 * changed(draw_people(grey, [person()], LSP), grey).sum()

    @pytest.mark.parametrize("shift", [(-5000, 0), (0, 1e9), (-1e12, -1e12), (300, -200)])
    def test_joints_outside_the_picture_are_cut_off(self, grey, shift):
        drawn = draw_people(grey, [person(person().joints + shift)], LSP)
        assert drawn.shape == grey.shape

    @pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 700)])
    def test_odd_pictures(self, size):
        image = np.zeros((*size, 3), np.uint8)
        assert max(draw_people(image, [person()], LSP).shape) >= SMALLEST
        assert draw_stages(image, {"detector": [person()]}, LSP).dtype == np.uint8

    @pytest.mark.parametrize("skeleton", [LSP, FLIC, MPII, COCO], ids=lambda s: s.name)
    def test_every_skeleton(self, grey, skeleton):
        joints = np.random.default_rng(0).uniform(50, 450, (len(skeleton.joints), 2))
        assert changed(draw_people(grey, [person(joints)], skeleton), grey).any()


class TestPanels:
    """'From left to right: ...' (Fig. 5)."""

    def test_stages_stand_side_by_side(self, grey):
        moved = person(person().joints + np.array([60, 0]))
        drawn = draw_stages(grey, {"detector": [person()], "body": [moved], "limbs": []}, LSP)
        top = (drawn != 255).any(axis=(1, 2)).nonzero()[0]  # below the captions
        assert drawn.shape[1] > 3 * WIDTH
        gap = (drawn.shape[1] - 3 * WIDTH) // 2
        first_row = next(y for y in top if (drawn[y, :5] == 128).all())
        panels = [
            drawn[first_row : first_row + HEIGHT, i * (WIDTH + gap) :][:, :WIDTH] for i in range(3)
        ]
        assert (panels[0] == draw_people(grey, [person()], LSP)).all()
        assert (panels[1] == draw_people(grey, [moved], LSP)).all()
        assert (panels[2] == grey).all()

    def test_captions_differ(self, grey):
        one = draw_stages(grey, {"detector": []}, LSP)
        other = draw_stages(grey, {"limbs": []}, LSP)
        assert one.shape == other.shape
        assert changed(one, other).any()

    def test_before_and_after_are_the_first_and_the_last_stage(self, grey):
        stages = {"detector": [person()], "body": [], "limbs": [person(person().joints + 9)]}
        drawn = before_after(grey, stages, LSP)
        without_body = {"detector": stages["detector"], "limbs": stages["limbs"]}
        assert (drawn == before_after(grey, without_body, LSP)).all()
        assert changed(drawn, before_after(grey, {**stages, "limbs": []}, LSP)).any()
        assert changed(drawn, before_after(grey, {**stages, "detector": []}, LSP)).any()

    @pytest.mark.parametrize(("longer", "panel"), [(150, SMALLEST), (3000, LARGEST_PANEL)])
    def test_panels_are_of_a_size_to_look_at(self, longer, panel):
        image = np.zeros((longer, longer // 2, 3), np.uint8)
        drawn = draw_stages(image, {"detector": [], "body": []}, LSP)
        assert panel < drawn.shape[0] < 1.3 * panel
        assert drawn.shape[1] == pytest.approx(panel, rel=0.05)
