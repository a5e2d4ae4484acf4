"""Write made-up galaxies in the archive format of ``gz1``: one Parquet table of JPEG pictures and classes."""

from __future__ import annotations

__all__ = ["write_gz1_mock"]

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from astrofm.card import SurveyCard
from astrofm.mock.optical import Galaxy, sample_galaxy
from astrofm.mock.seeding import object_rng
from astrofm_galaxyzoo.galaxy_pictures import Camera, galaxy_jpeg
from astrofm_galaxyzoo.picture_table import write_picture_table

CLASS_COUNTS = {0: 4645, 1: 414, 2: 436, 3: 998, 4: 56, 5: 115}
"""Galaxies of each class in the archive."""

ELLIPTICAL, CLOCKWISE, ANTICLOCKWISE, EDGE_ON, DONT_KNOW, MERGER = CLASS_COUNTS
_MORPHOLOGIES = {ELLIPTICAL: "elliptical", EDGE_ON: "edge-on", MERGER: "merger", DONT_KNOW: None}
"""What is drawn for a class; None: any galaxy."""

SIZE_PIX = 128
PIXELS_PER_RADIUS = (5.0, 10.0)
"""Range of the half-light radius in pixels, as the pictures look."""
CAMERA = Camera(("g", "r", "i"), psf_fwhm_arcsec=1.43)
FAINT = Camera(("g", "r", "i"), psf_fwhm_arcsec=1.43, depth=0.05)
"""Sees so little of a galaxy that nobody knows what it is."""

_GALAXY, _CLASS = 0, 1
"""Independent random streams of an object."""

_COLUMNS = {"dr7objid": pa.string(), "class": pa.int64(), "class_name": pa.string(), "jpeg": pa.binary()}


def write_gz1_mock(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``gz1_sdss_mock.parquet`` and ``MOCK.json``.

    Args:
        card: Of ``gz1``, with the names of the classes.
        n: Number of galaxies.
        seed: Seed of the generator; galaxy ``i`` is the same whatever ``n``.
        out: Folder to write into.

    Returns:
        ``out``.
    """
    return write_picture_table(card.name, "gz1_sdss_mock.parquet", _COLUMNS, partial(_row, card), n, seed, out)


def _row(card: SurveyCard, seed: int, index: int) -> dict[str, Any]:
    rng = object_rng(seed, index, _GALAXY)
    label = _class(object_rng(seed, index, _CLASS))
    picture = galaxy_jpeg(
        _galaxy_of(label, rng),
        FAINT if label == DONT_KNOW else CAMERA,
        rng,
        size_pix=SIZE_PIX,
        pixels_per_radius=rng.uniform(*PIXELS_PER_RADIUS),
    )
    id_str = f"mock-{card.name}-{seed}-{index:06d}"
    return {"dr7objid": id_str, "class": label, "class_name": card.label_names[label], "jpeg": picture}


def _class(rng: np.random.Generator) -> int:
    """Draw a class in the shares of the archive."""
    counts = np.array(list(CLASS_COUNTS.values()))
    return int(rng.choice(list(CLASS_COUNTS), p=counts / counts.sum()))


def _galaxy_of(label: int, rng: np.random.Generator) -> Galaxy:
    """Draw a galaxy of a class; spirals until one winds as the class says."""
    if label not in (CLOCKWISE, ANTICLOCKWISE):
        return sample_galaxy(rng, _MORPHOLOGIES[label])
    while True:
        galaxy = sample_galaxy(rng, "spiral")
        if galaxy.winds_clockwise == (label == CLOCKWISE):
            return galaxy
