"""Packed pictures -> crops, a batch at once: by OpenCV on the CPU, or by torch on any device.

Both resample once, bilinearly, about the same centers of pixels, and show the mean color where
a picture ends. OpenCV's bytes are those of :func:`uprightpose.data.images.crop_image`; torch's
values are not rounded and lie within :data:`TOLERANCE` of them.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from uprightpose.data.images import MEAN_COLOR, SHRINK, crop_image

TOLERANCE = 1.0
"""Grey levels, of 255, between the two ways, at most: OpenCV rounds its weights and results."""


def warp_on_cpu(
    pictures: UInt8[ndarray, "n p p 3"],
    items: Int[ndarray, " b"],
    matrices: Float[ndarray, "b 2 3"],
    size: int,
) -> UInt8[ndarray, "b s s 3"]:
    """Crop pictures by affine maps, each straight to its place in one array.

    Args:
        pictures: RGB; a memory map will do.
        items: which pictures, by place.
        matrices: their pixels -> crop pixels.
        size: side of the crops.
    """
    crops = np.empty((len(items), size, size, 3), np.uint8)
    shrinks = np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2])))
    for row, (item, matrix) in enumerate(zip(items.tolist(), matrices, strict=True)):
        if shrinks[row] < SHRINK:
            crops[row] = crop_image(pictures[item], matrix, size)
        else:
            cv2.warpAffine(
                pictures[item],
                matrix,
                (size, size),
                crops[row],
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=MEAN_COLOR,
            )
    return crops


def warp_on_device(
    pictures: UInt8[Tensor, "b 3 p p"],
    grids: Float[Tensor, "b 2 3"],
    covers: Int[Tensor, "b 3 4"],
    size: int,
) -> Float[Tensor, "b 3 s s"]:
    """Crop pictures by affine maps and cover rectangles, where the pictures lie.

    Nothing is averaged down before: maps must not shrink by more than two.

    Args:
        pictures: RGB, 0 to 255.
        grids: of :func:`uprightpose.frames.sampling_grids`.
        covers: rectangles ``(left, top, right, bottom)`` in crop pixels; all 0 for none.
        size: side of the crops.

    Returns:
        Values of 0 to 255, channels last in memory.
    """
    mean = torch.tensor(MEAN_COLOR, dtype=grids.dtype, device=grids.device)[:, None, None]
    grid = affine_grid(grids, [len(grids), 3, size, size], align_corners=False)
    offsets = (pictures - mean).contiguous(memory_format=torch.channels_last)
    crops = grid_sample(offsets, grid, padding_mode="zeros", align_corners=False)
    place = torch.arange(size, device=grids.device)
    inside = (covers[..., :2, None] <= place) & (place < covers[..., 2:, None])
    hidden = (inside[:, :, 1, :, None] & inside[:, :, 0, None, :]).any(dim=1, keepdim=True)
    crops = crops.masked_fill(hidden, 0.0) + mean
    return crops.contiguous(memory_format=torch.channels_last)
