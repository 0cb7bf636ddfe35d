"""Batches for training: augmented from a pack, on the CPU and by torch, and packs made."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from uprightpose.background import in_background
from uprightpose.bench.item_by_item import stack_items
from uprightpose.bench.timing import Cases, Comparison
from uprightpose.data.augment import Augmentation, Draws, augmented_matrices
from uprightpose.data.folders import read_folder
from uprightpose.data.images import MEAN_COLOR, read_image
from uprightpose.data.loader import Batch, SampleStream
from uprightpose.data.pack import Pack, pack_samples
from uprightpose.data.sample import Sample
from uprightpose.data.warp import TOLERANCE, warp_on_device
from uprightpose.frames import Crop
from uprightpose.skeletons import LSP

PEOPLE = 64
SIZE = 128
PACKED = 192
BOX = (32.0, 32.0, 128.0, 128.0)
PLACES = list(range(PEOPLE))

PHOTO = (720, 1280)
"""Rows and columns of MPII's photos."""

Work = Callable[[], Any]


def people_stream(people: int = PEOPLE, *, warp: bool = True) -> SampleStream:
    """Return a stream over drawn, soft pictures with 14 joints each."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (people, PACKED, PACKED, 3), dtype=np.uint8)
    pixels = np.stack([cv2.GaussianBlur(picture, (0, 0), 1.5) for picture in noise])
    joints = random.uniform(40, 152, (people, 14, 2))
    pack = Pack(pixels, joints, np.full((people, 14), 2, np.uint8), BOX)
    return SampleStream(pack, LSP, Crop(SIZE), Augmentation(), seed=1, warp=warp)


def augment_batch(threads: int) -> Comparison:  # noqa: ARG001
    """Draw, move and crop one batch on the CPU.

    OpenCV's loop, kornia's ``warp_affine`` and torchvision's functions get our draws; kornia's
    and albumentations' own augmentations draw for themselves and are compared by shape alone.
    """
    stream = people_stream()
    peers, missing = _found(
        {
            "kornia warp_affine": _kornia_warp,
            "kornia.augmentation": _kornia_augmentation,
            "torchvision affine": _torchvision,
            "albumentations": _albumentations,
        },
        stream,
    )
    contenders: dict[str, Work] = {
        "uprightpose": lambda: stream.batch(PLACES),
        "item by item": lambda: stack_items(stream, PLACES),
        "opencv loop": _opencv(stream),
        **peers,
    }
    return Comparison(
        name="augment-batch",
        task=f"{PEOPLE} packed pictures of {PACKED} pixels to crops of {SIZE}, turned over the "
        "full circle, scaled by 0.8 to 1.25, half of them mirrored, 14 joints each moved along",
        ours="uprightpose",
        contenders=contenders,
        check=_check_batch,
        bars={name: 1.0 for name in contenders if name not in ("uprightpose", "opencv loop")},
        missing=missing,
        operations=PEOPLE * SIZE**2 * 3 * 8,
        moved=PEOPLE * 3 * (PACKED**2 + SIZE**2),
        packages=("kornia", "torchvision", "albumentations"),
    )


def augment_device(threads: int) -> Comparison:  # noqa: ARG001
    """Crop one batch by torch, here on the CPU: what ``augment_on: device`` does on a GPU."""
    whole, stream = people_stream(warp=False).batch(PLACES), people_stream()
    peers, missing = _found({"kornia warp_affine": _kornia_warp}, stream)

    def warp() -> Batch:
        assert whole.grids is not None
        assert whole.covers is not None
        crops = warp_on_device(whole.images, whole.grids, whole.covers, SIZE)
        return whole._replace(images=crops)

    return Comparison(
        name="augment-device",
        task=f"{PEOPLE} packed pictures of {PACKED} pixels to float crops of {SIZE} by torch",
        ours="uprightpose, torch",
        contenders={
            "uprightpose, torch": warp,
            "uprightpose, OpenCV": lambda: stream.batch(PLACES),
            **peers,
        },
        check=_check_batch,
        bars={"kornia warp_affine": 1.0},
        missing=missing,
        operations=PEOPLE * SIZE**2 * 3 * 8,
        moved=PEOPLE * 3 * (PACKED**2 + 4 * SIZE**2),
        packages=("kornia",),
    )


def pack_lsp(threads: int) -> Comparison:
    """Pack 200 people of LSP, whose pictures are smaller than what the pack holds of them."""
    root = Path(os.environ.get("UPRIGHTPOSE_DATA", "")) / "lsp"
    if not (root / "joints.mat").is_file():
        return _packing("pack-pictures", "200 drawn pictures of 160x120", 200, (160, 120), threads)
    return _comparison("pack-pictures", "200 pictures of LSP", read_folder(root)[:200], threads)


def pack_photos(threads: int) -> Comparison:
    """Pack photos of MPII's size."""
    return _packing("pack-photos", "40 drawn photos of 1280x720", 40, PHOTO, threads)


def _packing(name: str, task: str, count: int, size: tuple[int, int], threads: int) -> Comparison:
    folder = Path(tempfile.mkdtemp())
    random = np.random.default_rng(0)
    soft = cv2.GaussianBlur(random.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 2)
    path = folder / "photo.jpg"
    cv2.imwrite(str(path), soft)
    joints, state = np.full((14, 2), 50.0), np.full(14, 2, np.uint8)
    box = (size[1] / 3, size[0] / 6, size[0] / 2, size[0] / 2)
    samples = [Sample(path, joints, state, "pc", box, "train", "lsp", i) for i in range(count)]
    comparison = _comparison(name, task, samples, threads)
    work = comparison.contenders["uprightpose"]
    weakref.finalize(work, shutil.rmtree, folder, ignore_errors=True)
    return comparison


def _comparison(
    name: str,
    task: str,
    samples: list[Sample],
    threads: int,
) -> Comparison:
    """Return packing in threads, in one, and decoding without keeping anything."""
    pictures = [sample.image for sample in samples]

    def packed(threads: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as cache:
            return pack_samples(samples, SIZE, Path(cache), threads=threads).pixels

    def decoded() -> int:
        done = in_background(_decode, _parts(pictures), threads=threads, ahead=2 * threads)
        return sum(done)

    return Comparison(
        name=name,
        task=f"{task} into a pack of {PACKED} pixels a side, written to disk",
        ours="uprightpose",
        contenders={
            "uprightpose": lambda: packed(threads),
            "one thread": lambda: packed(1),
            "decoding alone": decoded,
        },
        check=_check_packs,
        bars={"one thread": 1.0, "decoding alone": 0.8},
    )


def _parts(pictures: list[Path]) -> list[list[Path]]:
    return [pictures[start : start + 8] for start in range(0, len(pictures), 8)]


def _decode(paths: list[Path]) -> int:
    return len([read_image(path).shape for path in paths])


def _check_packs(outputs: dict[str, Any]) -> str:
    ours, one = outputs["uprightpose"], outputs["one thread"]
    assert np.array_equal(ours, one), "threads change the pack"
    assert outputs["decoding alone"] == len(ours), "pictures were left out"
    return f"{ours.size} bytes of {len(ours)} pictures are equal, in one thread and in several"


def _check_batch(outputs: dict[str, Any]) -> str:
    """Compare crops and joints with the first contender's; those who draw alone by shape."""
    names = list(outputs)
    ours = outputs[names[0]]
    said = []
    for name in names[1:]:
        images, joints = outputs[name][0], outputs[name][1]
        assert tuple(images.shape) == tuple(ours.images.shape), f"{name}: {tuple(images.shape)}"
        assert tuple(joints.shape) == tuple(ours.joints.shape), f"{name}: {tuple(joints.shape)}"
        if name in ("kornia.augmentation", "albumentations"):
            said.append(f"{name}: shapes alone, it draws for itself")
            continue
        moved = float((joints - ours.joints).abs().max())
        assert moved < 1e-3, f"{name}: joints differ by {moved:.4f} pixels"
        off = (images.float() - ours.images.float()).abs()
        far = float((off > TOLERANCE).float().mean())
        allowed = 0.001 if name == "torchvision affine" else 0.0  # it blends no borders
        assert far <= allowed, (
            f"{name}: {far:.2%} of values differ by {float(off.max()):.1f} levels"
        )
        said.append(f"{name}: at most {float(off.max()):.2f} levels, {far:.2%} above {TOLERANCE}")
    return "; ".join(said)


def _found(
    peers: dict[str, Callable[[SampleStream], Work]], stream: SampleStream
) -> tuple[dict[str, Work], dict[str, str]]:
    """Return the peers that import, and why the others do not take part."""
    contenders, missing = {}, {}
    for name, make in peers.items():
        try:
            contenders[name] = make(stream)
        except ImportError:
            missing[name] = "not installed"
    return contenders, missing


def _given(stream: SampleStream) -> tuple[np.ndarray, Draws, np.ndarray]:
    """Return who is in the batch, what is drawn for them, and their maps without mirroring."""
    places = np.array(PLACES)
    items = stream._people(places)
    draws, matrices, _ = stream._drawn(places, items)
    assert np.array_equal(matrices, augmented_matrices(stream.pack.box, stream.crop, draws))
    return items, draws, matrices


def _exchanged(joints: Tensor, draws: Draws) -> Tensor:
    """Exchange left and right where a picture is mirrored."""
    flip = torch.from_numpy(draws.flip)[:, None, None]
    return torch.where(flip, joints[:, list(LSP.mirror)], joints)


def _opencv(stream: SampleStream) -> Work:
    items, draws, matrices = _given(stream)

    def run() -> tuple[Tensor, Tensor]:
        crops, moved = [], []
        for item, matrix in zip(items, matrices, strict=True):
            picture = stream.pack.pixels[item]
            crops.append(cv2.warpAffine(picture, matrix, (SIZE, SIZE), borderValue=MEAN_COLOR))
            moved.append(cv2.transform(stream.pack.joints[item][None], matrix)[0])
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
        return images, _exchanged(torch.from_numpy(np.stack(moved)).float(), draws)

    return run


def _kornia_warp(stream: SampleStream) -> Work:
    geometry: Any = import_module("kornia.geometry")

    items, draws, matrices = _given(stream)
    maps = torch.from_numpy(matrices).float()
    whole = torch.cat([maps, torch.tensor([[[0.0, 0, 1]]]).expand(PEOPLE, 1, 3)], dim=1)
    color = torch.tensor(MEAN_COLOR).float()

    def run() -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(stream.pack.pixels[items]).permute(0, 3, 1, 2).float()
        crops = geometry.warp_affine(
            pictures, maps, (SIZE, SIZE), padding_mode="fill", fill_value=color
        )
        joints = torch.from_numpy(stream.pack.joints[items]).float()
        return crops, _exchanged(geometry.transform_points(whole, joints), draws)

    return run


def _kornia_augmentation(stream: SampleStream) -> Work:
    augmentation: Any = import_module("kornia.augmentation")

    items = _given(stream)[0]
    augment = augmentation.AugmentationSequential(
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.RandomAffine(180.0, scale=(0.8, 1.25), p=1.0),
        augmentation.CenterCrop(SIZE),
        data_keys=["input", "keypoints"],
    )

    def run() -> Any:
        pictures = torch.from_numpy(stream.pack.pixels[items]).permute(0, 3, 1, 2).float()
        return augment(pictures, torch.from_numpy(stream.pack.joints[items]).float())

    return run


def _torchvision(stream: SampleStream) -> Work:
    functional: Any = import_module("torchvision.transforms.v2.functional")
    transforms: Any = import_module("torchvision.transforms")
    tensors: Any = import_module("torchvision.tv_tensors")

    items, draws, _ = _given(stream)
    keys: dict[str, Any] = {"translate": [0, 0], "shear": [0, 0], "fill": list(MEAN_COLOR)}
    keys["interpolation"] = transforms.InterpolationMode.BILINEAR

    middle = [PACKED / 2 - 0.5] * 2  # its points turn about the middle of edge coordinates

    def one(value: Any, row: int, center: list[float] | None = None) -> Any:
        if draws.flip[row]:
            value = functional.horizontal_flip(value)
        angle, scale = float(np.degrees(draws.angle[row])), float(draws.scale[row])
        turned = functional.affine(value, angle=angle, scale=scale, center=center, **keys)
        return functional.center_crop(turned, [SIZE, SIZE])

    def run() -> tuple[Tensor, Tensor]:
        crops, moved = [], []
        for row, item in enumerate(items):
            crops.append(one(torch.from_numpy(stream.pack.pixels[item]).permute(2, 0, 1), row))
            joints = torch.from_numpy(stream.pack.joints[item]).float()
            moved.append(one(tensors.KeyPoints(joints, canvas_size=(PACKED, PACKED)), row, middle))
        return torch.stack(crops), _exchanged(torch.stack(moved).as_subclass(Tensor), draws)

    return run


def _albumentations(stream: SampleStream) -> Work:
    albumentations: Any = import_module("albumentations")

    items = _given(stream)[0]
    augment = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(scale=(0.8, 1.25), rotate=(-180, 180), fill=MEAN_COLOR, p=1.0),
            albumentations.CenterCrop(SIZE, SIZE),
        ],
        keypoint_params=albumentations.KeypointParams("xy", remove_invisible=False),
        seed=0,
    )

    def run() -> tuple[Tensor, Tensor]:
        crops, moved = [], []
        for item in items:
            done = augment(image=stream.pack.pixels[item], keypoints=stream.pack.joints[item])
            crops.append(done["image"])
            moved.append(done["keypoints"])
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
        return images, torch.from_numpy(np.stack(moved)).float()

    return run


CASES: Cases = {
    "augment-batch": augment_batch,
    "augment-device": augment_device,
    "pack-pictures": pack_lsp,
    "pack-photos": pack_photos,
}
