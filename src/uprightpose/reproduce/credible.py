"""Whether a body angle is to be believed: a calibrated probability that it is about right."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.optimize import minimize


@dataclass(frozen=True, eq=False)
class Credibility:
    """Logistic regression of "this angle is right" on what is known of it.

    Attributes:
        weights: of each measure.
        offset: added.
    """

    weights: Float[ndarray, " f"]
    offset: float

    def __call__(self, measures: Float[ndarray, "*any f"]) -> Float[ndarray, "*any"]:
        """Return the probability that each angle is right."""
        found: ndarray = 1 / (1 + np.exp(-(measures @ self.weights + self.offset)))
        return found


def fit_credibility(measures: Float[ndarray, "n f"], right: Bool[ndarray, " n"]) -> Credibility:
    """Fit it to people whose angle is known, by the largest likelihood.

    Args:
        measures: of their angles, any units near 1.
        right: whether each angle is about the true one.

    Example:
        >>> measures = np.array([[0.9], [0.8], [0.3], [0.2], [0.5], [0.6]])
        >>> right = np.array([True, True, False, False, True, False])
        >>> bool(fit_credibility(measures, right).weights[0] > 0)
        True
    """
    sign = np.where(right, 1.0, -1.0)

    def loss(values: Float[ndarray, " g"]) -> float:
        margin = sign * (measures @ values[:-1] + values[-1])
        return float(np.logaddexp(0, -margin).mean() + 1e-4 * (values[:-1] ** 2).sum())

    found = minimize(loss, np.zeros(measures.shape[1] + 1)).x
    return Credibility(found[:-1], float(found[-1]))


def calibration_error(
    probability: Float[ndarray, " n"], right: Bool[ndarray, " n"], bins: int = 10
) -> float:
    """Return the expected calibration error: mean |share right - probability| over equal bins."""
    order = np.argsort(probability)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(right[part].mean() - probability[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / max(1, len(order)))
