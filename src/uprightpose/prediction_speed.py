"""How long a model takes per person on this machine, from the picture to its joints."""

import os
import statistics
import time
from dataclasses import dataclass

import numpy as np

from uprightpose.data.boxes import Box
from uprightpose.predict import Predictor

ROUNDS = 9
"""Of which the median is told, after one that is not."""

TOGETHER = 16
"""People of one picture."""


@dataclass(frozen=True)
class Speed:
    """Milliseconds per person, a picture in memory to joints in its pixels.

    Attributes:
        alone: one person in the picture.
        together: :data:`TOGETHER` people in it, divided by their number.
        device: where the network ran.
        load: processes that ran or waited over the last minute, before the measurement.
    """

    alone: float
    together: float
    device: str
    load: float


def measure_speed(predictor: Predictor, rounds: int = ROUNDS) -> Speed:
    """Measure a predictor on a made-up picture of 640 x 480; what is in it does not matter.

    Args:
        predictor: on any device.
        rounds: at least 1.
    """
    load = os.getloadavg()[0]
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    boxes = [(20.0 * number, 10.0 * number, 150.0, 300.0) for number in range(TOGETHER)]
    alone, together = (
        _median(predictor, picture, boxes[:count], rounds) for count in (1, TOGETHER)
    )
    return Speed(
        alone=1e3 * alone,
        together=1e3 * together / TOGETHER,
        device=str(predictor.device),
        load=load,
    )


def _median(predictor: Predictor, picture: np.ndarray, boxes: list[Box], rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        predictor.predict(picture, boxes)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
