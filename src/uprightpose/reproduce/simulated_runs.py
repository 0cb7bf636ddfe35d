"""One arm of the simulation with one seed: train what is not trained yet, test once, keep.

An arm leaves its predicted joints in a file, and the body arm its weights too, on which stage 2
stands. What is there is not made again; an interrupted run goes on with the next arm.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from safetensors.torch import load, save
from torch import Tensor, nn
from tqdm import tqdm

from uprightpose.data.writing import make_folder, write_whole
from uprightpose.framed import FramedMaps, merge_joints
from uprightpose.losses import Truth, framed_loss
from uprightpose.refine import BodyRefiner, LimbRefiner
from uprightpose.reproduce.arms import (
    BODY,
    Arm,
    angle_errors,
    body_frame,
    limb_frames,
    true_turns,
)
from uprightpose.reproduce.hypotheses import Pictures
from uprightpose.reproduce.simulated_people import (
    SIDE,
    Batch,
    People,
    Poses,
    order_of,
    training_batch,
)
from uprightpose.skeletons import LSP

AT_A_TIME = 100
"""Test people."""

CLIP = 5.0
"""Largest norm of the gradient (SPEC 1.16)."""


@dataclass(frozen=True)
class Sizes:
    """Sizes and schedule of all arms.

    Chosen on training poses, 800 to learn from and 200 held out and turned: in 400 steps the raw
    network that replaces its maps reaches 40.2 (Total), the one that adds to them 86.3, after 800
    steps 87.6 (rate 3e-3 and 6e-3 alike); the drawn maps have 83.7. The steps are what an hour
    allows.

    Attributes:
        width: channels of each network.
        kernels: sides of its large kernels.
        canvas: side of the body frame over the maps' side.
        limb_canvas: the same of a limb's frame.
        residual: add to the incoming maps instead of replacing them.
        steps: of each arm.
        batch: people of a step.
        rate: of Adam, at first; it falls to 0 along a cosine.
    """

    width: int = 16
    kernels: tuple[int, ...] = (5, 7, 7)
    canvas: float = 1.25
    limb_canvas: float = 0.875
    residual: bool = True
    steps: int = 600
    batch: int = 16
    rate: float = 3e-3


@dataclass(frozen=True, eq=False)
class Finished:
    """What an arm with one seed says about the test people.

    Attributes:
        joints: ``(n, k, 2)`` cells by test set.
        limb_errors: ``(n, 4)`` degrees between each limb's angle, as read from the maps of stage
            1, and its true one; no columns for stage 1 itself.
        parameters: of what it trained.
        seconds: that it took.
    """

    joints: dict[Pictures, Poses]
    limb_errors: dict[Pictures, Float[ndarray, "n l"]]
    parameters: int
    seconds: float


def is_finished(folder: Path, arm: Arm, seed: int, people: People, sizes: Sizes) -> bool:
    """Return whether all files of an arm are there."""
    path = run_file(folder, arm, seed, people, sizes)
    return path.is_file() and (arm != BODY or _weights(path).is_file())


def run_file(folder: Path, arm: Arm, seed: int, people: People, sizes: Sizes) -> Path:
    """Return the name of an arm's results: of its settings and poses, so that none is mistaken."""
    digest = hashlib.sha256(json.dumps([asdict(sizes), asdict(arm)]).encode())
    for poses in (people.train, people.test):
        digest.update(poses.tobytes())
    return folder / f"{arm.name}-seed{seed}-{digest.hexdigest()[:8]}.npz"


def finish_arm(
    arm: Arm,
    seed: int,
    people: People,
    tests: Mapping[Pictures, Batch],
    sizes: Sizes,
    folder: Path,
) -> Finished:
    """Return an arm's results with one seed; trains it only if they are not there.

    Args:
        arm: of stage 2 only once the seed's body arm is finished.
        seed: of weights, order, augmentations, failures and noise.
        people: to learn from.
        tests: to be tested on.
        sizes: and schedule.
        folder: for results.
    """
    path = run_file(folder, arm, seed, people, sizes)
    if not is_finished(folder, arm, seed, people, sizes):
        make_folder(folder)
        body = _weights(run_file(folder, BODY, seed, people, sizes))
        _train(arm, seed, people, tests, sizes, path, body)
    return _read(path)


def _weights(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _train(
    arm: Arm,
    seed: int,
    people: People,
    tests: Mapping[Pictures, Batch],
    sizes: Sizes,
    path: Path,
    body: Path,
) -> None:
    """Train an arm and write its results; the body arm's weights first."""
    start = time.monotonic()
    network = Network(arm, sizes, seed)
    if arm.limbs:
        network.body.load_state_dict(load(body.read_bytes()))
    poses = order_of(people.train, seed, arm.share)
    learn(
        network.learning,
        lambda step: network.loss(
            training_batch(poses, seed, step, sizes.batch, turned=arm.turned)
        ),
        sizes,
        title=f"{arm.title}, seed {seed}",
    )
    found = {pictures: network.test(batch) for pictures, batch in tests.items()}
    if arm == BODY:
        write_whole(body, save(network.body.state_dict()))
    arrays: dict[str, Any] = {
        "parameters": sum(one.numel() for one in network.learning.parameters()),
        "seconds": time.monotonic() - start,
    }
    for pictures, (joints, errors) in found.items():
        arrays |= {pictures: joints, f"{pictures} limb errors": errors}
    stream = BytesIO()
    np.savez_compressed(stream, **arrays)
    write_whole(path, stream.getvalue())


def learn(
    network: nn.Module, loss: Callable[[int], Float[Tensor, ""]], sizes: Sizes, title: str
) -> None:
    """Take the steps: Adam, whose rate falls along a cosine."""
    optimizer = torch.optim.Adam(network.parameters(), lr=sizes.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sizes.steps)
    network.train()
    for step in tqdm(range(sizes.steps), desc=title, disable=None, leave=False):
        optimizer.zero_grad()
        torch.autograd.backward(loss(step))
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        schedule.step()


class Network:
    """An arm's networks, with the rotations that it gives them.

    Attributes:
        arm: whose.
        body: stage 1, frozen below stage 2.
        limbs: stage 2, if the arm has one.
    """

    def __init__(self, arm: Arm, sizes: Sizes, seed: int) -> None:
        """Build what starts from the same weights in all arms of a stage."""
        self.arm, self.limbs = arm, None
        shape: dict[str, Any] = {"width": sizes.width, "kernels": sizes.kernels}
        shape |= {"residual": sizes.residual, "canvas": sizes.canvas}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = BodyRefiner(LSP, **shape)
            if arm.limbs:
                self.limbs = LimbRefiner(
                    LSP,
                    normalize=arm.limbs != "none",
                    limb_canvas=sizes.limb_canvas,
                    **shape,
                )

    @property
    def learning(self) -> nn.Module:
        """What is trained."""
        return self.body if self.limbs is None else self.limbs

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Return what the parts lose, each in its own frame."""
        joints = torch.from_numpy(batch.joints).float()
        everything = torch.ones(joints.shape[:2], dtype=torch.bool)
        truth = Truth(joints, everything, everything)
        parts, _ = self.refine(batch)
        return torch.stack([framed_loss(part, truth, 1.0, LSP, "disks") for part in parts]).sum()

    def refine(self, batch: Batch) -> tuple[tuple[FramedMaps, ...], Float[Tensor, "b l"]]:
        """Return the refined parts, and the errors in degrees of the limbs' angles."""
        maps, joints = batch.simulated.maps, torch.from_numpy(batch.joints).float()
        spins = torch.from_numpy(batch.spins).float()
        frame = body_frame(self.arm.body, maps, joints, spins)
        if self.limbs is None or self.arm.limbs is None:
            return (self.body.refine(maps, rotation=frame),), maps.new_zeros(len(maps), 0)
        with torch.no_grad():
            first = self.body.refine(maps, rotation=frame)
        read = self.limbs.read_turns(first.maps)
        turns = limb_frames(self.arm.limbs, read, first.rotation, joints)
        true = true_turns(first.rotation, joints)
        errors = [angle_errors(a.angle, b.angle) for a, b in zip(read, true, strict=True)]
        parts = self.limbs.refine(first.maps, first.rotation, (SIDE, SIDE), turns)
        return parts, torch.stack(errors, dim=1)

    @torch.no_grad()
    def test(self, batch: Batch) -> tuple[Poses, Float[ndarray, "n l"]]:
        """Return the joints in cells of the image maps, and the errors of the limbs' angles."""
        self.learning.eval()
        joints, errors = [], []
        for start in range(0, len(batch.joints), AT_A_TIME):
            parts, wrong = self.refine(batch[start : start + AT_A_TIME])
            joints.append(merge_joints(parts, len(LSP.joints), merge="limb").joints.double())
            errors.append(wrong)
        return torch.cat(joints).numpy(), torch.cat(errors).numpy()


def _read(path: Path) -> Finished:
    with np.load(path) as arrays:
        sets: tuple[Pictures, ...] = ("natural", "turned")
        return Finished(
            {pictures: arrays[pictures] for pictures in sets if pictures in arrays},
            {one: arrays[f"{one} limb errors"] for one in sets if one in arrays},
            int(arrays["parameters"]),
            float(arrays["seconds"]),
        )
