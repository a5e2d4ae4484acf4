"""Write made-up galaxies in the archive format of Stein et al. 2021: HDF5, three bands, columns of the DR9 sweeps."""

from __future__ import annotations

__all__ = ["write_mock"]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.mock.optical import Galaxy, render_galaxy, sample_galaxy
from astrofm.mock.seeding import object_rng
from astrofm_redshift.hdf5_mock import write_hdf5

BANDS = "grz"
SIZE_PIX = 152
PIXEL_SCALE_ARCSEC = 0.262

PSF_FWHM_ARCSEC = 1.33
"""In r, see the card; all bands are drawn with it."""

NOISE_NANOMAGGY = (0.00309, 0.00438, 0.01174)
"""Of a pixel in each band: median of the laws fitted to DR9 south in decals_augmentations.py of Stein et al."""

EBV_LOGNORMAL = (0.67306, 0.001146, 0.03338)
"""Shape, offset and scale of E(B-V), from the same code."""

R_DECAM = (3.214, 2.165, 1.211)
"""A / E(B-V), Legacy Surveys DR9, https://www.legacysurvey.org/dr9/catalogs/."""

FIBRE_ARCSEC, TOTAL_ARCSEC = 1.5, 12.0
"""Diameters in which ``fiberflux`` and ``flux`` are summed; the real flux is that of a fitted profile."""

WITHOUT_SPECTRUM = 4
"""Every such galaxy has no spectroscopic redshift; in the archive nearly all have none."""

PHOTOZ_ERROR = 0.02
"""Of the made-up photometric redshifts, a round number; their 68% interval is as wide to either side."""

_IMAGE, _SKY, _NOISE = 0, 1, 2
"""Independent random streams of a galaxy."""

_TYPES = {"elliptical": b"DEV", "merger": b"SER", "spiral": b"EXP", "edge-on": b"EXP"}
"""The profile that a fit would choose, by morphology."""


def write_mock(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write a mock archive; galaxy ``i`` is the same whatever ``n``. See :func:`write_hdf5`."""

    def observe(index: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
        galaxy, ebv, row = _galaxy(seed, index)
        light = _light(galaxy, ebv, seed, index)
        fluxes = {"fiberflux": _sum_within(light, FIBRE_ARCSEC), "flux": _sum_within(light, TOTAL_ARCSEC)}
        return _observed(light, seed, index), {**row, **fluxes}

    shape = (len(BANDS), SIZE_PIX, SIZE_PIX)
    file_name = f"images_npix{SIZE_PIX}_000000000_{n:09d}.h5"
    return write_hdf5(card, file_name, shape, observe, _columns, n, seed, out)


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, NDArray[np.generic]]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _galaxy(seed: int, index: int) -> tuple[Galaxy, float, dict[str, Any]]:
    """Return a galaxy, its E(B-V), and its columns but for those that are measured on its light."""
    galaxy = sample_galaxy(object_rng(seed, index, _IMAGE))
    rng = object_rng(seed, index, _SKY)
    shape, offset, scale = EBV_LOGNORMAL
    ebv = offset + scale * float(rng.lognormal(0.0, shape))
    photoz = max(0.001, galaxy.redshift + PHOTOZ_ERROR * (1.0 + galaxy.redshift) * float(rng.standard_normal()))
    width = PHOTOZ_ERROR * (1.0 + photoz)
    has_spectrum = index % WITHOUT_SPECTRUM > 0
    return (
        galaxy,
        ebv,
        {
            "inds": np.int64(index),
            "release": np.int16(9010),
            "brickid": np.int32(1 + seed % 600_000),
            "objid": np.int32(index),
            "ra": float(rng.uniform(0.0, 360.0)),
            "dec": float(np.degrees(np.arcsin(rng.uniform(-0.3, 0.5)))),
            "ebv": np.float32(ebv),
            "transmission": (10.0 ** (-0.4 * np.array(R_DECAM) * ebv)).astype(np.float32),
            "source_type": _TYPES[galaxy.morphology],
            "maskbits": np.int16(0),
            "nobs": np.full(len(BANDS), 4, dtype=np.int16),
            "fracin": np.ones(len(BANDS), dtype=np.float32),
            "psfsize": np.full(len(BANDS), PSF_FWHM_ARCSEC, dtype=np.float32),
            "psfdepth": (1.0 / (_psf_area_pix() * np.square(NOISE_NANOMAGGY))).astype(np.float32),
            "z_spec": np.float32(galaxy.redshift if has_spectrum else -99.0),
            "z_training": has_spectrum,
            "z_phot_mean": np.float32(photoz),
            "z_phot_median": np.float32(photoz),
            "z_phot_std": np.float32(width),
            "z_phot_l68": np.float32(photoz - width),
            "z_phot_u68": np.float32(photoz + width),
            "z_phot_l95": np.float32(photoz - 2.0 * width),
            "z_phot_u95": np.float32(photoz + 2.0 * width),
        },
    )


def _light(galaxy: Galaxy, ebv: float, seed: int, index: int) -> NDArray[np.float64]:
    """Return the light of a galaxy and its field behind dust, without noise. Shape: (band, y, x)."""
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
    return np.asarray(light * 10.0 ** (-0.4 * np.array(R_DECAM) * ebv)[:, None, None], dtype=np.float64)


def _observed(light: NDArray[np.float64], seed: int, index: int) -> NDArray[np.float32]:
    """Add the noise, which dust does not dim."""
    noise = object_rng(seed, index, _NOISE).standard_normal(light.shape)
    return (light + np.array(NOISE_NANOMAGGY)[:, None, None] * noise).astype(np.float32)


def _sum_within(light: NDArray[np.float64], diameter_arcsec: float) -> NDArray[np.float32]:
    """Return the flux in nanomaggies within a circle about the centre pixel. Shape: (band,)."""
    y, x = np.indices(light.shape[1:]) - SIZE_PIX // 2
    inside = np.hypot(y, x) * PIXEL_SCALE_ARCSEC <= diameter_arcsec / 2.0
    return np.asarray(light[:, inside].sum(axis=1), dtype=np.float32)


def _psf_area_pix() -> float:
    """Return how many pixels of noise a star has under a Gaussian PSF: 4 pi sigma^2."""
    sigma_pix = PSF_FWHM_ARCSEC / PIXEL_SCALE_ARCSEC / np.sqrt(8.0 * np.log(2.0))
    return float(4.0 * np.pi * sigma_pix**2)
