"""Gaussian blur of the stretched image."""

from __future__ import annotations

__all__ = ["Blur", "BlurConfig", "gaussian_blur"]

import math
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional

from astrofm.views.base import PixelView, Stage


class BlurConfig(BaseModel):
    """Width and probability of the blur; defaults of Slijepcevic et al. 2024 (arXiv 2305.16127)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the standard deviation, in pixels of the network's input."""
    p: float = Field(default=0.1, ge=0, le=1)
    """Probability that a view is blurred."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma is a range of positive widths in pixels, got {self.sigma}")
        return self


class Blur(PixelView):
    """Convolve with a round Gaussian, with probability ``p``."""

    stage: ClassVar[Stage] = Stage.PHOTOMETRY
    invariance: ClassVar[str] = "resolution"

    def __init__(self, config: BlurConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw standard deviations in pixels, 0 where not blurred. Shape: (num, 1)."""
        is_blurred = rng.random((num, 1)) < self.config.p
        sigma = rng.uniform(*self.config.sigma, (num, 1))
        return np.where(is_blurred, sigma, 0.0).astype(np.float32)

    def changes(self, parameters: Tensor) -> Tensor:
        """Return which images are blurred. Shape: (batch,), bool."""
        return parameters[:, 0] != 0

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the blurred images."""
        return gaussian_blur(images, parameters[:, 0], math.ceil(3.0 * self.config.sigma[1]))


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Convolve each image with a Gaussian of its own, cut off at ``radius`` pixels; edge pixels are repeated outwards.

    The taps are summed one after the other, so that an image's result does not depend on the others in the batch.

    Args:
        images: Shape: (batch, channel, y, x).
        sigma: Standard deviations in pixels, positive. Shape: (batch,).
        radius: In pixels.

    Returns:
        Shape: (batch, channel, y, x).
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True))[:, :, None, None, None]
    for axis, padding in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        padded = functional.pad(images, padding, mode="replicate")
        size = images.shape[axis]
        images = torch.zeros_like(images)
        for tap in range(2 * radius + 1):
            images.addcmul_(padded.narrow(axis, tap, size), weights[:, tap])
    return images
