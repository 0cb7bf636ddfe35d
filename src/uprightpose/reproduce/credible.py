"""Which of several looks at a person to believe: a calibrated probability for each."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.optimize import minimize

RIGHT = 45.0
"""Degrees by which the angle of a look may be wrong for the look to count as right."""


@dataclass(frozen=True)
class Credibility:
    """Logistic regression of "this look's angle is right" on the mean peak of the look's maps.

    Attributes:
        slope: of the mean peak.
        offset: added.
    """

    slope: float
    offset: float

    def __call__(self, peaks: Float[ndarray, "*any"]) -> Float[ndarray, "*any"]:
        """Return the probability that a look's angle is right.

        Args:
            peaks: mean peak of the joints' maps in each look, 0 to 1.
        """
        found: ndarray = 1 / (1 + np.exp(-(self.slope * peaks + self.offset)))
        return found


def fit_credibility(peaks: Float[ndarray, " n"], right: Bool[ndarray, " n"]) -> Credibility:
    """Fit it to looks at people whose angle is known, by the largest likelihood.

    Args:
        peaks: as :class:`Credibility` takes them.
        right: whether the look's angle is within :data:`RIGHT` degrees of the true one.

    Example:
        >>> peaks = np.array([0.9, 0.8, 0.3, 0.2, 0.5, 0.6])
        >>> fit_credibility(peaks, np.array([True, True, False, False, True, False])).slope > 0
        True
    """
    sign = np.where(right, 1.0, -1.0)

    def loss(weights: Float[ndarray, " f"]) -> float:
        margin = sign * (weights[0] * peaks + weights[1])
        return float(np.logaddexp(0, -margin).mean() + 1e-4 * weights[0] ** 2)

    slope, offset = minimize(loss, np.zeros(2)).x
    return Credibility(float(slope), float(offset))


def calibration_error(
    probability: Float[ndarray, " n"], right: Bool[ndarray, " n"], bins: int = 10
) -> float:
    """Return the expected calibration error: mean |share right - probability| over equal bins."""
    order = np.argsort(probability)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(right[part].mean() - probability[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / max(1, len(order)))
