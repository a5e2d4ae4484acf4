"""The Gaussian beams and PSFs of a batch: their covariances, and the convolution with them as a Fourier transform.

Convolution adds covariances. The conventions, and what counts as the same beam, are those of
:mod:`astrofm.data.changes.beams`, which brings single cutouts to a common beam at ingest. A kernel is applied as its
Fourier transform here too: that keeps the algebra of beams where a kernel is narrower than a pixel.
"""

from __future__ import annotations

__all__ = ["covariances", "fast_size", "kernels", "noise_share", "smoothed", "transfer"]

import math

import torch
from torch import Tensor
from torch.nn import functional

_SIGMA2_OF_FWHM2 = 1.0 / (8.0 * math.log(2.0))
_SAME_BEAM = 2e-3
"""Part of the target's variance up to which a kernel is none, as at ingest."""
_REACH_SIGMAS = 4.0
_LEAST_REACH_PIX = 8

# n = Gaussians. A covariance is (yy, xx, yx), in pixels^2.


def covariances(fwhm_pix: Tensor, position_angle_deg: Tensor) -> Tensor:
    """Return the covariance of each Gaussian.

    Args:
        fwhm_pix: Major and minor full width at half maximum. Shape: (..., 2).
        position_angle_deg: Of the major axis, from +y towards -x. Shape: (...).

    Returns:
        (yy, xx, yx) in pixels^2. Shape: (..., 3).
    """
    angle = torch.deg2rad(position_angle_deg)
    major, minor = (fwhm_pix.square() * _SIGMA2_OF_FWHM2).unbind(dim=-1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    yy = major * cos.square() + minor * sin.square()
    xx = major * sin.square() + minor * cos.square()
    return torch.stack([yy, xx, (minor - major) * cos * sin], dim=-1)


def kernels(own: Tensor, target: Tensor) -> Tensor:
    """Return the covariance of what convolves one Gaussian into another; 0 where nothing does, or nothing is needed.

    Nothing does where the first is wider than the second in any direction; nothing is needed where they agree to a
    thousandth in width.

    Args:
        own: Shape: (..., 3).
        target: Shape: (..., 3).

    Returns:
        Shape: (..., 3).
    """
    yy, xx, yx = (target - own).unbind(dim=-1)
    mean, spread = (yy + xx) / 2, torch.hypot((yy - xx) / 2, yx)
    low, high = mean - spread, mean + spread
    tolerance = _SAME_BEAM * (target[..., 0] + target[..., 1]) / 2
    # A minor variance just below 0 is taken as 0: the part of the matrix along its major axis is left.
    part = torch.where(low < 0, high / (2 * spread).clamp(min=1e-30), 1.0)
    shift = torch.where(low < 0, low, 0.0)
    found = torch.stack([part * (yy - shift), part * (xx - shift), part * yx], dim=-1)
    is_kernel = (low >= -tolerance) & (high > tolerance)
    return torch.where(is_kernel[..., None], found, 0.0)


def transfer(covariance: Tensor, size_pix: tuple[int, int]) -> Tensor:
    """Return the Fourier transform of Gaussians of unit sum, on the frequencies of ``torch.fft.rfft2``.

    Args:
        covariance: Shape: (..., 3).
        size_pix: (ny, nx).

    Returns:
        Shape: (..., ny, nx // 2 + 1).
    """
    yy, xx, yx = covariance[..., None, None].unbind(dim=-3)
    y = torch.fft.fftfreq(size_pix[0], device=covariance.device)[:, None]
    x = torch.fft.rfftfreq(size_pix[1], device=covariance.device)[None, :]
    return torch.exp((-2 * math.pi**2) * (yy * y.square() + xx * x.square() + 2 * yx * (y * x)))


def noise_share(transferred: Tensor, num_x: int) -> Tensor:
    """Return the part of the standard deviation of white noise that is left after a convolution.

    Args:
        transferred: As :func:`transfer` gives it. Shape: (..., ny, num_x // 2 + 1).
        num_x: Pixels in a row of the image.

    Returns:
        Shape: (...).
    """
    power = transferred.square().sum(dim=-2)
    paired = power[..., 1 : (num_x + 1) // 2].sum(dim=-1)  # frequencies that stand for their negatives too
    return ((power.sum(dim=-1) + paired) / (transferred.shape[-2] * num_x)).sqrt()


def fast_size(size_pix: int) -> int:
    """Return a size not below this one that has a quick Fourier transform."""
    from scipy import fft

    return int(fft.next_fast_len(size_pix, real=True))


def smoothed(images: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve each channel of each image with a Gaussian of its own; edge pixels are repeated outwards.

    Images are padded by four standard deviations of their widest kernel, rounded up to a power of two: so a result
    does not depend on the images beside it, and there are few sizes to transform.

    Args:
        images: Shape: (n, channel, y, x).
        covariance: Shape: (n, channel, 3).

    Returns:
        The images, and the part of white noise's standard deviation that is left in them. Shapes: (n, channel, y, x)
        and (n, channel).
    """
    sigma = covariance[..., :2].amax(dim=(1, 2)).sqrt()
    reach = (torch.clamp(_REACH_SIGMAS * sigma, min=_LEAST_REACH_PIX).log2() - 1e-4).ceil().int()
    convolved, share = torch.empty_like(images), torch.empty_like(covariance[..., 0])
    for power in sorted(set(reach.tolist())):
        rows = (reach == power).nonzero()[:, 0]
        convolved[rows], share[rows] = _smoothed_with_margin(images[rows], covariance[rows], 2**power)
    return convolved, share


def _smoothed_with_margin(images: Tensor, covariance: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    ny, nx = images.shape[-2:]
    size_pix = (fast_size(ny + 2 * margin), fast_size(nx + 2 * margin))
    padding = (margin, size_pix[1] - nx - margin, margin, size_pix[0] - ny - margin)
    padded = functional.pad(images, padding, mode="replicate")
    transferred = transfer(covariance, size_pix)
    whole = torch.fft.irfft2(torch.fft.rfft2(padded) * transferred, s=size_pix)
    return whole[..., margin : margin + ny, margin : margin + nx], noise_share(transferred, size_pix[1])
