"""Whether a body angle is credible: a calibrated probability that it is about right (SPEC 6.3a)."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from uprightpose.reproduce.credible import Credibility, calibration_error, fit_credibility
from uprightpose.reproduce.found_joints import Found, angle_errors
from uprightpose.reproduce.report import markdown_table
from uprightpose.scout import axis_strength, sureness
from uprightpose.skeletons import LSP

RIGHT = 30.0
"""Degrees by which an angle may be wrong to count as right."""

LEAST = 0.5
"""Probability of being right from which on an angle is credible."""

BINS = 5
"""Of the reliability table, of equal width."""


def axis_measures(found: Found) -> Float[ndarray, "n 2"]:
    """Return what tells a weighted axis's worth: how well joints lie on it, how sure they are."""
    return np.stack(
        [axis_strength(found.joints, found.scores, LSP), sureness(found.scores, LSP)], axis=1
    )


def gate_of(
    measures: Float[ndarray, "n f"], angle: Float[ndarray, " n"], truth: Float[ndarray, " n"]
) -> Credibility:
    """Fit a gate to angles in radians beside the true ones; NaN where these are unknown."""
    errors = angle_errors(angle, truth)
    known = np.isfinite(errors)
    return fit_credibility(measures[known], errors[known] <= RIGHT)


def reliability(
    probability: Float[ndarray, " n"], errors: Float[ndarray, " n"]
) -> tuple[float, list[list[str]]]:
    """Return the expected calibration error, and rows of a table: said and true shares.

    Args:
        probability: of being right.
        errors: of the angles in degrees, NaN where the truth is unknown.

    Returns:
        The error over ten groups of equally many people, and for each of :data:`BINS` ranges of
        probability: the range, people, their mean probability, how many are right.
    """
    known = np.isfinite(errors)
    said, right = probability[known], errors[known] <= RIGHT
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    rows = []
    for at in range(BINS):
        own = place == at
        shares = [said[own].mean(), right[own].mean()] if own.any() else []
        cells = [f"{share:.2f}" for share in shares] or ["-", "-"]
        rows.append([f"{at / BINS:.1f}-{(at + 1) / BINS:.1f}", str(int(own.sum())), *cells])
    return calibration_error(said, right), rows


def reliability_table(
    named: dict[str, tuple[Float[ndarray, " n"], Float[ndarray, " n"]]],
) -> str:
    """Return Markdown of several groups of people, each by probability and error."""
    rows = []
    for name, (probability, errors) in named.items():
        gap, bins = reliability(probability, errors)
        rows += [[name, *row] for row in bins]
        stopped = f"{int((probability < LEAST).sum())} of {len(probability)} not turned"
        rows.append([name, "all", stopped, f"calibration error {gap:.3f}", "-"])
    return markdown_table(["people", "probability", "number", "mean probability", "right"], rows)
