"""The same source seen in all eight orientations of the square grid, without any resampling."""

from __future__ import annotations

__all__ = [
    "ORIENTATIONS",
    "OrientationEncoder",
    "OrientationMean",
    "OrientationMeanConfig",
    "build_orientation_mean",
    "check_orientations",
]

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from astrofm.encoders.build import EncoderConfig, build_untrained, embed_dim_of
from astrofm.errors import UsageError

ORIENTATIONS = (1, 4, 8)
"""How many there can be: as it is, its four rotations by 90 degrees, and those of its mirror image too."""


def check_orientations(num: int) -> None:
    """Refuse a number of orientations that there are not.

    Raises:
        UsageError: If it is not in ``ORIENTATIONS``.
    """
    if num not in ORIENTATIONS:
        raise UsageError(f"{num} orientations were asked for: a square image has {', '.join(map(str, ORIENTATIONS))}")


class OrientationMean(nn.Module):
    """What a network makes of an image, averaged over its orientations: no longer a matter of which way is up.

    Args:
        network: From images (batch, channel, y, x), y as large as x, to (batch, d).
        num: 1, 4 or 8 orientations.

    Raises:
        UsageError: If there is no such number of orientations.
    """

    def __init__(self, network: nn.Module, num: int) -> None:
        super().__init__()
        check_orientations(num)
        self.network = network
        self.num = num

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean over the orientations. Shape: (batch, d)."""
        total: Tensor = self.network(images)
        for number in range(1, self.num):
            mirrored = images.flip(-1) if number >= 4 else images
            total = total + self.network(torch.rot90(mirrored, number % 4, (-2, -1)))
        return total / self.num


class OrientationEncoder(OrientationMean):
    """The mean of an encoder, as an encoder.

    Args:
        network: An encoder.
        num: 1, 4 or 8 orientations.
    """

    def __init__(self, network: nn.Module, num: int) -> None:
        super().__init__(network, num)
        self.embed_dim = embed_dim_of(network)


class OrientationMeanConfig(BaseModel):
    """An encoder whose embedding does not depend on the orientation of the pixel grid, at that many times the work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: EncoderConfig
    """The network that sees each orientation."""
    num: Literal[4, 8] = 4
    """4: rotations by 90 degrees. 8: those of the mirror image too."""


def build_orientation_mean(config: OrientationMeanConfig, num_channels: int) -> nn.Module:
    """Return the encoder, untrained, with weights from the global generator."""
    return OrientationEncoder(build_untrained(config.network, num_channels), config.num)
