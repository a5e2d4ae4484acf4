"""A made-up MIGHTEE: FITS cutouts of fainter sources than FIRST has, and the votes of made-up volunteers."""

from __future__ import annotations

__all__ = ["write_mock_mightee"]

import csv
from dataclasses import replace
from pathlib import Path

from astrofm import SurveyCard
from astrofm.mock.mark import write_mock_mark
from astrofm.mock.radio import sample_radio_source
from astrofm.mock.seeding import object_rng
from astrofm_radio.mightee import ANSWERS, VOTES
from astrofm_radio.mock_fits import random_position, render, resolution, write_mock_fits

SIZE_PIX = 114
NOISE_JY_PER_BEAM = 2e-6
"""The thermal noise of Heywood et al. 2022."""

FAINTER = 0.03
"""The survey goes that much deeper than the sky model, which describes sources of a shallower one."""

NUM_VOLUNTEERS = 8

KINDS = (
    # Share of the sources, morphology, chance of each answer in the order of ANSWERS.
    (0.42, "fr1", (0.03, 0.02, 0.85, 0.10)),
    (0.42, "fr2", (0.02, 0.02, 0.08, 0.88)),
    (0.12, "compact", (0.05, 0.90, 0.03, 0.02)),
    (0.04, "bent", (0.60, 0.05, 0.20, 0.15)),
)


def write_mock_mightee(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``n`` FITS cutouts and the table of votes; object ``i`` is the same whatever ``n``."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [_write_object(card, number, seed, out) for number in range(n)]
    with (out / VOTES).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["name", "ra", "dec", *ANSWERS, "mock"])
        writer.writerows(rows)
    write_mock_mark(card.name, n, seed, out)
    return out


def _write_object(card: SurveyCard, number: int, seed: int, out: Path) -> list[object]:
    """Write the cutout of one source and return its row."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    rng = object_rng(seed, number)
    _, morphology, chances = KINDS[int(rng.choice(len(KINDS), p=[kind[0] for kind in KINDS]))]
    ra, dec = random_position(rng, (149.4, 150.8), (1.6, 2.8))  # the COSMOS field
    source = sample_radio_source(rng, morphology)
    # Volunteers saw sources smaller than the cutout.
    size_arcsec = min(source.angular_size_arcsec, 90.0)
    source = replace(source, flux_jy=FAINTER * source.flux_jy, angular_size_arcsec=size_arcsec)
    beam, pixel_scale_arcsec = resolution(card)
    image = render(source, object_rng(seed, number, 1), card, SIZE_PIX, NOISE_JY_PER_BEAM)
    sky = SkyCoord(ra * u.deg, dec * u.deg)
    right_ascension = sky.ra.to_string(u.hourangle, sep="", precision=2, pad=True)
    declination = sky.dec.to_string(u.deg, sep="", precision=1, pad=True, alwayssign=True)
    # The number keeps names apart that fall on one position in a large mock.
    name = f"J{right_ascension}{declination}-mock{number}"
    path = out / f"{name}.fits"
    write_mock_fits(path, image, card, position=(ra, dec), pixel_scale_arcsec=pixel_scale_arcsec, beam=beam)
    votes = object_rng(seed, number, 2).multinomial(NUM_VOLUNTEERS, chances)
    return [name, round(ra, 6), round(dec, 6), *(int(count) for count in votes), True]
