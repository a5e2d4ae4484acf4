"""Galactic dust in the bands of SDSS: coefficients, and E(B-V) from what the archive gives."""

from __future__ import annotations

__all__ = ["R_SDSS", "R_SDSS_DR12", "ebv_of"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.errors import DataError

R_SDSS = (4.239, 3.303, 2.285, 1.698, 1.263)
"""A / E(B-V) in u, g, r, i, z of Schlafly & Finkbeiner 2011 (arXiv 1012.4804), with R_V = 3.1."""

R_SDSS_DR12 = (5.155, 3.793, 2.751, 2.086, 1.479)
"""A / E(B-V) behind the ``extinction`` columns of the DR12 catalogue, after the code of Hayat et al. 2021
(https://github.com/mahayat/ssl-sky-surveys, utils/sdss_dr12_galactic_reddening.py)."""


def ebv_of(column: NDArray[Any]) -> NDArray[np.float64]:
    """Return E(B-V) from the archive's column ``e_bv``.

    Its name says E(B-V), and the code that comes with it takes it for the five extinctions of the DR12 catalogue. One
    value for each galaxy is E(B-V); five are extinctions, and E(B-V) is their mean after division by the coefficients
    of DR12.

    Args:
        column: Shape: (n,) or (n, 5).

    Returns:
        Reddening in mag. Shape: (n,).

    Raises:
        DataError: If there are neither one nor five values for each galaxy.
    """
    values = np.asarray(column, dtype=np.float64)
    if values.ndim == 1 or values.shape[1:] == (1,):
        return values.reshape(-1)
    if values.shape[1:] != (len(R_SDSS_DR12),):
        raise DataError(
            f"'e_bv' has the shape {values.shape}: it must have one value for each galaxy, E(B-V), or the five "
            "extinctions in u, g, r, i, z"
        )
    ebv: NDArray[np.float64] = (values / np.array(R_SDSS_DR12)).mean(axis=1)
    return ebv
