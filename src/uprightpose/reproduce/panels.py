"""Figure 5: people as each step of Table 9 sees them, side by side.

LSP's pictures may not be passed on: keep what is drawn on them to yourself.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from uprightpose.data.sample import Sample
from uprightpose.metrics import body_angle
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.reproduce.requirements import read_test_people
from uprightpose.reproduce.rows import train_chain
from uprightpose.reproduce.scales import Scale
from uprightpose.reproduce.tables import EXPERIMENTS, Place, recipes

PANELS = {
    "detector": "FCN",
    "refined, not turned": "Stage 1 without body norm.",
    "after stage 1": "Stage 1 with body norm.",
    "after stage 2": "Stage 2 with limb norm.",
}
"""Caption -> row of Table 9."""

WANTED = (60, 100, 140, 180)
"""Degrees of the body angles of the pictures that are drawn if none are given."""


def reproduce_panels(scale: Scale, place: Place, pictures: Sequence[Path] = ()) -> Report:
    """Draw pictures with the networks of Table 9; trains those that are not there.

    Args:
        scale: of the networks.
        place: data, results, device.
        pictures: of one person each; by default test pictures of LSP whose bodies are turned.

    Raises:
        InputError: if data are missing or a picture cannot be read.
    """
    experiment = EXPERIMENTS["table9"]
    people = read_test_people(experiment, place.data)
    shown = list(pictures) or [people[one].image for one in turned_people(people)]
    from uprightpose.predict import load

    rows = {row.title: row for row in experiment.rows}
    chosen = {caption: rows[title] for caption, title in PANELS.items()}
    chains = {key: recipes(row.training, experiment, scale, place) for key, row in chosen.items()}
    networks = {key: load(train_chain(chain), place.device) for key, chain in chains.items()}
    seen = {
        path: {
            caption: network.predict_stages(path)[chosen[caption].training.stage]
            for caption, network in networks.items()
        }
        for path in shown
    }
    return Report(
        title=f"Figure 5 at {scale.name} scale: poses after each step",
        facts={
            "networks": "rows of Table 9, seed 0: "
            + "; ".join(f"{caption}: {title}" for caption, title in PANELS.items()),
            "training data": ", ".join(experiment.datasets),
            "sides": "observer-centric: left is the side that the viewer would call so",
            "scale": f"{scale.name}, all steps times {place.times:g}",
        },
        findings=(f"{len(shown)} pictures drawn, a row each",),
        sections={"Pictures": _listed(seen)},
        caveats=(
            "Chosen by body angle, not by result; single pictures are no evidence.",
            "LSP's pictures are for research and may not be passed on.",
        ),
        numbers={"pictures": _angles(seen)},
        picture=_draw(seen),
    )


def turned_people(people: Sequence[Sample]) -> list[int]:
    """Return the places of the people whose true body angles are nearest to :data:`WANTED`."""
    first = people[0].skeleton
    angles = np.degrees(np.abs(body_angle(np.stack([one.joints for one in people]), first)))
    return [int(np.nanargmin(np.abs(angles - wanted))) for wanted in WANTED]


Seen = dict[Path, dict[str, Any]]


def _angles(seen: Seen) -> dict[str, dict[str, float | None]]:
    """Return the body angle that each step sees, in degrees."""
    return {
        path.name: {caption: people[0].body_angle for caption, people in panels.items()}
        for path, panels in seen.items()
    }


def _listed(seen: Seen) -> str:
    lines = [
        [name, *("-" if angle is None else f"{angle:.0f}" for angle in panels.values())]
        for name, panels in _angles(seen).items()
    ]
    table = markdown_table(["picture, from the top", *PANELS], lines)
    return f"Body angle in degrees as each step sees it (- where its maps support none):\n\n{table}"


def _draw(seen: Seen) -> bytes:
    """Return a PNG: a picture per row, a step per column."""
    import cv2

    from uprightpose.data.images import read_image
    from uprightpose.plots import draw_panels
    from uprightpose.skeletons import LSP

    rows = [draw_panels(read_image(path), panels, LSP) for path, panels in seen.items()]
    drawn = _stack(rows)
    return bytes(cv2.imencode(".png", np.ascontiguousarray(drawn[:, :, ::-1]))[1])


def _stack(rows: Sequence[UInt8[ndarray, "_ _ 3"]]) -> UInt8[ndarray, "_ _ 3"]:
    """Put rows below each other on white, each in the middle."""
    width = max(row.shape[1] for row in rows)
    padded = []
    for row in rows:
        gap = width - row.shape[1]
        edges = ((0, 0), (gap // 2, math.ceil(gap / 2)), (0, 0))
        padded.append(np.pad(row, edges, constant_values=255))
    return np.concatenate(padded)
