"""Person: what a prediction says about one person in one picture."""

from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Person:
    """One predicted person.

    Attributes:
        joints: ``(k, 2)`` pixels of the picture as the viewer sees it, ``(x, y)``, 0-based;
            they may lie outside the picture.
        scores: ``(k,)`` in [0, 1], the peak of each joint's score map.
        box: ``(x, y, w, h)`` in COCO's edge coordinates: the given box, or the whole picture.
        score: the mean of ``scores``.
        body_angle: degrees in (-180, 180], the turn that would bring the neck straight above
            the torso center, positive clockwise (so -90 for a body whose head points right);
            ``None`` where the score maps support no angle (SPEC 1.8).
    """

    joints: Float[ndarray, "k 2"]
    scores: Float[ndarray, " k"]
    box: tuple[float, float, float, float]
    score: float
    body_angle: float | None
