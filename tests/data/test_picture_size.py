"""The size of a picture is what the viewer sees, whether the header tells it or not."""

import cv2
import numpy as np
import pytest

from uprightpose.data.images import read_image
from uprightpose.data.picture_size import picture_size
from uprightpose.errors import InputError

TURNED = b"\xff\xe1" + (34).to_bytes(2, "big") + b"Exif\0\0MM\0*\0\0\0\x08\0\x01"
TURNED += b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: a quarter turn


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_is_that_of_the_decoded_picture(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.zeros((7, 300, 3), np.uint8))
    assert picture_size(path) == (7, 300) == read_image(path).shape[:2]


def test_progressive_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((7, 300, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert picture_size(path) == (7, 300)


def test_of_a_jpeg_only_the_header_is_read(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.full((70, 300, 3), 99, np.uint8))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError):
        read_image(path)
    assert picture_size(path) == (70, 300)


def test_tables_before_the_frame_are_passed_over(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((7, 300, 3), np.uint8))
    content = path.read_bytes()
    start = content.index(b"\xff\xc4")  # a Huffman table; its marker is like those of frames
    table = content[start : start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")]
    path.write_bytes(content[:2] + table + content[2:])
    assert picture_size(path) == (7, 300)


def test_a_turned_jpeg_has_the_size_that_the_viewer_sees(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((7, 300, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[:2] + TURNED + content[2:])
    assert picture_size(path) == (300, 7) == read_image(path).shape[:2]


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x11\x08\0", b"text"])
def test_what_is_no_picture(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg"):
        picture_size(tmp_path / "a.jpg")


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"b\.jpg"):
        picture_size(tmp_path / "b.jpg")
