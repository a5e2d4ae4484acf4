"""How good redshifts from images are: bias, scatter and outliers, as in the published code of Hayat et al. 2021.

All three are of ``dz = (z_phot - z_spec) / (1 + z_spec)`` (arXiv 2101.04293).
"""

from __future__ import annotations

__all__ = ["OUTLIER", "photoz_bias", "photoz_metrics", "photoz_outliers", "photoz_residual", "photoz_sigma_mad"]

import torch
from torch import Tensor

OUTLIER = 0.05
"""Size of ``dz`` beyond which a redshift is an outlier (Hayat et al. 2021)."""
SIGMA_OF_MAD = 1.482602218505602
"""Standard deviation over median absolute deviation, of a normal distribution."""


def photoz_metrics(z_phot: Tensor, z_spec: Tensor) -> dict[str, Tensor]:
    """Return ``photoz_bias``, ``photoz_sigma_mad`` and ``photoz_outliers`` of the rows whose redshift is known.

    Args:
        z_phot: Redshifts from images; one that is NaN makes the metrics NaN. Shape: (n,).
        z_spec: Redshifts from spectra, NaN where there is none. Shape: (n,).

    Returns:
        Scalars; 0 where no redshift is known.
    """
    is_known = ~z_spec.isnan()
    residual = photoz_residual(z_phot[is_known], z_spec[is_known])
    if not len(residual):
        residual = torch.zeros_like(z_phot[:1])
    return {
        "photoz_bias": photoz_bias(residual),
        "photoz_sigma_mad": photoz_sigma_mad(residual),
        "photoz_outliers": photoz_outliers(residual),
    }


def photoz_residual(z_phot: Tensor, z_spec: Tensor) -> Tensor:
    """Return ``dz = (z_phot - z_spec) / (1 + z_spec)``.

    Args:
        z_phot: Redshifts from images. Shape: (n,).
        z_spec: Redshifts from spectra. Shape: (n,).
    """
    return (z_phot - z_spec) / (1.0 + z_spec)


def photoz_bias(residual: Tensor) -> Tensor:
    """Return the mean residual; scalar.

    Args:
        residual: Of :func:`photoz_residual`. Shape: (n,).
    """
    return residual.mean()


def photoz_sigma_mad(residual: Tensor) -> Tensor:
    """Return 1.4826 times the median absolute deviation from the median, which outliers hardly change; scalar.

    Args:
        residual: Of :func:`photoz_residual`. Shape: (n,).
    """
    # A quantile, as the median of torch takes the lower of the two values in the middle.
    deviation = (residual - residual.quantile(0.5)).abs()
    return SIGMA_OF_MAD * deviation.quantile(0.5)


def photoz_outliers(residual: Tensor, limit: float = OUTLIER) -> Tensor:
    """Return the share of residuals larger than the limit; scalar in [0, 1].

    Args:
        residual: Of :func:`photoz_residual`. Shape: (n,).
        limit: Largest size that is no outlier.
    """
    is_outlier = (residual.abs() > limit).to(residual.dtype)
    # What is no number is no outlier and no good redshift either.
    return torch.where(residual.isnan(), residual, is_outlier).mean()
