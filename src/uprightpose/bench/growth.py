"""How time and memory grow with people and with pictures (bar 7).

Each size runs in a process of its own, so that its highest memory is its own.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch

from uprightpose.data.images import write_image
from uprightpose.predict import Predictor, load
from uprightpose.predict_files import predict_files

SIZES = (1, 10, 100, 1000)
HEIGHT, WIDTH = 240, 320
"""Of the pictures; small, so that a thousand take half a minute."""

Of = Literal["people", "pictures"]


@dataclass(frozen=True)
class Growth:
    """What one size took.

    Attributes:
        of: what there are so many of: people in one picture, or pictures of one person.
        number: of them.
        seconds: of ``predict_files``, the network loaded and warm.
        each: milliseconds for one.
        megabytes: of memory at most, of the whole process.
        above: of these, how many more than before the work began.
    """

    of: Of
    number: int
    seconds: float
    each: float
    megabytes: float
    above: float


def growth(threads: int, sizes: Sequence[int] = SIZES, weights: str = "compact") -> list[Growth]:
    """Measure each number of people in one picture, and each number of pictures.

    Args:
        threads: that torch may use.
        sizes: the numbers.
        weights: as of :func:`uprightpose.predict.load`.

    Raises:
        CalledProcessError: if a process fails; it says why on stderr.
    """
    return [
        _measured_alone(of, number, threads, weights)
        for of in ("people", "pictures")
        for number in sizes
    ]


def measure(of: Of, number: int, predictor: Predictor) -> Growth:
    """Measure one size in this process, whose highest memory must still be before it."""
    generator = np.random.default_rng(0)
    with TemporaryDirectory(prefix="uprightpose-bench-") as name:
        out = Path(name) / "out"
        out.mkdir()
        pictures = []
        for i in range(number if of == "pictures" else 1):
            pictures.append(Path(name) / f"{i}.jpg")
            image = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            write_image(pictures[-1], image)
        corners = generator.uniform((0, 0), (WIDTH / 2, HEIGHT / 2), (number, 2))
        people = [(float(x), float(y), WIDTH / 2, HEIGHT / 2) for x, y in corners]
        boxes = {pictures[0]: people} if of == "people" else None
        predictor.predict(image)  # warm
        before = peak_megabytes()
        start = time.perf_counter()
        predict_files(predictor, pictures, out, boxes)
        seconds = time.perf_counter() - start
    peak = peak_megabytes()
    return Growth(of, number, seconds, 1000 * seconds / number, peak, peak - before)


def peak_megabytes() -> float:
    """Return the most memory that this process has had so far; 0 where the system is silent.

    Linux says it of this program; what ``getrusage`` says begins with the parent's.
    """
    if found := _status("VmHWM"):
        return found
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def memory_now() -> float:
    """Return the megabytes that this process has; 0 where the system is silent."""
    return _status("VmRSS")


def forget_peak() -> bool:
    """Let :func:`peak_megabytes` begin anew, and say whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> float:
    """Return megabytes of Linux's account of this process, 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = [int(line.split()[1]) for line in lines if line.startswith(name)]
    return found[0] / 1024 if found else 0.0


def _measured_alone(of: Of, number: int, threads: int, weights: str) -> Growth:
    command = [sys.executable, "-m", __name__, of, str(number), str(threads), weights]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Growth(**json.loads(done.stdout.splitlines()[-1]))


def _main(of: Of, number: str, threads: str, weights: str) -> None:
    torch.set_num_threads(int(threads))
    print(json.dumps(asdict(measure(of, int(number), load(weights, "cpu")))))


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
