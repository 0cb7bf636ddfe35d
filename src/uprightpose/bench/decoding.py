"""Joints from score maps, between cells: against transformers' pose post-processing."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from uprightpose.bench.timing import Cases, Comparison
from uprightpose.score_maps import decode, encode_gaussians

PEOPLE, JOINTS, SIZE = 64, 17, (64, 48)

SETTINGS = tuple((sigma, noise) for sigma in (1.0, 1.5, 2.0) for noise in (0.0, 0.02))
"""Standard deviation of the Gaussians in cells, and of the noise on maps of height 1."""

TIMED = (2.0, 0.02)
"""The setting whose maps are timed."""

SLACK = 1e-4
"""Cells: below this errors are rounding."""

AGREE = 0.5
"""Cells within which all contenders must place every joint of the timed maps."""

OURS = "decode, gaussian"
PARABOLA = "decode, parabola"
DARK = "transformers, DARK step"
WHOLE = "transformers, post_process_pose_estimation"


def decode_joints(threads: int) -> Comparison:  # noqa: ARG001
    """Compare our reading of joints with the maximum and DARK step of transformers' ViTPose.

    Its DARK blurs with ``kernel=11`` by default; so does the contender.
    """
    joints = true_joints()
    maps = noisy_maps(joints, *TIMED)
    contenders: dict[str, Callable[[], Any]] = {
        OURS: lambda: decode(maps, subcell="gaussian").joints,
        PARABOLA: lambda: decode(maps).joints,
    }
    missing: dict[str, str] = {}
    notes: dict[str, float | str] = {}
    peer: Callable[[Tensor], Tensor] | None = None
    try:
        from transformers.models.vitpose.image_processing_vitpose import (
            VitPoseImageProcessor,
            get_keypoint_predictions,
            post_dark_unbiased_data_processing,
        )

        def dark(values: Tensor) -> Tensor:
            array = values.numpy()
            cells, _ = get_keypoint_predictions(array)
            return torch.from_numpy(post_dark_unbiased_data_processing(cells, array, kernel=11))

        processor = VitPoseImageProcessor()
        boxes = [[[0.0, 0.0, 192.0, 256.0]]] * PEOPLE
        outputs: Any = SimpleNamespace(heatmaps=maps)

        def whole() -> Tensor:
            found = processor.post_process_pose_estimation(outputs, boxes=boxes)
            return torch.stack([person[0]["keypoints"] for person in found])

        contenders |= {DARK: lambda: dark(maps), WHOLE: whole}
        peer = dark
    except ImportError:
        missing |= dict.fromkeys((DARK, WHOLE), "transformers is not installed")
    if peer is not None:
        notes |= {f"cells off, {key}": text for key, text in _accuracy(joints, peer).items()}

    def check(found: dict[str, Any]) -> str:
        return _check(found, joints, peer)

    cells = PEOPLE * JOINTS * SIZE[0] * SIZE[1]
    return Comparison(
        name="decode",
        task=f"read joints between cells from {PEOPLE} x {JOINTS} maps of {SIZE[0]}x{SIZE[1]}",
        ours=OURS,
        contenders=contenders,
        check=check,
        bars={DARK: 10.0, WHOLE: 10.0},
        missing=missing,
        moved=4 * cells,
        packages=("transformers", "scipy"),
        notes=notes,
    )


def true_joints() -> Float[Tensor, "b k 2"]:
    """Return places at least 6 cells inside the maps: where no border bends a peak."""
    room = torch.tensor([SIZE[1] - 13.0, SIZE[0] - 13.0])
    return 6 + room * torch.rand(PEOPLE, JOINTS, 2, generator=torch.Generator().manual_seed(0))


def noisy_maps(
    joints: Float[Tensor, "b k 2"], sigma: float, noise: float
) -> Float[Tensor, "b k h w"]:
    """Return Gaussians with white noise, clipped to [0, 1]."""
    maps = encode_gaussians(joints, SIZE, sigma)
    random = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    return (maps + noise * random).clamp(0, 1)


def errors(
    joints: Float[Tensor, "b k 2"], read: Callable[[Tensor], Tensor], sigma: float, noise: float
) -> tuple[float, float]:
    """Return the mean and the largest distance in cells from the true joints."""
    found = read(noisy_maps(joints, sigma, noise))
    distance = (found - joints).norm(dim=-1)
    return distance.mean().item(), distance.max().item()


def _readings(
    peer: Callable[[Tensor], Tensor] | None,
) -> dict[str, Callable[[Tensor], Tensor]]:
    ours: dict[str, Callable[[Tensor], Tensor]] = {
        "gaussian": lambda maps: decode(maps, subcell="gaussian").joints,
        "parabola": lambda maps: decode(maps).joints,
    }
    return ours if peer is None else {**ours, "DARK": peer}


def _accuracy(joints: Tensor, peer: Callable[[Tensor], Tensor] | None) -> dict[str, str]:
    """Return mean and largest error of each reading in every setting, as text."""
    found = {}
    for sigma, noise in SETTINGS:
        for name, read in _readings(peer).items():
            mean, most = errors(joints, read, sigma, noise)
            found[f"sigma {sigma:g}, noise {noise:g}, {name}"] = f"{mean:.4f}, {most:.4f} at most"
    return found


def _check(found: dict[str, Any], joints: Tensor, peer: Callable[[Tensor], Tensor] | None) -> str:
    """Say how exact joints are; fail where ours are farther off than the peer's.

    The whole post-processing answers in pixels of the boxes, not in cells: it is only timed.
    """
    for name, cells in found.items():
        apart = np.nan if name == WHOLE else (cells - joints).norm(dim=-1).max().item()
        assert name == WHOLE or apart <= AGREE, f"{name} is {apart:.2g} cells off"
    worst = 0.0
    for sigma, noise in SETTINGS:
        ours = errors(joints, _readings(None)["gaussian"], sigma, noise)
        worst = max(worst, ours[0])
        if peer is None:
            continue
        theirs = errors(joints, peer, sigma, noise)
        for kind, own, other in zip(("mean", "largest"), ours, theirs, strict=True):
            assert own <= other + SLACK, (
                f"sigma {sigma:g}, noise {noise:g}: our {kind} error is {own:.4f} cells, "
                f"the peer's {other:.4f}"
            )
    beaten = "" if peer is None else ", mean and largest error nowhere above DARK's"
    return f"true Gaussians are read within {worst:.4f} cells on average{beaten}"


def encode_joints(threads: int) -> Comparison:  # noqa: ARG001
    """Compare targets drawn as products with one Gaussian after another, as peers draw them."""
    joints = true_joints()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)

    def one_by_one() -> Tensor:
        maps = np.empty((PEOPLE, JOINTS, *SIZE), np.float32)
        for person, own in enumerate(joints.tolist()):
            for joint, (across, down) in enumerate(own):
                squares = (x - across) ** 2 + (y - down) ** 2
                maps[person, joint] = np.exp(-squares / (2 * 1.5**2))
        return torch.from_numpy(maps)

    def check(found: dict[str, Any]) -> str:
        one, other = found.values()
        worst = float((one - other).abs().max())
        assert worst < 1e-5, f"targets differ by {worst:.2g}"
        return f"targets agree to {worst:.1g}"

    return Comparison(
        name="encode",
        task=f"draw a Gaussian each for {PEOPLE} x {JOINTS} joints on maps of {SIZE[0]}x{SIZE[1]}",
        ours="encode_gaussians",
        contenders={
            "encode_gaussians": lambda: encode_gaussians(joints, SIZE, 1.5),
            "joint by joint": one_by_one,
        },
        check=check,
        moved=4 * PEOPLE * JOINTS * SIZE[0] * SIZE[1],
    )


CASES: Cases = {
    "decode": decode_joints,
    "encode": encode_joints,
}
