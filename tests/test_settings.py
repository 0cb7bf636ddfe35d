"""What a network is built from."""

import json
import typing
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from uprightpose.frames import Crop
from uprightpose.settings import HEAD_WIDTHS, DetectorName, Settings
from uprightpose.skeletons import SKELETONS


def test_they_go_into_a_file_and_come_back() -> None:
    settings = Settings(kernels=(3, 5), content=96, resize="stretch", share_sides=True)
    values = json.loads(json.dumps(asdict(settings)))
    assert Settings(**{**values, "kernels": tuple(values["kernels"])}) == settings


def test_the_crop_is_how_the_network_sees_a_person() -> None:
    """'340 x 340, padded to 352' (SPEC 1.2)."""
    assert Settings(size=352, content=340).crop == Crop(352, 340, "letterbox")
    assert Settings(size=96, resize="stretch").crop == Crop(96, 0, "stretch")


def test_every_detector_has_a_width_of_its_own() -> None:
    assert tuple(HEAD_WIDTHS) == typing.get_args(DetectorName)


def test_the_defaults_are_choices() -> None:
    hints = typing.get_type_hints(Settings)
    for field in fields(Settings):
        if typing.get_origin(hints[field.name]) is typing.Literal:
            assert field.default in typing.get_args(hints[field.name]), field.name
    assert Settings.skeleton in SKELETONS


def test_each_is_explained() -> None:
    for field in fields(Settings):
        assert f"    {field.name}: " in str(Settings.__doc__), field.name


def test_they_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.size = 64  # type: ignore[misc]
    assert replace(settings, size=64).size == 64
    assert hash(replace(settings, size=64)) != hash(settings)
