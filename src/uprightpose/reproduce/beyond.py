"""Ideas beyond the paper (SPEC 6), each as rows against the refinement that it changes.

The detector was trained over the full circle; every idea refines its maps, and the baselines are
those of the page on normalization: body, or body and limbs, turned by the weighted axis.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from uprightpose.reproduce.found_joints import angle_errors
from uprightpose.reproduce.gate import LEAST, RIGHT, reliability_table
from uprightpose.reproduce.idea_arms import SOFT
from uprightpose.reproduce.ideas import HYPOTHESES, Ideas
from uprightpose.reproduce.normalization import AXIS, CHAIN, DETECTOR, study_facts
from uprightpose.reproduce.refiner_arms import Arm
from uprightpose.reproduce.report import Report, markdown_table
from uprightpose.reproduce.rivals import time_study
from uprightpose.reproduce.study import COPIES, Study
from uprightpose.reproduce.study_page import Comparison, Pair
from uprightpose.reproduce.timing import PEOPLE, time_calls
from uprightpose.reproduce.variants import Variant, alone, refined
from uprightpose.skeletons import LSP
from uprightpose.tables import Difference

GATED = "body and limbs, turned where the axis is credible"
MODES = "body and limbs, the better of two turns for each limb"
ANGLES = "body, the best of three angles where credible"
SHARED = "body and limbs, left and right limbs share networks"
PRETRAINED = "body and limbs, learned on drawn maps, then on the detector's"
SYNTHETIC = "body and limbs, learned on drawn maps alone"
SCALED = "body, turned and brought to one size"
TOGETHER = "body and limbs, trained together, soft limb angles as constants"
FLOWING = "body and limbs, trained together, gradients through the limb angles"


class Idea(NamedTuple):
    """One idea, and what tells whether it helps.

    Attributes:
        name: with the number in SPEC.
        pair: its row and the row that it is compared with.
    """

    name: str
    pair: Pair


IDEAS = (
    Idea("A gate by confidence (6.3a)", (GATED, CHAIN)),
    Idea("Two hypotheses for each limb (6.3d)", (MODES, CHAIN)),
    Idea("Three hypotheses for the body's angle (6.3)", (ANGLES, AXIS)),
    Idea("Networks shared by left and right limbs (6.8)", (SHARED, CHAIN)),
    Idea("Pre-training on drawn maps (6.11)", (PRETRAINED, CHAIN)),
    Idea("Drawn maps instead of the detector's (6.11), against refinement", (SYNTHETIC, CHAIN)),
    Idea(
        "Drawn maps instead of the detector's (6.11), against no refinement", (SYNTHETIC, DETECTOR)
    ),
    Idea("Scale normalization (6.6)", (SCALED, AXIS)),
    Idea("Gradients through the limb angles (6.4)", (FLOWING, TOGETHER)),
    Idea("Training both stages on together (6.4), whatever the gradients", (TOGETHER, CHAIN)),
)
PAIRS: tuple[Pair, ...] = tuple(idea.pair for idea in IDEAS)

CAVEATS = (
    "One detector, several seeds of refinement: intervals redraw people and seeds of refinement, "
    "not detectors.",
    "The gate and both kinds of hypotheses use the baseline's refiners as they are: nothing is "
    "trained again. The gate's probability, and that of each angle, is fitted to people whom the "
    "detector has not seen, never to test people; the shares of its table that are of the same "
    "people flatter it.",
    "Pre-training takes half as many steps more than its baseline, and training both stages on "
    "takes the limbs' steps once more: what these two gain, more steps might gain, too. Gradients "
    "through the angles are compared with the same steps without them.",
    "Drawn maps have narrower peaks and noise of another kind than this detector's; how often "
    "joints fail in them is that of another detector (SPEC 5.3).",
    "The share of a second peak, the cells about the first one and the sharpness of soft angles "
    "were set beforehand and not searched for.",
    "A small detector and minutes of training on 2 CPU cores: contrasts count, not totals.",
)


def reproduce_beyond(study: Study, draws: int) -> Report:
    """Make what is not there yet, and the page.

    Args:
        study: keeps everything.
        draws: of bootstrap and exchange.
    """
    ideas = Ideas(study)
    comparison = Comparison(_variants(study, ideas), study.truth, draws)
    milliseconds = _milliseconds(study)
    return Report(
        title="Beyond the paper: one idea at a time",
        facts=_facts(study),
        findings=_findings(comparison, ideas),
        sections={
            **comparison.by_angle(milliseconds),
            "Paired differences": comparison.contrasts(PAIRS),
            f"The gate: probability that the axis is within {RIGHT:.0f} degrees": _gate(ideas),
            "Body angles: errors": _angles(ideas),
            "Limb angles between joints that stage 1 shows: errors": _limbs(study, ideas),
            **comparison.groups(),
        },
        caveats=CAVEATS,
        numbers={"milliseconds": milliseconds, **comparison.numbers(PAIRS)},
    )


def _variants(study: Study, ideas: Ideas) -> list[Variant]:
    arms, axis = ideas.arms, Arm("axis")
    return [
        alone(DETECTOR, lambda copy: study.seen("circle", copy, "zero"), 1.0),
        refined(study, AXIS, "circle", "zero", axis, "body", 1.0),
        refined(study, CHAIN, "circle", "zero", axis, "limbs", 1.0),
        ideas.gated(GATED),
        ideas.limb_modes(MODES),
        ideas.best_angles(ANGLES),
        ideas.trained(SHARED, "shared", arms.shared, "limbs"),
        ideas.trained(SYNTHETIC, "synthetic", arms.synthetic, "limbs"),
        ideas.trained(PRETRAINED, "pretrained", arms.pretrained, "limbs"),
        ideas.trained(SCALED, "scaled", arms.scaled, "body"),
        ideas.trained(TOGETHER, "together", lambda seed: arms.together(seed, flow=False), "limbs"),
        ideas.trained(FLOWING, "flowing", lambda seed: arms.together(seed, flow=True), "limbs"),
    ]


def _findings(comparison: Comparison, ideas: Ideas) -> tuple[str, ...]:
    sentences = []
    for idea in IDEAS:
        found = (comparison.contrast(idea.pair, copy)["Total"] for copy in COPIES)
        pairs = zip(COPIES, found, strict=True)
        told = "; ".join(f"{copy} pictures {verdict(one)}" for copy, one in pairs)
        sentences.append(f"{idea.name}: {told}.")
    for copy in COPIES:
        stopped = 100 * float(np.mean(~ideas.credible("axis", copy)))
        shares = ideas.limb_choices(copy)
        sentences.append(
            f"{copy} pictures: the gate turns {stopped:.1f} % of people not at all; "
            f"{100 * shares['offered']:.1f} % of limbs have a second peak, "
            f"{100 * shares['taken']:.1f} % take it."
        )
    return tuple(sentences)


def verdict(one: Difference) -> str:
    """Say from a difference's interval whether it helps.

    Example:
        >>> verdict(Difference(0.4, low=0.1, high=0.7, p=0.01, p_holm=0.02))
        '+0.40 [+0.10, +0.70], it helps'
    """
    if one.low != one.low:  # NaN, without draws
        return f"{one.value:+.2f}, no interval was drawn"
    word = "it helps" if one.low > 0 else "it hurts" if one.high < 0 else "undecided"
    return f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}], {word}"


def _gate(ideas: Ideas) -> str:
    named = {}
    for copy in ("training", *COPIES):
        errors = angle_errors(ideas.angle("axis", copy), ideas.angle("true", copy))
        name = "held-out training people (fitted to)" if copy == "training" else f"{copy} pictures"
        named[name] = (ideas.probability("axis", copy), errors)
    return reliability_table(named)


def _angles(ideas: Ideas) -> str:
    """Return the errors of each angle, of the gated axis and of what is chosen (seed 0)."""
    rows = []
    for copy in COPIES:
        gated = np.where(ideas.credible("axis", copy), ideas.angle("axis", copy), 0.0)
        angles = {
            **{name: ideas.angle(name, copy) for name in HYPOTHESES},
            f"axis where credible (probability from {LEAST})": gated,
            "best of three where credible, seed 0": ideas.chosen_angle(0, copy),
        }
        for name, angle in angles.items():
            error = angle_errors(angle, ideas.angle("true", copy))
            share = f"{100 * np.mean(error > RIGHT):.1f}"
            rows.append([copy, name, f"{np.median(error):.1f}", share])
    return markdown_table(["pictures", "angle", "median error", "beyond 30, %"], rows)


def _limbs(study: Study, ideas: Ideas) -> str:
    """Return the errors of the limbs' angles between stage 1's joints, over all seeds."""
    rows = []
    for copy in COPIES:
        truth = limb_angles(study.truth[copy])
        for title, name in ((CHAIN, None), (TOGETHER, "together"), (FLOWING, "flowing")):
            every = [
                angle_errors(limb_angles(ideas.stage_one(name, seed, copy).joints), truth)
                for seed in range(study.plan.seeds)
            ]
            errors = np.concatenate(every)
            errors = errors[np.isfinite(errors)]
            share = f"{100 * np.mean(errors > RIGHT):.1f}"
            rows.append([title, copy, f"{np.median(errors):.2f}", share])
    return markdown_table(["", "pictures", "median error", "beyond 30, %"], rows)


def limb_angles(joints: Float[ndarray, "n k 2"]) -> Float[ndarray, " l"]:
    """Return everybody's angles from root to middle of each limb, in radians, in one row."""
    roots, middles = ([getattr(limb, end) for limb in LSP.limbs] for end in ("root", "middle"))
    down = joints[:, middles] - joints[:, roots]
    angles: ndarray = np.arctan2(down[..., 0], down[..., 1]).ravel()
    return angles


def _milliseconds(study: Study) -> dict[str, float]:
    """Return the times of all steps: of the study's, the angle net's and the second limb turns'."""
    found = time_study(study, "circle", "zero", Arm("axis"))
    found["second limb turns"] = found["limbs refinement"] - found["body refinement"]
    net, threads = study.angle_net, torch.get_num_threads()
    pictures = torch.rand(PEOPLE, 3, 128, 128).mul(255)
    torch.set_num_threads(1)
    with torch.inference_mode():
        found |= time_calls({"angle net": lambda: net(pictures)})
    torch.set_num_threads(threads)
    return {name: round(value, 2) for name, value in found.items()}


def _facts(study: Study) -> dict[str, str]:
    facts, more = study_facts(study), study.plan.refiners.limbs_steps
    facts["refiners"] += (
        f"; on drawn maps half as many; together {more} more, soft angles of sharpness {SOFT:g}"
    )
    return facts
