"""A made-up RGZ: FITS cutouts, and a table with the columns, repeated sources and small sizes of the real one."""

from __future__ import annotations

__all__ = ["write_mock_rgz"]

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from astrofm import SurveyCard
from astrofm.mock.mark import write_mock_mark
from astrofm.mock.radio import RadioSource, sample_radio_source
from astrofm.mock.seeding import object_rng
from astrofm_radio.mock_fits import random_position, render, resolution, write_mock_fits
from astrofm_radio.rgz import TABLES

SIZE_PIX = 150
NOISE_JY_PER_BEAM = 1.4e-4
"""Median of the survey (White et al. 1997, http://sundog.stsci.edu/first/catalog_paper/node2.html)."""

SMALL_EVERY, TWICE_EVERY = 12, 16
"""One source in so many is smaller than the selection takes, and one is listed again under another name."""

COLUMNS = (
    *("CatID", "RGZID", "ZooniverseID", "RA", "Dec", "N_votes", "N_total", "CL", "N_comp", "N_peaks"),
    *("LAE", "TSA", "OL", "TF", "TF_err", "DC"),
)
"""Of the published table, in its order."""


def write_mock_rgz(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``n`` FITS files and their table; object ``i`` is the same whatever ``n``."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [_write_object(card, number, seed, out) for number in range(n)]
    with (out / next(iter(TABLES))).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    write_mock_mark(card.name, n, seed, out)
    return out


def _write_object(card: SurveyCard, number: int, seed: int, out: Path) -> list[object]:
    """Write the cutout of one source and return its row."""
    listed_again = number % TWICE_EVERY == TWICE_EVERY - 1
    drawn_as = number - 1 if listed_again else number
    source, position = _draw(drawn_as, seed)
    beam, pixel_scale_arcsec = resolution(card)
    image = render(source, object_rng(seed, drawn_as, 1), card, SIZE_PIX, NOISE_JY_PER_BEAM)
    name = _name(*position, number)
    path = out / f"{name}.fits"
    write_mock_fits(path, image, card, position=position, pixel_scale_arcsec=pixel_scale_arcsec, beam=beam)
    rng = object_rng(seed, number, 2)
    total = int(rng.integers(5, 21))
    votes = int(rng.integers(np.ceil(0.65 * total), total + 1))
    num_components = 1 if source.morphology == "compact" else int(rng.integers(1, 4))
    size_arcsec, flux_mjy = source.angular_size_arcsec, 1e3 * source.flux_jy
    return [
        *(number, name, f"mock{number}", round(position[0], 5), round(position[1], 5)),
        *(votes, total, round(votes / total, 3), num_components, num_components),
        # Solid angle as of an ellipse three times longer than wide, and the lowest contour at four times the noise.
        *(round(size_arcsec, 2), round(np.pi * size_arcsec**2 / 12, 1), round(4e3 * NOISE_JY_PER_BEAM, 3)),
        *(round(flux_mjy, 3), round(0.05 * flux_mjy, 3), int(listed_again)),
    ]


def _draw(number: int, seed: int) -> tuple[RadioSource, tuple[float, float]]:
    """Draw a source and its position (ra, dec) in degrees."""
    rng = object_rng(seed, number)
    source = sample_radio_source(rng)
    if number % SMALL_EVERY == SMALL_EVERY - 1:
        source = replace(source, angular_size_arcsec=float(rng.uniform(6.0, 14.0)))
    return source, random_position(rng, (110.0, 260.0), (0.0, 60.0))


def _name(ra: float, dec: float, number: int) -> str:
    """Return the name of a source, which volunteers' positions make differ where it is listed again."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(ra * u.deg, dec * u.deg)
    right_ascension = sky.ra.to_string(u.hourangle, sep="", precision=1, pad=True)
    declination = sky.dec.to_string(u.deg, sep="", precision=0, pad=True, alwayssign=True)
    # The number keeps names apart that fall on one position in a large mock.
    return f"RGZ_J{right_ascension}{declination}-mock{number}"
