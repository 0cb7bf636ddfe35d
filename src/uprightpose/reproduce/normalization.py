"""Does the same refinement learn better in normalized frames, and how much of that the angle is.

A detector that was trained over the full circle, its maps of people whom it has not seen, and the
same refiners on them: nothing turned; turned by the angle that the maps show, as the paper reads
it or by all joints of the axis, and by the true one.
"""

import numpy as np

from uprightpose.reproduce.found_joints import angle_errors
from uprightpose.reproduce.machine import machine_fact
from uprightpose.reproduce.refiner_arms import Arm, predict_arm
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.reproduce.rivals import time_study
from uprightpose.reproduce.study import COPIES, Study
from uprightpose.reproduce.study_page import Comparison, Pair, chain_finding
from uprightpose.reproduce.variants import Variant, alone, refined

DETECTOR = "detector"
NONE, NONE_LIMBS = "body refined, nothing turned", "body and limbs refined, nothing turned"
MAPS = "body refined, turned by the maps' angle"
AXIS = "body refined, turned by the weighted axis"
CHAIN = "body and limbs refined, turned by the weighted axis"
TRUE = "body refined, turned by the true angle"

PAIRS: tuple[Pair, ...] = (
    (NONE, DETECTOR),
    (MAPS, NONE),
    (AXIS, NONE),
    (AXIS, MAPS),
    (TRUE, NONE),
    (TRUE, AXIS),
    (CHAIN, DETECTOR),
    (CHAIN, NONE_LIMBS),
    (CHAIN, AXIS),
)
"""Differences that are reported."""

ESTIMATORS = ("zero", "maps", "axis", "posterior", "scout", "true")
"""Angles whose errors are reported, and by which one refiner is turned for comparison."""

CAVEATS = (
    "One detector, several seeds of refinement: intervals redraw people and seeds of refinement, "
    "not detectors.",
    "All arms turn about the center that the maps show; only the angle differs.",
    "A small detector and minutes of training on 2 CPU cores: contrasts count, not totals.",
)


def reproduce_normalization(study: Study, draws: int) -> Report:
    """Make what is not there yet, and the page.

    Args:
        study: keeps everything.
        draws: of bootstrap and exchange.
    """
    variants = _variants(study)
    comparison = Comparison(variants, study.truth, draws)
    milliseconds = time_study(study, "circle", "zero", Arm("axis"))
    findings = _findings(comparison)
    return Report(
        title="Normalization on a detector that was trained over the full circle",
        facts=study_facts(study),
        findings=findings,
        sections={
            **comparison.by_angle(milliseconds),
            "Paired differences": comparison.contrasts(PAIRS),
            "Angles: errors, and one refiner turned by each": _estimators(study),
            "Error types, % of joints": comparison.errors(),
            **comparison.groups(),
        },
        caveats=CAVEATS,
        numbers={"milliseconds": milliseconds, **comparison.numbers(PAIRS)},
    )


def _variants(study: Study) -> list[Variant]:
    rows = (
        (NONE, Arm("none"), "body"),
        (MAPS, Arm("maps", limbs=False), "body"),
        (AXIS, Arm("axis"), "body"),
        (TRUE, Arm("true", limbs=False), "body"),
        (NONE_LIMBS, Arm("none"), "limbs"),
        (CHAIN, Arm("axis"), "limbs"),
    )
    return [
        alone(DETECTOR, lambda copy: study.seen("circle", copy, "zero"), 1.0),
        *(refined(study, title, "circle", "zero", arm, stage, 1.0) for title, arm, stage in rows),
    ]


def _estimators(study: Study) -> str:
    """Return the errors of each angle, and PCK of one refiner that is turned by it.

    The refiner is that of :data:`AXIS`, seed 0; it is not trained again for each angle.
    """
    from uprightpose.protocols import PROTOCOLS
    from uprightpose.tables import pck_table

    refiners = study.refiners("circle", "zero", Arm("axis"), 0)
    rows = []
    for copy in COPIES:
        truth = study.angles("true", copy)
        maps = study.view("circle", copy, "zero", np.zeros(len(truth)))
        for name in ESTIMATORS:
            angle = study.angles(name, copy, "circle")
            error = angle_errors(angle, truth)
            found = predict_arm(refiners, maps, np.nan_to_num(angle), 4)["body"]
            score = pck_table(found.joints, study.truth[copy], PROTOCOLS["lsp"], "pc").scores
            share = f"{100 * np.mean(error > 30):.1f}"
            rows.append([copy, name, f"{np.median(error):.1f}", share, f"{score['Total']:.2f}"])
    heads = ["pictures", "angle", "median error", "beyond 30, %", "Total of one refiner"]
    return markdown_table(heads, rows)


def _findings(comparison: Comparison) -> tuple[str, ...]:
    """Return what the issue's second and fourth bars ask for, as sentences."""
    sentences = []
    for copy in COPIES:
        true, own = (
            comparison.contrast(pair, copy)["Total"].value for pair in ((TRUE, NONE), (AXIS, NONE))
        )
        kept = f"{100 * own / true:.0f} %" if true > 0 else "no share, as that is no gain,"
        sentences += [
            chain_finding(comparison, (CHAIN, DETECTOR), (CHAIN, NONE_LIMBS), copy),
            f"{copy} pictures: over no normalization the true angle gains {true:+.2f} and the "
            f"estimated one {own:+.2f}, {kept} of it (bar 80 %), body refinement alone.",
        ]
    return tuple(sentences)


def study_facts(study: Study) -> dict[str, str]:
    """Return what numbers of refinement on the circle detector's maps rest on."""
    plan, size = study.plan, study.plan.refiners
    return {
        "training data": "LSP train + LSPET; their last fifth teaches refinement alone",
        "test data": f"LSP test, {len(study.test)} people, and their turned copy",
        "labels": "person-centric (pc)",
        "reference length": "left shoulder - right hip; threshold 0.2, included",
        "detector": f"compact, ResNet-18 trunk, 128 pixels, {plan.detector_steps} steps within 30 "
        f"degrees and {plan.circle_steps} over the full circle, batches of 32",
        "refiners": f"width {size.width}, kernels {size.kernels}, {size.body_steps} + "
        f"{size.limbs_steps} steps of {size.batch} on {len(study.training)} maps",
        "seeds": ", ".join(map(str, range(plan.seeds))) + " of refinement",
        "machine": machine_fact(),
    }
