"""Gaussian noise on the stretched image, the same for a row whatever rank or device computes it.

Each cutout draws a key on the CPU; its noise field is a function of key and pixel alone, through the counter-based
generator SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) and the Box-Muller transform.
"""

from __future__ import annotations

__all__ = ["Noise", "NoiseConfig", "normal_field"]

import math
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.views.base import PixelView, Stage

KEY_BITS = 24
"""A float32 holds whole numbers of this many bits exactly; a key is two of them."""
GAMMA, MIX_1, MIX_2 = (value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""SplitMix64's constants, as signed integers."""


class NoiseConfig(BaseModel):
    """Strength and probability of the noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sigma: tuple[float, float]
    """Range of the standard deviation, in units of the stretched image."""
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that a view gets noise."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if not 0 <= self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma is a range of standard deviations, got {self.sigma}")
        return self


class Noise(PixelView):
    """Add uncorrelated Gaussian noise, with probability ``p``."""

    stage: ClassVar[Stage] = Stage.PHOTOMETRY
    invariance: ClassVar[str] = "depth"

    def __init__(self, config: NoiseConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw standard deviation (0: no noise) and the two halves of the key. Shape: (num, 3)."""
        has_noise = rng.random((num, 1)) < self.config.p
        sigma = np.where(has_noise, rng.uniform(*self.config.sigma, (num, 1)), 0.0)
        key = rng.integers(0, 1 << KEY_BITS, (num, 2))
        return np.concatenate([sigma, key], axis=1).astype(np.float32)

    def changes(self, parameters: Tensor) -> Tensor:
        """Return which images are to become noisier. Shape: (batch,), bool."""
        return parameters[:, 0] != 0

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the noisier images."""
        high, low = parameters[:, 1].long(), parameters[:, 2].long()
        field = normal_field((high << KEY_BITS) | low, images[0].numel()).reshape(images.shape)
        return images + parameters[:, 0, None, None, None] * field


def normal_field(keys: Tensor, size: int) -> Tensor:
    """Return standard normal numbers that are a function of key and position.

    Args:
        keys: One for each field, int64. Shape: (batch,).
        size: Numbers in a field.

    Returns:
        Float32. Shape: (batch, size).
    """
    counter = torch.arange(1, size + 1, device=keys.device)
    bits = _mix(_mix(keys)[:, None] + counter * GAMMA)
    radius_uniform = (((bits >> 40) & 0xFFFFFF).float() + 1.0) / (1 << 24)  # in (0, 1]: its logarithm is finite
    angle_uniform = ((bits >> 8) & 0xFFFFFF).float() / (1 << 24)
    return torch.sqrt(-2.0 * torch.log(radius_uniform)) * torch.cos(2.0 * math.pi * angle_uniform)


def _mix(bits: Tensor) -> Tensor:
    """Scramble 64 bits; the masks make the arithmetic shifts logical ones, the products wrap around."""
    bits = (bits ^ ((bits >> 30) & ((1 << 34) - 1))) * MIX_1
    bits = (bits ^ ((bits >> 27) & ((1 << 37) - 1))) * MIX_2
    return bits ^ ((bits >> 31) & ((1 << 33) - 1))
