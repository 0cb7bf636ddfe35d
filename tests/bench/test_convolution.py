"""The cases of convolution at small sizes: they run, agree, and see a wrong contender."""

import dataclasses

import pytest
import torch

from uprightpose.bench import convolution
from uprightpose.bench.convolution import (
    CASES,
    choice,
    layer,
    measured_memory,
    multiplications,
    network,
    networks,
    six_networks,
    training,
)
from uprightpose.bench.timing import compare
from uprightpose.errors import InputError

SMALL = {
    "layer": lambda: layer(2, 6, side=20, channels=8),
    "network": lambda: network(1, 5, side=20, width=8),
    "six networks": lambda: six_networks(1, 5, side=20, width=8),
    "training": lambda: training(2, 5, side=20, width=8),
    "choice": lambda: choice(side=20, width=4, batch=1),
}


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    """Is measured in processes of seconds each; one test does."""
    monkeypatch.setattr(convolution, "measured_memory", lambda *_: {"memory": 1.0})


@pytest.mark.parametrize("case", SMALL)
def test_contenders_agree(case, machine):
    comparison = SMALL[case]()
    outcome = compare(comparison, machine, rounds=1)
    assert outcome.agreement.startswith("largest difference")
    assert set(comparison.bars) < set(outcome.timings)
    assert comparison.name in CASES or comparison.name[:-1] in {name[:-1] for name in CASES}


@pytest.mark.parametrize("case", SMALL)
def test_another_output_is_seen(case, machine):
    comparison = SMALL[case]()
    name = next(name for name in comparison.contenders if name != comparison.ours)
    right = comparison.contenders[name]

    def off():
        found = right()
        if isinstance(found, tuple):  # gradients: the last alone
            return (*found[:-1], found[-1] * 1.0001)
        return found * 1.0001

    wrong = {**comparison.contenders, name: off}
    with pytest.raises(InputError, match="relative difference"):
        compare(dataclasses.replace(comparison, contenders=wrong), machine, rounds=1)


@pytest.mark.parametrize(("mode", "arrays"), [("inference", 1), ("training", 2)])
def test_memory_is_measured_with_the_result_in_it(mode, arrays):
    """'Peak memory reported, with a setting that bounds it.'"""
    batch, side, channels = 3, 40, 32
    (text,) = measured_memory(mode, batch, side, channels, allowed=(48,)).values()
    if text == "not known":
        pytest.skip("this system does not tell a process's memory")
    rise, own = float(text.split(",")[0]), float(text.split()[1])
    maps = batch * channels * side**2 * 4 / 2**20
    weights = (channels**2 * 15**2 + channels) * 4 / 2**20
    assert own == pytest.approx(arrays * maps + (arrays - 1) * weights, abs=0.5)
    assert own < rise < own + 2 * 48


def test_networks_of_the_paper_need_what_the_specification_says():
    """'Cost at 64x64: 30.8 [GMAC per network] and 183 [all six]' (SPEC 1.9)."""
    with torch.device("meta"):
        net = networks(((15, 15),), 128)[0][0]
    assert multiplications(net) * 64**2 / 1e9 == pytest.approx(30.8, abs=0.06)
