"""The network on any number of crops: batches, memory, layout, number format, compiling."""

import warnings

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

from uprightpose import inference
from uprightpose.errors import InputError
from uprightpose.inference import Network, automatic_batch
from uprightpose.large_conv import LargeConv2d
from uprightpose.model import PoseNet
from uprightpose.predict import load
from uprightpose.refine import BodyRefiner, LimbRefiner
from uprightpose.skeletons import LSP

SIZE = 32
STAGES = ("detector", "body", "limbs")


class Detector(nn.Module):
    """Random maps at stride 4; notes how many pictures come at a time, holds at most ``most``."""

    stride = 4
    mapping = "sigmoid"

    def __init__(self, most=1000):
        super().__init__()
        self.maps = nn.Conv2d(3, 14, 4, stride=4)
        self.most, self.batches = most, []

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(images))
        return {"maps": self.maps(images / 64)}


def net(most=1000):
    torch.manual_seed(0)
    small = {"width": 5, "kernels": (3, 5, 3)}
    return PoseNet(LSP, Detector(most), BodyRefiner(LSP, **small), LimbRefiner(LSP, **small))


def crops(count):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def network(model=None, **options):
    return Network(model or net(), torch.device("cpu"), SIZE, **options)


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 3, 7, 100])
    def test_results_do_not_depend_on_them(self, batch):
        one = network(batch=11)(crops(11), STAGES)
        other = network(batch=batch)(crops(11), STAGES)
        for stage in STAGES:
            assert one[stage].joints.shape == (11, 14, 2)
            torch.testing.assert_close(other[stage].joints, one[stage].joints, atol=2e-3, rtol=0)
            torch.testing.assert_close(other[stage].scores, one[stage].scores, atol=1e-5, rtol=0)

    def test_parts_are_equal(self):
        model = net()
        network(model, batch=8)(crops(17), STAGES[:1])
        assert model.detector.batches == [6, 6, 5]

    def test_what_a_gpu_cannot_hold_is_halved_and_remembered(self):
        model = net(most=3)
        small, large = network(model, batch=12), network(batch=12)
        expected = large(crops(12), STAGES)
        found = small(crops(12), STAGES)
        torch.testing.assert_close(
            found["limbs"].joints, expected["limbs"].joints, atol=1e-4, rtol=0
        )
        assert small.batch == 3
        model.detector.batches.clear()
        small(crops(6), STAGES)
        assert model.detector.batches == [3, 3]

    def test_a_gpu_that_cannot_hold_one_is_named(self):
        with pytest.raises(InputError, match="cpu: its memory does not hold the network and one"):
            network(net(most=0), batch=4)(crops(4), STAGES)

    @pytest.mark.parametrize("option", ["batch", "memory"])
    @pytest.mark.parametrize("value", [0, -3, 2.5, "3", True])
    def test_what_is_no_amount_is_refused(self, option, value, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as a user has it
        expected = f"{option}: expected a whole number, 1 or more .*, found {value!r}$"
        with pytest.raises(InputError, match=expected):
            network(**{option: value})

    def test_numbers_of_numpy_are_fine(self, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        assert network(batch=np.int64(3)).batch == 3


class TestMemory:
    @pytest.mark.parametrize("memory", [7, 100_000, 1 << 30])
    def test_large_kernels_share_it(self, memory):
        layers = [p for p in network(memory=memory).model.modules() if isinstance(p, LargeConv2d)]
        assert len(layers) > 5
        assert len({layer.memory for layer in layers}) == 1
        assert memory - len(layers) < sum(layer.memory for layer in layers) <= memory

    def test_by_default_it_is_that_of_options(self):
        layers = [p for p in network().model.modules() if isinstance(p, LargeConv2d)]
        assert layers[0].memory == inference.KERNEL_MEMORY // len(layers)

    def test_with_little_the_same_is_found(self):
        """Large tiles, small ones and none: they differ in rounding alone."""
        maps = torch.rand(3, len(LSP.joints) + 1, 40, 48)
        tilings, outputs = [], []
        for memory in (1 << 30, 40 << 20, 1 << 10):
            torch.manual_seed(0)
            body = BodyRefiner(LSP, width=64, kernels=(9, 15, 15))
            net = network(PoseNet(LSP, Detector(), body), memory=memory).model.body.net
            with torch.inference_mode():
                outputs.append(net(maps))
                tilings.append(net.layers[2].tiling(maps.new_zeros(3, 64, 40, 48)))
        assert tilings[0] is not None
        assert tilings[2] is None
        assert tilings[1] != tilings[0]
        for output in outputs[1:]:
            torch.testing.assert_close(output, outputs[0], atol=1e-4, rtol=1e-4)

    def test_crops_too(self):
        rich, poor = (network(memory=memory)(crops(5), STAGES) for memory in (1 << 30, 1 << 10))
        for stage in STAGES:
            torch.testing.assert_close(poor[stage].joints, rich[stage].joints, atol=2e-3, rtol=0)


class TestAutomaticBatch:
    def test_memory_bounds_it(self, monkeypatch):
        sizes = []
        for free in (1 << 20, 1 << 28, 1 << 40):
            monkeypatch.setattr(inference, "memory", lambda free=free: free)
            sizes.append(automatic_batch(128, torch.device("cpu")))
        assert sizes[0] == 1 < sizes[1] < sizes[2] == inference.BEST_BATCH["cpu"]

    def test_larger_crops_come_in_smaller_batches(self, monkeypatch):
        monkeypatch.setattr(inference, "memory", lambda: 1 << 30)
        cpu = torch.device("cpu")
        assert automatic_batch(512, cpu) < automatic_batch(128, cpu)


class TestFormats:
    def test_weights_are_channels_last_and_the_state_is_the_same(self):
        model = net()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        own = network(model)
        kernel = own.model.body.net.layers[0].weight
        assert kernel.is_contiguous(memory_format=torch.channels_last)
        for name, value in own.model.state_dict().items():
            assert torch.equal(value, before[name])

    def test_bf16_moves_joints_little_and_float32_not_at_all(self):
        exact = network()(crops(3), STAGES)
        rough = network(precision="bf16")(crops(3), STAGES)
        again = network()(crops(3), STAGES)
        assert torch.equal(again["limbs"].joints, exact["limbs"].joints)
        shift = (rough["detector"].scores - exact["detector"].scores).abs().max()
        assert 0 < shift < 0.02
        assert rough["limbs"].joints.dtype == torch.float32

    def test_another_precision_is_refused(self):
        wrong = (InputError, TypeError)  # here signatures are checked, too
        with pytest.raises(wrong, match="precision"):
            network(precision="int8")

    @pytest.mark.slow
    def test_bf16_holds_on_the_shipped_network(self, data_root):
        """On LSP test pictures joints move by hundredths of their crop's side at most, but few."""
        from uprightpose.data.lsp import read_lsp
        from uprightpose.views import read_view

        people = [one for one in read_lsp(data_root / "lsp") if one.split == "test"][:16]
        exact, rough = load(device="cpu"), load(device="cpu", precision="bf16")
        some = np.concatenate([read_view(one.image, None, exact.crop).crops for one in people])
        one, two = (p.network(some, p.stages)["limbs"].joints for p in (exact, rough))
        shift = (one - two).norm(dim=-1)
        assert shift.median() < 0.1  # cells, of 44


class TestCompile:
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (ZeroDivisionError("\nno compiler\nnor anything else"), "no compiler"),
            (AssertionError(), "AssertionError"),
        ],
    )
    def test_where_it_fails_a_line_says_so_and_all_goes_on(self, monkeypatch, error, said):
        def refuse(self, **options):
            self._compiled_call_impl = refusing

        def refusing(*args, **kwargs):
            raise error

        monkeypatch.setattr(nn.Module, "compile", refuse)
        with pytest.warns(UserWarning, match=f"^compile: runs uncompiled, .*: {said}$"):
            own = network(compile=True)
        assert not own.compiled
        assert torch.equal(
            own(crops(2), STAGES)["limbs"].joints, network()(crops(2), STAGES)["limbs"].joints
        )

    @pytest.mark.slow
    def test_compiled_finds_the_same(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = network(compile=True)
            if not own.compiled:
                pytest.skip("torch.compile does not work here")
            found = own(crops(5), STAGES)
        expected = network()(crops(5), STAGES)
        torch.testing.assert_close(
            found["limbs"].joints, expected["limbs"].joints, atol=1e-3, rtol=0
        )
