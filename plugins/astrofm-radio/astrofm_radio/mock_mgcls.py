"""A made-up MGCLS archive: images scaled to their sources, and the table of their positions and scores."""

from __future__ import annotations

__all__ = ["write_mock_mgcls"]

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.mock.mark import write_mock_mark
from astrofm.mock.radio import RadioSource, render_radio, sample_radio_source
from astrofm.mock.seeding import object_rng
from astrofm_radio.mgcls import CATALOGUE
from astrofm_radio.mock_fits import random_position

SIZE_PIX = 110
BEAM_ARCSEC = 8.0
NOISE_JY_PER_BEAM = 4e-6
"""Between the 3 and 5 microjansky of Knowles et al. 2022."""

FAINTER = 0.05
"""The survey goes that much deeper than the sky model, which describes sources of a shallower one."""


def write_mock_mgcls(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``n`` images and their table; object ``i`` is the same whatever ``n``."""
    out.mkdir(parents=True, exist_ok=True)
    drawn = [_draw(number, seed) for number in range(n)]
    images = np.stack([image for image, _ in drawn])
    np.savez_compressed(
        out / "mgcls_intensity_110px_uint8.npz", images=images, protege_rank=np.arange(n), MOCK=np.array(True)
    )
    with (out / CATALOGUE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(drawn[0][1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in drawn)
    write_mock_mark(card.name, n, seed, out)
    return out


def _draw(number: int, seed: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Draw one source: its image and its row."""
    rng = object_rng(seed, number)
    source = sample_radio_source(rng)
    ra, dec = random_position(rng, (0.0, 360.0), (-80.0, 0.0))
    image = _image(source, object_rng(seed, number, 1))
    row = {
        "objid": f"mock{seed}_isl{number}",
        "author_ML_score": -1,
        "protege_score": round(float(rng.uniform(1.0, 4.5)), 6),
        "protege_rank": number,
        "ra": round(ra, 4),
        "dec": round(dec, 4),
        "peak_flux": float(source.flux_jy * FAINTER),
        "x": int(rng.integers(0, 4000)),
        "y": int(rng.integers(0, 4000)),
        "original_image": "MOCK",
        "obj_size_pixels": max(13, round(source.angular_size_arcsec)),
        "evaluation_subset_author_ML_score": -1,
    }
    return image, row


def _image(source: RadioSource, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a source so that it fills half of the image, and scale its brightness to 0-255."""
    pixel_scale_arcsec = min(max(2.0 * source.angular_size_arcsec / SIZE_PIX, 0.5), BEAM_ARCSEC)
    image = render_radio(
        source,
        rng,
        size_pix=SIZE_PIX,
        pixel_scale_arcsec=pixel_scale_arcsec,
        bmaj_arcsec=BEAM_ARCSEC,
        bmin_arcsec=BEAM_ARCSEC,
        bpa_deg=0.0,
        noise_jy_per_beam=NOISE_JY_PER_BEAM / FAINTER,
    )
    low, high = float(image.min()), float(image.max())
    scaled = np.sqrt((image - low) / max(high - low, 1e-30))
    return np.asarray(255.0 * scaled).astype(np.uint8)
