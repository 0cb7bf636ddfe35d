"""Predict whole sets of picture files: overlays, ``predictions.json``, before and after."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray
from tqdm import tqdm

from uprightpose.data.boxes import Box
from uprightpose.data.images import read_image, write_image
from uprightpose.data.person import Person
from uprightpose.data.predictions import Prediction, write_predictions
from uprightpose.errors import InputError
from uprightpose.plots import before_after, draw_people, draw_stages
from uprightpose.predict import Predictor


@dataclass(frozen=True)
class Outcome:
    """What became of a set of pictures.

    Attributes:
        pictures: how many were done.
        people: how many were found in them.
        without_boxes: how many of them had no box, and so no people.
        failed: how many could not be done; each has been reported.
        predictions: the JSON file.
        before_after: the picture of the first photo with people before and after
            refinement; ``None`` if there is none or the network does not refine.
    """

    pictures: int
    people: int
    without_boxes: int
    failed: int
    predictions: Path
    before_after: Path | None


def predict_files(
    predictor: Predictor,
    pictures: Sequence[Path],
    out: Path,
    boxes: Mapping[Path, Sequence[Box]] | None = None,
    *,
    stages: bool = False,
) -> Outcome:
    """Predict picture files and write the results into a folder.

    Writes ``NAME.jpg`` for each picture, with ``stages`` also ``NAME_stages.jpg``, then
    ``before_after.png`` and ``predictions.json``. A picture that cannot be done is reported
    in one line on stderr, and the others are done.

    Args:
        predictor: the network.
        pictures: files; none twice.
        out: an existing folder.
        boxes: people of each picture; by default each picture is one person.
        stages: also draw the stages side by side.

    Raises:
        InputError: if no picture could be done, or a result cannot be written.
    """
    names = result_names(pictures, out, stages=stages)
    listed = listed_names(pictures)
    done: list[Prediction] = []
    comparison: Path | None = None
    bar = tqdm(pictures, desc="photos", unit="photo", disable=None)
    for path in bar:
        try:
            image = read_image(path)
            found = _predict(predictor, image, path, None if boxes is None else boxes[path])
        except InputError as error:
            if len(pictures) == 1:
                raise
            bar.write(f"uprightpose: error: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        people = found[predictor.stages[-1]]
        write_image(out / f"{names[path]}.jpg", draw_people(image, people, predictor.skeleton))
        if stages:
            drawn = draw_stages(image, found, predictor.skeleton)
            write_image(out / f"{names[path]}_stages.jpg", drawn)
        if people and comparison is None and len(found) > 1:
            comparison = out / "before_after.png"
            write_image(comparison, before_after(image, found, predictor.skeleton))
        done.append(Prediction(listed[path], (image.shape[0], image.shape[1]), people))
    if not done:
        raise InputError(f"none of the {len(pictures)} pictures could be done, as said above")
    write_predictions(out / "predictions.json", done, predictor.skeleton)
    return Outcome(
        pictures=len(done),
        people=sum(len(one.people) for one in done),
        without_boxes=sum(not one.people for one in done),
        failed=len(pictures) - len(done),
        predictions=out / "predictions.json",
        before_after=comparison,
    )


def result_names(pictures: Sequence[Path], out: Path, *, stages: bool = False) -> dict[Path, str]:
    """Return for each picture the stem of its results' names, so that no two files meet.

    A picture ``a.png`` gives ``a``, a second one of that name ``a_2``. In the picture's own
    folder it is ``a_pose``. No result has the name of a given picture.

    Example:
        >>> names = result_names([Path("x/a.png"), Path("y/a.jpg"), Path("out/b.png")], Path("out"))
        >>> list(names.values())
        ['a', 'a_2', 'b_pose']
    """
    folder = out.resolve()
    taken = {str(picture.resolve()).casefold() for picture in pictures}
    names: dict[Path, str] = {}
    for picture in pictures:
        own = picture.resolve().parent == folder
        stem = f"{picture.stem}_pose" if own else picture.stem
        for number in count(1):
            name = stem if number == 1 else f"{stem}_{number}"
            ends = (".jpg", "_stages.jpg") if stages else (".jpg",)
            files = {str(folder / f"{name}{end}").casefold() for end in ends}
            if not files & taken:
                break
        taken |= files
        names[picture] = name
    return names


def listed_names(pictures: Sequence[Path]) -> dict[Path, str]:
    """Return each picture's ``file_name``: its name, or its path where two share the name.

    Example:
        >>> list(listed_names([Path("x/a.png"), Path("y/a.png"), Path("y/b.png")]).values())
        ['x/a.png', 'y/a.png', 'b.png']
    """
    often = Counter(picture.name for picture in pictures)
    return {p: p.as_posix() if often[p.name] > 1 else p.name for p in pictures}


def _predict(
    predictor: Predictor,
    image: UInt8[ndarray, "h w 3"],
    path: Path,
    boxes: Sequence[Box] | None,
) -> dict[str, list[Person]]:
    try:
        return predictor.predict_stages(image, boxes)
    except InputError as error:  # about a box; say of which picture
        raise InputError(f"{path}: {error}") from error
