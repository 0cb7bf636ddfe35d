"""The network of four convolutions and its learnable sigmoid: counts, layers, gradients."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from uprightpose.errors import InputError
from uprightpose.large_conv import LargeConv2d
from uprightpose.refinement_net import POSITIVE_RATE, RefinementNet, count_convolutions


class TestParameterCounts:
    """'9x9x(K+1)->128, 15x15x128->128, 15x15x128->128, 1x1x128->J' (Sec. 3.3; SPEC 1.9, 8.4);
    'the sigmoid's w, b (2 per network) are counted separately'."""

    @pytest.mark.parametrize(
        ("inputs", "outputs", "options", "count"),
        [
            (15, 15, {}, 7_530_639),
            (3, 3, {}, 7_404_675),
            (15, 2, {}, 7_528_962),
            (15, 15, {"large_layers": 3}, 11_217_167),
            (15, 15, {"width": 256, "kernels": (9, 9, 9)}, 10_932_495),
        ],
    )
    @pytest.mark.parametrize("pairs", ["shared", "per map"])
    def test_one_network(self, inputs, outputs, options, count, pairs):
        with torch.device("meta"):
            net = RefinementNet(inputs, outputs, pairs=pairs, **options)
        assert count_convolutions(net) == count
        sigmoid = 2 if pairs == "shared" else 2 * outputs
        assert sum(value.numel() for value in net.parameters()) == count + sigmoid


class TestRefinementNet:
    """'p = 1/(1+exp(-(w x + b))), w and b learnable' (Sec. 3.3)."""

    def test_shape_is_kept(self):
        net = RefinementNet(3, 2, 4, kernels=(5, 3))
        assert net(torch.rand(2, 3, 7, 9)).shape == (2, 2, 7, 9)

    def test_layers(self):
        net = RefinementNet(3, 2, 4)
        kinds = [type(layer) for layer in net.layers]
        assert kinds == [LargeConv2d, nn.ReLU] * 3 + [nn.Conv2d]
        sides = [layer.kernel_size[0] for layer in net.layers if isinstance(layer, nn.Conv2d)]
        assert sides == [9, 15, 15, 1]

    def test_slope_and_offset_start_as_nothing_and_scale_the_logits(self):
        net, maps = RefinementNet(3, 2, 4, kernels=(3,)), torch.rand(1, 3, 5, 6)
        plain = net.layers(maps)
        assert_close(net(maps), plain)
        net.slope.data.fill_(-2)
        net.offset.data.fill_(0.5)
        assert_close(net(maps), 0.5 - 2 * plain)

    @pytest.mark.parametrize(("method", "rounding"), [("direct", 0.0), ("fft", 1e-13)])
    def test_it_sees_a_field_of_37_cells(self, method, rounding):
        """'The receptive field is 9+14+14 = 37 cells' (SPEC 1.9)."""
        net = RefinementNet(1, 1, 2, method=method).double()
        for value in net.layers.parameters():
            value.data.abs_().add_(1e-3)
        maps = torch.rand(1, 1, 45, 47, dtype=torch.float64, requires_grad=True)
        net(maps)[0, 0, 22, 24].backward()
        seen = maps.grad[0, 0].abs()
        rows, columns = (seen > rounding * seen.max()).nonzero().unbind(dim=1)
        assert (rows.min(), rows.max()) == (22 - 18, 22 + 18)
        assert (columns.min(), columns.max()) == (24 - 18, 24 + 18)

    def test_residual_keeps_what_comes_in(self):
        net = RefinementNet(4, 2, 3, kernels=(3,), kept=(3, 1))
        net.layers[-1].weight.data.zero_()
        maps = torch.rand(2, 4, 5, 6) * 0.9 + 0.05
        assert_close(net(maps).sigmoid(), maps[:, [3, 1]])

    def test_residual_of_zeros_and_ones_is_finite(self):
        net = RefinementNet(2, 2, 3, kernels=(3,), kept=range(2))
        maps = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
        assert net(maps).isfinite().all()

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="kept"):
            RefinementNet(3, 3, 2, kernels=(3,), kept=(0, 1))
        with pytest.raises(InputError, match="odd"):
            RefinementNet(3, 3, 2, kernels=(3, 4))
        with pytest.raises(InputError, match="2 or 3, found 4"):
            RefinementNet(3, 3, 2, kernels=(3,), large_layers=4)

    def test_a_third_large_layer_has_the_last_ones_side(self):
        net = RefinementNet(3, 2, 4, kernels=(9, 5), large_layers=3)
        layers = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]
        assert [layer.kernel_size for layer in layers] == [(9, 9), (5, 5), (5, 5), (1, 1)]
        assert [type(layer) for layer in net.layers] == [LargeConv2d, nn.ReLU] * 3 + [nn.Conv2d]

    def test_a_pair_for_each_map(self):
        """'Per-map pairs are an option' (SPEC 1.6)."""
        net, maps = RefinementNet(3, 2, 4, kernels=(3,), pairs="per map"), torch.rand(2, 3, 5, 6)
        plain = net.layers(maps)
        assert_close(net(maps), plain)
        net.slope.data[:, 0, 0] = torch.tensor([3.0, -2.0])
        net.offset.data[:, 0, 0] = torch.tensor([0.5, 7.0])
        assert_close(net(maps)[:, 0], 0.5 + 3 * plain[:, 0])
        assert_close(net(maps)[:, 1], 7.0 - 2 * plain[:, 1])

    def test_weights_of_older_files_fit(self):
        """Names and shapes that stored weights have; w and b are scalars by default."""
        shapes = {name: tuple(v.shape) for name, v in RefinementNet(3, 2, 4).state_dict().items()}
        assert shapes == {
            "slope": (),
            "offset": (),
            "layers.0.weight": (4, 3, 9, 9),
            "layers.0.bias": (4,),
            "layers.2.weight": (4, 4, 15, 15),
            "layers.2.bias": (4,),
            "layers.4.weight": (4, 4, 15, 15),
            "layers.4.bias": (4,),
            "layers.6.weight": (2, 4, 1, 1),
            "layers.6.bias": (2,),
        }

    @pytest.mark.parametrize("kept", [None, (2, 0)])
    @pytest.mark.parametrize("pairs", ["shared", "per map"])
    @pytest.mark.parametrize("large_layers", [2, 3])
    def test_gradient(self, kept, pairs, large_layers):
        """'Relative error < 1e-6' in double precision, w and b among the rest (SPEC 5.1)."""
        options = {"kept": kept, "pairs": pairs, "large_layers": large_layers}
        net = RefinementNet(3, 2, 2, kernels=(3, 5), **options).double()
        maps = (torch.rand(2, 3, 4, 5).double() * 0.8 + 0.1).requires_grad_()
        names, values = zip(*net.named_parameters(), strict=True)
        assert {"slope", "offset"} <= set(names)

        def call(maps, *values):
            state = dict(zip(names, values, strict=True))
            return torch.func.functional_call(net, state, maps)

        assert torch.autograd.gradcheck(call, (maps, *values), atol=1e-8, rtol=1e-6)


class TestInitialization:
    """'Gaussian distributed variable of variance 0.001' (Sec. 3.3), and He (SPEC 1.9)."""

    def convolutions(self, init):
        net = RefinementNet(15, 15, 64, kernels=(9, 15), init=init)
        return [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]

    @pytest.mark.parametrize(("init", "variance"), [("var0.001", 1e-3), ("std0.001", 1e-6)])
    def test_the_papers_two_readings(self, init, variance):
        for conv in self.convolutions(init):
            assert conv.weight.var().item() == pytest.approx(variance, rel=0.15)
            assert conv.weight.mean().abs() < 0.2 * variance**0.5
            assert not conv.bias.any()

    def test_he(self):
        *large, last = self.convolutions("he")
        for conv in large:
            assert conv.weight.var().item() == pytest.approx(2 / conv.weight[0].numel(), rel=0.15)
            assert not conv.bias.any()
        assert last.weight.var().item() == pytest.approx(0.01 * 2 / 64, rel=0.2)

    def test_he_starts_at_the_positive_rate(self):
        last = self.convolutions("he")[-1]
        assert_close(last.bias.sigmoid(), torch.full((15,), POSITIVE_RATE))

    def test_residual_starts_near_what_comes_in(self):
        net = RefinementNet(3, 3, 8, kernels=(3, 3), kept=range(3))
        assert not net.layers[-1].bias.any()

    def test_variance_gains_of_the_specification(self):
        """'9x9 0.61; 15x15 14.4; 1x1 0.064 for variance 0.001'."""
        net = RefinementNet(15, 15, init="var0.001")
        convolutions = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]
        gains = [c.weight[0].numel() / 2 * c.weight.var().item() for c in convolutions]
        assert gains == pytest.approx([0.61, 14.4, 14.4, 0.064], rel=0.1)
