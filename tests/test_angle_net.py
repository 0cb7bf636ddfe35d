"""'The angle as what it is: an uncertain quantity on the circle' (SPEC 6.3): a posterior."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from uprightpose.angle_net import (
    BINS,
    REACH,
    AngleNet,
    angle_loss,
    angle_target,
    hypotheses,
)
from uprightpose.errors import InputError

STEP = 2 * math.pi / BINS
ANGLES = torch.tensor([0.0, 0.5, -2.0, math.pi - 0.01, -math.pi + 0.01, 3.0, -0.04])


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Return how far angles lie apart on the circle, in radians."""
    return torch.atan2((one - other).sin(), (one - other).cos()).abs()


def mixed(*parts: tuple[float, float]) -> Tensor:
    """Return logits of a posterior of the given (angle, share)."""
    return torch.log(sum(share * angle_target(torch.tensor([angle])) for angle, share in parts))


class TestTarget:
    def test_is_a_distribution_about_the_angle(self) -> None:
        target = angle_target(ANGLES)
        assert target.shape == (7, BINS)
        assert torch.allclose(target.sum(dim=1), torch.ones(7))
        centers = torch.arange(BINS) * STEP
        direction = torch.atan2((target * centers.sin()).sum(1), (target * centers.cos()).sum(1))
        assert apart(direction, ANGLES).max() < 0.01
        assert apart(target.argmax(dim=1) * STEP, ANGLES).max() <= STEP / 2 + 1e-6

    def test_turning_by_whole_bins_moves_it_by_bins(self) -> None:
        moved = angle_target(ANGLES + 5 * STEP)
        assert torch.allclose(moved, angle_target(ANGLES).roll(5, dims=1), atol=1e-6)


class TestLoss:
    def test_is_least_at_the_target(self) -> None:
        right = angle_loss(angle_target(ANGLES).log(), ANGLES)
        for other in (ANGLES + 0.3, -ANGLES, ANGLES + math.pi):
            assert angle_loss(angle_target(other).log(), ANGLES) > right

    def test_unknown_angles_teach_nothing(self) -> None:
        logits = torch.randn(7, BINS, requires_grad=True)
        angle = ANGLES.clone()
        angle[[1, 4]] = math.nan
        known = [0, 2, 3, 5, 6]
        loss = angle_loss(logits, angle)
        assert torch.allclose(loss, angle_loss(logits[known], ANGLES[known]))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.isfinite().all()
        assert (gradient.abs().sum(dim=1) > 0).nonzero().flatten().tolist() == known

    def test_nobody_known_is_no_loss(self) -> None:
        assert angle_loss(torch.randn(2, BINS), torch.full((2,), math.nan)) == 0


class TestHypotheses:
    @pytest.mark.parametrize("angle", ANGLES.tolist())
    def test_one_peak_is_found_between_bins(self, angle: float) -> None:
        found = hypotheses(angle_target(torch.tensor([angle])).log())
        assert apart(found.angle[0, 0], torch.tensor(angle)) < math.radians(1)
        assert found.mass[0, 0] > 0.95

    def test_two_peaks_with_their_shares_the_likelier_first(self) -> None:
        for first in (0.4, 3.1, -3.1):
            found = hypotheses(mixed((first, 0.35), (first + 2.2, 0.65)))
            assert apart(found.angle[0], torch.tensor([first + 2.2, first])).max() < 0.05
            assert torch.allclose(found.mass[0], torch.tensor([0.65, 0.35]), atol=0.03)

    def test_turning_the_posterior_turns_what_is_found(self) -> None:
        logits = torch.randn(5, BINS) * 3
        one, other = hypotheses(logits), hypotheses(logits.roll(7, dims=1))
        assert apart(other.angle, one.angle + 7 * STEP).max() < 1e-4
        assert torch.allclose(other.mass, one.mass, atol=1e-6)

    def test_a_shoulder_of_a_peak_is_no_other_hypothesis(self) -> None:
        """Peaks lie more than 60 degrees apart, and no bin counts twice."""
        found = hypotheses(mixed((1.0, 0.5), (1.0 + math.radians(45), 0.4), (-1.5, 0.1)))
        assert apart(found.angle[0], torch.tensor([1.0, -1.5])).max() < 0.1
        many = hypotheses(torch.randn(50, BINS), most=3)
        assert (many.mass.sum(dim=1) <= 1 + 1e-6).all()
        sides = apart(many.angle[:, [0, 0, 1]], many.angle[:, [1, 2, 2]])
        assert sides.min() > REACH * STEP  # each may lean within its window

    def test_no_further_peak_repeats_the_first_without_mass(self) -> None:
        found = hypotheses(torch.randn(2, BINS), most=9)
        none = found.mass == 0
        assert none.any()
        assert (found.angle == found.angle[:, :1])[none].all()

    def test_angles_are_the_turns_that_upright(self) -> None:
        assert hypotheses(torch.randn(50, BINS)).angle.abs().max() <= math.pi


class TestNet:
    def test_larger_pictures_are_averaged_down(self) -> None:
        net = AngleNet("test_resnet", 32).eval()
        small = torch.rand(2, 3, 32, 32) * 255
        large = small.repeat_interleave(3, 2).repeat_interleave(3, 3)
        assert net(small).shape == (2, BINS)
        assert torch.allclose(net(large), net(small), atol=1e-4)

    def test_which_way_up_a_picture_is_shows(self) -> None:
        """Features are not averaged over places: upside down is another answer."""
        net, image = AngleNet("test_resnet", 32).eval(), torch.rand(1, 3, 32, 32) * 255
        assert not torch.allclose(net(image), net(image.flip(2)), atol=1e-4)

    def test_learns_which_end_is_dark(self) -> None:
        net = AngleNet("test_resnet", 32)
        turns = torch.arange(4) * math.pi / 2
        image = torch.full((1, 3, 32, 32), 200.0)
        image[:, :, :12, 10:22] = 0
        images = torch.cat([torch.rot90(image, quarter, (2, 3)) for quarter in range(4)])
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            angle_loss(net(images), turns).backward()
            optimizer.step()
        found = hypotheses(net(images))
        assert apart(found.angle[:, 0], turns).max() < 0.2

    def test_a_trunk_without_the_strides(self) -> None:
        with pytest.raises(InputError):
            AngleNet("no such trunk", 32)

    def test_too_small_a_picture(self) -> None:
        with pytest.raises(ValueError, match="16"):
            AngleNet("test_resnet", 40)(torch.zeros(1, 3, 40, 40))


def test_bins_hold_the_circle() -> None:
    assert np.isclose(BINS * STEP, 2 * math.pi)
    assert pytest.approx(math.radians(60)) == 2 * REACH * STEP
