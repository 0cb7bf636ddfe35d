"""Predict whole sets of picture files: overlays, ``predictions.json``, before and after."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from tqdm import tqdm

from uprightpose.data.boxes import Box
from uprightpose.data.images import write_image
from uprightpose.data.predictions import Prediction, write_predictions
from uprightpose.errors import InputError
from uprightpose.pipeline import Pipeline
from uprightpose.plots import before_after, draw_people, draw_stages
from uprightpose.predict import Predictor
from uprightpose.skeletons import Skeleton
from uprightpose.views import Seen


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
    workers: int | None = None,
) -> Outcome:
    """Predict picture files and write the results into a folder.

    Writes ``NAME.jpg`` for each picture, with ``stages`` also ``NAME_stages.jpg``, then
    ``before_after.png`` and ``predictions.json``. A picture that cannot be done is reported
    in one line on stderr, and the others are done. Reading, the network, and drawing and
    writing overlap (:mod:`uprightpose.pipeline`); how many pictures there are does not matter
    to the memory that it takes, but for their names.

    Args:
        predictor: the network.
        pictures: files; none twice.
        out: an existing folder.
        boxes: people of each picture; by default each picture is one person.
        stages: also draw the stages side by side.
        workers: threads, see :class:`~uprightpose.pipeline.Pipeline`.

    Raises:
        InputError: if no picture could be done, or a result cannot be written.
    """
    tally = _Tally()
    requests = ((path, None if boxes is None else boxes[path]) for path in pictures)
    names = result_names(pictures, out, stages=stages)
    with Pipeline(workers, items=len(pictures)) as pipeline:
        found = predictor.see(pipeline, requests)
        planned = _planned(found, pictures, names, tally, stages=stages, out=out)
        draw = partial(_draw, skeleton=predictor.skeleton)
        drawn = pipeline.map(draw, planned, ahead=2 * predictor.network.batch)
        done = _reported(drawn, len(pictures), tally)
        write_predictions(out / "predictions.json", done, predictor.skeleton)
    return Outcome(
        pictures=tally.pictures,
        people=tally.people,
        without_boxes=tally.without_boxes,
        failed=tally.failed,
        predictions=out / "predictions.json",
        before_after=tally.before_after,
    )


@dataclass
class _Tally:
    """What becomes of the pictures, while it does; see :class:`Outcome`."""

    pictures: int = 0
    people: int = 0
    without_boxes: int = 0
    failed: int = 0
    before_after: Path | None = None


@dataclass(frozen=True, eq=False)
class _Drawing:
    """A picture with its people, and the files to draw, by kind."""

    name: str
    seen: Seen
    files: dict[str, Path]


def _planned(
    found: Iterable[Seen | InputError],
    pictures: Sequence[Path],
    names: Mapping[Path, str],
    tally: _Tally,
    *,
    stages: bool,
    out: Path,
) -> Iterator[_Drawing | InputError]:
    """Say for each picture what is to be drawn; the first with people also before and after."""
    listed = listed_names(pictures)
    for path, seen in zip(pictures, found, strict=True):
        if isinstance(seen, InputError):
            yield seen
            continue
        files = {"people": out / f"{names[path]}.jpg"}
        if stages:
            files["stages"] = out / f"{names[path]}_stages.jpg"
        if tally.before_after is None and len(seen.people) > 1 and seen.last:
            tally.before_after = files["before and after"] = out / "before_after.png"
        drawing = _Drawing(listed[path], seen, files)
        del seen
        yield drawing
        del drawing


def _draw(drawing: _Drawing | InputError, skeleton: Skeleton) -> Prediction | InputError:
    """Draw and write a picture's files; what is left of it needs little memory."""
    if isinstance(drawing, InputError):
        return drawing
    image, people = drawing.seen.image, drawing.seen.people
    for kind, path in drawing.files.items():
        match kind:
            case "people":
                drawn = draw_people(image, drawing.seen.last, skeleton)
            case "stages":
                drawn = draw_stages(image, people, skeleton)
            case _:
                drawn = before_after(image, people, skeleton)
        write_image(path, drawn)
    return Prediction(drawing.name, (image.shape[0], image.shape[1]), drawing.seen.last)


def _reported(
    drawn: Iterable[Prediction | InputError], total: int, tally: _Tally
) -> Iterator[Prediction]:
    """Pass on what is done, with a progress bar; say what could not be done on stderr.

    Raises:
        InputError: if nothing could be done.
    """
    bar = tqdm(drawn, desc="photos", total=total, unit="photo", disable=None)
    for one in bar:
        if isinstance(one, InputError):
            if total == 1:
                raise one
            bar.write(f"uprightpose: error: {' '.join(str(one).split())}", file=sys.stderr)
            tally.failed += 1
            continue
        tally.pictures += 1
        tally.people += len(one.people)
        tally.without_boxes += not one.people
        yield one
    if not tally.pictures:
        raise InputError(f"none of the {total} pictures could be done, as said above")


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
    numbers: dict[str, Iterator[int]] = {}  # of a stem: no smaller one will do again
    for picture in pictures:
        own = picture.resolve().parent == folder
        stem = f"{picture.stem}_pose" if own else picture.stem
        for number in numbers.setdefault(stem, count(1)):
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
