"""The same source seen in all eight orientations of the square grid, without any resampling."""

from __future__ import annotations

__all__ = ["ORIENTATIONS", "OrientationMean", "check_orientations"]

import torch
from torch import Tensor, nn

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
