"""What imaging leaves in radio cutouts: sidelobes around bright sources, and stripes.

Both are added to the sky in the product's unit, as an interferometer adds them, and both scale with the beam: a network
that has seen them reads the source and not the array. The imaging of interferometers and its errors are described by
Thompson, Moran & Swenson 2017 (doi:10.1007/978-3-319-44431-4), chapters 10 and 11.
"""

from __future__ import annotations

__all__ = ["Sidelobes", "SidelobesConfig", "Stripes", "StripesConfig", "sidelobe_pattern"]

import math
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.views.base import PhysicalView, Sky
from astrofm.views.sky import require_flux, require_known
from astrofm.views.sky_noise import NO_RMS

# B = batch, C = channels.

HALF_WIDTH = 2.21509
"""Where 2 J1(z) / z is 1/2: half the full width at half maximum of the dirty beam."""
FIRST_NULL = 3.83171
"""First zero of J1: the main lobe, which cleaning takes out, ends here."""
FIRST_RING = 0.132279
"""Depth of the first negative ring of 2 J1(z) / z, at z = 5.13562."""
REMEDY = "give {} on the survey's card or in its catalogue, or leave the view out"


class SidelobesConfig(BaseModel):
    """Strength, shape and probability of sidelobes; the numbers are a choice, guided by what survey images show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amplitude: tuple[float, float] = (0.002, 0.02)
    """Range of the depth of the first ring, as a share of the peak; uniform in its logarithm."""
    spikes: int = Field(default=6, ge=0, multiple_of=2)
    """Spikes around the source: 6 for short observations with three straight arms, 0 for rings alone. An even number:
    each spike has one opposite, as the Fourier transform of real visibilities has."""
    p: float = Field(default=0.3, ge=0, le=1)
    """Probability that a view has sidelobes."""

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        _check_range("amplitude", self.amplitude)
        return self


class Sidelobes(PhysicalView):
    """Add what is left of the dirty beam around the brightest pixel of a cutout, with probability ``p``.

    Each channel gets the pattern of its own beam, times its own value at the pixel that is brightest in the mean of the
    channels. The beam counts as round, with the geometric mean of its axes.
    """

    invariance: ClassVar[str] = "the array's sidelobes"

    def __init__(self, config: SidelobesConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw the share of the peak (0: none) and the angle of the spikes in radians. Shape: (num, 2)."""
        share = _log_uniform(rng, self.config.amplitude, num)
        angle = rng.uniform(0.0, 2.0 * math.pi, num)
        has_sidelobes = rng.random(num) < self.config.p
        return np.stack([np.where(has_sidelobes, share, 0.0), angle], axis=1).astype(np.float32)

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs."""
        require_flux(sky, "sidelobes")
        _require_beam(sky.fwhm_arcsec, sky.pixel_scale_arcsec, "sidelobes")

    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the images, those with a share with sidelobes; what is known of them stays.

        Raises:
            RecipeError: If the pixels are not proportional to flux, or the beam or the pixel scale of a cutout with
                sidelobes is unknown.
        """
        rows = parameters[:, 0].nonzero()[:, 0]
        if not len(rows):
            return images, sky
        require_flux(sky, "sidelobes")
        share, angle = parameters[rows].unbind(dim=1)
        chosen = images[rows]
        brightest = chosen.mean(dim=1).flatten(1).argmax(dim=1)
        peak = chosen.flatten(2)[torch.arange(len(rows), device=images.device), :, brightest]
        (y, x), nx = _places(images), images.shape[-1]
        offset_y, offset_x = y - (brightest // nx)[:, None, None], x - (brightest % nx)[:, None, None]
        pattern = sidelobe_pattern(offset_y, offset_x, _beam_pix(sky, rows, "sidelobes"), angle, self.config.spikes)
        changed = images.clone()
        changed[rows] = chosen + (share[:, None] * peak)[..., None, None] * pattern
        return changed, sky


def sidelobe_pattern(offset_y: Tensor, offset_x: Tensor, fwhm_pix: Tensor, angle: Tensor, spikes: int) -> Tensor:
    """Return 2 J1(z) / z outside its main lobe, the first ring being 1 deep: the dirty beam of a filled aperture.

    Spikes multiply the rings by 1 + cos(spikes (phi - angle)), whose mean around a ring is 1.

    Args:
        offset_y: From the source, in pixels. Shape: (B, y, 1) or wider.
        offset_x: Likewise. Shape: (B, 1, x) or wider.
        fwhm_pix: Full width at half maximum of the beam. Shape: (B, C).
        angle: Of one spike, in radians from +x to +y. Shape: (B,).
        spikes: How many; 0: rings alone.

    Returns:
        0 in the main lobe. Shape: (B, C, y, x).
    """
    radius = torch.hypot(offset_y.float(), offset_x.float())[:, None]
    z = radius * (2.0 * HALF_WIDTH / fwhm_pix)[..., None, None]
    rings = 2.0 * torch.special.bessel_j1(z) / (FIRST_RING * z.clamp(min=FIRST_NULL))
    rings = torch.where(z < FIRST_NULL, 0.0, rings)
    if spikes == 0:
        return rings
    phi = torch.atan2(offset_y.float(), offset_x.float())
    return rings * (1.0 + torch.cos(spikes * (phi - angle[:, None, None])))[:, None]


class StripesConfig(BaseModel):
    """Strength, width and probability of stripes; the numbers are a choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amplitude: tuple[float, float] = (0.3, 3.0)
    """Range of the amplitude in units of the rms; uniform in its logarithm."""
    wavelength_beams: tuple[float, float] = (2.0, 20.0)
    """Range of the distance of two crests in units of the beam; uniform in its logarithm."""
    p: float = Field(default=0.3, ge=0, le=1)
    """Probability that a view has stripes."""

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        _check_range("amplitude", self.amplitude)
        _check_range("wavelength_beams", self.wavelength_beams)
        return self


class Stripes(PhysicalView):
    """Add a plane wave, with probability ``p``: what the wrong visibility of one baseline leaves in an image.

    Every channel gets the wave in units of its own beam and rms, with the same direction and phase at the centre.
    """

    invariance: ClassVar[str] = "bad baselines"

    def __init__(self, config: StripesConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw amplitude (rms; 0: none), wavelength (beams), direction and phase (radians). Shape: (num, 4)."""
        amplitude = _log_uniform(rng, self.config.amplitude, num)
        wavelength = _log_uniform(rng, self.config.wavelength_beams, num)
        direction = rng.uniform(0.0, math.pi, num)
        phase = rng.uniform(0.0, 2.0 * math.pi, num)
        has_stripes = rng.random(num) < self.config.p
        drawn = [np.where(has_stripes, amplitude, 0.0), wavelength, direction, phase]
        return np.stack(drawn, axis=1).astype(np.float32)

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs."""
        require_flux(sky, "stripes")
        require_known(sky.rms, "stripes", "rms", NO_RMS)
        _require_beam(sky.fwhm_arcsec, sky.pixel_scale_arcsec, "stripes")

    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the images, those with an amplitude striped, and the rms they have now.

        A wave of amplitude a has the variance a^2 / 2, which is added to that of the noise.

        Raises:
            RecipeError: If the pixels are not proportional to flux, or the rms, the beam or the pixel scale of a
                striped cutout is unknown.
        """
        rows = parameters[:, 0].nonzero()[:, 0]
        if not len(rows):
            return images, sky
        require_flux(sky, "stripes")
        amplitude, wavelength, direction, phase = parameters[rows].unbind(dim=1)
        rms = sky.rms[rows].to(images.dtype)
        require_known(rms, "stripes", "rms", NO_RMS)
        y, x = _places(images)
        centre_y, centre_x = ((size - 1) / 2 for size in images.shape[-2:])
        cos, sin = torch.cos(direction)[:, None, None], torch.sin(direction)[:, None, None]
        along = cos * (x - centre_x) + sin * (y - centre_y)
        wavelength_pix = wavelength[:, None] * _beam_pix(sky, rows, "stripes")
        turns = along[:, None] / wavelength_pix[..., None, None]
        wave = torch.cos(2.0 * math.pi * turns + phase[:, None, None, None])
        changed = images.clone()
        changed[rows] += (amplitude[:, None] * rms)[..., None, None] * wave
        new_rms = sky.rms.clone()
        new_rms[rows] *= torch.sqrt(1.0 + 0.5 * amplitude[:, None].to(new_rms.dtype) ** 2)
        return changed, replace(sky, rms=new_rms)


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel positions. Shapes: (1, y, 1) and (1, 1, x)."""
    ny, nx = images.shape[-2:]
    return torch.arange(ny, device=images.device)[None, :, None], torch.arange(nx, device=images.device)[None, None]


def _beam_pix(sky: Sky, rows: Tensor, view: str) -> Tensor:
    """Return the geometric mean of the beam's axes in pixels. Shape: (rows, C)."""
    fwhm_arcsec, pixel_scale_arcsec = sky.fwhm_arcsec[rows], sky.pixel_scale_arcsec[rows]
    _require_beam(fwhm_arcsec, pixel_scale_arcsec, view)
    return (fwhm_arcsec.prod(dim=-1).sqrt() / pixel_scale_arcsec[:, None]).float()


def _require_beam(fwhm_arcsec: Tensor, pixel_scale_arcsec: Tensor, view: str) -> None:
    require_known(fwhm_arcsec, view, "beam", REMEDY.format("the beam"))
    require_known(pixel_scale_arcsec, view, "pixel scale", REMEDY.format("the pixel scale"))


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float], num: int) -> NDArray[np.float64]:
    return np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]), num))


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError(f"{name} is a range of positive numbers, got {bounds}")
