"""Draw predicted people on their pictures: one overlay, stage beside stage, before and after.

Left and right have colors that all color-blind people tell apart (Okabe and Ito); what the
score maps hardly support is faint.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.data.person import Person
from uprightpose.frames import apply_affine, shrink_matrix
from uprightpose.skeletons import Skeleton

COLORS = {"left": (230, 159, 0), "right": (86, 180, 233), "middle": (240, 240, 240)}
"""RGB: orange, sky blue, nearly white."""

HALO = (20, 20, 20)
"""Around every line, so that it shows on any background."""

SMALLEST, LARGEST_PANEL = 512, 900
"""Pixels of the longer side: overlays are enlarged, panels brought into this range."""

CONFIDENT, FAINTEST = 0.5, 0.15
"""Scores from ``CONFIDENT`` are drawn fully, lower ones down to the opacity ``FAINTEST``."""

_BITS = 4  # OpenCV draws in 1/16 pixel
_FAR = 1e5  # pixels; what lies further out does not show anyway

Picture = UInt8[ndarray, "_ _ 3"]


def draw_people(
    image: UInt8[ndarray, "h w 3"], people: Sequence[Person], skeleton: Skeleton
) -> UInt8[ndarray, "_ _ 3"]:
    """Draw people on a copy of their picture.

    Args:
        image: RGB.
        people: joints in its pixels.
        skeleton: names the bones and sides.

    Returns:
        The picture, enlarged if its longer side is below :data:`SMALLEST`.
    """
    return _drawn(image, people, skeleton, max(SMALLEST, *image.shape[:2]))


def draw_stages(
    image: UInt8[ndarray, "h w 3"],
    people_by_stage: Mapping[str, Sequence[Person]],
    skeleton: Skeleton,
) -> UInt8[ndarray, "_ _ 3"]:
    """Draw the result of every stage side by side, under its name (Fig. 5).

    Args:
        image: RGB.
        people_by_stage: as :meth:`uprightpose.predict.Predictor.predict_stages` returns.
        skeleton: names the bones and sides.
    """
    return draw_panels(image, people_by_stage, skeleton)


def before_after(
    image: UInt8[ndarray, "h w 3"],
    people_by_stage: Mapping[str, Sequence[Person]],
    skeleton: Skeleton,
) -> UInt8[ndarray, "_ _ 3"]:
    """Draw the detector's joints beside those of the last stage, after refinement.

    Args:
        image: RGB.
        people_by_stage: as :meth:`uprightpose.predict.Predictor.predict_stages` returns,
            of one stage or more.
        skeleton: names the bones and sides.
    """
    results = list(people_by_stage.values())
    panels = {"before: detector": results[0], "after: refined": results[-1]}
    return draw_panels(image, panels, skeleton)


def draw_panels(
    image: UInt8[ndarray, "h w 3"],
    people_by_caption: Mapping[str, Sequence[Person]],
    skeleton: Skeleton,
) -> UInt8[ndarray, "_ _ 3"]:
    """Draw the picture once per caption, side by side, with its people and a legend."""
    side = int(np.clip(max(image.shape[:2]), SMALLEST, LARGEST_PANEL))
    panels = [
        _captioned(_drawn(image, people, skeleton, side), caption)
        for caption, people in people_by_caption.items()
    ]
    gap = np.full((panels[0].shape[0], max(4, side // 100), 3), 255, np.uint8)
    row = [part for panel in panels for part in (gap, panel)][1:]
    return _with_legend(np.concatenate(row, axis=1), side)


def side_of(joint: str) -> str:
    """Return ``"left"``, ``"right"`` or ``"middle"``.

    Example:
        >>> side_of("left_knee"), side_of("neck")
        ('left', 'middle')
    """
    side = joint.partition("_")[0]
    return side if side in ("left", "right") else "middle"


def opacity(score: float) -> float:
    """Return how strongly a joint of this score is drawn.

    Example:
        >>> opacity(0.9), opacity(0.25), opacity(0.0)
        (1.0, 0.575, 0.15)
    """
    return FAINTEST + (1 - FAINTEST) * float(np.clip(score / CONFIDENT, 0, 1))


def _drawn(image: Picture, people: Sequence[Person], skeleton: Skeleton, side: int) -> Picture:
    """Resize the picture to this longer side and draw on it."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    new = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    canvas = image.copy() if factor == 1 else cv2.resize(image, new, interpolation=way)
    canvas = canvas.astype(np.uint8, copy=False)
    matrix = shrink_matrix(new[0] / width, new[1] / height)
    for person in people:
        _draw_person(canvas, apply_affine(matrix, person.joints), person.scores, skeleton)
    return canvas


def _draw_person(
    canvas: Picture,
    joints: Float[ndarray, "k 2"],
    scores: Float[ndarray, " k"],
    skeleton: Skeleton,
) -> None:
    """Draw bones and on them joints, on the canvas itself; the surest come last, on top."""
    width = _line_width(canvas, joints)
    sides = [side_of(joint) for joint in skeleton.joints]
    for a, b in sorted(skeleton.edges, key=lambda edge: float(scores[list(edge)].min())):
        names = {sides[a], sides[b]} - {"middle"}
        color = COLORS[names.pop() if len(names) == 1 else "middle"]
        _stroke(canvas, joints[[a, b]], width, color, opacity(float(scores[[a, b]].min())))
    for joint in np.argsort(scores):
        color, strength = COLORS[sides[joint]], opacity(float(scores[joint]))
        _stroke(canvas, joints[[joint, joint]], 2.2 * width, color, strength)


def _line_width(canvas: Picture, joints: Float[ndarray, "k 2"]) -> float:
    """Return pixels: thin on small people, never too thin to see or coarse for the picture."""
    extent = float((joints.max(axis=0) - joints.min(axis=0)).max())
    longer = max(canvas.shape[:2])
    return float(np.clip(extent / 70, longer / 250, longer / 80))


def _stroke(
    canvas: Picture,
    ends: Float[ndarray, "2 2"],
    width: float,
    color: tuple[int, int, int],
    strength: float,
) -> None:
    """Blend a line with round ends and its halo into the canvas; equal ends give a dot."""
    halo = width + max(2.0, width * 0.35)
    ends = np.clip(ends, -_FAR, _FAR)
    low = np.floor(ends.min(axis=0) - halo).astype(int).clip(0)
    high = np.ceil(ends.max(axis=0) + halo).astype(int) + 1
    region = canvas[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
    if not region.size:
        return
    for thickness, shade, share in ((halo, HALO, 0.6 * strength), (width, color, strength)):
        mask = _line_mask((region.shape[0], region.shape[1]), ends - low, thickness)
        weight = mask * np.float32(share / 255)
        flat = np.full_like(region, shade)
        region[:] = cv2.blendLinear(region, flat, 1 - weight, weight)


def _line_mask(
    size: tuple[int, int], ends: Float[ndarray, "2 2"], thickness: float
) -> UInt8[ndarray, "h w"]:
    """Return 255 on a line with round ends, less at its border."""
    mask = np.zeros(size, np.uint8)
    a, b = (tuple(np.rint(end * 2**_BITS).astype(int).tolist()) for end in ends)
    if a == b:
        cv2.circle(mask, a, round(thickness / 2 * 2**_BITS), 255, -1, cv2.LINE_AA, _BITS)
    else:
        cv2.line(mask, a, b, 255, max(1, round(thickness)), cv2.LINE_AA, _BITS)
    return mask


def _captioned(panel: Picture, caption: str) -> Picture:
    """Put a white strip with text above a panel, shrunk to its width."""
    strip = np.full((max(24, max(panel.shape[:2]) // 16), panel.shape[1], 3), 255, np.uint8)
    _write(strip, caption, 0, (20, 20, 20), most=panel.shape[1])
    return np.concatenate([strip, panel], axis=0)


def _with_legend(row: Picture, side: int) -> Picture:
    """Put a strip below a row of panels that says which color is which side of the person."""
    strip = np.full((max(24, side // 20), row.shape[1], 3), 255, np.uint8)
    x = 0
    for name in ("left", "right"):
        x = _write(strip, f"person's {name}", x, COLORS[name], most=row.shape[1] // 2, mark=True)
    return np.concatenate([row, strip], axis=0)


def _write(
    strip: Picture,
    text: str,
    x: int,
    color: tuple[int, int, int],
    *,
    most: int,
    mark: bool = False,
) -> int:
    """Write one line on the strip from ``x``; a mark of the color goes before dark text.

    Args:
        strip: is written on.
        text: plain ASCII.
        x: pixels from the left.
        color: of the mark, or of the text without one.
        most: pixels that it may take.
        mark: draw a filled square first.

    Returns:
        Where the next may begin.
    """
    height: int = strip.shape[0]
    font, gap = cv2.FONT_HERSHEY_SIMPLEX, height // 3
    start = x + gap + (height if mark else 0)
    room = max(most - (start - x) - gap, 1)
    full: Sequence[int] = cv2.getTextSize(text, font, 1.0, 1)[0]
    scale = min(height * 0.55 / full[1], room / full[0])
    thickness = max(1, round(scale * 1.3))
    if mark:
        square = strip[gap // 2 : height - gap // 2, x + gap : x + gap + height - gap]
        square[:] = color
        color = (20, 20, 20)
    base = round(height / 2 + full[1] * scale / 2)
    cv2.putText(strip, text, (start, base), font, scale, color, thickness, cv2.LINE_AA)
    return start + int(full[0] * scale) + gap
