"""Write made-up galaxies in the archive format of the SDSS Main Galaxy Sample: HDF5, five bands, redshifts and dust."""

from __future__ import annotations

__all__ = ["write_mock"]

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.mock.optical import Galaxy, render_galaxy, sample_galaxy
from astrofm.mock.seeding import object_rng
from astrofm_redshift.dust import R_SDSS, R_SDSS_DR12
from astrofm_redshift.hdf5_mock import write_hdf5

BANDS = "ugriz"
SIZE_PIX = 107
PIXEL_SCALE_ARCSEC = 0.396
PSF_FWHM_ARCSEC = 1.43

LIMITING_MAG = (22.3, 23.3, 23.1, 22.3, 20.8)
"""Of each band, from http://cas.sdss.org/dr2/en/help/browser/constants.asp?n=SDSSConstants; taken for a star at five
times the noise."""

EBV_LOGNORMAL = (0.67306, 0.001146, 0.03338)
"""Shape, offset and scale of E(B-V) at high galactic latitude, after Stein et al. 2021
(https://github.com/georgestein/ssl-legacysurvey)."""

REDSHIFT_ERROR = 2e-5
"""Of the made-up spectra, a round number."""

_IMAGE, _SKY = 0, 1
"""Independent random streams of a galaxy."""


def write_mock(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write a mock archive; galaxy ``i`` is the same whatever ``n``. See :func:`write_hdf5`."""

    def observe(index: int) -> tuple[NDArray[np.float32], dict[str, float]]:
        galaxy, row = _galaxy(seed, index)
        return _observed(galaxy, float(row["ebv"]), seed, index), row

    shape = (len(BANDS), SIZE_PIX, SIZE_PIX)
    return write_hdf5(card, "sdss_w_specz_mock.h5", shape, observe, lambda rows: _columns(rows, seed), n, seed, out)


def _galaxy(seed: int, index: int) -> tuple[Galaxy, dict[str, float]]:
    """Return a galaxy and where it stands behind which dust."""
    galaxy = sample_galaxy(object_rng(seed, index, _IMAGE))
    rng = object_rng(seed, index, _SKY)
    shape, offset, scale = EBV_LOGNORMAL
    return galaxy, {
        "ra": float(rng.uniform(0.0, 360.0)),
        "dec": float(np.degrees(np.arcsin(rng.uniform(-0.15, 0.9)))),
        "ebv": offset + scale * float(rng.lognormal(0.0, shape)),
        "redshift": galaxy.redshift + REDSHIFT_ERROR * float(rng.standard_normal()),
    }


def _columns(rows: Sequence[Mapping[str, float]], seed: int) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the archive; its ``e_bv`` are the extinctions of the DR12 catalogue in the five bands."""
    number = np.arange(len(rows))
    ebv = np.array([row["ebv"] for row in rows])
    return {
        "ObjID": (seed * 1_000_000 + number).astype(np.int64),  # far below the numbers of SDSS
        "specObjID": (seed * 1_000_000 + number + 500_000).astype(np.uint64),
        "ra": np.array([row["ra"] for row in rows]),
        "dec": np.array([row["dec"] for row in rows]),
        "e_bv": np.outer(ebv, R_SDSS_DR12),
        "specz_redshift": np.array([row["redshift"] for row in rows]),
        "specz_redshift_err": np.full(len(rows), REDSHIFT_ERROR),
    }


def _observed(galaxy: Galaxy, ebv: float, seed: int, index: int) -> NDArray[np.float32]:
    """Return the galaxy behind dust, which dims its light and not the noise. Shape: (band, y, x)."""
    rng = object_rng(seed, index, _IMAGE)
    sample_galaxy(rng)  # takes what it took before, so that the image has random numbers of its own
    light = render_galaxy(
        galaxy,
        rng,
        size_pix=SIZE_PIX,
        pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
        psf_fwhm_arcsec=PSF_FWHM_ARCSEC,
        bands=BANDS,
        noise=0.0,
    )
    transmission = 10.0 ** (-0.4 * np.array(R_SDSS) * ebv)
    noise = _noise_nanomaggy()[:, None, None] * rng.standard_normal(light.shape)
    return (light * transmission[:, None, None] + noise).astype(np.float32)


def _noise_nanomaggy() -> NDArray[np.float64]:
    """Return the rms of a pixel in each band: a star has 4 pi sigma^2 pixels of it under a Gaussian PSF."""
    flux = 10.0 ** (0.4 * (22.5 - np.array(LIMITING_MAG)))
    sigma_pix = PSF_FWHM_ARCSEC / PIXEL_SCALE_ARCSEC / np.sqrt(8.0 * np.log(2.0))
    return np.asarray(flux / 5.0 / np.sqrt(4.0 * np.pi * sigma_pix**2))
