"""A shallower observation: the noise it would have, added to the noise that is there.

Of a wanted rms only ``sqrt(wanted^2 - rms^2)`` is added, as Stein et al. 2021 do (arXiv 2110.13151). The noise of a row
is a function of the key it draws, see :mod:`astrofm.views.noise`.
"""

from __future__ import annotations

__all__ = ["BEAM_REMEDY", "NO_RMS", "SkyNoise", "SkyNoiseConfig", "add_noise", "draw_keys"]

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from astrofm.views.base import PhysicalView, Sky
from astrofm.views.gaussians import covariances, fast_size, noise_share, transfer
from astrofm.views.laws import Law
from astrofm.views.noise import KEY_BITS, normal_field
from astrofm.views.sky import require_beam, require_known, require_laws

NO_RMS = "give the catalogue a column 'rms', or 'rms_BAND' for each of several bands; FITS readers measure that of one"
"""What would work where the noise is unknown."""
BEAM_REMEDY = "let the card or the columns bmaj, bmin and pixel_scale give them, or set 'correlated' to false"


class SkyNoiseConfig(BaseModel):
    """The noise of the shallower observation: as factors on a cutout's own rms, or by band in the unit of the image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: tuple[float, float] | None = None
    """Range of the wanted rms over the cutout's own; the same factor in all bands."""
    rms: dict[str, Law] = {}
    """Law of the wanted rms by band, in the unit of the image; bands are drawn one by one."""
    correlated: bool = False
    """Whether the noise has the shape of the beam, as an interferometer's; else each pixel has its own."""
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that a view is shallower."""

    @model_validator(mode="after")
    def _has_one_target(self) -> Self:
        if (self.factor is None) == (not self.rms):
            raise ValueError("give either 'factor', a range on the cutout's own rms, or 'rms', laws by band")
        if self.factor is not None and not 1 <= self.factor[0] <= self.factor[1]:
            raise ValueError(f"factor is a range of at least 1, noise can only be added: got {self.factor}")
        return self


class SkyNoise(PhysicalView):
    """Add noise up to a wanted rms, with probability ``p``; where there is as much already, nothing is added."""

    invariance: ClassVar[str] = "depth"

    def __init__(self, config: SkyNoiseConfig) -> None:
        self.config = config

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float32]:
        """Draw two halves of a key, and the wanted factor or one rms for each band; 0 where nothing is added.

        Shape: (num, 3) or (num, 2 + bands).
        """
        is_noisier = rng.random((num, 1)) < self.config.p
        keys = draw_keys(rng, num)
        if self.config.factor is not None:
            wanted = rng.uniform(*self.config.factor, (num, 1))
        else:
            wanted = np.stack([law.draw(rng, num) for law in self.config.rms.values()], axis=1)
        return np.concatenate([keys, np.where(is_noisier, wanted, 0.0)], axis=1).astype(np.float32)

    def check(self, sky: Sky) -> None:
        """Refuse cutouts of which something is unknown that the view needs."""
        require_known(sky.rms, "sky-noise", "rms", NO_RMS)
        require_laws(self.config.rms, sky, "sky-noise", "an rms", "'factor'")
        if self.config.correlated:
            require_beam(sky, "sky-noise", BEAM_REMEDY)

    def apply(self, images: Tensor, parameters: Tensor, sky: Sky) -> tuple[Tensor, Sky]:
        """Return the images with their noise raised, and the rms they have now.

        Raises:
            RecipeError: If the rms of a cutout, the law of a band or, for correlated noise, the beam is unknown.
        """
        self.check(sky)
        wanted = self._wanted(parameters[:, 2:], sky)
        is_raised = wanted > sky.rms
        # Squares of small numbers would be lost: 1e-23 W/m2/Hz is a Jansky, and float32 ends at 1e-45.
        ratio = torch.where(is_raised, sky.rms / wanted, 1.0)
        added = torch.where(is_raised, wanted, 0.0) * torch.sqrt(1.0 - ratio.square())
        noisy = add_noise(images, added, parameters[:, :2], sky, correlated=self.config.correlated)
        return noisy, replace(sky, rms=torch.where(is_raised, wanted, sky.rms))

    def _wanted(self, drawn: Tensor, sky: Sky) -> Tensor:
        """Return the wanted rms of each channel. Shape: (batch, channel)."""
        if self.config.factor is not None:
            return drawn * sky.rms
        places = {band: place for place, band in enumerate(self.config.rms)}
        return drawn[:, [places[band] for band in sky.bands]]


def draw_keys(rng: np.random.Generator, num: int) -> NDArray[np.int64]:
    """Draw keys of noise fields, in two halves that a float32 holds exactly. Shape: (num, 2)."""
    return rng.integers(0, 1 << KEY_BITS, (num, 2))


def add_noise(images: Tensor, rms: Tensor, keys: Tensor, sky: Sky, *, correlated: bool) -> Tensor:
    """Return images with Gaussian noise added; channels have noise of their own.

    Args:
        images: Shape: (batch, channel, y, x).
        rms: Of the noise to add, 0 for none. Shape: (batch, channel).
        keys: Rows of :func:`draw_keys`. Shape: (batch, 2).
        sky: Its beam and pixel scale, which are known, shape correlated noise.
        correlated: Whether the noise has the shape of the beam.
    """
    noisy = images.clone()
    rows = (rms > 0).any(dim=1).nonzero()[:, 0]
    if len(rows):
        high, low = keys[rows].long().unbind(dim=1)
        field = _field((high << KEY_BITS) | low, images, rows, sky if correlated else None)
        noisy[rows] += rms[rows][..., None, None] * field
    return noisy


def _field(keys: Tensor, images: Tensor, rows: Tensor, sky: Sky | None) -> Tensor:
    """Return noise of unit rms, white or of the shape of the beam. Shape: (rows, channel, y, x)."""
    num_channels, ny, nx = images.shape[1:]
    if sky is None:
        return normal_field(keys, num_channels * ny * nx).reshape(-1, num_channels, ny, nx)
    size_pix = (fast_size(ny), fast_size(nx))
    white = normal_field(keys, num_channels * size_pix[0] * size_pix[1]).reshape(-1, num_channels, *size_pix)
    fwhm_pix = sky.fwhm_arcsec[rows] / sky.pixel_scale_arcsec[rows, None, None]
    beam = transfer(covariances(fwhm_pix, sky.position_angle_deg[rows]), size_pix)
    # The convolution wraps around: so the noise is the same everywhere, and its rms is known without measuring.
    scaled = beam / noise_share(beam, size_pix[1])[..., None, None]
    field: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * scaled, s=size_pix)
    return field[..., :ny, :nx]
