"""The stacked hourglass: one set of maps per stack, each fed by the one before."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from uprightpose.detectors.hourglass import Hourglass, Level, Residual
from uprightpose.detectors.trunks import MEAN
from uprightpose.errors import InputError


def random_images(h=64, w=128):
    return 255 * torch.rand(2, 3, h, w)


class TestHourglass:
    """'Output 64 (stride 4), 8 stacks, 256 features, loss at every stack.'"""

    @pytest.mark.parametrize("stacks", range(1, 9))
    def test_one_output_per_stack_at_stride_4(self, stacks):
        detector = Hourglass(5, stacks, width=4)
        levels = detector(random_images())
        assert list(levels) == [f"stack{number}" for number in range(1, stacks + 1)]
        assert {tuple(level.shape) for level in levels.values()} == {(2, 5, 16, 32)}
        assert detector.phases == (tuple(levels),)
        assert (detector.stride, detector.mapping) == (4, "clip")

    def test_the_default_is_newells_and_has_25_million_parameters(self):
        """Counted by hand: residual 214 528 at 256 features, 14 of them per stack."""
        with torch.device("meta"):
            detector = Hourglass(16)
        assert len(detector.stacks) == 8
        residual, linear, norm = 214_528, 256 * 257, 512
        stack, score = 14 * residual + linear + norm, 257 * 16
        stem = 9_600 + 58_112 + 54_016 + 230_912
        between = linear + 17 * 256
        count = sum(p.numel() for p in detector.parameters())
        assert count == 25_434_112 == stem + 8 * (stack + score) + 7 * between

    @pytest.mark.parametrize("back", ["features_back", "scores_back"])
    def test_reinjection_matters(self, back):
        """'Intermediate predictions are re-injected by 1x1 convolutions.'"""
        detector = Hourglass(3, stacks=3, width=4).eval()
        images = random_images()
        whole = detector(images)
        nn.init.zeros_(getattr(detector, back)[1].weight)
        without = detector(images)
        assert torch.equal(whole["stack1"], without["stack1"])
        assert torch.equal(whole["stack2"], without["stack2"])
        assert not torch.allclose(whole["stack3"], without["stack3"])

    def test_the_stems_features_go_around_each_stack(self):
        detector = Hourglass(3, stacks=2, width=4).eval()
        for back in (detector.features_back[0], detector.scores_back[0]):
            nn.init.zeros_(back.weight)
            nn.init.zeros_(back.bias)
        read = []
        for stack in detector.stacks:
            stack.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        detector(random_images())
        assert torch.equal(read[0], read[1])

    def test_the_last_loss_reaches_everything_but_earlier_scores_alone(self):
        detector = Hourglass(3, stacks=2, width=8)
        detector(random_images())["stack2"].square().sum().backward()
        for name, value in detector.named_parameters():
            assert value.grad is not None, name
            assert value.grad.any() or name.endswith("bias"), name  # norms follow some

    def test_the_smallest_maps_see_sixteenths(self):
        detector = Hourglass(3, stacks=1, width=4)
        sizes = []
        for level in detector.modules():
            if isinstance(level, Level):
                level.below.register_forward_pre_hook(lambda _, x: sizes.append(x[0].shape[-2:]))
        detector(random_images())
        assert sizes == [(8, 16), (4, 8), (2, 4), (1, 2)]

    def test_pixels_are_normalized(self):
        detector = Hourglass(2, stacks=1, width=4).eval()
        seen = []
        detector.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        detector(torch.tensor(MEAN).mul(255).view(1, 3, 1, 1).expand(1, 3, 64, 64))
        assert_close(seen[0], torch.zeros(1, 3, 64, 64), atol=1e-5, rtol=0)
        assert not {"mean", "std"} & set(detector.state_dict())

    def test_it_learns_two_figures(self, figures):
        images, disks = figures(4)
        detector = Hourglass(disks.shape[1], stacks=2, width=8)
        optimizer = torch.optim.Adam(detector.parameters(), 0.01)
        losses = []
        for _ in range(12):
            levels = detector(images).values()
            loss = sum(nn.functional.mse_loss(level, disks) for level in levels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] / 2

    @pytest.mark.parametrize(("height", "width"), [(96, 128), (128, 96), (64, 80)])
    def test_sides_that_do_not_halve(self, height, width):
        """'Maps whose sides are multiples of 16.'"""
        with pytest.raises(ValueError, match=f"multiples of 64 .* found {height} x {width}"):
            Hourglass(2, stacks=1, width=4)(torch.zeros(1, 3, height, width))

    @pytest.mark.parametrize(("stacks", "width"), [(0, 8), (9, 8), (2, 6), (2, 0)])
    def test_what_cannot_be_built(self, stacks, width):
        with pytest.raises(InputError, match="hourglass: expected"):
            Hourglass(2, stacks, width)


class TestResidual:
    """'Bottleneck, norms before convolutions.'"""

    @pytest.mark.parametrize("after", [6, 10])
    def test_its_last_convolution_is_added_to_what_came_in(self, after):
        residual = Residual(6, after)
        nn.init.zeros_(residual.layers[-1].weight)
        nn.init.zeros_(residual.layers[-1].bias)
        features = torch.randn(2, 6, 3, 5)
        assert_close(residual(features), residual.side(features))
        assert isinstance(residual.side, nn.Identity) == (after == 6)

    def test_order_of_layers(self):
        kinds = [type(layer).__name__ for layer in Residual(8, 8).layers]
        assert kinds == ["BatchNorm2d", "ReLU", "Conv2d"] * 3
        sides = [layer.kernel_size for layer in Residual(8, 8).layers[2::3]]
        assert sides == [(1, 1), (3, 3), (1, 1)]


def test_a_level_upsamples_by_repeating():
    """'Nearest neighbor upsampling of the lower resolution, then elementwise addition.'"""
    level = Level(4, depth=1).eval()
    level.stay = nn.Conv2d(4, 4, 1, bias=False)
    nn.init.zeros_(level.stay.weight)
    for name in ("down", "below", "up"):
        setattr(level, name, nn.Identity())
    features = torch.rand(1, 4, 4, 6)
    found = level(features)
    expected = nn.functional.max_pool2d(features, 2)
    assert torch.equal(found[..., ::2, 1::2], expected)
    assert torch.equal(found[..., 1::2, ::2], expected)
