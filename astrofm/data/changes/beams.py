"""Gaussian beams: what convolves one into another, and the convolution.

A Gaussian beam is its covariance matrix, and convolution adds covariances. So the kernel that takes a beam to a wider
one has the difference of the two, and exists where that is positive: where the one beam fits into the other.
"""

from __future__ import annotations

__all__ = ["beam_covariance", "convolve", "kernel_covariance"]

import math
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.card import Beam

_FWHM_OF_SIGMA = float(np.sqrt(8 * np.log(2)))

_SAME_BEAM = 2e-3
"""Part of the target's variance up to which a kernel is none: the beams then agree to a thousandth of their width."""

_REACH_SIGMAS = 5.0
_LEAST_REACH_PIX = 8
_LEAST_WEIGHT = 0.01
"""Share of the kernel that has to lie on known pixels."""


def beam_covariance(beam: Beam, north_deg: float = 0.0) -> NDArray[np.float64]:
    """Return the covariance of a beam along the axes of an image in which East is to the left.

    Args:
        beam: Its position angle counts from North through East.
        north_deg: Position angle of +y, from North through East (``orientation_deg`` of a cutout).

    Returns:
        In arcsec^2, axes in the order (y, x). Shape: (2, 2).
    """
    angle = np.radians(beam.bpa_deg - north_deg)
    major = np.array([np.cos(angle), -np.sin(angle)])
    minor = np.array([np.sin(angle), np.cos(angle)])
    covariance = beam.bmaj_arcsec**2 * np.outer(major, major) + beam.bmin_arcsec**2 * np.outer(minor, minor)
    return np.asarray(covariance / _FWHM_OF_SIGMA**2, np.float64)


def kernel_covariance(beam: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the covariance of the Gaussian that convolves one beam into another.

    Args:
        beam: Covariance of the beam. Shape: (2, 2).
        target: Covariance of the beam wanted. Shape: (2, 2).

    Returns:
        Zero where the two agree to a thousandth in width; None where the beam does not fit into the target.
    """
    variances, axes = np.linalg.eigh(target - beam)
    tolerance = _SAME_BEAM * float(np.trace(target)) / 2
    if variances[0] < -tolerance:
        return None
    if variances[1] <= tolerance:
        return np.zeros((2, 2))
    return np.asarray((axes * np.maximum(variances, 0.0)) @ axes.T, np.float64)


def convolve(
    image: NDArray[Any], covariance: NDArray[np.float64], ignored: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Convolve with a Gaussian of unit sum, from known pixels alone.

    The kernel is applied as its Fourier transform, which keeps the algebra of beams where it is narrower than a pixel
    and a sampled kernel does not. Pixels that are not known, and those beyond the edge, have no weight, and what is
    left of the kernel is brought back to a sum of 1: next to them the brightness is right, not the sum of the pixels.

    Args:
        image: NaN where nothing was observed. Shape: (band, y, x).
        covariance: Of the kernel, in pixels^2, axes in the order (y, x). Shape: (2, 2).
        ignored: True where a pixel is not to enter its neighbours, or None. Shape: (y, x).

    Returns:
        NaN where the image is, and in the midst of ignored pixels. Shape: (band, y, x).
    """
    known = np.isfinite(image) if ignored is None else np.isfinite(image) & ~ignored
    kernel = _kernel(tuple(covariance.ravel().tolist()), (image.shape[1], image.shape[2]))
    weight = np.broadcast_to(kernel.weight_of_all if known.all() else kernel.smooth(known), image.shape)
    found = np.full(image.shape, np.nan, np.float32)
    is_found = np.isfinite(image) & (weight > _LEAST_WEIGHT)
    found[is_found] = kernel.smooth(np.where(known, image, 0.0))[is_found] / weight[is_found]
    return found


class _Kernel:
    """The Fourier transform of a Gaussian of unit sum, for images of one size with room for it beyond their edges."""

    def __init__(self, covariance: tuple[float, ...], size_pix: tuple[int, int]) -> None:
        from scipy import fft

        self.size_pix = size_pix
        variance_y, covariance_yx, _, variance_x = covariance
        reach = [
            max(math.ceil(_REACH_SIGMAS * math.sqrt(max(v, 0.0))), _LEAST_REACH_PIX) for v in (variance_y, variance_x)
        ]
        self.padded = [fft.next_fast_len(num + more, real=True) for num, more in zip(size_pix, reach, strict=True)]
        y, x = fft.fftfreq(self.padded[0])[:, None], fft.rfftfreq(self.padded[1])[None, :]
        self.transfer = np.exp(-2 * np.pi**2 * (variance_y * y**2 + variance_x * x**2 + 2 * covariance_yx * y * x))

    def smooth(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Convolve values that are 0 beyond the edges. Shape: (..., y, x)."""
        from scipy import fft

        spectrum = fft.rfft2(values.astype(np.float64), self.padded)
        smoothed = fft.irfft2(spectrum * self.transfer, self.padded)
        return np.asarray(smoothed[..., : self.size_pix[0], : self.size_pix[1]], np.float64)

    @cached_property
    def weight_of_all(self) -> NDArray[np.float64]:
        """Share of the kernel that lies on the image, around each pixel. Shape: (y, x)."""
        return self.smooth(np.ones(self.size_pix))


_kernel = lru_cache(maxsize=8)(_Kernel)
