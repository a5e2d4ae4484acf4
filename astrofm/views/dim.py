"""A fainter source in the same noise: the same object farther away, as far as its brightness goes.

Its size, its redshift and the shift of its bands stay what they are.
"""

from __future__ import annotations

__all__ = ["Dim", "DimConfig"]

import math
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.views.base import PhysicalView, Sky
from astrofm.views.sky import require_beam, require_flux, require_known
from astrofm.views.sky_noise import BEAM_REMEDY, NO_RMS, add_noise, draw_keys


class DimConfig(BaseModel):
    """How much fainter, and how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: tuple[float, float] = (0.3, 1.0)
    """Range of what is left of the flux; drawn uniformly in magnitudes."""
    correlated: bool = False
    """Whether the noise that is put back has the shape of the beam, as that of an interferometer."""
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that a view is dimmed."""

    @model_validator(mode="after")
    def _range_dims(self) -> Self:
        if not 0 < self.factor[0] <= self.factor[1] <= 1:
            raise ValueError(f"factor is a range above 0 and up to 1, got {self.factor}")
        return self


class Dim(PhysicalView):
    """Multiply the flux by a factor, and put back the noise that this takes away, with probability ``p``."""

    invariance: ClassVar[str] = "apparent brightness"

    def __init__(self, config: DimConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw two halves of a key and the factor, 1 where unchanged. Shape: (num, 3)."""
        is_dimmed = rng.random((num, 1)) < self.config.p
        keys = draw_keys(rng, num)
        low, high = (math.log(factor) for factor in self.config.factor)
        factor = np.exp(rng.uniform(low, high, (num, 1)))
        return np.concatenate([keys, np.where(is_dimmed, factor, 1.0)], axis=1).astype(np.float32)

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs."""
        require_flux(sky, "dim")
        require_known(sky.rms, "dim", "rms", NO_RMS)
        if self.config.correlated:
            require_beam(sky, "dim", BEAM_REMEDY)

    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the dimmed images; their rms is what it was.

        Raises:
            RecipeError: If the pixels are not proportional to flux, or the rms or, for correlated noise, the beam of a
                cutout is unknown.
        """
        self.check(sky)
        factor = parameters[:, 2:]
        added = sky.rms * torch.sqrt(1.0 - factor.square())
        dimmed = images * factor[..., None, None]
        return add_noise(dimmed, added, parameters[:, :2], sky, correlated=self.config.correlated), sky
