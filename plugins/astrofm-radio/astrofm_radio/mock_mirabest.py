"""A made-up MiraBest: raw FITS files with the names, classes and split fractions of the real one."""

from __future__ import annotations

__all__ = ["write_mock_mirabest"]

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.mock.mark import write_mock_mark
from astrofm.mock.radio import RadioSource, sample_radio_source
from astrofm.mock.seeding import object_rng
from astrofm_radio.mirabest import INDEX
from astrofm_radio.mock_fits import random_position, render, resolution, write_mock_fits
from astrofm_radio.source_names import CLASSES, SourceName

CLASS_COUNTS = (339, 49, 9, 191, 3, 432, 4, 195, 19, 15)
"""Sources of each class in the published set, in label order: counted in its batches."""

TEST_FRACTION = 157 / 1256
"""One of the eight published batches is the test batch."""

NOISE_JY_PER_BEAM = 1.4e-4
"""Median of the survey (White et al. 1997, http://sundog.stsci.edu/first/catalog_paper/node2.html)."""

SIZE_PIX = 300
INCOMPLETE_OBJECT = 13
"""The one object of which so much was not observed that no store takes it."""


def write_mock_mirabest(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``n`` FITS files and the table of their splits; object ``i`` is the same whatever ``n``."""
    out.mkdir(parents=True, exist_ok=True)
    beam, pixel_scale_arcsec = resolution(card)
    index = []
    for number in range(n):
        name, source, split = _draw(object_rng(seed, number))
        image = render(source, object_rng(seed, number, 1), card, SIZE_PIX, NOISE_JY_PER_BEAM)
        _blank_edge(image, number, object_rng(seed, number, 2))
        path = out / f"{name}.fits"
        position = (name.ra, name.dec)
        write_mock_fits(path, image, card, position=position, pixel_scale_arcsec=pixel_scale_arcsec, beam=beam)
        index.append({"name": str(name), "class3": name.class3, "label10": name.label, "split": split, "mock": True})
    with (out / INDEX).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["name", "class3", "label10", "split", "mock"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(index)
    write_mock_mark(card.name, n, seed, out)
    return out


def _draw(rng: np.random.Generator) -> tuple[SourceName, RadioSource, str]:
    """Draw a source, its name and its split."""
    counts = np.array(CLASS_COUNTS)
    class3 = CLASSES[int(rng.choice(len(CLASSES), p=counts / counts.sum()))]
    split = "test" if rng.random() < TEST_FRACTION else "train"
    ra, dec = random_position(rng, (110.0, 260.0), (0.0, 60.0))
    redshift = float(np.clip(rng.lognormal(np.log(0.18), 0.6), 0.02, 0.7))
    source = sample_radio_source(rng, _morphology(class3))
    if class3[1] == "1":  # experts are less certain of fainter sources
        source = replace(source, flux_jy=0.5 * source.flux_jy)
    if class3[0] == "3":  # a hybrid: a lobe with a hot spot on one side, next to none on the other
        source = replace(source, flux_ratio=0.2)
    # Numbers as the name writes them, so that reading the name gives them back.
    name = SourceName.parse(str(SourceName(class3, ra, dec, redshift, source.angular_size_arcsec)))
    return name, source, split


def _morphology(class3: str) -> str:
    """Return the morphology of the sky model that stands in for a class."""
    if class3[0] == "1":
        return "bent" if class3[2] in "24" else "fr1"
    return "fr2"


def _blank_edge(image: NDArray[np.float32], number: int, rng: np.random.Generator) -> None:
    """Leave an edge of one image in twenty unobserved, and a third of one single image."""
    width = int(rng.integers(10, 45))
    if number == INCOMPLETE_OBJECT:
        image[:, : SIZE_PIX // 3] = np.nan
    elif rng.random() < 0.05:
        image[:width] = np.nan
