"""What the stream's batches mean, one picture after the other: definition and earlier way."""

import math

import numpy as np
import torch
from torch import Tensor

from uprightpose.data.augment import COVER_SIDES, UPRIGHT, Augmentation
from uprightpose.data.images import MEAN_COLOR, crop_image
from uprightpose.data.loader import TRIES, Batch, SampleStream
from uprightpose.frames import apply_affine
from uprightpose.pose_types import nearest_type


def stack_items(stream: SampleStream, indices: list[int]) -> Batch:
    """Return what ``stream.batch(indices)`` must be, byte for byte."""
    parts = zip(*(_item(stream, index) for index in indices), strict=True)
    return Batch(*(torch.stack(part) for part in parts))


def _item(stream: SampleStream, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    epoch, place = divmod(index, len(stream.items))
    order = np.random.default_rng((stream.seed, 0, epoch)).permutation(stream.items)
    item = int(order[place])
    random = np.random.default_rng((stream.seed, 1, index))
    mirror = list(stream.skeleton.mirror)
    for _ in range(1 if stream.centers is None else TRIES):
        matrix, flip = stream.crop.matrix(stream.pack.box), False
        covers: list[list[float]] = []
        if stream.augmentation is not None:
            matrix, flip, covers = _draw(stream, stream.augmentation, random.random(20))
        joints = apply_affine(matrix, stream.pack.joints[item])
        joints = joints[mirror] if flip else joints
        if stream.centers is None:
            break
        found = nearest_type(joints[None], stream.centers, skeleton=stream.skeleton)[0]
        if found == index % len(stream.centers):
            break
    image = crop_image(stream.pack.pixels[item], matrix, stream.crop.size)
    for cover in covers:
        left, top, right, bottom = (round(min(max(edge, 0.0), 1.0) * len(image)) for edge in cover)
        image[top:bottom, left:right] = MEAN_COLOR
    state = stream.pack.state[item]
    state = state[mirror] if flip else state.copy()
    picture = torch.from_numpy(image).permute(2, 0, 1)
    return picture, torch.from_numpy(joints).float(), torch.from_numpy(state), torch.tensor(item)


def _draw(
    stream: SampleStream, augmentation: Augmentation, values: np.ndarray
) -> tuple[np.ndarray, bool, list[list[float]]]:
    """Return one map, whether it mirrors, and rectangles to cover."""
    upright, turn, size, x, y, mirrored, whether, count, *places = values.tolist()
    limit = augmentation.rotation
    if upright < augmentation.upright_share:
        limit = min(UPRIGHT, limit)
    low, high = augmentation.scale
    flip = mirrored < augmentation.flip
    matrix = stream.crop.matrix(
        stream.pack.box,
        angle=math.radians((2 * turn - 1) * limit),
        scale=math.exp(math.log(low) + size * math.log(high / low)),
        flip=flip,
    )
    shift = ((2 * x - 1) * augmentation.shift, (2 * y - 1) * augmentation.shift)
    matrix[:, 2] += np.multiply(shift, stream.crop.size)
    if whether >= augmentation.erase:
        return matrix, flip, []
    centers, sides = np.reshape(places, (2, 3, 2))[:, : 1 + int(3 * count)]
    half = (COVER_SIDES[0] + sides * (COVER_SIDES[1] - COVER_SIDES[0])) / 2
    return matrix, flip, np.concatenate([centers - half, centers + half], axis=1).tolist()
