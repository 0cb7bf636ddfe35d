"""``LargeConv2d`` stands in for ``Conv2d``, and keeps no spectra of old weights."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close

from uprightpose.conv_plan import Task, best_tiling
from uprightpose.large_conv import LargeConv2d, fft_is_faster


def layers(method="fft", **options):
    """A layer and the ``Conv2d`` of the same weights."""
    layer = LargeConv2d(3, 4, (9, 7), padding=(4, 2), method=method, **options)
    direct = nn.Conv2d(3, 4, (9, 7), padding=(4, 2))
    direct.load_state_dict(layer.state_dict())
    return layer, direct


MAPS = (2, 3, 20, 17)


class TestStandsInForConv2d:
    def test_same_state_and_same_start(self):
        torch.manual_seed(3)
        layer = LargeConv2d(3, 4, 5)
        torch.manual_seed(3)
        direct = nn.Conv2d(3, 4, 5)
        assert list(layer.state_dict()) == list(direct.state_dict())
        assert_close(layer.state_dict(), direct.state_dict(), atol=0, rtol=0)

    @pytest.mark.parametrize("method", ["auto", "fft", "direct"])
    @pytest.mark.parametrize("train", [True, False])
    def test_values_and_gradients(self, method, train):
        layer, direct = layers(method)
        layer.train(train)
        maps = torch.rand(MAPS)
        ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        found, expected = layer(ours), direct(theirs)
        assert_close(found, expected, atol=1e-5, rtol=0)
        (found**2).sum().backward()
        (expected**2).sum().backward()
        assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-5)
        assert_close(layer.weight.grad, direct.weight.grad, atol=1e-3, rtol=1e-5)
        assert_close(layer.bias.grad, direct.bias.grad, atol=1e-3, rtol=1e-5)

    def test_without_bias(self):
        layer = LargeConv2d(3, 4, 5, bias=False, method="fft")
        maps = torch.rand(MAPS)
        expected = nn.functional.conv2d(maps, layer.weight)
        assert_close(layer(maps), expected, atol=1e-5, rtol=0)

    def test_channels_last(self):
        layer, direct = layers()
        layer = layer.to(memory_format=torch.channels_last).eval()
        maps = torch.rand(MAPS).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            assert_close(layer(maps), direct(maps), atol=1e-5, rtol=0)

    def test_same_keeps_the_size(self):
        assert LargeConv2d(3, 4, (9, 7), padding="same")(torch.rand(MAPS)).shape == (2, 4, 20, 17)
        with pytest.raises(ValueError, match="odd kernel"):
            LargeConv2d(3, 4, (9, 8), padding="same")

    def test_no_such_method_and_no_batch(self):
        with pytest.raises((ValueError, TypeError), match="FFT"):  # jaxtyping's in tests
            LargeConv2d(3, 4, 5, method="FFT")
        with pytest.raises((ValueError, TypeError), match="maps"):
            LargeConv2d(3, 4, 5)(torch.rand(3, 9, 9))

    @pytest.mark.parametrize("maker", ["torch.jit.is_tracing", "torch.compiler.is_exporting"])
    def test_a_traced_or_exported_layer_is_direct(self, maker, monkeypatch):
        layer, direct = layers()
        monkeypatch.setattr(maker, lambda: True)
        monkeypatch.setattr(layer, "_transformed", lambda *_: pytest.fail("transforms"))
        maps = torch.rand(MAPS)
        assert_close(layer(maps), direct(maps), atol=0, rtol=0)

    def test_a_compiled_layer_still_transforms(self, monkeypatch):
        layer, direct = layers()
        layer.eval()
        compiled = torch.compile(layer, backend="eager")
        taken = []
        own = LargeConv2d._transformed
        monkeypatch.setattr(
            LargeConv2d, "_transformed", lambda *given: taken.append(1) or own(*given)
        )
        maps = torch.rand(MAPS)
        with torch.no_grad():
            assert_close(compiled(maps), direct(maps), atol=1e-5, rtol=0)
        assert taken

    def test_no_maps_and_maps_too_small(self):
        layer, _ = layers()
        assert layer(torch.rand(0, 3, 20, 17)).shape == (0, 4, 20, 15)
        with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
            LargeConv2d(3, 4, 9, method="fft")(torch.rand(1, 3, 5, 6))


class TestTypes:
    def test_under_autocast_the_result_has_its_type_and_more_digits(self):
        layer, direct = layers()
        maps = torch.rand(MAPS)
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(maps)
        assert found.dtype == torch.bfloat16
        assert_close(found, direct(maps).bfloat16(), atol=0.01, rtol=0.01)

    def test_halves_are_computed_in_float32(self):
        layer, direct = layers()
        maps = torch.rand(MAPS).bfloat16()
        found = layer.bfloat16()(maps)
        assert found.dtype == torch.bfloat16
        expected = direct.bfloat16().float()(maps.float())
        assert_close(found.float(), expected, atol=0.01, rtol=0.01)

    def test_float64_stays_under_autocast_as_in_conv2d(self):
        layer, direct = layers()
        maps = torch.rand(MAPS, dtype=torch.float64)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer.double()(maps).dtype == direct.double()(maps).dtype == torch.float64

    def test_float64_stays(self):
        layer, direct = layers()
        maps = torch.rand(MAPS, dtype=torch.float64)
        assert_close(layer.double()(maps), direct.double()(maps), atol=1e-12, rtol=0)


def no_gradients(change):
    def under_no_grad(layer):
        with torch.no_grad():
            change(layer)

    return under_no_grad


CHANGES = {
    "in place": no_gradients(lambda layer: layer.weight.mul_(2)),
    "loaded": lambda layer: layer.load_state_dict(
        {name: value + 1 for name, value in layer.state_dict().items()}
    ),
    "replaced": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight.detach() * 2)),
    "data in place": lambda layer: layer.weight.data.mul_(2),
    "data replaced": lambda layer: setattr(layer.weight, "data", layer.weight.data * 2),
    "one cell of data": lambda layer: layer.weight.data[:, :, 4, 3].add_(1),
    "one input of data": lambda layer: layer.weight.data[:, 1].zero_(),
    "one output of data": lambda layer: layer.weight.data[2].zero_(),
    "two inputs of data exchanged": lambda layer: layer.weight.data.copy_(
        layer.weight.data[:, [1, 0, 2]].clone()
    ),
    "data mirrored": lambda layer: layer.weight.data.copy_(layer.weight.data.flip(3)),
    "another type": lambda layer: layer.bfloat16().float(),
}


class TestKeptSpectra:
    """'filter spectra cached in inference and invalidated when weights change'"""

    def test_are_made_once(self, monkeypatch):
        layer, direct = layers()
        layer.eval()
        maps = torch.rand(MAPS)
        with torch.inference_mode():
            first = layer(maps)
            monkeypatch.setattr(
                "uprightpose.large_conv.filter_spectra", lambda *_: pytest.fail("made again")
            )
            assert_close(layer(maps), first, atol=0, rtol=0)
        assert_close(first, direct(maps), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_are_made_again_when_weights_change(self, change, mode, memory_format):
        layer, direct = layers()
        layer.eval().to(memory_format=memory_format)
        maps = torch.rand(MAPS)
        with mode():
            before = layer(maps)
        CHANGES[change](layer)
        direct.load_state_dict(layer.state_dict())
        with mode():
            after = layer(maps)
            assert_close(after, direct(maps), atol=1e-4, rtol=1e-5)
            assert not torch.equal(before, after)

    def test_weights_of_inference_mode_may_change_too(self):
        with torch.inference_mode():
            layer, direct = layers()
            layer.eval()
            maps = torch.rand(MAPS)
            layer(maps)
            layer.weight.mul_(2)
            direct.load_state_dict(layer.state_dict())
            assert_close(layer(maps), direct(maps), atol=1e-5, rtol=0)

    def test_another_map_size_has_other_spectra(self):
        layer, direct = layers()
        layer.eval()
        with torch.no_grad():
            for size in ((20, 17), (31, 40), (20, 17)):
                maps = torch.rand(2, 3, *size)
                assert_close(layer(maps), direct(maps), atol=1e-5, rtol=0)

    def test_are_not_kept_while_weights_learn(self):
        layer, _ = layers()
        layer(torch.rand(MAPS))
        assert layer._kept is None
        layer.eval()
        layer(torch.rand(MAPS))  # a gradient may be asked for
        assert layer._kept is None

    def test_are_dropped_by_training_copies_and_pickles(self):
        layer, _ = layers()
        layer.eval()
        with torch.no_grad():
            layer(torch.rand(MAPS))
        assert layer._kept is not None
        assert copy.deepcopy(layer)._kept is None
        assert pickle.loads(pickle.dumps(layer))._kept is None
        layer.train()
        assert layer._kept is None

    def test_no_spectra_in_the_state(self):
        layer, _ = layers()
        layer.eval()
        with torch.no_grad():
            layer(torch.rand(MAPS))
        assert sorted(layer.state_dict()) == ["bias", "weight"]


def most_at_once(work: Callable[[], object]) -> int:
    """Bytes of all tensors that are there at once while work is done, and what it returns."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = work()
    events = [
        event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    del result
    return most


class TestMemory:
    """'Peak memory reported, with a setting that bounds it': here it is measured."""

    SIDE, CHANNELS, BATCH = 48, 48, 6

    def layer(self, megabytes: float, dtype: torch.dtype = torch.float32) -> LargeConv2d:
        """A layer of the method that always transforms."""
        layer = LargeConv2d(
            *(self.CHANNELS, self.CHANNELS, 15),
            padding="same",
            method="fft",
            memory=int(megabytes * 2**20),
        )
        return layer.to(dtype)

    def maps(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.rand(self.BATCH, self.CHANNELS, self.SIDE, self.SIDE, dtype=dtype)

    @pytest.mark.parametrize("megabytes", [24, 40, 64, 200])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_of_inference(self, megabytes, dtype):
        double = 2 if dtype == torch.float64 else 1
        layer, maps = self.layer(megabytes * double, dtype).eval(), self.maps(dtype)
        with torch.inference_mode():
            most = most_at_once(lambda: layer(maps))
        assert 4 * 2**20 * double < most - maps.nbytes <= megabytes * 2**20 * double

    @pytest.mark.parametrize("megabytes", [24, 40, 64, 200])
    def test_of_learning(self, megabytes):
        layer, maps, slope = self.layer(megabytes), self.maps().requires_grad_(), self.maps()

        def step():
            found = layer(maps)
            return found, torch.autograd.grad(found, [maps, *layer.parameters()], slope)

        own = 2 * maps.nbytes + sum(one.nbytes for one in layer.parameters())
        assert 4 * 2**20 < most_at_once(step) - own <= megabytes * 2**20

    def test_more_is_used_where_it_is_allowed(self):
        found = []
        for megabytes in (24, 200):
            layer, maps = self.layer(megabytes).eval(), self.maps()
            with torch.inference_mode():
                found.append(most_at_once(lambda: layer(maps)))  # noqa: B023
        assert found[0] < found[1]

    def test_of_filters_nearly_as_large_as_tiles(self):
        """Then spectra half made are most of it."""
        layer, maps = self.layer(19).eval(), torch.rand(2, self.CHANNELS, 7, 7)
        with torch.inference_mode():
            most = most_at_once(lambda: layer(maps))
        assert most <= 19 * 2**20

    def test_who_insists_gets_what_needs_least(self):
        """Also where the spectra of all filters would be most of it."""
        layer, maps = self.layer(1).eval(), self.maps()
        with torch.inference_mode():
            most = most_at_once(lambda: layer(maps))
        assert most - maps.nbytes < 26 * 2**20


class TestWideKernels:
    """torch learns a kernel of 14 columns and more much slower with channels last."""

    @pytest.mark.parametrize(("columns", "first"), [(13, False), (14, True), (15, True)])
    @pytest.mark.parametrize("learns", [True, False])
    def test_learn_directly_with_channels_first(self, columns, first, learns, monkeypatch):
        seen = []

        def conv_forward(self, maps, weight, bias):
            seen.extend(each.is_contiguous() for each in (maps, weight))
            return functional.conv2d(maps, weight, bias)

        monkeypatch.setattr(nn.Conv2d, "_conv_forward", conv_forward)
        layer = LargeConv2d(3, 4, (5, columns), method="direct")
        layer = layer.to(memory_format=torch.channels_last)
        maps = torch.rand(2, 3, 20, 30).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(learns):
            found = layer(maps)
        assert seen == [first and learns] * 2
        assert_close(found, functional.conv2d(maps, layer.weight, layer.bias))

    def test_are_priced_so(self):
        """A limb's first layer, channels last as in training: transforms win where it learns."""
        layer = LargeConv2d(3, 8, 15, padding="same").to(memory_format=torch.channels_last)
        maps = torch.rand(8, 3, 40, 40).contiguous(memory_format=torch.channels_last)
        assert layer.train().tiling(maps) is not None
        with torch.inference_mode():
            assert layer.eval().tiling(maps) is None


class TestChoice:
    def test_auto_takes_the_paper_s_layer_by_transforms_and_a_small_one_directly(self):
        with torch.device("meta"):
            large, small = LargeConv2d(128, 128, 15, padding=7), LargeConv2d(8, 8, 3, padding=1)
        assert large.tiling(torch.rand(1, 128, 64, 64)) is not None
        assert small.tiling(torch.rand(1, 8, 64, 64)) is None

    def test_arguments_force(self):
        maps = torch.rand(1, 2, 8, 9)
        assert LargeConv2d(2, 2, 3, method="fft").tiling(maps) is not None
        assert LargeConv2d(2, 2, 3, method="direct").tiling(maps) is None

    def test_without_memory_auto_is_direct_and_fft_takes_what_it_needs(self):
        maps = torch.rand(1, 128, 64, 64)
        with torch.device("meta"):
            auto = LargeConv2d(128, 128, 15, padding=7, memory=1 << 20)
            forced = LargeConv2d(128, 128, 15, padding=7, memory=1 << 20, method="fft")
        assert auto.tiling(maps) is None
        assert forced.tiling(maps) is not None

    @pytest.mark.parametrize("learns", [True, False])
    def test_measured_as_on_a_gpu(self, learns):
        """What a GPU decides by timing runs on any device; sides this unequal are sure."""
        cpu = torch.device("cpu")
        task = Task(1, 32, 32, (48, 48), (31, 31))
        tiling = best_tiling(task, 1 << 28, kept=False)
        assert fft_is_faster(task, tiling, (15, 15), torch.float32, cpu, learns=learns)
        task = Task(1, 32, 32, (48, 48), (1, 1))
        tiling = best_tiling(task, 1 << 28, kept=False)
        assert not fft_is_faster(task, tiling, (0, 0), torch.float32, cpu, learns=learns)
