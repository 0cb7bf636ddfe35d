"""COCO's average precision and recall of people, by object keypoint similarity.

``pycocotools`` decides which predicted person is which true one. From its matches the numbers
follow for any weights of the pictures, so that they can be redrawn (SPEC 5.5): with all
weights 1 they are those that ``pycocotools`` prints.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from uprightpose.data.coco_people import Content
from uprightpose.errors import InputError, install
from uprightpose.protocols import PROTOCOLS
from uprightpose.statistics import DRAWS, Statistic
from uprightpose.tables import Difference, Table, differences_of, table_of

TITLES = ("AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)")
"""In the order of ``COCOeval.stats``; M and L are people of 32 to 96 and of 96 pixels squared."""

_AREAS = 3  # all, medium, large
_RECALLS = np.linspace(0, 1, 101)


def oks_table(truth: Content, results: list[Content], *, draws: int = 0, seed: int = 0) -> Table:
    """Score people against COCO's truth; every picture of the truth counts.

    Args:
        truth: of :func:`~uprightpose.data.coco_people.read_coco_truth`.
        results: of :func:`~uprightpose.data.coco_people.read_coco_results`.
        draws: bootstrap draws of pictures; 0 for no intervals.
        seed: of these.

    Raises:
        InputError: if pycocotools is not installed.
    """
    counted = [one for one in truth["annotations"] if one["num_keypoints"] and not one["iscrowd"]]
    return table_of(
        _average_precision(truth, [results]),
        PROTOCOLS["coco"],
        "pc",
        titles=TITLES,
        counts=(sum(one["num_keypoints"] for one in counted), len(counted), len(truth["images"])),
        images=len(truth["images"]),
        draws=draws,
        seed=seed,
    )


def oks_difference(
    truth: Content,
    first: list[Content],
    second: list[Content],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return first minus second on the same pictures; arguments as in :func:`oks_table`."""
    statistic = _average_precision(truth, [first, second])
    return differences_of(statistic, TITLES, len(truth["images"]), draws=draws, seed=seed)


@dataclass(frozen=True)
class _Matches:
    """People predicted in one range of areas, best score first, at ``t`` similarities.

    Attributes:
        units: the picture (and model) of each.
        hits: 1 where it is a true person.
        wrong: 1 where it is nobody; neither where it is to be ignored.
        people: how many true people each unit has.
    """

    units: Int[ndarray, " d"]
    hits: Float[ndarray, "t d"]
    wrong: Float[ndarray, "t d"]
    people: Float[ndarray, " n"]


def _average_precision(truth: Content, models: list[list[Content]]) -> Statistic:
    """Return the statistic of the pictures as one model sees them, then the next."""
    found = [_evaluate(truth, results) for results in models]
    areas = [_gather([images[area] for images in found]) for area in range(_AREAS)]

    def score(weights: Float[ndarray, "b n"]) -> Float[ndarray, "b s"]:
        return np.array([_summary(areas, row) for row in weights]).reshape(-1, len(TITLES))

    return score


def _evaluate(truth: Content, results: list[Content]) -> list[list[Any]]:
    """Return pycocotools' matches by area and picture, in the order of picture ids."""
    try:
        from pycocotools.coco import COCO  # type: ignore[import-untyped]
        from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise InputError(f"protocol coco: {install('data')}") from error
    with contextlib.redirect_stdout(io.StringIO()):
        people = COCO()
        people.dataset = truth
        people.createIndex()
        evaluation = COCOeval(people, people.loadRes(results), "keypoints")
        evaluation.evaluate()
    images = len(evaluation.params.imgIds)
    return [evaluation.evalImgs[area * images :][:images] for area in range(_AREAS)]


def _gather(models: list[list[Any]]) -> _Matches:
    """Put the pictures of all models into one ranking; ties stay in the order of pictures."""
    images = [image for model in models for image in model]
    scores, units, hits, wrong = [], [], [np.zeros((10, 0))], [np.zeros((10, 0))]
    for unit, image in enumerate(images):
        if image is None:
            continue
        scores += list(image["dtScores"])
        units += [unit] * len(image["dtScores"])
        matched, ignored = image["dtMatches"] > 0, image["dtIgnore"].astype(bool)
        hits.append(matched & ~ignored)
        wrong.append(~matched & ~ignored)
    order = np.argsort(-np.array(scores), kind="stable")
    return _Matches(
        units=np.array(units, dtype=int)[order],
        hits=np.hstack(hits)[:, order].astype(float),
        wrong=np.hstack(wrong)[:, order].astype(float),
        people=np.array([0.0 if i is None else float((i["gtIgnore"] == 0).sum()) for i in images]),
    )


def _summary(areas: list[_Matches], weights: Float[ndarray, " n"]) -> list[float]:
    """Return the ten numbers in percent."""
    curves = [_curve(area, weights) for area in areas]
    (all_precision, all_recall), *parts = curves
    precision = [all_precision, all_precision[0], all_precision[5], *(p for p, _ in parts)]
    recall = [all_recall, all_recall[0], all_recall[5], *(r for _, r in parts)]
    return [100 * float(np.mean(numbers)) for numbers in [*precision, *recall]]


def _curve(
    area: _Matches, weights: Float[ndarray, " n"]
) -> tuple[Float[ndarray, "t 101"], Float[ndarray, " t"]]:
    """Return precision at 101 recalls, and the last recall, at each similarity."""
    steps = len(area.hits)
    people = weights @ area.people
    if people == 0:
        return np.full((steps, 101), np.nan), np.full(steps, np.nan)
    counts = weights[area.units]
    hits, wrong = np.cumsum(area.hits * counts, axis=1), np.cumsum(area.wrong * counts, axis=1)
    recall, precision = hits / people, hits / (hits + wrong + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.hstack([best, np.zeros((steps, 1))])  # beyond the last recall
    places = np.array([np.searchsorted(row, _RECALLS) for row in recall])
    last = recall[:, -1] if recall.shape[1] else np.zeros(steps)
    return np.take_along_axis(best, places, axis=1), last
