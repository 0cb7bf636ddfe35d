"""Figures 1, 4 and 8 from annotations alone: how normalization compacts poses (SPEC 5.2).

The paper prints these figures without numbers. Ours have them; what they must agree with are
the reference values of SPEC 5.2, stated here and beside our numbers on every page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.compactness import (
    MIN_TORSO,
    MIN_UPPER,
    Displacements,
    Estimate,
    displacements,
    measure_angles,
    torso_lengths,
    trace,
)
from uprightpose.figures import Scatter, draw_angles, draw_scatters
from uprightpose.metrics import body_angle
from uprightpose.reproduce.expected import ANKLE, EXPECTED_ANGLES, HEAD, WRIST
from uprightpose.reproduce.people import READERS, People, read_people
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.reproduce.scatter import (
    ScatterRow,
    against,
    check_number,
    control_text,
    expected_text,
    finding,
    measure_joint,
    ratio_text,
    row_numbers,
    scatter_text,
    steps,
    with_interval,
)
from uprightpose.statistics import LEVEL

CLUSTERS = (
    "The paper's figure shows clusters of MPII poses, copied from the dataset's site, to argue "
    "that MPII is compact already. The angles here support that for orientation; whether the "
    "joints are compact is another question, which the traces of the head answer."
)
COUNTS = (
    "SPEC 5.2 counts 5281 people of LSPET for the head: those with torso and neck. Its values "
    "are those of the 5209 who have a head too; only these are counted here."
)
LIMITS = (30, 90)
"""Degrees from upright that Figure 8 counts people beyond."""

AXES = 2.5
"""Torso lengths that the scatters show on each side."""

BY_CONSTRUCTION = (
    "Aligning by the elbow (knee) removes one degree of freedom from the wrist (ankle) by "
    "construction, as aligning by the neck does from the head; compactness is necessary, not "
    "sufficient, for better refinement."
)
UNIT = (
    "The paper draws these scatters from -0.8 to 0.8 in a unit that it does not state; the "
    f"axes here are torso lengths, -{AXES:g} to {AXES:g}, y down. The people drawn are LSPET's; "
    "the ellipse is two standard deviations, the cross the origin."
)


def figure1(data: Path, draws: int, seed: int) -> Report:
    """Head before and after body, left wrist before and after limb normalization (Fig. 1 b-e).

    Args:
        data: folder that holds ``lsp/``, ``lspet/`` and ``mpii/``.
        draws: bootstrap draws of people; 0 for no intervals.
        seed: of the draws.

    Raises:
        InputError: if a dataset is missing or holds too few people.
    """
    rows = _rows(data, (HEAD, WRIST), draws, seed)
    head, wrist = (_row(rows, joint).found for joint in (HEAD, WRIST))
    panels = [
        _panel("(b) head, raw", head, "raw", "the torso's center"),
        _panel("(c) head, body normalized", head, "body", "the torso's center"),
        _panel("(d) left wrist, raw", wrist, "raw", "the left shoulder"),
        _panel("(e) left wrist, limb normalized", wrist, "limb", "the left shoulder"),
    ]
    title = "Figure 1: where joints lie before and after normalization"
    return _scatter_report(title, rows, panels, draws, seed)


def figure4(data: Path, draws: int, seed: int) -> Report:
    """Left wrist seen from the left shoulder: raw, body normalized, limb normalized (Fig. 4).

    The page has the left ankle too. Arguments and errors as of :func:`figure1`.
    """
    rows = _rows(data, (WRIST, ANKLE), draws, seed)
    titles = {"raw": "raw", "body": "body normalized", "limb": "limb normalized"}
    found = _row(rows, WRIST).found
    panels = [_panel(titles[f], found, f, "the left shoulder") for f in found.frames]
    title = "Figure 4: where a limb's end lies, raw, body and limb normalized"
    return _scatter_report(title, rows, panels, draws, seed)


def figure8(data: Path, draws: int, seed: int) -> Report:
    """How upright people are in MPII, LSP and LSPET (the argument of Fig. 8).

    Arguments and errors as of :func:`figure1`.
    """
    people = [read_people(data, name) for name in EXPECTED_ANGLES]
    angles = {them.name: _angles(them) for them in people}
    found = {
        name: measure_angles(values, LIMITS, steps(draws, name), seed)
        for name, values in angles.items()
    }
    heads = {them.name: _head_traces(them) for them in people}
    numbers = {
        name: {
            "people": len(angles[name]),
            "body_angle": {what: asdict(estimate) for what, estimate in estimates.items()},
            "expected": EXPECTED_ANGLES[name],
            "head_trace": heads[name],
        }
        for name, estimates in found.items()
    }
    return Report(
        "Figure 8: how upright people are in MPII, LSP and LSPET",
        _facts(people, draws, seed),
        (*(_angle_finding(name, found[name]) for name in found), _head_finding(heads)),
        {"Orientation": _angle_text(angles, found)},
        (CLUSTERS,),
        {"seed": seed, "draws": draws, "level": LEVEL, "datasets": numbers},
        draw_angles(angles, LIMITS),
    )


FIGURES: dict[str, Callable[[Path, int, int], Report]] = {
    "figure1": figure1,
    "figure4": figure4,
    "figure8": figure8,
}


def _rows(data: Path, joints: Sequence[str], draws: int, seed: int) -> list[ScatterRow]:
    everybody = [read_people(data, name) for name in READERS]
    return [measure_joint(joint, people, draws, seed) for joint in joints for people in everybody]


def _row(rows: Sequence[ScatterRow], joint: str, name: str = "LSPET") -> ScatterRow:
    return next(row for row in rows if (row.joint, row.people.name) == (joint, name))


def _angles(people: People) -> Float[ndarray, " n"]:
    """Return the angles of those whose torso is long enough to have one."""
    torso = torso_lengths(people.joints, people.skeleton)
    angles = body_angle(people.joints, people.skeleton)
    known: Float[ndarray, " n"] = angles[(torso > MIN_TORSO) & np.isfinite(angles)]
    check_number(len(known), people, "body angle")
    return known


def _angle_text(
    angles: Mapping[str, Float[ndarray, " _"]], found: Mapping[str, dict[str, Estimate]]
) -> str:
    lines = []
    for name, estimates in found.items():
        for what, estimate in estimates.items():
            beside = against((EXPECTED_ANGLES[name][what],), (estimate.value,))[1:]
            lines.append([name, str(len(angles[name])), what, with_interval(estimate), *beside])
    header = ["data", "n", "of the body angle", "measured", "SPEC 5.2", "difference"]
    text = (
        f"Percent of people turned by more than {LIMITS[0]} and {LIMITS[1]} degrees, and the mean "
        "resultant length of their angles (1: all alike)."
    )
    return f"{text}\n\n{markdown_table(header, lines)}"


def _angle_finding(name: str, found: Mapping[str, Estimate]) -> str:
    shares = ", ".join(
        f"{with_interval(found[f'> {limit}'], '.1f')} % beyond {limit} degrees" for limit in LIMITS
    )
    return f"{name}: {shares}, resultant {with_interval(found['resultant'], '.2f')}"


def _head_traces(people: People) -> dict[str, float]:
    head = people.skeleton.joints.index("head_top")
    frames = displacements(people.joints, people.skeleton, head).frames
    return {frame: trace(points) for frame, points in frames.items()}


def _head_finding(traces: Mapping[str, Mapping[str, float]]) -> str:
    """Say how far the argument goes: being upright is not yet being compact."""
    each = "; ".join(f"{name} {at['raw']:.3f} -> {at['body']:.3f}" for name, at in traces.items())
    mpii, lsp = traces["MPII validation"], traces["LSP-OC"]
    return (
        f"trace of the head seen from the center, raw -> body: {each}. MPII's raw one is "
        f"{mpii['raw'] / lsp['body']:.1f} times that of LSP after normalization, which takes "
        f"MPII's to {mpii['body'] / mpii['raw']:.2f} of itself"
    )


def _panel(title: str, found: Displacements, frame: str, origin: str) -> Scatter:
    points = found.frames[frame]
    return Scatter(f"{title}\ntrace {trace(points):.3f}", points, origin)


def _scatter_report(
    title: str, rows: Sequence[ScatterRow], panels: Sequence[Scatter], draws: int, seed: int
) -> Report:
    people = list({row.people.name: row.people for row in rows}.values())
    sections = {
        "Scatter": scatter_text(rows),
        "Ratios of traces": ratio_text(rows),
        "Controls": control_text(rows),
        "Against SPEC 5.2": expected_text(rows),
    }
    numbers = {
        "seed": seed,
        "draws": draws,
        "level": LEVEL,
        "rows": [row_numbers(row) for row in rows],
    }
    counts = (COUNTS,) if rows[0].joint == HEAD else ()
    caveats = (BY_CONSTRUCTION, UNIT, *counts)
    facts = _scatter_facts(people, draws, seed)
    findings = tuple(map(finding, rows))
    return Report(title, facts, findings, sections, caveats, numbers, draw_scatters(panels, AXES))


def _scatter_facts(people: Sequence[People], draws: int, seed: int) -> dict[str, str]:
    facts = _facts(people, draws, seed)
    facts["joints"] = (
        "head = head top; center = mean of both shoulders and hips; the limb's turn is made in "
        "the body frame, as in the model"
    )
    facts["counted"] += f", all joints that are needed, upper arm or leg above {MIN_UPPER:g} px"
    if draws:
        facts["intervals"] += "; entropy: as many halves of the people, without replacement"
    return facts


def _facts(people: Sequence[People], draws: int, seed: int) -> dict[str, str]:
    labels = ", ".join(f"{them.name} {them.labels} ({len(them.joints)} people)" for them in people)
    redrawn = f"{LEVEL:g} %, percentiles of {draws} bootstrap draws of people"
    return {
        "data and labels": f"{labels}; pc = person-centric, oc = observer-centric",
        "reference length": "torso, left shoulder - right hip",
        "body angle": "of the line from the mean of both shoulders and hips to the neck (MPII: "
        "upper neck)",
        "counted": f"people with torso and neck, a torso above {MIN_TORSO:g} px",
        "intervals": redrawn if draws else "none",
        "seed": str(seed),
    }
