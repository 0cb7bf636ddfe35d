"""Any picture file, as the viewer sees it, or one clear error."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from uprightpose.data.images import (
    SHRINK,
    crop_image,
    decode_image,
    find_pictures,
    quiet,
    read_image,
    write_image,
)
from uprightpose.errors import InputError
from uprightpose.frames import apply_affine, crop_matrix

HEIGHT, WIDTH = 60, 90


@pytest.fixture
def seen():
    """A smooth picture without symmetry."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([2 * x, 3 * y + 20, 120 + 0 * x], axis=2).astype(np.uint8)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def file_bytes(image, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def stored_for(seen, orientation):
    """Return what a file stores so that this EXIF orientation shows ``seen``."""
    return {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.swapaxes(0, 1),
        6: np.rot90(seen, 1),
        7: seen.swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(seen, -1),
    }[orientation]


def with_thumbnail(jpeg, thumbnail):
    """Put a whole JPEG into the EXIF segment of another, as cameras do."""
    payload = b"Exif\0\0II*\0\x08\0\0\0\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + jpeg[2:]


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "options", "close"),
        [
            ("PNG", {}, 0),
            ("BMP", {}, 0),
            ("TIFF", {}, 0),
            ("JPEG", {"quality": 95, "subsampling": 0}, 5),
            ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 5),
            ("WEBP", {"lossless": True}, 0),
        ],
    )
    def test_colors_are_rgb(self, seen, tmp_path, kind, options, close):
        path = tmp_path / "a.bin"  # the content says what it is
        path.write_bytes(file_bytes(seen, kind, **options))
        image = read_image(path)
        assert image.dtype == np.uint8
        assert np.abs(image.astype(int) - seen).max() <= close

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_exif_orientation(self, seen, kind, orientation):
        exif = Image.Exif()
        exif[0x112] = orientation
        options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        data = file_bytes(stored_for(seen, orientation), kind, exif=exif, **options)
        image = decode_image(np.frombuffer(data, np.uint8))
        assert image.shape == seen.shape
        assert np.abs(image.astype(int) - seen).max() <= 5

    def test_grey(self, seen):
        data = file_bytes(seen[..., 0], "PNG")
        image = decode_image(np.frombuffer(data, np.uint8))
        assert (image == seen[..., :1]).all()

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_16_bit(self, seen, tmp_path, suffix, channels):
        deep = seen[..., ::-1].astype(np.uint16) * 257
        deep = deep if channels == 3 else deep[..., 2]
        cv2.imwrite(str(tmp_path / f"deep{suffix}"), deep)
        image = read_image(tmp_path / f"deep{suffix}")
        assert image.dtype == np.uint8
        expected = seen if channels == 3 else seen[..., :1]
        assert np.abs(image.astype(int) - expected).max() <= 1

    def test_rgba_drops_transparency(self, seen):
        alpha = np.full((HEIGHT, WIDTH, 1), 77, np.uint8)
        alpha[:, 40:] = 0
        data = file_bytes(np.concatenate([seen, alpha], axis=2), "PNG")
        assert (decode_image(np.frombuffer(data, np.uint8)) == seen).all()

    @pytest.mark.parametrize(("kind", "close"), [("JPEG", 8), ("TIFF", 1)])
    def test_cmyk(self, seen, kind, close):
        stream = io.BytesIO()
        options = {"quality": 95} if kind == "JPEG" else {}
        Image.fromarray(seen).convert("CMYK").save(stream, kind, **options)
        image = decode_image(np.frombuffer(stream.getvalue(), np.uint8))
        assert np.abs(image.astype(int) - seen).max() <= close

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
    def test_one_pixel(self, kind):
        data = file_bytes(np.full((1, 1, 3), 90, np.uint8), kind)
        image = decode_image(np.frombuffer(data, np.uint8))
        assert image.shape == (1, 1, 3)
        assert np.abs(image.astype(int) - 90).max() <= 2


class TestBadFiles:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
    def test_truncated(self, noise, capfd, kind, share):
        data = file_bytes(noise, kind)
        cut = np.frombuffer(data[: int(share * len(data))], np.uint8)
        message = f"the {kind} is truncated" if kind in ("JPEG", "PNG") else "decoded"
        with pytest.raises(InputError, match=rf"beach\.xyz: .*{message}"):
            decode_image(cut, "beach.xyz")
        assert capfd.readouterr().err == ""  # nothing but our one line

    def test_the_last_byte_is_missed(self, noise):
        for options in ({}, {"progressive": True}):
            data = file_bytes(noise, "JPEG", **options)
            with pytest.raises(InputError, match="the JPEG is truncated"):
                decode_image(np.frombuffer(data[:-1], np.uint8))

    def test_a_thumbnail_hides_no_truncation(self, noise, seen):
        """Its end marker is not the picture's, however near the file's end it lies."""
        data = with_thumbnail(file_bytes(noise, "JPEG"), file_bytes(seen, "JPEG"))
        assert decode_image(np.frombuffer(data, np.uint8)).shape == noise.shape
        with pytest.raises(InputError, match="the JPEG is truncated"):
            decode_image(np.frombuffer(data[: len(data) // 2], np.uint8))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_what_follows_the_end_does_not_matter(self, noise, kind):
        """Phones append films of megabytes."""
        data = file_bytes(noise, kind) + bytes(range(256)) * 1000
        assert decode_image(np.frombuffer(data, np.uint8)).shape == noise.shape

    def test_empty(self, tmp_path):
        (tmp_path / "none.jpg").touch()
        with pytest.raises(InputError, match=r"none\.jpg: the file is empty"):
            read_image(tmp_path / "none.jpg")

    @pytest.mark.parametrize(
        "content",
        [b"hello", b"\0" * 999, b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"],
    )
    def test_no_picture(self, tmp_path, content):
        (tmp_path / "notes.jpg").write_bytes(content)
        with pytest.raises(InputError, match=r"notes\.jpg: "):
            read_image(tmp_path / "notes.jpg")

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"no\.jpg: cannot be read \(No such file"):
            read_image(tmp_path / "no.jpg")

    def test_folder(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(tmp_path)


class TestQuiet:
    def test_overlapping_holders_leave_the_log_as_loud_as_before(self):
        """The first to begin ends first: it may not make the other's silence last."""
        log = cv2.utils.logging
        before = log.setLogLevel(log.LOG_LEVEL_WARNING)
        try:
            one, other = quiet(), quiet()
            one.__enter__(), other.__enter__()
            one.__exit__(None, None, None)
            assert log.getLogLevel() == log.LOG_LEVEL_SILENT
            other.__exit__(None, None, None)
            assert log.getLogLevel() == log.LOG_LEVEL_WARNING
        finally:
            log.setLogLevel(before)


class TestFindPictures:
    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("b.jpg", "a.PNG", "CREDITS.md", ".hidden.jpg", "._c.jpg", "d.tiff"):
            (tmp_path / name).touch()
        (tmp_path / "inside.jpg").mkdir()
        (tmp_path / "deeper").mkdir()
        (tmp_path / "deeper" / "e.jpg").touch()
        return tmp_path

    def test_a_folder_gives_its_pictures_by_name(self, folder):
        assert [path.name for path in find_pictures([folder])] == ["a.PNG", "b.jpg", "d.tiff"]

    def test_files_keep_their_place_and_come_once(self, folder):
        given = [folder / "CREDITS.md", folder / "b.jpg", folder, folder / "." / "d.tiff"]
        names = [path.name for path in find_pictures(given)]
        assert names == ["CREDITS.md", "b.jpg", "a.PNG", "d.tiff"]

    def test_missing(self, folder):
        with pytest.raises(InputError, match=r"no\.jpg: no such file or folder"):
            find_pictures([folder, folder / "no.jpg"])

    def test_without_pictures(self, folder):
        (folder / "deeper" / "e.jpg").unlink()
        with pytest.raises(InputError, match=r"deeper: expected pictures \(.bmp, .*found none"):
            find_pictures([folder / "deeper"])


class TestWriteImage:
    def test_what_is_written_is_read(self, seen, tmp_path):
        write_image(tmp_path / "a.png", seen)
        write_image(tmp_path / "a.jpg", seen)
        assert (read_image(tmp_path / "a.png") == seen).all()
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - seen).mean() < 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png"]

    def test_a_failure_is_one_line_and_leaves_nothing(self, seen, tmp_path):
        (tmp_path / "a.png").mkdir()
        with pytest.raises(InputError, match=r"a\.png: cannot be written"):
            write_image(tmp_path / "a.png", seen)
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


class TestCropImage:
    @pytest.mark.parametrize("zoom", [0.2, 0.45, 0.8, 1.0, 2.5])
    def test_the_picture_moves_with_its_points(self, zoom):
        """A dot's center of mass lies where the matrix says, shrunk or enlarged."""
        size, dot = 96, np.array([[143.0, 87.0]])
        matrix = crop_matrix((143 - 48 / zoom - 7, 87 - 48 / zoom + 5, 96 / zoom, 96 / zoom), size)
        y, x = np.mgrid[:200, :300]
        distance = ((x - dot[0, 0]) ** 2 + (y - dot[0, 1]) ** 2) / (2 * (4 / zoom) ** 2)
        image = (255 * np.exp(-distance))[..., None].repeat(3, axis=2).astype(np.uint8)
        crop = crop_image(image, matrix, size)[..., 0].astype(float)
        u, v = apply_affine(matrix, dot)[0]
        near = np.mgrid[:size, :size] - np.array([v, u])[:, None, None]
        weight = crop * (np.abs(near).max(axis=0) < 14)
        assert np.abs((near * weight).sum(axis=(1, 2)) / weight.sum()).max() < 0.1

    @pytest.mark.parametrize("factor", [0.9, 1.1])
    def test_fine_texture_is_averaged_below_shrink_alone(self, factor):
        """Stripes of one pixel turn grey where they are averaged first."""
        stripes = np.tile(np.array([0, 255], np.uint8), (200, 100))[..., None].repeat(3, axis=2)
        zoom = factor * SHRINK
        crop = crop_image(stripes, np.array([[zoom, 0, 0], [0, zoom, 0]]), 40)[5:-5, 5:-5]
        assert (crop.std() < 30) == (factor < 1)
