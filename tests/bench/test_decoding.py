"""The comparison of reading joints: ours must not be less exact, and peers may be absent."""

import sys
from dataclasses import replace

import pytest
import torch

from uprightpose.bench import decoding
from uprightpose.bench.decoding import DARK, OURS, PARABOLA, WHOLE, decode_joints, encode_joints
from uprightpose.bench.machine import measure_machine
from uprightpose.bench.timing import compare
from uprightpose.errors import InputError
from uprightpose.score_maps import decode


@pytest.fixture
def few(monkeypatch):
    """Fewer people: the peers go joint by joint."""
    monkeypatch.setattr(decoding, "PEOPLE", 6)


@pytest.fixture
def machine():
    return measure_machine(torch.get_num_threads())


@pytest.mark.usefixtures("few")
class TestDecodeJoints:
    def test_contenders_agree_and_are_timed(self, machine):
        comparison = decode_joints(machine.threads)
        outcome = compare(comparison, machine, rounds=1)
        assert outcome.agreement.startswith("true Gaussians are read within 0.0")
        assert set(outcome.timings) == set(comparison.contenders)
        assert outcome.floor > 0
        assert set(comparison.bars) <= {*comparison.contenders, *comparison.missing}

    @pytest.mark.parametrize("name", [OURS, PARABOLA])
    def test_a_wrong_contender_is_caught(self, machine, name):
        comparison = decode_joints(machine.threads)
        wrong = {name: lambda: comparison.contenders[name]().flip(2)}
        with pytest.raises(InputError, match=f"outputs disagree: {name} is .* cells off"):
            compare(
                replace(comparison, contenders={**comparison.contenders, **wrong}),
                machine,
                rounds=1,
            )

    def test_a_less_exact_reading_is_caught(self, monkeypatch):
        pytest.importorskip("transformers")
        comparison = decode_joints(1)
        outputs = {name: work() for name, work in comparison.contenders.items()}
        comparison.check(outputs)
        monkeypatch.setattr(decoding, "decode", lambda maps, **_: decode(maps))  # a parabola
        with pytest.raises(AssertionError, match=r"sigma 1, noise 0: our mean error is 0\.0"):
            comparison.check(outputs)

    def test_transformers_may_be_absent(self, monkeypatch, machine):
        name = "transformers.models.vitpose.image_processing_vitpose"
        monkeypatch.setitem(sys.modules, name, None)
        comparison = decode_joints(machine.threads)
        assert set(comparison.missing) == {DARK, WHOLE}
        assert set(comparison.contenders) == {OURS, PARABOLA}
        assert "within 0.0" in compare(comparison, machine, rounds=1).agreement


@pytest.mark.usefixtures("few")
class TestEncodeJoints:
    def test_contenders_agree_and_are_timed(self, machine):
        outcome = compare(encode_joints(machine.threads), machine, rounds=1)
        assert outcome.agreement.startswith("targets agree to ")
        assert set(outcome.timings) == {"encode_gaussians", "joint by joint"}

    def test_a_wrong_contender_is_caught(self, machine):
        comparison = encode_joints(machine.threads)
        right = comparison.contenders["joint by joint"]
        wrong = {**comparison.contenders, "joint by joint": lambda: right() + 1e-4}
        with pytest.raises(InputError, match="targets differ by"):
            compare(replace(comparison, contenders=wrong), machine, rounds=1)
