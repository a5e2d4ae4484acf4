"""Write made-up galaxies in the archive formats of ``gz-rings`` and ``gz-challenge``."""

from __future__ import annotations

__all__ = ["write_challenge_mock", "write_rings_mock"]

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from astrofm.mock.optical import Galaxy, sample_galaxy
from astrofm.mock.seeding import object_rng
from astrofm.mock.votes import galaxy_answer_fractions
from astrofm_galaxyzoo.galaxy_pictures import Camera, galaxy_jpeg
from astrofm_galaxyzoo.picture_table import write_picture_table

DECALS = Camera(("g", "r", "z"), psf_fwhm_arcsec=1.2, depth=2.5)
SDSS = Camera(("g", "r", "i"), psf_fwhm_arcsec=1.43)

RINGS_PIX, CHALLENGE_PIX = 256, 128
"""Sides of the pictures."""
PIXELS_PER_RADIUS = 25.0
"""Half-light radius in pixels of a picture of 424 px (Galaxy Zoo DECaLS took 0.04 radii for a pixel)."""

FACE_ON = (0.6, 1.0)
"""Range of the axis ratios of galaxies with and without a ring."""
RING = (0.6, 1.0)
"""Range of the strength of a ring."""

_GALAXY, _CLASS, _SKY = 0, 1, 2
"""Independent random streams of a galaxy."""

ANSWERS = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on": ("yes", "no"),
    "has-spiral-arms": ("yes", "no"),
}
"""Questions of which the table of rings has the fraction of the second answer."""


def write_rings_mock(survey: str, n: int, seed: int, out: Path) -> Path:
    """Write disks with and without a ring; see :func:`astrofm_galaxyzoo.picture_table.write_picture_table`."""
    columns = {
        "id_str": pa.string(),
        "ring": pa.int64(),
        **{_fraction_of(question): pa.float64() for question in ANSWERS},
        "jpeg": pa.binary(),
    }
    return write_picture_table(survey, "gz_rings_mock.parquet", columns, _ring_row, n, seed, out)


def write_challenge_mock(survey: str, n: int, seed: int, out: Path) -> Path:
    """Write galaxies of all kinds, which have no labels; likewise."""
    columns = {"GalaxyID": pa.int64(), "jpeg": pa.binary()}
    return write_picture_table(survey, "gz_challenge_mock.parquet", columns, _challenge_row, n, seed, out)


def _ring_row(seed: int, index: int) -> dict[str, Any]:
    rng = object_rng(seed, index, _GALAXY)
    has_ring = bool(object_rng(seed, index, _CLASS).integers(2))
    galaxy = replace(
        sample_galaxy(rng, "spiral"),
        axis_ratio=float(rng.uniform(*FACE_ON)),
        num_arms=0,
        arm_strength=0.0,
        ring_strength=float(rng.uniform(*RING)) if has_ring else 0.0,
    )
    pixels_per_radius = PIXELS_PER_RADIUS * RINGS_PIX / 424
    picture = galaxy_jpeg(galaxy, DECALS, rng, size_pix=RINGS_PIX, pixels_per_radius=pixels_per_radius)
    name = _name(object_rng(seed, index, _SKY))
    return {"id_str": name, "ring": int(has_ring), **_fractions(galaxy), "jpeg": picture}


def _fraction_of(question: str) -> str:
    return f"{question}_{ANSWERS[question][1]}_fraction"


def _fractions(galaxy: Galaxy) -> dict[str, float]:
    expected = galaxy_answer_fractions(galaxy, ANSWERS)
    return {_fraction_of(question): float(expected[question][1]) for question in ANSWERS}


def _name(rng: np.random.Generator) -> str:
    """Return the IAU name of a place in the footprint of DECaLS."""
    ra, dec = rng.uniform(0.0, 24.0), rng.uniform(-10.0, 30.0)
    return f"J{_sexagesimal(ra, 2)}{'-' if dec < 0 else '+'}{_sexagesimal(abs(dec), 1)}"


def _sexagesimal(value: float, digits: int) -> str:
    """Return hours or degrees, minutes and seconds, the seconds cut off after some digits as such names are."""
    units = int(value * 3600 * 10**digits)
    minutes, parts = divmod(units, 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    seconds, rest = divmod(parts, 10**digits)
    return f"{hours:02d}{minutes:02d}{seconds:02d}.{rest:0{digits}d}"


def _challenge_row(seed: int, index: int) -> dict[str, Any]:
    rng = object_rng(seed, index, _GALAXY)
    picture = galaxy_jpeg(
        sample_galaxy(rng), SDSS, rng, size_pix=CHALLENGE_PIX, pixels_per_radius=rng.uniform(5.0, 10.0)
    )
    return {"GalaxyID": 100_000 * (seed + 1) + index, "jpeg": picture}
