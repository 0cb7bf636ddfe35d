"""Two ways to crop a batch: OpenCV's bytes, and torch's values beside them."""

import numpy as np
import pytest
import torch

from uprightpose.data.augment import (
    Augmentation,
    Draws,
    augmented_matrices,
    draw_augmentations,
)
from uprightpose.data.images import MEAN_COLOR, SHRINK, crop_image
from uprightpose.data.warp import TOLERANCE, warp_on_cpu, warp_on_device
from uprightpose.frames import Crop, sampling_grids

PACKED, SIZE, BOX = 60, 44, (10.0, 10.0, 40.0, 40.0)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, PACKED, PACKED, 3), dtype=np.uint8)
ITEMS = np.array([3, 0, 4, 4, 1, 2, 0])


def drawn(**keys) -> tuple[Draws, np.ndarray]:
    values = np.random.default_rng(1).random((len(ITEMS), 20))
    draws = draw_augmentations(Augmentation(shift=0.2, **keys), values)
    return draws, augmented_matrices(BOX, Crop(SIZE), draws)


def on_device(matrices: np.ndarray, covers: np.ndarray | None = None) -> torch.Tensor:
    pictures = torch.from_numpy(PIXELS[ITEMS]).permute(0, 3, 1, 2)
    grids = torch.from_numpy(sampling_grids(matrices, PACKED, SIZE)).float()
    covers = np.zeros((len(ITEMS), 3, 4), np.int64) if covers is None else covers
    return warp_on_device(pictures, grids, torch.from_numpy(covers), SIZE)


class TestOnCpu:
    @pytest.mark.parametrize("scale", [(0.8, 1.25), (0.2, 0.6)])
    def test_the_bytes_of_each_crop_alone(self, scale):
        """Where a map shrinks by more than two, averaging first as ``crop_image`` does."""
        matrices = drawn(scale=scale)[1]
        shrinks = np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2])))
        assert (shrinks < SHRINK).any() == (scale[0] < SHRINK)
        crops = warp_on_cpu(PIXELS, ITEMS, matrices, SIZE)
        assert crops.shape == (7, SIZE, SIZE, 3)
        for crop, item, matrix in zip(crops, ITEMS, matrices, strict=True):
            assert np.array_equal(crop, crop_image(PIXELS[item], matrix, SIZE))

    def test_crops_lie_in_one_piece(self):
        assert warp_on_cpu(PIXELS, ITEMS, drawn()[1], SIZE).flags.c_contiguous


class TestOnDevice:
    def test_opencvs_crops_within_the_tolerance(self):
        """On noise, the hardest picture, turned over the full circle; borders too."""
        matrices = drawn()[1]
        crops = torch.from_numpy(warp_on_cpu(PIXELS, ITEMS, matrices, SIZE)).permute(0, 3, 1, 2)
        assert (on_device(matrices) - crops).abs().max() < TOLERANCE

    def test_the_mean_color_beyond_the_picture(self):
        matrices = np.stack([np.array([[1.0, 0, 500], [0, 1, 0]])] * 7)
        color = torch.tensor(MEAN_COLOR).float()[:, None, None]
        assert torch.allclose(on_device(matrices), color.expand(7, 3, SIZE, SIZE))

    def test_covers(self):
        covers = np.zeros((7, 3, 4), np.int64)
        covers[2, :2] = (5, 10, 9, 30), (20, 0, SIZE, 2)
        matrices = drawn()[1]
        plain, covered = on_device(matrices), on_device(matrices, covers)
        changed = (plain != covered).any(dim=1)
        expected = torch.zeros(7, SIZE, SIZE, dtype=torch.bool)
        expected[2, 10:30, 5:9] = expected[2, :2, 20:] = True
        assert not (changed & ~expected).any()
        color = torch.tensor(MEAN_COLOR).float()
        assert torch.allclose(covered.permute(0, 2, 3, 1)[expected], color)

    def test_channels_come_last_in_memory(self):
        assert on_device(drawn()[1]).is_contiguous(memory_format=torch.channels_last)
