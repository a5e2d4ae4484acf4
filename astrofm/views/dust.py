"""The dust of the Galaxy: what a cutout would look like at another place on the sky.

Hayat et al. 2021 (arXiv 2101.04293) draw E(B-V) from U(0, 0.5); Stein et al. 2021 (arXiv 2110.13151) give the lognormal
law of their footprint: shape 0.67306, loc 0.001146, scale 0.03338.
"""

from __future__ import annotations

__all__ = ["Dust", "DustConfig"]

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from astrofm.views.base import PhysicalView, Sky
from astrofm.views.extinction import coefficient
from astrofm.views.laws import Law, Uniform
from astrofm.views.sky import require_flux, require_known
from astrofm.views.sky_noise import NO_RMS, add_noise, draw_keys


class DustConfig(BaseModel):
    """How much dust; the default is that of Hayat et al. 2021."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ebv: Law = Uniform(low=0.0, high=0.5)
    """Law of E(B-V) in magnitudes, on the scale of the SFD maps; what it draws below 0 is 0."""
    coefficients: dict[str, float] = {}
    """A / E(B-V) by band, before those of :mod:`astrofm.views.extinction`."""
    ebv_in_pixels: float | None = Field(default=None, ge=0)
    """E(B-V) taken to be in cutouts whose catalogue has none: 0 if they were corrected. Null: they are refused."""
    noise: Literal["dimmed", "kept"] = "dimmed"
    """``dimmed``: multiplied with the flux, as Hayat et al. 2021 do; ``kept``: what dust takes from it is put back, as
    dust dims the light and not the noise of sky and detector, and tells nothing of how much dust there was."""
    p: float = Field(default=1.0, ge=0, le=1)
    """Probability that a view gets other dust than the cutout has."""


class Dust(PhysicalView):
    """Multiply each band by 10^(-0.4 A), A for the difference between the E(B-V) drawn and what is in the pixels."""

    invariance: ClassVar[str] = "reddening by the dust of the Galaxy"

    def __init__(self, config: DustConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw E(B-V), NaN where the dust stays as it is, and two halves of a key. Shape: (num, 3)."""
        is_changed = rng.random(num) < self.config.p
        ebv = np.maximum(self.config.ebv.draw(rng, num), 0.0)
        drawn = np.where(is_changed, ebv, np.nan)[:, None]
        return np.concatenate([drawn, draw_keys(rng, num)], axis=1).astype(np.float32)

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs."""
        self._known(sky)

    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the images as seen through the dust drawn, and their noise: dimmed with them, or as it was.

        Raises:
            RecipeError: If the pixels are not proportional to flux, a band has no coefficient, or the E(B-V) in the
                pixels or, where the noise is kept, the rms is unknown.
        """
        known, in_pixels = self._known(sky)
        drawn = parameters[:, 0]
        ebv = torch.where(torch.isnan(drawn), in_pixels, drawn)
        coefficients = torch.tensor(known, dtype=torch.float32, device=images.device)
        transmission = torch.pow(10.0, -0.4 * (ebv - in_pixels)[:, None] * coefficients)
        seen, rms = images * transmission[..., None, None], sky.rms * transmission
        if self.config.noise == "kept":
            added = sky.rms * torch.sqrt(1.0 - transmission.clamp(max=1.0).square())
            seen = add_noise(seen, added, parameters[:, 1:], sky, correlated=False)
            rms = torch.maximum(rms, sky.rms)
        return seen, replace(sky, rms=rms, ebv=ebv)

    def _known(self, sky: Sky) -> tuple[list[float], Tensor]:
        """Return the coefficient of each band and the E(B-V) in each cutout, after a look that nothing is unknown."""
        require_flux(sky, "dust")
        pairs = zip(sky.bands, sky.wavelengths_nm, strict=True)
        coefficients = [coefficient(band, wavelength_nm, self.config.coefficients) for band, wavelength_nm in pairs]
        in_pixels = sky.ebv
        if self.config.ebv_in_pixels is not None:
            in_pixels = torch.where(torch.isnan(in_pixels), self.config.ebv_in_pixels, in_pixels)
        remedy = "give the catalogue a column 'ebv', or the view the setting 'ebv_in_pixels'"
        require_known(in_pixels, "dust", "E(B-V) in the pixels", remedy)
        if self.config.noise == "kept":
            require_known(sky.rms, "dust", "rms", NO_RMS)
        return coefficients, in_pixels
