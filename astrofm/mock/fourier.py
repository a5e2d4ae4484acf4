"""Gaussian components and Gaussian beams, summed where both are simplest: in the Fourier plane.

A component model needs no fine grid: the transform of a circular Gaussian at any position is a product of a function
of ky and one of kx, so the transform of J components is one matrix product, exact at every sub-pixel position.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

__all__ = ["FWHM_PER_SIGMA", "Components", "gaussian_taper", "padded_size", "to_image", "to_pixels", "transform"]

FWHM_PER_SIGMA = math.sqrt(8.0 * math.log(2.0))

# J components: x_pix, y_pix, flux, sigma_pix, each of shape (J,).
Components = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def padded_size(size_pix: int, margin_pix: float) -> int:
    """Return a size that is quick to transform and leaves a margin against wrap-around on either side."""
    return int(fft.next_fast_len(size_pix + 2 * math.ceil(margin_pix), real=True))


def to_pixels(
    east_arcsec: ArrayLike, north_arcsec: ArrayLike, *, size_pix: int, pixel_scale_arcsec: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixel positions (x, y) of offsets from the centre of the field; East is -x, North is +y."""
    centre = size_pix // 2
    x_pix = centre - np.asarray(east_arcsec, dtype=np.float64) / pixel_scale_arcsec
    y_pix = centre + np.asarray(north_arcsec, dtype=np.float64) / pixel_scale_arcsec
    return x_pix, y_pix


def gaussian_taper(
    grid_pix: int, fwhm_major_pix: float, fwhm_minor_pix: float, position_angle_deg: float
) -> NDArray[np.float64]:
    """Return the transform of an elliptical Gaussian of unit integral. Shape: (ky, kx >= 0) as in ``rfft2``.

    The position angle of the major axis is measured from North (+y) through East (-x).
    """
    ky = fft.fftfreq(grid_pix)[:, None]
    kx = fft.rfftfreq(grid_pix)[None, :]
    angle = math.radians(position_angle_deg)
    along = -math.sin(angle) * kx + math.cos(angle) * ky
    across = math.cos(angle) * kx + math.sin(angle) * ky
    variance = ((fwhm_major_pix * along) ** 2 + (fwhm_minor_pix * across) ** 2) / FWHM_PER_SIGMA**2
    return np.exp(-2.0 * np.pi**2 * variance)


def transform(components: Components, grid_pix: int) -> NDArray[np.complex128]:
    """Return the transform of circular Gaussian components. Shape: (ky, kx >= 0) as in ``rfft2``.

    A component of zero width is a point; the sum of its image is its flux.
    """
    x_pix, y_pix, flux, sigma_pix = components
    ky, kx = fft.fftfreq(grid_pix), fft.rfftfreq(grid_pix)
    width = 2.0 * np.pi**2 * sigma_pix[:, None] ** 2
    along_y = flux[:, None] * np.exp(-2j * np.pi * y_pix[:, None] * ky - width * ky**2)
    along_x = np.exp(-2j * np.pi * x_pix[:, None] * kx - width * kx**2)
    return np.asarray(along_y.T @ along_x)


def to_image(spectrum: NDArray[np.complex128], grid_pix: int, size_pix: int) -> NDArray[np.float64]:
    """Transform back and cut the margin off. Shape: (..., size_pix, size_pix)."""
    image = fft.irfft2(spectrum, s=(grid_pix, grid_pix))
    return np.asarray(image[..., :size_pix, :size_pix], dtype=np.float64)
