"""A sky of galaxies, as a camera sees them in the bands u, g, r, i, z, and their colour picture.

Fluxes are in nanomaggies: a source of magnitude 22.5 (AB) has a flux of one.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astrofm.mock.fourier import Components, gaussian_taper, padded_size, to_image, transform
from astrofm.mock.galaxies import Galaxy, GalaxyMorphology, sample_galaxy
from astrofm.mock.light import Component, galaxy_components

__all__ = ["Galaxy", "GalaxyMorphology", "render_galaxy", "sample_galaxy", "to_rgb"]

ZERO_POINT_MAG = 22.5

FIELD_OBJECTS_PER_ARCMIN2 = 4.0
"""Density of unrelated stars and galaxies between r = 17 and 22 at high galactic latitude, in round numbers."""

NARROWEST_PSF_PIX = 2.0
"""A narrower PSF would be undersampled and ring; it is drawn this wide, as if the pixels had smeared it."""

DUST_OPTICAL_DEPTH: Mapping[str, float] = MappingProxyType({"u": 1.85, "g": 1.44, "r": 1.0, "i": 0.74, "z": 0.55})
"""Optical depth relative to r, from the extinctions of Schlafly & Finkbeiner (2011, https://arxiv.org/abs/1012.4804)."""

# Magnitude in a band minus that in r, a straight line in g - r along the sequence of normal galaxies (round numbers).
_COLOUR_LINE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"u": (0.60, 2.55), "g": (0.0, 1.0), "r": (0.0, 0.0), "i": (-0.05, -0.43), "z": (-0.03, -0.80)}
)


def render_galaxy(
    galaxy: Galaxy,
    rng: np.random.Generator,
    *,
    size_pix: int,
    pixel_scale_arcsec: float,
    psf_fwhm_arcsec: float,
    bands: Sequence[str],
    noise: Sequence[float] | float,
    field_objects_per_arcmin2: float = FIELD_OBJECTS_PER_ARCMIN2,
) -> NDArray[np.float32]:
    """Observe a galaxy through a Gaussian PSF with white noise.

    Args:
        galaxy: What to observe, at pixel ``(size_pix // 2, size_pix // 2)``.
        rng: Source of randomness: patches in the arms, unrelated objects, noise.
        size_pix: Side of the square image.
        pixel_scale_arcsec: Side of a pixel.
        psf_fwhm_arcsec: Full width at half maximum of the PSF, the same in all bands; drawn two pixels wide if it
            is narrower.
        bands: Any of u, g, r, i, z, in the order wanted.
        noise: Rms in nanomaggy per pixel, one for all bands or one for each.
        field_objects_per_arcmin2: Density of unrelated faint stars and galaxies.

    Returns:
        Image in nanomaggy per pixel. Shape: (band, y, x), North up, East left.

    Raises:
        ValueError: If a band is unknown or the number of noise levels is not that of the bands.
    """
    unknown = [band for band in bands if band not in _COLOUR_LINE]
    if unknown or not bands:
        raise ValueError(f"no band named {', '.join(unknown) or '(none given)'}; known: {', '.join(_COLOUR_LINE)}")
    rms = np.broadcast_to(noise, (len(bands),)) if np.ndim(noise) == 0 else np.asarray(noise)
    if rms.shape != (len(bands),):
        raise ValueError(f"{rms.size} noise levels for {len(bands)} bands; give one number, or one for each band")
    fwhm_pix = max(psf_fwhm_arcsec / pixel_scale_arcsec, NARROWEST_PSF_PIX)
    grid_pix = padded_size(size_pix, 2.0 * fwhm_pix)
    offset = np.arange(grid_pix, dtype=np.float64) - size_pix // 2
    components = galaxy_components(galaxy, rng, offset, galaxy.half_light_radius_arcsec / pixel_scale_arcsec)
    light = np.stack([_in_band(components, galaxy, band) for band in bands])
    spectrum = fft.rfft2(light)
    spectrum += _field(rng, bands, size_pix, grid_pix, pixel_scale_arcsec, field_objects_per_arcmin2)
    image = to_image(spectrum * gaussian_taper(grid_pix, fwhm_pix, fwhm_pix, 0.0), grid_pix, size_pix)
    image += rms[:, None, None] * rng.standard_normal(image.shape)
    return image.astype(np.float32)


def to_rgb(
    image: NDArray[np.floating],
    *,
    scales: Sequence[float] = (1.5, 1.0, 0.8),
    stretch: float = 0.12,
    softening: float = 8.0,
) -> NDArray[np.uint8]:
    """Make the colour picture of Lupton et al. (2004, https://arxiv.org/abs/astro-ph/0312483).

    Brightness is compressed by an asinh of the mean of the bands, so that colour does not depend on brightness; a pixel
    that is too bright is scaled down as a whole.

    Args:
        image: Three bands from blue to red. Shape: (band, y, x).
        scales: Factor of each band, blue to red.
        stretch: Mean brightness, in units of the image, that a linear stretch would draw white.
        softening: Q of the paper: brightness above stretch / softening is drawn logarithmically.

    Returns:
        Red, green and blue. Shape: (y, x, 3). Row 0 stays row 0 (South): reverse the rows before writing a JPEG or
        PNG, whose row 0 is at the top, or North is down and spirals wind the wrong way.

    Raises:
        ValueError: If the image does not have three bands.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"a colour picture needs an image of shape (3, y, x), not {image.shape}")
    scaled = np.asarray(image, dtype=np.float64) * np.asarray(scales, dtype=np.float64)[:, None, None]
    intensity = np.clip(scaled.mean(axis=0), 1e-12, None)
    rgb = scaled[::-1] * (np.arcsinh(softening * intensity / stretch) / (softening * intensity))
    rgb = np.clip(rgb, 0.0, None)
    rgb /= np.clip(rgb.max(axis=0), 1.0, None)
    return np.asarray(np.round(255.0 * np.moveaxis(rgb, 0, -1)), dtype=np.uint8)


def _in_band(components: Sequence[Component], galaxy: Galaxy, band: str) -> NDArray[np.float64]:
    """Return the light of a galaxy in one band, in nanomaggy per pixel, before the PSF."""
    total = 10.0 ** (0.4 * (ZERO_POINT_MAG - galaxy.magnitude))
    light = np.zeros_like(components[0].light)
    for part in components:
        colour = galaxy.colour_old + part.youth * (galaxy.colour_young - galaxy.colour_old)
        # The 4000 A break of old stars moves through g: g - r of a red galaxy rises by 1 between z = 0 and 0.38.
        observed = colour + galaxy.redshift * (2.6 - 1.4 * part.youth)
        flux = total * _flux_over_r(observed, band)
        dimming = np.exp(-DUST_OPTICAL_DEPTH[band] * part.dust) if np.ndim(part.dust) else 1.0
        light += flux * part.light * dimming
    return light


def _flux_over_r(g_minus_r: float, band: str) -> float:
    """Return the flux in a band over that in r of a population of that colour."""
    constant, slope = _COLOUR_LINE[band]
    return float(10.0 ** (-0.4 * (constant + slope * g_minus_r)))


def _field(
    rng: np.random.Generator,
    bands: Sequence[str],
    size_pix: int,
    grid_pix: int,
    pixel_scale_arcsec: float,
    density_per_arcmin2: float,
) -> NDArray[np.complex128]:
    """Return the transform of unrelated stars and small galaxies in each band. Shape: (band, ky, kx >= 0)."""
    num = int(rng.poisson(density_per_arcmin2 * (size_pix * pixel_scale_arcsec / 60.0) ** 2))
    x_pix, y_pix = rng.uniform(0.0, size_pix - 1.0, (2, num))
    # Counts rise by a factor of two a magnitude, which is a density 2**m between the limits.
    magnitude = np.log2(2.0**17.0 + rng.uniform(0.0, 1.0, num) * (2.0**22.0 - 2.0**17.0))
    g_minus_r = rng.uniform(0.2, 1.4, num)
    sigma_pix = np.where(rng.random(num) < 0.5, 0.0, rng.uniform(0.4, 0.9, num) / pixel_scale_arcsec)
    r_flux = 10.0 ** (0.4 * (ZERO_POINT_MAG - magnitude))
    spectra = []
    for band in bands:
        flux = r_flux * np.array([_flux_over_r(colour, band) for colour in g_minus_r])
        components: Components = (x_pix, y_pix, flux, sigma_pix)
        spectra.append(transform(components, grid_pix))
    return np.stack(spectra)
