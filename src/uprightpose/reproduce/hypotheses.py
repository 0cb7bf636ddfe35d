"""What was said about the simulation before it was run, as data (SPEC 5.3).

The page of the results is laid out from these words; ``docs/results/simulation.md`` held them
before any arm was tested. Whoever changes one here changes what was registered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uprightpose.tables import Difference

Pictures = Literal["natural", "turned"]

Who = Literal["all", "0-30", "30-180"]
"""Everyone, or those whose true body angle is below, or from, 30 degrees."""

Answer = Literal["confirmed", "refuted", "undecided"]


@dataclass(frozen=True)
class Gain:
    """One arm minus another on some of the test people.

    Attributes:
        first: title of the arm that should be better.
        second: of the other.
        who: on whom.
    """

    first: str
    second: str
    who: Who = "all"


@dataclass(frozen=True)
class Hypothesis:
    """A sentence that the run can prove wrong.

    Attributes:
        name: H1 to H6 as in SPEC 5.3.
        claim: what is registered, in words.
        gain: the contrast that the claim says is above 0.
        over: a second gain that is taken from the first; ``None`` for a plain contrast.
        pictures: the test set that decides; the other is reported beside it.
        columns: that decide, all of them.
    """

    name: str
    claim: str
    gain: Gain
    over: Gain | None = None
    pictures: Pictures = "natural"
    columns: tuple[str, ...] = ("Total",)


REGISTERED = (
    "Design, rule and hypotheses were written and committed before any arm was run on test poses; "
    "the history of this file shows the order. Their words have not been changed since."
)

DESIGN = (
    "Poses: LSP, observer-centric; the 1000 training people, augmented by a turn over the full "
    "circle, a mirroring (half of the draws, left and right exchanged) and a scale of 0.80-1.25; "
    "the 1000 test people as they are (natural) and each turned about the picture's middle by an "
    "angle drawn over the full circle (turned). The same turned copy serves all arms.",
    "Score maps are drawn, not detected, on 24 x 24 cells. Each joint has a Gaussian (1 cell) "
    "at its place with noise of 0.055 reference lengths along each axis, and an amplitude drawn "
    "from Beta(6, 2). A joint fails with probability 1 - PCK of Yang et al. (observer-centric, the "
    "paper's Table 2, by group of joints); then this peak is weakened (by a factor of 0.3-0.9) "
    "and one of the full amplitude stands at the mirror joint (50 %), at a chain neighbor (25 %) "
    "or about the torso's center with a spread of one reference length (25 %). Head and neck have "
    "no mirror joint: their 50 % go to the chain neighbor. Each cell gets noise of 0.03; values "
    "end at 0 and 1; the background map is 1 - the largest of the others.",
    "Arms of stage 1, one network each, on a canvas of 1.25 times the maps. raw: the maps in the "
    "canvas's middle, as they are. center only: the torso's center comes to the canvas's middle. "
    "body: this, and the body is turned upright. oracle body: the same with angle and center of "
    "the true joints. random angle: as body, by an angle over the full circle that means nothing. "
    "Angles and centers of all but the oracle are read from the drawn maps.",
    "Arms of stage 2, on top of the seed's own body network, which is frozen: four networks for "
    "limbs and one for head and neck. no limb normalization: limbs stay in the body frame. limb: "
    "each is turned about its root to hang down, by the angle read from the maps of stage 1. "
    "oracle limb: by its true angle, about the root that was read. another limb's angle: arms by "
    "the angle of the leg of their side, and legs by that of the arm.",
    "raw and body again with a tenth of the training poses (1/10 poses), and without turns in "
    "training (no turns). All arms of a seed see the same poses, augmentations, failures and noise "
    "in the same order, start from the same weights and learn for the same number of steps at the "
    "same rate. Sizes, steps and rate are chosen on training poses alone: 800 to learn from and "
    "200 held out; the raw network has to beat the joints read from the drawn maps there.",
)

RULE = (
    "Score: PCK@0.2 by LSP's protocol, observer-centric; Total is that of all 14 joints. Each "
    "hypothesis says that a difference is above 0. Its interval of 95 % redraws seeds and "
    "pictures, paired: confirmed if it lies above 0, refuted if below 0, undecided if it holds 0. "
    "Where two columns decide: confirmed if both lie above 0, refuted if one lies below 0, else "
    "undecided. The other test set is reported beside it and decides nothing. At least 5 seeds, 0 "
    "and up, all of which are shown. p (exchange of the two arms picture by picture, Holm over "
    "the plain contrasts of a test set) is reported and decides nothing. Contrasts that no "
    "hypothesis names are reported without a prediction."
)

HYPOTHESES = (
    Hypothesis(
        "H1",
        "Body normalization helps: body - raw, Total, natural pictures, is above 0.",
        Gain("body", "raw"),
    ),
    Hypothesis(
        "H2",
        "Without turns in training it helps most where people are not upright: body, no turns - "
        "raw, no turns at true |theta| >= 30 degrees, less the same at |theta| < 30, Total, turned "
        "pictures, is above 0. Turned pictures decide because there the angle is drawn and goes "
        "with no kind of pose. (With turns in training a pilot saw no such difference.)",
        Gain("body, no turns", "raw, no turns", "30-180"),
        over=Gain("body, no turns", "raw, no turns", "0-30"),
        pictures="turned",
    ),
    Hypothesis(
        "H3",
        "It is the right angle that helps, not any: raw - random angle, Total, natural pictures, "
        "is above 0.",
        Gain("raw", "random angle"),
    ),
    Hypothesis(
        "H4",
        "Errors of the angle cost: oracle body - body, Total, natural pictures, is above 0.",
        Gain("oracle body", "body"),
    ),
    Hypothesis(
        "H5",
        "With a tenth of the training poses the gain grows: body, 1/10 poses - raw, 1/10 poses, "
        "less body - raw, Total, natural pictures, is above 0.",
        Gain("body, 1/10 poses", "raw, 1/10 poses"),
        over=Gain("body", "raw"),
    ),
    Hypothesis(
        "H6",
        "Given body, limb normalization helps the limbs' ends: limb - no limb normalization, "
        "Wrist and Ankle, natural pictures, are both above 0.",
        Gain("limb", "no limb normalization"),
        columns=("Wrist", "Ankle"),
    ),
)

DESIGN_HEADING = "Design (written before the run)"
HYPOTHESES_HEADING = "Hypotheses (written before the run)"


def registered_sections() -> dict[str, str]:
    """Return what was written before the run as Markdown by heading."""
    claims = "\n".join(f"- **{one.name}** {one.claim}" for one in HYPOTHESES)
    return {
        DESIGN_HEADING: "\n\n".join((REGISTERED, *DESIGN)),
        HYPOTHESES_HEADING: f"{RULE}\n\n{claims}",
    }


def answer(differences: Sequence[Difference]) -> Answer:
    """Return what intervals say of a claim that each of these differences is above 0.

    Example:
        >>> answer([Difference(1, 0.5, 1.5, 0.01, 0.01)])
        'confirmed'
        >>> answer([Difference(1, 0.5, 1.5, 0.01, 0.01), Difference(0, -1, 1, 1, 1)])
        'undecided'
    """
    if any(math.isnan(one.low) for one in differences):
        return "undecided"
    if any(one.high < 0 for one in differences):
        return "refuted"
    return "confirmed" if all(one.low > 0 for one in differences) else "undecided"
