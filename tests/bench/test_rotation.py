"""The comparisons of turning maps: outputs agree, wrong ones are caught, peers may be absent."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from uprightpose.bench.machine import measure_machine
from uprightpose.bench.rotation import CASES, OPENCV, rotate_maps_backward, rotate_maps_forward
from uprightpose.bench.timing import compare
from uprightpose.errors import InputError


@pytest.fixture(scope="module")
def machine():
    return measure_machine(torch.get_num_threads())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contenders_agree_and_are_timed(case, machine):
    comparison = case(machine.threads)
    outcome = compare(comparison, machine, rounds=1)
    assert "differ by at most" in outcome.agreement
    assert set(outcome.timings) == set(comparison.contenders)
    assert outcome.floor > 0
    assert set(comparison.bars) <= {*comparison.contenders, *comparison.missing}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_wrong_contender_is_caught(case, machine):
    comparison = case(machine.threads)
    name = list(comparison.contenders)[1]
    right = comparison.contenders[name]

    def wrong():
        found = right()
        if isinstance(found, list):
            return [found[0] + 1e-3, *found[1:]]
        return found + 1e-3

    contenders = {**comparison.contenders, name: wrong}
    with pytest.raises(InputError, match=f"the outputs disagree: {name} is 0.001"):
        compare(replace(comparison, contenders=contenders), machine, rounds=1)


def test_opencv_that_turns_the_other_way_is_caught():
    comparison = rotate_maps_forward(1)
    outputs = {name: work() for name, work in list(comparison.contenders.items())[:1]}
    outputs[OPENCV] = np.flip(comparison.contenders[OPENCV](), axis=3).copy()
    with pytest.raises(AssertionError, match="OpenCV"):
        comparison.check(outputs)


def test_peers_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.geometry.transform", None)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.functional", None)
    comparison = rotate_maps_forward(1)
    assert comparison.missing == dict.fromkeys(("kornia", "torchvision"), "not installed")
    assert not {"kornia", "torchvision"} & set(comparison.contenders)


def test_gradients_are_compared_not_maps():
    """The gradient of a bilinear reading adds up: it exceeds the weights it is asked for."""
    found = rotate_maps_backward(1).contenders["rotate_maps"]()
    assert found.max() > 1.2
