"""Take the colour out of the stretched image."""

from __future__ import annotations

__all__ = ["Grayscale", "GrayscaleConfig"]

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from astrofm.errors import RecipeError
from astrofm.views.base import PixelView, Stage

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601-7, section 2.5.1, as torchvision rounds them."""


class GrayscaleConfig(BaseModel):
    """How often colour is taken out, and what grey is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p: float = Field(default=0.2, ge=0, le=1)
    """Probability that a view becomes grey; the default is that of BYOL (Grill et al. 2020, arXiv 2006.07733)."""
    weights: Literal["bt601", "mean"] = "bt601"
    """``bt601``: the brightness of a red, a green and a blue band for the eye; ``mean``: all bands count alike."""


class Grayscale(PixelView):
    """Replace every band by one weighted mean of all of them, with probability ``p``; the bands stay as many."""

    stage: ClassVar[Stage] = Stage.PHOTOMETRY
    invariance: ClassVar[str] = "colour"
    destroys: ClassVar[frozenset[str]] = frozenset({"colour"})

    def __init__(self, config: GrayscaleConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw 1 where the colour is taken out, else 0. Shape: (num, 1)."""
        return (rng.random((num, 1)) < self.config.p).astype(np.float32)

    def changes(self, parameters: Tensor) -> Tensor:
        """Return which images are to lose their colour. Shape: (batch,), bool."""
        return parameters[:, 0] != 0

    def check_channels(self, num_channels: int) -> None:
        """Refuse images with one band, or without the three that the weights are for."""
        if num_channels == 1:
            raise RecipeError("grayscale mixes bands and these images have one: leave it out")
        if self.config.weights == "bt601" and num_channels != 3:
            raise RecipeError(
                f"grayscale with weights bt601 takes red, green and blue and these images have {num_channels} bands: "
                "set weights to mean"
            )

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return the images without colour."""
        num_channels = images.shape[1]
        weights = LUMA if self.config.weights == "bt601" else (1.0 / num_channels,) * num_channels
        grey = torch.zeros_like(images[:, 0])
        for channel, weight in enumerate(weights):
            grey.add_(images[:, channel], alpha=weight)
        return grey[:, None].expand_as(images).contiguous()
