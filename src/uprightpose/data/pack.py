"""Samples -> a packed cache of small pictures: decoding is done once, then memory is mapped."""

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from tqdm import tqdm

from uprightpose.background import in_background
from uprightpose.data.images import crop_image, read_image
from uprightpose.data.sample import Sample
from uprightpose.data.writing import write_whole
from uprightpose.errors import InputError
from uprightpose.frames import Crop, Resize, apply_affine, whole_image_box

MARGIN = 1.5
"""Side of a packed picture over the side of the person's box: room to turn and shrink."""


PART = 8
"""Pictures that a thread decodes in a row: handing over one alone takes a tenth of its time."""


@dataclass(frozen=True)
class Pack:
    """Pictures cut about their people, all of one size, in one memory-mapped array.

    Attributes:
        pixels: ``(n, p, p, 3)`` RGB.
        joints: ``(n, k, 2)`` packed pixels; NaN where absent.
        state: ``(n, k)``.
        box: the person's box in packed pixels, the same for all.
    """

    pixels: UInt8[ndarray, "n p p 3"]
    joints: Float[ndarray, "n k 2"]
    state: UInt8[ndarray, "n k"]
    box: tuple[float, float, float, float]


def pack_samples(
    samples: Sequence[Sample],
    size: int,
    cache: Path,
    resize: Resize = "letterbox",
    *,
    threads: int = 0,
) -> Pack:
    """Decode every picture once and keep the result in ``cache``; later calls only map it.

    Pictures are decoded in threads, each straight into its place in the file: memory holds as
    many decoded pictures as there are threads. A call that is interrupted leaves nothing.

    Args:
        samples: of one skeleton.
        size: side in pixels that the person's box has in the pack; the pack's pictures are
            :data:`MARGIN` times larger.
        cache: folder for the pixels, one pair of files per set of samples and size.
        resize: whether boxes keep their proportions.
        threads: that decode; 0 for as many as there are processors.

    Raises:
        InputError: if there are no samples, a picture is bad or the cache cannot be written.
    """
    if not samples:
        raise InputError("no samples to train on: name at least one dataset folder")
    path = cache / f"{_fingerprint(samples, size, resize)}.npy"
    matrices = path.with_suffix(".matrices.npy")
    if not (path.exists() and matrices.exists()):
        threads = threads or os.cpu_count() or 1
        _write_pack(samples, size, path, matrices, resize, threads)
    pixels = np.asarray(np.load(path, mmap_mode="r"))  # still mapped, and quicker to index
    maps = np.load(matrices)
    joints = np.stack(
        [apply_affine(m, sample.joints) for m, sample in zip(maps, samples, strict=True)]
    )
    state = np.stack([sample.state for sample in samples])
    edge = (pixels.shape[1] - size) / 2
    return Pack(pixels, joints, state, (edge, edge, float(size), float(size)))


def _write_pack(
    samples: Sequence[Sample], size: int, path: Path, matrices: Path, resize: Resize, threads: int
) -> None:
    """Write the pixels through a temporary file, so that a broken run leaves nothing behind."""
    crop = Crop(2 * round(size * MARGIN / 2), size, resize)
    maps = np.empty((len(samples), 2, 3))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(samples), crop.size, crop.size, 3)
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)

        def pack(places: range) -> int:
            for place in places:
                image = read_image(samples[place].image)
                box = samples[place].box or whole_image_box((image.shape[0], image.shape[1]))
                maps[place] = crop.matrix(box)
                pixels[place] = crop_image(image, maps[place], crop.size)
            return len(places)

        everyone = range(len(samples))
        parts = [everyone[start : start + PART] for start in everyone[::PART]]
        done = in_background(pack, parts, threads=threads, ahead=2 * threads)
        with (
            contextlib.closing(done),
            tqdm(desc="packing pictures", unit="img", total=len(samples)) as bar,
        ):
            for count in done:
                bar.update(count)
        pixels.flush()
        content = io.BytesIO()
        np.save(content, maps)
        write_whole(matrices, content.getvalue())  # another process may be reading it
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path.parent}: the cache cannot be written ({error})") from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder to remove it from
            partial.unlink(missing_ok=True)


def _fingerprint(samples: Sequence[Sample], size: int, resize: Resize) -> str:
    """Return a name that changes with the pictures, their boxes or the size.

    A picture file counts by its path and length: LSP's two variants share their names.
    """
    stretched = "" if resize == "letterbox" else f"|{resize}"
    digest = hashlib.sha256(f"{size}|{MARGIN}{stretched}".encode())
    for sample in samples:
        length = sample.image.stat().st_size if sample.image.is_file() else -1
        digest.update(f"{sample.image}|{length}|{sample.box}".encode())
    return f"{samples[0].source}-{size}-{digest.hexdigest()[:12]}"
