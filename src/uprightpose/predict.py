"""Predict: a picture -> the joints of its people, in the picture's own pixels.

The way of one person: box -> square crop (letter-boxed) -> score maps -> cells -> crop pixels
-> picture pixels. Each arrow has its inverse in :mod:`uprightpose.frames`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from numpy import ndarray

from uprightpose.data.person import Person
from uprightpose.errors import InputError, reason
from uprightpose.frames import Crop
from uprightpose.inference import Network, Options
from uprightpose.looks import Look, take_looks
from uprightpose.model import STAGES, PoseNet
from uprightpose.pipeline import Pipeline
from uprightpose.score_maps import Decoded
from uprightpose.scout import Scout, weighted_axis
from uprightpose.shipped_models import SCOUT, SHIPPED
from uprightpose.skeletons import Skeleton
from uprightpose.views import Request, Seen, View, cut_turned, gather, pair, people_of, read_view
from uprightpose.weights import load_weights


def load(
    weights: str | Path = "compact",
    device: str | torch.device | None = "auto",
    *,
    skeleton: Skeleton | None = None,
    scout: str | Path | None = "auto",
    mirrored: bool = False,
    **options: Unpack[Options],
) -> "Predictor":
    """Load a network that is ready to predict.

    Args:
        weights: ``"compact"`` or ``"upright"``, which come with the package, or the path of a
            file written by training.
        device: e.g. ``"cpu"`` or ``"cuda:1"``; ``"auto"`` or ``None`` takes a GPU if there is.
        skeleton: refuse weights of another skeleton than this.
        scout: a small detector that says which way each body points, so that the network sees it
            upright: ``"scout"``, which comes with the package, or the path of its weights; ``None``
            to turn nobody. ``"auto"`` takes the package's for weights that learned upright people
            (:attr:`uprightpose.settings.Settings.upright`), none for others.
        mirrored: a flip test: let the detector see everybody mirrored, too, and take the mean of
            its scores: a little better, with twice the detector's time (:attr:`PoseNet.mirrored`).
        **options: ``precision``, ``compile``, ``batch`` and ``memory``, see
            :class:`~uprightpose.inference.Options`.

    Raises:
        InputError: if the weights are missing, damaged or of another skeleton, or there is no
            such device, precision, batch or memory.
    """
    chosen = choose_device(device)
    model, settings = load_weights(weights_file(weights), skeleton)
    model.mirrored = mirrored
    try:
        if scout == "auto":
            scout = "scout" if settings.upright else None
        looks_first = None if scout is None else load_scout(scout, chosen)
        return Predictor(
            model,
            settings.crop,
            chosen,
            scout=looks_first,
            turn_first=settings.upright,
            **options,
        )
    except (RuntimeError, AssertionError) as error:  # no CUDA here, or no such card
        raise InputError(f"cannot use device {device}: {reason(error)}") from error


def load_scout(weights: str | Path = "scout", device: str | torch.device | None = "auto") -> Scout:
    """Load a small detector that tells which way bodies point, for any detector.

    Args:
        weights: ``"scout"``, which comes with the package, or the path of a file written by
            training.
        device: as for :func:`load`.

    Raises:
        InputError: if there is no such scout, or no such device.
    """
    file = _file(weights, {"scout": SCOUT}, "scout: expected scout, none")
    model, settings = load_weights(file)
    try:
        return Scout(model.to(choose_device(device)), settings.size)
    except (RuntimeError, AssertionError) as error:  # no CUDA here, or no such card
        raise InputError(f"cannot use device {device}: {reason(error)}") from error


def weights_file(weights: str | Path) -> Path:
    """Return the file of shipped weights by their name, or the given path.

    Raises:
        InputError: if there is no such file.
    """
    return _file(weights, SHIPPED, f"expected weights called {' or '.join(SHIPPED)}")


def _file(weights: str | Path, shipped: Mapping[str, Path], expected: str) -> Path:
    path = shipped.get(weights) if isinstance(weights, str) else None
    path = path or Path(weights)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(
            f"{expected}, or a .safetensors file written by training, found {found} at {path}; "
            "check the path"
        )
    return path


class Predictor:
    """A network with all that leads from pictures to it and back.

    Args:
        model: chain of detector, body and limb refinement; later stages may be absent. Its
            attribute ``mirrored`` is followed.
        crop: how it was trained to see a person, or just the side of its square crops in pixels.
        device: where it runs.
        scout: says which way bodies point, so that everyone is seen upright. ``None`` to see
            people as they are.
        turn_first: see :func:`~uprightpose.looks.take_looks`.
        **options: see :class:`~uprightpose.inference.Options`.

    Attributes:
        model: the network, in evaluation mode, on the device, channels-last.
        network: decodes crops with it.
        skeleton: whose joints it finds.
        stages: the names of the stages it has, in order.
    """

    def __init__(
        self,
        model: PoseNet,
        crop: Crop | int,
        device: torch.device | Literal["cpu"] = "cpu",
        *,
        scout: Scout | None = None,
        turn_first: bool = True,
        **options: Unpack[Options],
    ) -> None:
        """Move the network to the device."""
        self.device, self.scout, self.turn_first = torch.device(device), scout, turn_first
        self.crop = Crop(crop) if isinstance(crop, int) else crop
        self.network = Network(model, self.device, self.crop.size, **options)
        self.model = self.network.model
        self.skeleton = model.skeleton
        has = (True, model.body is not None, model.limbs is not None)
        self.stages = tuple(stage for stage, there in zip(STAGES, has, strict=True) if there)

    def predict(
        self, image: ndarray | str | Path, boxes: Sequence[Any] | ndarray | None = None
    ) -> list[Person]:
        """Return the people of a picture with the joints of the last stage.

        Args:
            image: RGB, uint8 ``(h, w, 3)``, or the path of a picture file, which is read as
                the viewer sees it (EXIF orientation applied).
            boxes: ``(x, y, w, h)`` of each person, in edge coordinates of the picture as the
                viewer sees it, tight about the person as COCO's; they may reach beyond the
                picture. By default the whole picture is one person.

        Returns:
            One person per box, in their order.

        Raises:
            InputError: if the picture cannot be read, is no RGB uint8 array, or a box is not
                finite, has no area or lies entirely outside.
        """
        return self._predict(image, boxes, self.stages[-1:])[self.stages[-1]]

    def predict_stages(
        self, image: ndarray | str | Path, boxes: Sequence[Any] | ndarray | None = None
    ) -> dict[str, list[Person]]:
        """Return the people as each stage sees them: ``{"detector": [...], "body": ...}``.

        Args:
            image: as in :meth:`predict`.
            boxes: as there.

        Raises:
            InputError: as there.
        """
        return self._predict(image, boxes, self.stages)

    def predict_many(
        self,
        images: Iterable[ndarray | str | Path],
        boxes: Iterable[Sequence[Any] | ndarray | None] | None = None,
    ) -> Iterator[list[Person]]:
        """Yield the people of each picture, of any number of pictures, in order.

        Faster than :meth:`predict` in a loop: pictures are read ahead, and people of several
        pictures go through the network together. What a person's joints are does not depend
        on the others, up to rounding. Some pictures are in memory at a time, never all. While
        results are asked for, OpenCV's number of threads is lowered in this process.

        Args:
            images: as in :meth:`predict`.
            boxes: one entry per picture, as there; by default each picture is one person.

        Raises:
            InputError: as there, in the place of the picture; no more are done after it. Also
                if there are not as many boxes' entries as pictures: at once where both have a
                length, else when one of them ends, which is ahead of the results.

        Example:
            >>> model = load(device="cpu")
            >>> pictures = (np.zeros((60, 80, 3), np.uint8) for _ in range(3))
            >>> [len(people) for people in model.predict_many(pictures)]
            [1, 1, 1]
        """
        if isinstance(images, str | Path):
            raise InputError(
                f"predict_many: expected several pictures or paths, found the one path {images}; "
                "for a folder give data.images.find_pictures([folder])"
            )
        with Pipeline(items=length_hint(images)) as pipeline:
            for seen in self.see(pipeline, pair(images, boxes), self.stages[-1:]):
                if isinstance(seen, InputError):
                    raise seen
                yield seen.last

    def see(
        self, pipeline: Pipeline, requests: Iterable[Request], stages: Sequence[str] | None = None
    ) -> Iterator[Seen | InputError]:
        """Yield each picture with its people, or why it cannot be done, as steps of a pipeline.

        Args:
            pipeline: whose threads read, and run the network.
            requests: picture or path, and boxes, as in :meth:`predict`.
            stages: whose joints are wanted; by default all that the network has.
        """
        stages = stages or self.stages
        batch = min(self.network.batch, pipeline.share or self.network.batch)
        on_cpu = self.device.type == "cpu"

        def read(request: Request) -> View | InputError:
            try:
                view = read_view(*request, self.crop)
            except InputError as error:
                return error
            if not isinstance(request[0], ndarray):
                pipeline.hold(view.image, view.image.nbytes)
            return view

        def run(views: list[View | InputError]) -> list[Seen | InputError]:
            return self._seen(views, stages)

        views = pipeline.map(read, requests, ahead=batch + pipeline.workers, holds=True)
        batches = gather(views, batch, pipeline.has_room)
        for seen in pipeline.map(run, batches, ahead=(pipeline.workers if on_cpu else 1) + 1):
            seen.reverse()
            while seen:  # handed over one by one, kept here no longer
                yield seen.pop()

    def _predict(
        self,
        image: ndarray | str | Path,
        boxes: Sequence[Any] | ndarray | None,
        stages: Sequence[str],
    ) -> dict[str, list[Person]]:
        (seen,) = self._seen([read_view(image, boxes, self.crop)], stages)
        assert not isinstance(seen, InputError)
        return seen.people

    def _seen(
        self, views: Sequence[View | InputError], stages: Sequence[str]
    ) -> list[Seen | InputError]:
        """Run the network on the people of several pictures at once."""
        there = [view for view in views if isinstance(view, View)]
        found: dict[str, Decoded] = {}
        if sum(len(view.crops) for view in there):
            found = self._look(there, stages)
        seen: list[Seen | InputError] = []
        start = 0
        for view in views:
            if isinstance(view, InputError):
                seen.append(view)
                continue
            own = slice(start, start := start + len(view.crops))
            seen.append(Seen(view.image, {s: self._people(view, found, s, own) for s in stages}))
        return seen

    def _look(self, views: Sequence[View], stages: Sequence[str]) -> dict[str, Decoded]:
        """Run the network on everybody, turned upright where a scout says which way that is.

        Leaves each view with the matrices of the looks that are believed.
        """
        crops = np.concatenate([view.crops for view in views])
        if self.scout is None:
            return self.network(crops, stages)
        people = [(view, at) for view in views for at in range(len(view.crops))]

        def see(places: ndarray, turns: ndarray) -> Look:
            chosen = [(*people[place], turn) for place, turn in zip(places, turns, strict=True)]
            cuts = [cut_turned(view, at, turn)[1] for view, at, turn in chosen]
            decoded = self.network(np.stack(cuts), stages)
            parts = {
                f"{stage} {name}": part.double().numpy()
                for stage, one in decoded.items()
                for name, part in one._asdict().items()
            }
            joints, scores = (parts[f"{stages[-1]} {name}"] for name in Decoded._fields)
            left = weighted_axis(joints, scores, self.skeleton)
            return Look(scores.mean(axis=1), left, parts)

        turns, found, _ = take_looks(self.scout(crops).turns, see, turn_first=self.turn_first)
        for (view, at), turn in zip(people, turns.tolist(), strict=True):
            view.matrices[at] = cut_turned(view, at, turn)[0]
        return {
            stage: Decoded(
                *(torch.from_numpy(found[f"{stage} {name}"]) for name in Decoded._fields)
            )
            for stage in stages
        }

    def _people(
        self, view: View, found: dict[str, Decoded], stage: str, own: slice
    ) -> list[Person]:
        if not view.boxes:
            return []
        decoded = Decoded(found[stage].joints[own], found[stage].scores[own])
        return people_of(view, decoded, self.model.stride, self.skeleton)


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return a device by name; ``"auto"`` or ``None`` takes a GPU if there is one.

    Raises:
        InputError: if there is no device of this name.
    """
    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(f"expected a device such as cpu or cuda, found {device}") from error
