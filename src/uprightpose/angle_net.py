"""The body angle as what it is, an uncertain quantity on the circle: a posterior from pixels.

Body normalization reads the angle from two maxima of score maps. A detector that fails on people
who are not upright fails there, too (SPEC 5.4). :class:`AngleNet` looks at the picture instead,
small and blurred, whatever the detector; where the picture supports two angles it says so.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uprightpose.detectors.trunks import build_trunk, check_sides, pixel_statistics

BINS = 36
"""Of the circle; bin ``i`` is about ``i * 2 pi / BINS``."""

SPREAD = math.radians(12)
"""Of what a true angle teaches: annotators agree on a body's axis within some degrees."""

REACH = 3
"""Bins either side of a peak that belong to its hypothesis: 30 degrees."""

STRIDES = (8, 16)
"""Of the trunk's features that are read."""


class Hypotheses(NamedTuple):
    """The likeliest angles of each person, the likeliest first.

    Attributes:
        angle: ``(b, m)`` radians in (-pi, pi], the turn that brings the body upright
            (:func:`uprightpose.metrics.body_angle`).
        mass: ``(b, m)`` the posterior's share within :data:`REACH` bins of each; 0 where there
            is no further peak (the angle is that of the first then).
    """

    angle: Float[Tensor, "b m"]
    mass: Float[Tensor, "b m"]


class AngleNet(nn.Module):
    """Small pictures of people -> logits of their body angle's posterior over :data:`BINS`.

    The features are flattened and not averaged: which way a body points is where its head is.

    Args:
        trunk: timm's name, with features at strides 8 and 16.
        size: side of the pictures, a multiple of 16.
        width: channels that are kept at each place.
        pretrained: start from timm's weights (needs the network once).

    Raises:
        InputError: if timm has no such trunk or it lacks one of the strides.

    Example:
        >>> AngleNet("test_resnet", 32)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 36])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, trunk: str = "resnet18", size: int = 64, width: int = 96, *, pretrained: bool = False
    ) -> None:
        """Build the trunk up to stride 16 and the head."""
        super().__init__()
        features = build_trunk(trunk, STRIDES, pretrained=pretrained)
        self.trunk, self.size = features, size
        fine, coarse = features.feature_info.channels()
        self.mix = nn.Conv2d(fine + coarse, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.hidden = nn.Linear(width * (size // STRIDES[-1]) ** 2, 256)
        self.logits = nn.Linear(256, BINS)
        mean, std = pixel_statistics(features)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b a"]:
        """Return the logits of each person's angle.

        Args:
            images: RGB, 0 to 255, square; larger ones are averaged down to :attr:`size`.
        """
        if images.shape[-1] != self.size:
            images = nn.functional.interpolate(images, (self.size, self.size), mode="area")
        check_sides(images, STRIDES[-1])
        fine, coarse = self.trunk((images - self.mean) / self.std)
        fine = nn.functional.avg_pool2d(fine, 2)
        mixed = torch.relu(self.norm(self.mix(torch.cat([fine, coarse], dim=1))))
        return self.logits(torch.relu(self.hidden(mixed.flatten(1))))  # type: ignore[no-any-return]


def angle_target(angle: Float[Tensor, " b"]) -> Float[Tensor, "b a"]:
    """Return what true angles teach: shares of the bins, a von Mises about each angle.

    Args:
        angle: radians; NaN gives NaN.

    Example:
        >>> angle_target(torch.tensor([math.pi])).argmax().item() == BINS // 2
        True
    """
    centers = torch.arange(BINS, device=angle.device) * (2 * math.pi / BINS)
    return torch.softmax(torch.cos(angle[:, None] - centers) / SPREAD**2, dim=1)


def angle_loss(logits: Float[Tensor, "b a"], angle: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the people whose angle is known; 0 if none is.

    Args:
        logits: of :class:`AngleNet`.
        angle: true radians, NaN where unknown.
    """
    known = angle.isfinite()
    losses = torch.nn.functional.cross_entropy(
        logits, angle_target(angle.nan_to_num(0.0)), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


def hypotheses(logits: Float[Tensor, "b a"], most: int = 2) -> Hypotheses:
    """Return the peaks of posteriors, each with the mass about it.

    After a peak is taken, the bins within twice :data:`REACH` of it are left out for the next:
    the peaks of two hypotheses lie more than 60 degrees apart, and no bin's mass counts twice.

    Args:
        logits: of :class:`AngleNet`.
        most: hypotheses per person.

    Example:
        >>> two = torch.log(0.7 * angle_target(torch.tensor([0.5]))
        ...     + 0.3 * angle_target(torch.tensor([-2.0])))
        >>> hypotheses(two).angle.round(decimals=2), hypotheses(two).mass.round(decimals=1)
        (tensor([[ 0.5000, -2.0000]]), tensor([[0.7000, 0.3000]]))
    """
    shares = logits.softmax(dim=1)
    places = torch.arange(-REACH, REACH + 1, device=logits.device)
    near = (torch.arange(BINS, device=logits.device)[:, None] + places) % BINS  # (a, r)
    apart = torch.arange(BINS, device=logits.device)
    left = torch.ones_like(shares)
    angles, masses = [], []
    for _ in range(most):
        best = (shares * left).argmax(dim=1)
        window = near[best]
        own = shares.gather(1, window) * left.gather(1, window)
        step = 2 * math.pi / BINS
        shift = (own * places).sum(dim=1) / own.sum(dim=1).clamp(min=1e-12)
        angle = (best + shift) * step
        angles.append(torch.atan2(angle.sin(), angle.cos()))
        masses.append(own.sum(dim=1))
        distance = (apart - best[:, None] + BINS // 2) % BINS - BINS // 2
        left = left * (distance.abs() > 2 * REACH)
    angle, mass = torch.stack(angles, dim=1), torch.stack(masses, dim=1)
    return Hypotheses(torch.where(mass > 0, angle, angle[:, :1]), mass)
