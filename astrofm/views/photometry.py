"""Jitter of brightness, contrast, saturation and hue on the stretched image."""

from __future__ import annotations

__all__ = ["Jitter", "JitterConfig", "turn_hue"]

from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.errors import RecipeError
from astrofm.views.base import PixelView, Stage

SMALLEST_CHROMA = 1e-30
"""What a grey pixel's difference of bands, 0, is divided by."""

TRAPEZOIDS = torch.tensor([[3.0, 2.0, 4.0], [1.0, -1.0, -1.0], [-1.0, 2.0, 2.0]])
"""Of red, green and blue around the circle of hues in sixths: each is ``sign * |hue - centre| + height``, between 0 and
1, so that red is highest at 0, green at 2 and blue at 4. Rows: centre, sign, height."""


class JitterConfig(BaseModel):
    """Strengths of the jitter; defaults of Slijepcevic et al. 2024 (arXiv 2305.16127) for one band.

    A strength s is the range of a factor: uniform from max(0, 1 - s) to 1 + s.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    brightness: float = Field(default=0.4, ge=0)
    contrast: float = Field(default=0.4, ge=0)
    saturation: float = Field(default=0.0, ge=0)
    """Of images with several bands only."""
    hue: float = Field(default=0.0, ge=0, le=0.5)
    """Largest turn of the hue either way, as a share of the circle of colours; of images with three bands only."""
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
    """Change brightness, contrast, saturation and hue, always in this order (torchvision shuffles it).

    Multiply by a factor, then stretch about the image's mean, then about each pixel's mean over the bands, then turn
    the hue. The clip comes once, at the end.
    """

    stage: ClassVar[Stage] = Stage.PHOTOMETRY
    invariance: ClassVar[str] = "brightness and colour"
    destroys: ClassVar[frozenset[str]] = frozenset({"colour"})

    def __init__(self, config: JitterConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw the factors of brightness, contrast and saturation, 1 where unchanged, and the turn of the hue.

        Returns:
            Shape: (num, 4); the turn is 0 where unchanged.
        """
        is_changed = rng.random((num, 1)) < self.config.p
        strength = np.array([self.config.brightness, self.config.contrast, self.config.saturation])
        factors = rng.uniform(np.maximum(0.0, 1.0 - strength), 1.0 + strength, (num, 3))
        # Drawn last, so that a hue leaves the other factors as they are without one.
        turn = rng.uniform(-self.config.hue, self.config.hue, (num, 1))
        return np.where(is_changed, np.concatenate([factors, turn], axis=1), [1.0, 1.0, 1.0, 0.0]).astype(np.float32)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the changed images; those with factors 1 and turn 0 come back as they were, if within ``clip``."""
        brightness, contrast, saturation = parameters[:, :3].to(images.dtype)[:, :, None, None, None].unbind(dim=1)
        # All three are linear in the pixel, the mean over its bands and the mean of the image: one pass does them.
        gain = brightness * contrast
        if self.config.saturation > 0:
            grey = images.mean(dim=1, keepdim=True)
            offset = grey * (gain * (1.0 - saturation)) + _mean(grey) * (brightness * (1.0 - contrast))
            gain = gain * saturation
        else:
            offset = _mean(images) * (brightness * (1.0 - contrast))
        images = torch.addcmul(offset, images, gain)
        if self.config.hue > 0:
            turn = parameters[:, 3]
            # A weight of 0 leaves the bits as they are, as a choice by torch.where would, and several times faster.
            is_turned = (turn != 0).to(images.dtype)[:, None, None, None]
            images = torch.lerp(images, turn_hue(images, turn), is_turned)
        return images if self.config.clip is None else images.clamp_(*self.config.clip)

    def check_channels(self, num_channels: int) -> None:
        """Refuse images with one band where saturation is asked for, and without three where hue is."""
        if self.config.saturation > 0 and num_channels == 1:
            raise RecipeError(
                f"jitter with saturation {self.config.saturation:g} mixes bands and these images have one: set it to 0"
            )
        if self.config.hue > 0 and num_channels != 3:
            raise RecipeError(
                f"jitter with hue {self.config.hue:g} takes three bands as red, green and blue and these images have "
                f"{num_channels}: set it to 0"
            )


def _mean(images: Tensor) -> Tensor:
    return images.mean(dim=(1, 2, 3), keepdim=True)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of HSV colours and leave saturation and value (Smith 1978, doi:10.1145/965139.807361).

    The largest and the smallest of the three bands stay what they are, so that images need not lie in [0, 1].

    Args:
        images: Red, green and blue. Shape: (batch, 3, y, x).
        turn: Share of the circle, positive from red to green. Shape: (batch,).

    Returns:
        Shape: (batch, 3, y, x).
    """
    red, green, blue = images.unbind(dim=1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - low
    # With bands scaled to [0, 1] the hue is 1 - red + green + blue sixths of a circle from red over green to cyan, and
    # on the other half, where blue is above green, as much before the whole circle: no pixel needs a choice.
    sixths = (green - low).add_(blue - red).div_(chroma.clamp_min(SMALLEST_CHROMA)).add_(1.0)
    sixths = torch.copysign(sixths, green - blue).add_(6.0 * turn[:, None, None])
    sixths -= torch.floor(sixths / 6.0).mul_(6.0)
    centre, sign, height = TRAPEZOIDS.to(images.device)[..., None, None]
    turned: Tensor = (sixths[:, None] - centre).abs_().mul_(sign).add_(height)
    turned.clamp_(0.0, 1.0).mul_(chroma[:, None]).add_(low[:, None])
    return turned
