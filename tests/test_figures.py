"""The pictures: whole PNG files, the same bytes each time, axes that tell the truth."""

import cv2
import numpy as np
import pytest

from uprightpose import figures
from uprightpose.figures import Scatter, draw_angles, draw_scatters

POINTS = np.random.default_rng(0).normal([0.2, -0.9], 0.5, (200, 2))


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that are drawn, caught before they become pixels."""
    caught: list = []
    monkeypatch.setattr(figures, "_png", lambda figure: caught.append(figure) or b"")
    return caught


def test_each_panel_adds_to_the_width():
    panel = Scatter("one", POINTS, "the neck")
    one, three = (draw_scatters([panel] * n, limit=2) for n in (1, 3))
    sizes = [cv2.imdecode(np.frombuffer(png, np.uint8), 1).shape for png in (one, three)]
    assert sizes[1][0] == sizes[0][0]
    assert sizes[1][1] == pytest.approx(3 * sizes[0][1], abs=3)
    assert one.startswith(b"\x89PNG")


def test_the_same_points_give_the_same_bytes():
    first, again = (draw_scatters([Scatter("one", POINTS, "the neck")], 2) for _ in range(2))
    assert first == again
    assert first != draw_scatters([Scatter("one", POINTS + 0.1, "the neck")], 2)


def test_y_points_down_and_what_does_not_show_is_counted(drawn):
    points = np.array([[0.5, -1.0], [0.5, 3.1], [-3.2, 3.3], [3.0, 0.0]])
    draw_scatters([Scatter("wrist", points, "the shoulder")], limit=3)
    axes = drawn[0].axes[0]
    assert axes.get_ylim() == (3, -3)
    assert axes.get_xlim() == (-3, 3)
    assert axes.get_aspect() == 1
    assert "torso lengths from the shoulder" in axes.get_xlabel()
    assert "n = 4, 2 not shown" in axes.get_xlabel()
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), points)


def test_the_ellipse_is_two_standard_deviations(drawn):
    draw_scatters([Scatter("one", POINTS, "the neck")], limit=3)
    ellipse = drawn[0].axes[0].lines[1].get_xydata() - POINTS.mean(axis=0)
    distance = np.einsum("ni,ij,nj->n", ellipse, np.linalg.inv(np.cov(POINTS.T)), ellipse)
    np.testing.assert_allclose(distance, 4)


def test_histograms_show_percent_on_the_same_axes(drawn):
    angles = {"A": np.radians([0.0, 5.0, -175.0]), "B": np.radians([179.9, -45.0] * 5)}
    draw_angles(angles, (30, 90))
    for axes in drawn[0].axes:
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)
        assert {line.get_xdata()[0] for line in axes.lines} == {-90, -30, 30, 90}
        assert axes.get_xlim() == (-180, 180)
    assert len({axes.get_ylim() for axes in drawn[0].axes}) == 1
    assert drawn[0].axes[0].get_ylim()[1] > 200 / 3
    assert [axes.get_title() for axes in drawn[0].axes] == ["A (n = 3)", "B (n = 10)"]
