"""Pictures are decoded once, in threads, into one file that is mapped from then on."""

import os
import threading

import cv2
import numpy as np
import pytest

from uprightpose.data import pack as packing
from uprightpose.data.images import crop_image, read_image
from uprightpose.data.pack import MARGIN, pack_samples
from uprightpose.data.sample import Sample, State
from uprightpose.errors import InputError
from uprightpose.frames import Crop, apply_affine, whole_image_box


class TestPackSamples:
    """'A packed cache so that training is not bound by JPEG decoding' (issue 2)."""

    def test_joints_lie_on_their_pictures(self, pack, place_of_dot):
        assert pack.pixels.shape == (5, 96, 96, 3)  # MARGIN times 64
        assert pack.joints.shape == (5, 14, 2)
        for image, joints in zip(pack.pixels, pack.joints, strict=True):
            assert np.abs(place_of_dot(image) - joints[11]).max() < 0.25

    def test_the_box_is_as_large_as_asked(self, pack, samples):
        assert pack.box == (16.0, 16.0, 64.0, 64.0)
        assert MARGIN * 64 == 96
        scale = np.abs(np.diff(pack.joints[0, 5:7, 0]) / np.diff(samples[0].joints[5:7, 0]))
        assert scale == pytest.approx(64 / 70)

    def test_states_and_absent_joints_are_kept(self, pack, samples):
        assert pack.state.tolist() == [sample.state.tolist() for sample in samples]
        assert (np.isnan(pack.joints).any(axis=2) == (pack.state == State.ABSENT)).all()

    def test_it_is_reused(self, pack, samples, tmp_path, monkeypatch):
        def refuse(*_):
            raise AssertionError("a picture is decoded again")

        monkeypatch.setattr(packing, "read_image", refuse)
        again = pack_samples(samples, 64, tmp_path / "cache")
        assert np.array_equal(again.pixels, pack.pixels)
        assert np.array_equal(again.joints, pack.joints, equal_nan=True)

    def test_joints_are_not_cached(self, pack, samples, tmp_path):
        """The same pictures with other labels need no other pack."""
        moved = [Sample(**{**s.__dict__, "joints": s.joints + 1, "labels": "oc"}) for s in samples]
        again = pack_samples(moved, 64, tmp_path / "cache")
        assert len(list((tmp_path / "cache").iterdir())) == 2
        assert np.nanmin(again.joints - pack.joints) > 0.3

    def test_other_pictures_boxes_or_sizes_are_packed_anew(self, pack, samples, tmp_path):
        cache = tmp_path / "cache"
        other_box = [Sample(**{**s.__dict__, "box": (0.0, 0.0, 50.0, 50.0)}) for s in samples]
        for others, size in (
            (samples[:4], 64),
            (other_box, 64),
            (samples, 32),
            (samples[::-1], 64),
        ):
            before = len(list(cache.iterdir()))
            packed = pack_samples(others, size, cache)
            assert len(packed.pixels) == len(others)
            assert len(list(cache.iterdir())) == before + 2

    def test_a_replaced_picture_is_packed_anew(
        self, samples, pack, tmp_path, place_of_dot, draw_dot
    ):
        """LSP and its original-size variant have the same names."""
        draw_dot(samples[1].image, (300, 400), (200, 100))
        samples[1].joints[11] = 200, 100
        again = pack_samples(samples, 64, tmp_path / "cache")
        assert np.abs(place_of_dot(again.pixels[1]) - again.joints[1, 11]).max() < 0.25

    def test_stretched_people_are_packed_apart(self, pack, samples, tmp_path, place_of_dot):
        """'Stretching changes angles and bone lengths' (SPEC 1.8)."""
        wide = [Sample(**{**s.__dict__, "box": (10.0, 30.0, 70.0, 35.0)}) for s in samples]
        kept = pack_samples(wide, 64, tmp_path / "cache")
        stretched = pack_samples(wide, 64, tmp_path / "cache", "stretch")
        assert stretched.box == kept.box
        assert np.allclose(stretched.joints[..., 0], kept.joints[..., 0], equal_nan=True)
        moved = 47.5 + 2 * (kept.joints[..., 1] - 47.5)
        assert np.allclose(stretched.joints[..., 1], moved, equal_nan=True)
        inside = [number for number in range(5) if 12 < stretched.joints[number, 11, 1] < 80]
        assert len(inside) >= 3
        for number in inside:
            found = place_of_dot(stretched.pixels[number])
            assert np.abs(found - stretched.joints[number, 11]).max() < 0.5

    def test_a_missing_half_is_written_again(self, pack, samples, tmp_path):
        for ending in ("*.matrices.npy", "*[0-9a-f].npy"):
            (file,) = (tmp_path / "cache").glob(ending)
            file.unlink()
            again = pack_samples(samples, 64, tmp_path / "cache")
            assert np.array_equal(again.pixels, pack.pixels)

    def test_a_corrupt_picture_is_named_and_nothing_is_left(self, samples, tmp_path):
        samples[3].image.write_bytes(samples[3].image.read_bytes()[:40])
        with pytest.raises(InputError, match=r"3\.png"):
            pack_samples(samples, 64, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []

    def test_a_missing_picture_is_named(self, samples, tmp_path):
        samples[2].image.unlink()
        with pytest.raises(InputError, match=r"2\.png"):
            pack_samples(samples, 64, tmp_path / "cache")

    def test_a_break_leaves_no_half_pack(self, samples, tmp_path, monkeypatch):
        def stop(_, matrix, __):
            if matrix[0, 2] > 0:  # some pictures, not the first
                raise KeyboardInterrupt
            return np.zeros((96, 96, 3), np.uint8)

        before = set(threading.enumerate())  # other tests' readers may wait to be collected
        with monkeypatch.context() as patch:
            patch.setattr(packing, "crop_image", stop)
            with pytest.raises(KeyboardInterrupt):
                pack_samples(samples, 64, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []
        assert not set(threading.enumerate()) - before
        assert pack_samples(samples, 64, tmp_path / "cache").pixels.any()

    @pytest.mark.parametrize("threads", [1, 3])
    def test_threads_change_no_byte(self, samples, tmp_path, threads, monkeypatch):
        monkeypatch.setattr(packing, "PART", 2)
        found = pack_samples(samples, 64, tmp_path / "cache", threads=threads)
        for sample, pixels, joints in zip(samples, found.pixels, found.joints, strict=True):
            image = read_image(sample.image)
            box = sample.box or whole_image_box(image.shape[:2])
            matrix = Crop(96, 64).matrix(box)
            assert np.array_equal(pixels, crop_image(image, matrix, 96))
            assert np.array_equal(joints, apply_affine(matrix, sample.joints), equal_nan=True)

    def test_progress_counts_every_picture(self, samples, tmp_path, capfd):
        pack_samples(samples, 64, tmp_path / "cache", threads=2)
        assert "packing pictures: 100%" in capfd.readouterr().err

    def test_opencvs_log_is_as_loud_as_before(self, samples, tmp_path):
        """Each picture quietens it, in several threads at once."""
        before = cv2.utils.logging.getLogLevel()
        pack_samples(samples, 64, tmp_path / "cache", threads=4)
        assert cv2.utils.logging.getLogLevel() == before

    def test_cache_that_cannot_be_written(self, samples, tmp_path):
        file = tmp_path / "file"
        file.write_text("no folder")
        for cache in (file, file / "below"):
            with pytest.raises(InputError, match="cannot be written"):
                pack_samples(samples, 64, cache)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_folder_without_permission(self, samples, tmp_path):
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(InputError, match="cannot be written"):
            pack_samples(samples, 64, tmp_path / "locked" / "cache")

    def test_nobody(self, tmp_path):
        with pytest.raises(InputError, match="no samples"):
            pack_samples([], 64, tmp_path)
