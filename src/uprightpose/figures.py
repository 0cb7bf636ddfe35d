"""Draw the figures of the reproduction with matplotlib, into the bytes of a PNG file.

The only module that needs matplotlib (``uprightpose[reproduce]``). It uses its objects, not
pyplot: nothing global, no window, no display.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray

BLUE, ORANGE = "#0072b2", "#d55e00"
"""Colors that all color-blind people tell apart (Okabe and Ito)."""

PANEL = 3.1
"""Inches of a panel's side."""

DPI = 110
BIN = 10
"""Degrees of a bin of the histograms."""


@dataclass(frozen=True)
class Scatter:
    """One panel: where a joint lies, seen from another.

    Attributes:
        title: above the panel.
        points: ``(n, 2)`` torso lengths, y down.
        origin: name of what lies at 0.
    """

    title: str
    points: Float[ndarray, "n 2"]
    origin: str


def draw_scatters(panels: Sequence[Scatter], limit: float) -> bytes:
    """Draw scatters side by side, on the same axes, y down as in the pictures.

    The orange cross is the origin, the ellipse two standard deviations of the points.

    Args:
        panels: from left to right.
        limit: both axes run from ``-limit`` to ``limit`` torso lengths; points beyond do not
            show, and each panel says how many.

    Returns:
        The content of a PNG file.
    """
    figure, rows = _figure(len(panels))
    for axes, panel in zip(rows, panels, strict=True):
        x, y = panel.points.T
        axes.plot(x, y, ".", color=BLUE, markersize=1.5, alpha=0.35, markeredgewidth=0)
        axes.plot(*_ellipse(panel.points).T, color="black", linewidth=1)
        axes.plot(0, 0, "+", color=ORANGE, markersize=12, markeredgewidth=2)
        beyond = int((np.abs(panel.points) > limit).any(axis=1).sum())
        axes.set(xlim=(-limit, limit), ylim=(limit, -limit), aspect="equal", title=panel.title)
        axes.set_xlabel(f"torso lengths from {panel.origin}\n(n = {len(x)}, {beyond} not shown)")
    return _png(figure)


def draw_angles(angles: Mapping[str, Float[ndarray, " _"]], limits: Sequence[int]) -> bytes:
    """Draw a histogram of body angles for each dataset, on the same axes.

    Args:
        angles: radians, 0 upright, by the dataset's name.
        limits: degrees, marked on both sides.

    Returns:
        The content of a PNG file.
    """
    figure, rows = _figure(len(angles))
    bins = [float(edge) for edge in range(-180, 180 + BIN, BIN)]
    tops = []
    for axes, (title, values) in zip(rows, angles.items(), strict=True):
        share = np.full(len(values), 100 / len(values))
        counts, _, _ = axes.hist(np.degrees(values), bins=bins, weights=share, color=BLUE)
        tops.append(float(np.max(counts)))
        for limit in (sign * limit for limit in limits for sign in (-1, 1)):
            axes.axvline(limit, color=ORANGE, linewidth=1, linestyle="--")
        axes.set(xlim=(-180, 180), xticks=range(-180, 181, 90))
        axes.set(title=f"{title} (n = {len(values)})", xlabel="turn to upright, degrees")
    for axes in rows:
        axes.set_ylim(0, 1.05 * max(tops))
    rows[0].set_ylabel(f"people per {BIN} degrees, %")
    return _png(figure)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(PANEL * panels, PANEL + 0.7), dpi=DPI, layout="constrained")
    rows = [figure.add_subplot(1, panels, panel + 1) for panel in range(panels)]
    for axes in rows:
        axes.tick_params(labelsize=8)
        axes.title.set_fontsize(10)
    return figure, rows


def _ellipse(points: Float[ndarray, "n 2"]) -> Float[ndarray, "p 2"]:
    """Return points on the ellipse of two standard deviations about the mean."""
    turns = np.linspace(0, 2 * np.pi, 100)
    variances, axes = np.linalg.eigh(np.cov(points.T))
    circle = 2 * np.sqrt(np.maximum(variances, 0)) * np.stack([np.cos(turns), np.sin(turns)], 1)
    ellipse: Float[ndarray, "p 2"] = points.mean(axis=0) + circle @ axes.T
    return ellipse


def _png(figure: Figure) -> bytes:
    """Draw with Agg; without the version of matplotlib, so that equal pictures are equal bytes."""
    stream = BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return stream.getvalue()
