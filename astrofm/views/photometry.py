"""Jitter of brightness, contrast and saturation on the stretched image."""

from __future__ import annotations

__all__ = ["Jitter", "JitterConfig"]

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.errors import RecipeError
from astrofm.views.base import PixelView, Stage


class JitterConfig(BaseModel):
    """Strengths of the jitter; defaults of Slijepcevic et al. 2024 (arXiv 2305.16127) for one band.

    A strength s is the range of a factor: uniform from max(0, 1 - s) to 1 + s.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    brightness: float = Field(default=0.4, ge=0)
    contrast: float = Field(default=0.4, ge=0)
    saturation: float = Field(default=0.0, ge=0)
    """Of images with several bands only."""
    p: float = Field(default=0.8, ge=0, le=1)
    """Probability that a view is changed at all."""
    clip: tuple[float, float] | None = None
    """Range the result is clipped to, for example [0, 1] as 8-bit tools do; null: none."""

    @model_validator(mode="after")
    def _clip_is_ordered(self) -> Self:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip is a range, got {self.clip}")
        return self


class Jitter(PixelView):
    """Multiply by a factor, then stretch about the image's mean, then about each pixel's mean over the bands."""

    stage: ClassVar[Stage] = Stage.PHOTOMETRY
    invariance: ClassVar[str] = "brightness and colour"

    def __init__(self, config: JitterConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw the factors of brightness, contrast and saturation, 1 where unchanged. Shape: (num, 3)."""
        is_changed = rng.random((num, 1)) < self.config.p
        strength = np.array([self.config.brightness, self.config.contrast, self.config.saturation])
        factors = rng.uniform(np.maximum(0.0, 1.0 - strength), 1.0 + strength, (num, 3))
        return np.where(is_changed, factors, 1.0).astype(np.float32)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the changed images; those with all factors 1 come back as they were, if within ``clip``.

        Raises:
            RecipeError: If saturation is asked of images with one band.
        """
        if self.config.saturation > 0 and images.shape[1] == 1:
            raise RecipeError(
                f"jitter with saturation {self.config.saturation:g} mixes bands and these images have one: set it to 0"
            )
        brightness, contrast, saturation = parameters.to(images.dtype)[:, :, None, None, None].unbind(dim=1)
        images = images * brightness
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = images * contrast + mean * (1.0 - contrast)
        if self.config.saturation > 0:
            grey = images.mean(dim=1, keepdim=True)
            images = images * saturation + grey * (1.0 - saturation)
        return images if self.config.clip is None else images.clamp(*self.config.clip)
