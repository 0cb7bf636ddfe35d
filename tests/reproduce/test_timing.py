"""Milliseconds of every part of a way, measured side by side."""

import pytest

from uprightpose.reproduce import timing
from uprightpose.reproduce.refiner_arms import Size, build_refiners
from uprightpose.reproduce.timing import time_parts
from uprightpose.settings import Settings
from uprightpose.weights import build


def test_every_part_has_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 3)
    settings = Settings(trunk="test_resnet", head_width=4, last="detector")
    detector, scout = build(settings).eval(), build(settings).eval()
    sides = {"detector": [], "scout": []}
    for name, model in (("detector", detector), ("scout", scout)):
        model.detector.register_forward_hook(
            lambda _, given, __, name=name: sides[name].append(tuple(given[0].shape))
        )
    refiners = build_refiners(Size(width=2, kernels=(3, 3)), normalize=True)
    found = time_parts(detector, scout, refiners)
    assert list(found) == ["detector", "scout", "body refinement", "limbs refinement"]
    assert all(value > 0 for value in found.values())
    assert found["limbs refinement"] > found["body refinement"]  # which it holds
    assert set(sides["detector"]) == {(8, 3, 128, 128)}
    assert set(sides["scout"]) == {(8, 3, 64, 64)}
    assert (len(sides["detector"]), len(sides["scout"])) == (1 + 4, 4)
