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
    """Logistic regression of "this look's angle is right" on what is known without the truth.

    Attributes:
        weights: of the mean peak of the detector's maps, the logarithm of the posterior's mass
            about the angle, and 1.
    """

    weights: tuple[float, float, float]

    def __call__(
        self, peaks: Float[ndarray, " n"], mass: Float[ndarray, " n"]
    ) -> Float[ndarray, " n"]:
        """Return the probability that each look's angle is right.

        Args:
            peaks: mean peak of the joints' maps, 0 to 1.
            mass: of the posterior, 0 to 1; 0 gives 0.
        """
        found = 1 / (1 + np.exp(-_features(peaks, mass) @ np.array(self.weights)))
        return np.where(mass > 0, found, 0.0)


def fit_credibility(
    peaks: Float[ndarray, " n"], mass: Float[ndarray, " n"], right: Bool[ndarray, " n"]
) -> Credibility:
    """Fit it to looks at people whose angle is known, by the largest likelihood.

    Args:
        peaks: as :class:`Credibility` takes them.
        mass: as there, above 0.
        right: whether the look's angle is within :data:`RIGHT` degrees of the true one.

    Example:
        >>> peaks = np.array([0.9, 0.8, 0.3, 0.2, 0.5, 0.6])
        >>> right = np.array([True, True, False, False, True, False])
        >>> fit = fit_credibility(peaks, np.full(6, 0.5), right)
        >>> bool(fit(peaks[:1], np.array([0.5]))[0] > fit(peaks[3:4], np.array([0.5]))[0])
        True
    """
    features = _features(peaks, mass)

    def loss(weights: Float[ndarray, " f"]) -> float:
        margin = np.where(right, 1.0, -1.0) * (features @ weights)
        return float(np.logaddexp(0, -margin).mean() + 1e-3 * (weights[:2] ** 2).sum())

    best = minimize(loss, np.zeros(3)).x
    return Credibility(tuple(float(value) for value in best))  # type: ignore[arg-type]


def calibration_error(
    probability: Float[ndarray, " n"], right: Bool[ndarray, " n"], bins: int = 10
) -> float:
    """Return the expected calibration error: mean |share right - probability| over equal bins."""
    order = np.argsort(probability)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(right[part].mean() - probability[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / max(1, len(order)))


def _features(peaks: Float[ndarray, " n"], mass: Float[ndarray, " n"]) -> Float[ndarray, "n 3"]:
    return np.stack([peaks, np.log(np.maximum(mass, 1e-6)), np.ones_like(peaks)], axis=1)
