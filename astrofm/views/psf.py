"""A worse PSF or a larger beam: the image convolved to the resolution of another observation.

The kernel is what is missing in quadrature, as Stein et al. 2021 take it for the PSF (arXiv 2110.13151). A beam or PSF
counts as a Gaussian.

What becomes of the noise follows from the unit. Noise of an image per beam (Jy/beam) has the shape of the beam, so its
rms grows by the square root of the ratio of beam areas, values being per larger beam. All other noise is taken as
independent from pixel to pixel, and its rms falls by the kernel's root sum of squares. A view ``sky-noise`` after this
one brings it up to what a real observation would have.
"""

from __future__ import annotations

__all__ = ["PSF", "PSFConfig"]

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.data.units import is_per_beam
from astrofm.views.base import PhysicalView, Sky
from astrofm.views.gaussians import covariances, kernels, smoothed
from astrofm.views.laws import Law, Uniform
from astrofm.views.sky import require_beam, require_flux, require_laws


class PSFConfig(BaseModel):
    """The resolution of the other observation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fwhm_arcsec: tuple[float, float] | None = None
    """Range of the full width at half maximum; the same in all bands."""
    factor: tuple[float, float] | None = None
    """Range of the full width over the cutout's own, of each band; the larger axis counts."""
    laws: dict[str, Law] = {}
    """Law of the full width in arcsec by band; bands are drawn one by one."""
    axis_ratio: tuple[float, float] = (1.0, 1.0)
    """Range of the minor over the major axis, which lies at any angle; what is drawn above is the major axis."""
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that a view is seen worse."""

    @model_validator(mode="after")
    def _ranges_make_sense(self) -> Self:
        if [self.fwhm_arcsec is None, self.factor is None, not self.laws].count(False) != 1:
            raise ValueError(
                "give one of 'fwhm_arcsec', a range in arcsec, 'factor', a range on the own one, or 'laws' by band"
            )
        if self.fwhm_arcsec is not None and not 0 < self.fwhm_arcsec[0] <= self.fwhm_arcsec[1]:
            raise ValueError(f"fwhm_arcsec is a range of positive widths, got {self.fwhm_arcsec}")
        if self.factor is not None and not 1 <= self.factor[0] <= self.factor[1]:
            raise ValueError(f"factor is a range of at least 1, an image cannot be sharpened: got {self.factor}")
        for band, law in self.laws.items():
            least = law.low if isinstance(law, Uniform) else law.loc
            if least < 0:
                raise ValueError(f"the law of {band!r} gives widths down to {least:g}; they are positive")
        if not 0 < self.axis_ratio[0] <= self.axis_ratio[1] <= 1:
            raise ValueError(f"axis_ratio is a range above 0 and up to 1, got {self.axis_ratio}")
        return self


class PSF(PhysicalView):
    """Convolve to a wider Gaussian, with probability ``p``.

    A channel whose own beam does not fit into the one drawn, because it is wider in some direction, stays as it is.
    """

    invariance: ClassVar[str] = "resolution"

    def __init__(self, config: PSFConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw axis ratio, angle (deg) and one full width, or one for each law; 0 where unchanged.

        Widths are in arcsec, or factors. Shape: (num, 3) or (num, 2 + laws).
        """
        is_worse = rng.random(num) < self.config.p
        given = self.config.fwhm_arcsec or self.config.factor
        if given is not None:
            widths = [rng.uniform(*given, num)]
        else:
            widths = [law.draw(rng, num) for law in self.config.laws.values()]
        ratio = rng.uniform(*self.config.axis_ratio, num)
        angle_deg = rng.uniform(0.0, 180.0, num)
        drawn = [np.where(is_worse, width, 0.0) for width in widths]
        return np.stack([ratio, angle_deg, *drawn], axis=1).astype(np.float32)

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs."""
        require_flux(sky, "psf")
        remedy = "let the card or the columns bmaj, bmin and pixel_scale give them, or leave the view out"
        require_beam(sky, "psf", remedy)
        require_laws(self.config.laws, sky, "psf", "laws", "'fwhm_arcsec' or 'factor'")

    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the images at the resolution drawn; values per beam are per larger beam now.

        Raises:
            RecipeError: If the pixels are not proportional to flux, or the beam, PSF or pixel scale of a cutout or the
                law of a band is unknown.
        """
        self.check(sky)
        target_arcsec, angle_deg = self._target(parameters, sky)
        scale = sky.pixel_scale_arcsec[:, None, None]
        own = covariances(sky.fwhm_arcsec / scale, sky.position_angle_deg)
        kernel = kernels(own, covariances(target_arcsec / scale, angle_deg))
        is_worse = kernel.any(dim=-1)
        after = replace(
            sky,
            rms=sky.rms.clone(),
            fwhm_arcsec=torch.where(is_worse[..., None], target_arcsec, sky.fwhm_arcsec),
            position_angle_deg=torch.where(is_worse, angle_deg, sky.position_angle_deg),
        )
        seen, rows = images.clone(), is_worse.any(dim=1).nonzero()[:, 0]
        if len(rows):
            convolved, noise_left = smoothed(images[rows], kernel[rows])
            if is_per_beam(sky.unit):
                larger = (after.fwhm_arcsec.prod(dim=-1) / sky.fwhm_arcsec.prod(dim=-1))[rows]
                convolved, noise_left = convolved * larger[..., None, None], larger.sqrt()
            chosen = is_worse[rows]
            seen[rows] = torch.where(chosen[..., None, None], convolved, images[rows])
            after.rms[rows] = torch.where(chosen, sky.rms[rows] * noise_left, sky.rms[rows])
        return seen, after

    def _target(self, parameters: Tensor, sky: Sky) -> tuple[Tensor, Tensor]:
        """Return axes (arcsec) and angle (deg) of what was drawn. Shapes: (batch, channel, 2), (batch, channel)."""
        ratio, angle_deg = (column[:, None].expand_as(sky.rms) for column in parameters[:, :2].unbind(dim=1))
        places = {band: place for place, band in enumerate(self.config.laws)}
        width = parameters[:, [2 + places.get(band, 0) for band in sky.bands]]
        major = width if self.config.factor is None else width * sky.fwhm_arcsec[..., 0]
        return torch.stack([major, ratio * major], dim=-1), torch.where(ratio < 1, angle_deg, 0.0)
