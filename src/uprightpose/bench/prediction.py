"""Whole predictions: photos to files (bar 6), and what the compact network's parts cost.

A photo is read, its person cut out, found, drawn and written. How well these overlap is seen
beside the files alone (the network's answers are ready) and the network alone (the crops are).
"""

import json
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from uprightpose.bench.timing import Cases, Comparison
from uprightpose.data.boxes import Box, read_boxes
from uprightpose.data.images import write_image
from uprightpose.model import STAGES, decode_stage
from uprightpose.pipeline import Pipeline
from uprightpose.predict import Predictor, load
from uprightpose.predict_files import predict_files
from uprightpose.score_maps import Decoded
from uprightpose.views import View, people_of, read_view

OVERLAP = 1 / 1.2
"""Bar 6: the larger part alone takes at least so much of the whole."""

CLOSE = 0.01
"""Picture pixels by which joints may differ with the batch that a person was in."""


def predict_photos(threads: int, count: int = 200) -> Comparison:
    """Return bar 6: photos to files, beside files alone and network alone.

    "As predict" gives a part all that ``predict`` gives it on this machine: one thread for
    each worker. With one thread each, as each would have a core of its own, the parts show
    what overlapping can gain at best where there are more cores than steps.

    Args:
        threads: that torch and OpenCV may use.
        count: photos: COCO's of ``UPRIGHTPOSE_DATA``, each several times, or else drawn ones.
    """
    torch.set_num_threads(threads)
    predictor = load(device="cpu")
    folder = Path(mkdtemp(prefix="uprightpose-bench-"))
    photos, boxes, kind = _photos(folder, count)
    views = [read_view(photo, boxes[photo], predictor.crop) for photo in photos]
    batch = predictor.network.batch
    crops = [np.concatenate([v.crops for v in part]) for part in _parts(views, batch)]
    answers = _Answers(predictor, crops)

    def whole() -> Float[ndarray, "n k 2"]:
        out = folder / "whole"
        out.mkdir(exist_ok=True)
        predict_files(predictor, photos, out, boxes)
        return _listed_joints(out / "predictions.json")

    def files(workers: int | None) -> Float[ndarray, "n k 2"]:
        out = folder / "files"
        out.mkdir(exist_ok=True)
        with answers.instead_of_network(predictor), _alone(workers):
            predict_files(predictor, photos, out, boxes, workers=workers)
        return _listed_joints(out / "predictions.json")

    def network(workers: int | None) -> Float[ndarray, "n k 2"]:
        run = partial(predictor.network, stages=predictor.stages)
        with Pipeline(workers, threads=workers) as pipeline:
            found = [f[predictor.stages[-1]] for f in pipeline.map(run, crops, pipeline.workers)]
        return _joints(predictor, views, found)

    weakref.finalize(whole, shutil.rmtree, folder, ignore_errors=True)  # with the comparison
    contenders: dict[str, Callable[[], Any]] = {
        "predict": whole,
        "files alone, one thread": partial(files, 1),
        "network alone, one thread": partial(network, 1),
        "files alone, as predict": partial(files, None),
        "network alone, as predict": partial(network, None),
    }
    seconds = {name: _seconds(contenders[name]) for name in list(contenders)[1:]}
    names = [n for n in seconds if n.endswith("one thread")], [n for n in seconds if "as p" in n]
    larger = [max(some, key=lambda name: seconds[name]) for some in names]
    height, width = np.median([view.image.shape[:2] for view in views], axis=0)
    return Comparison(
        name="predict-photos",
        task=f"find, draw and write the people of {count} {kind} of about {width:.0f} x "
        f"{height:.0f} pixels, one box each, by the compact network",
        ours="predict",
        contenders=contenders,
        check=_same_joints,
        bars=dict.fromkeys(larger, OVERLAP),
        packages=("opencv-python-headless",),
        notes={"batch": batch, "people": sum(map(len, crops))},
    )


def refinement(threads: int, batch: int = 8) -> Comparison:
    """Return the bar of the compact path: refinement costs no more than the detector."""
    torch.set_num_threads(threads)
    predictor = load(device="cpu")
    images = torch.from_numpy(_texture(batch, predictor.crop.size)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        levels = predictor.model.detect(images)
        whole = decode_stage(predictor.model(images), predictor.stages[-1])
    assert whole is not None

    @torch.inference_mode()
    def detector() -> dict[str, torch.Tensor]:
        return predictor.model.detect(images)

    @torch.inference_mode()
    def refine() -> Any:
        outputs = predictor.model.refine(levels)
        return decode_stage(outputs, predictor.stages[-1])

    def check(outputs: dict[str, Any]) -> str:
        worst = max(float((v - levels[k]).abs().max()) for k, v in outputs["detector"].items())
        worst = max(worst, float((outputs["refinement"].scores - whole.scores).abs().max()))
        assert worst < 1e-4, f"maps and scores differ by {worst:.2g} from the whole network's"
        return f"both together are the whole network, equal to {worst:.1g}"

    return Comparison(
        name=f"refinement-{batch}",
        task=f"body and limb refinement of {batch} people by the compact network, decoding "
        "included, beside its detector",
        ours="refinement",
        contenders={"refinement": refine, "detector": detector},
        check=check,
        bars={"detector": 1.0},
        notes={"batch": batch},
    )


def bf16(threads: int, batch: int = 8) -> Comparison:
    """Return both number formats; peaks' scores agree in the median, joints need not."""
    torch.set_num_threads(threads)
    ours, other = load(device="cpu"), load(device="cpu", precision="bf16")
    return _networks("bf16", {"float32": ours, "bf16": other}, batch, torch.median, 0.02)


def channels_last(threads: int, batch: int = 8) -> Comparison:
    """Return the memory layout of weights that we chose, beside torch's default."""
    torch.set_num_threads(threads)
    ours, other = load(device="cpu"), load(device="cpu")
    other.model.to(memory_format=torch.contiguous_format)
    pair = {"channels-last": ours, "contiguous": other}
    return _networks("channels-last", pair, batch, torch.amax, 1e-3)


def _networks(
    name: str,
    predictors: Mapping[str, Predictor],
    batch: int,
    overall: Callable[[torch.Tensor], torch.Tensor],
    most: float,
) -> Comparison:
    """Compare two ways to run the network by how far peaks' scores differ ``overall``."""
    ours = next(iter(predictors))
    crops = _texture(batch, predictors[ours].crop.size)

    def check(outputs: dict[str, dict[str, Decoded]]) -> str:
        one, two = (found[STAGES[-1]].scores for found in outputs.values())
        apart = float(overall((one - two).abs()))
        assert apart < most, f"peaks of the score maps differ by {apart:.2g}"
        kind = overall.__name__.replace("amax", "most")
        return f"peaks of the score maps agree to {apart:.1g} ({kind})"

    return Comparison(
        name=name,
        task=f"joints of {batch} people by the compact network",
        ours=ours,
        contenders={
            kind: partial(one.network, crops, one.stages) for kind, one in predictors.items()
        },
        check=check,
    )


class _Answers:
    """What the network says about each crop, ready to be looked up."""

    def __init__(self, predictor: Predictor, crops: list[ndarray]) -> None:
        self.batch = predictor.network.batch
        self.found: dict[bytes, dict[str, Decoded]] = {}
        for some in crops:
            found = predictor.network(some, predictor.stages)
            for row, crop in enumerate(some):
                self.found[crop.tobytes()] = {
                    stage: Decoded(d.joints[row : row + 1], d.scores[row : row + 1])
                    for stage, d in found.items()
                }

    def __call__(self, crops: UInt8[ndarray, "n s s 3"], stages: Any) -> dict[str, Decoded]:
        own = [self.found[crop.tobytes()] for crop in crops]
        return {
            stage: Decoded(
                torch.cat([one[stage].joints for one in own]),
                torch.cat([one[stage].scores for one in own]),
            )
            for stage in stages
        }

    @contextmanager
    def instead_of_network(self, predictor: Predictor) -> Iterator[None]:
        network = predictor.network
        predictor.network = self  # type: ignore[assignment]
        try:
            yield
        finally:
            predictor.network = network


@contextmanager
def _alone(workers: int | None) -> Iterator[None]:
    """Let torch and OpenCV use so many threads, all if ``None``."""
    before = torch.get_num_threads()
    torch.set_num_threads(workers or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _photos(folder: Path, count: int) -> tuple[list[Path], dict[Path, list[Box]], str]:
    """Put photos into a folder, one box each; says what they are."""
    coco = Path(os.environ.get("UPRIGHTPOSE_DATA", "")) / "coco"
    given = sorted((coco / "images").glob("*.jpg"))
    photos = []
    for number in range(count):
        photos.append(folder / f"{number:04d}.jpg")
        if given:
            shutil.copyfile(given[number % len(given)], photos[-1])
        else:
            write_image(photos[-1], cv2.resize(_texture(1, 80, number)[0], (640, 480)))
    if not given:
        return photos, {photo: [(80.0, 40.0, 300.0, 400.0)] for photo in photos}, "drawn photos"
    people = read_boxes(coco / "person_keypoints.json", given)
    boxes = {photo: people[given[number % len(given)]][:1] for number, photo in enumerate(photos)}
    return photos, boxes, "photos of COCO"


def _texture(count: int, side: int, seed: int = 0) -> UInt8[ndarray, "n s s 3"]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def _parts(views: list[View], batch: int) -> Iterator[list[View]]:
    rest = iter(views)
    while part := list(islice(rest, batch)):
        yield part


def _joints(
    predictor: Predictor, views: list[View], found: list[Decoded]
) -> Float[ndarray, "n k 2"]:
    rows = iter(zip(*(torch.cat(values) for values in zip(*found, strict=True)), strict=True))
    people = []
    for view in views:
        own = list(islice(rows, len(view.boxes)))
        decoded = Decoded(*(torch.stack(values) for values in zip(*own, strict=True)))
        people += people_of(view, decoded, predictor.model.stride, predictor.skeleton)
    return np.stack([person.joints for person in people])


def _listed_joints(path: Path) -> Float[ndarray, "n k 2"]:
    annotations = json.loads(path.read_text())["annotations"]
    return np.array([np.reshape(one["keypoints"], (-1, 3))[:, :2] for one in annotations])


def _same_joints(outputs: dict[str, Any]) -> str:
    first, *others = outputs.values()
    for other in others:
        assert other.shape == first.shape, f"found {len(other)} people and {len(first)}"
    worst = max(float(np.abs(other - first).max()) for other in others)
    assert worst < CLOSE, f"joints differ by {worst:.2g} pixels"
    return f"{len(first)} people, joints agree to {worst:.1g} pixels"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


CASES: Cases = {
    "predict-photos": predict_photos,
    "refinement-1": partial(refinement, batch=1),
    "refinement-8": partial(refinement, batch=8),
    "refinement-32": partial(refinement, batch=32),
    "channels-last": channels_last,
    "bf16": bf16,
}
