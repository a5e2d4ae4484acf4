"""A small survey that is real in all but its size: FITS files, a table, a card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astrofm.card import SurveyCard
from astrofm.data import layout
from astrofm.survey import Survey

SIZE = 24
CUTOUT_BYTES = SIZE * SIZE * 4


@pytest.fixture
def survey() -> Survey:
    """A radio survey without code of its own."""
    return Survey(
        SurveyCard.model_validate(
            {
                "name": "tiny",
                "title": "Tiny",
                "domain": "radio",
                "reference": "made for tests",
                "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
                "pixel_scale_arcsec": 1.8,
                "field_of_view_arcsec": 43.2,
                "beam": {"value": {"bmaj_arcsec": 5.4, "bmin_arcsec": 5.4}},
                "products": {
                    "fits": {"pattern": "*.fits", "shape": [1, SIZE, SIZE], "unit": "Jy/beam", "dtype": "float32"}
                },
                "stretches": {"clipped": [{"sigma_clip_floor": {"k": 3}}, "minmax"]},
                "splits": {"scheme": "published"},
                "excluded": {"src005": "known artefact"},
                "citation": "@misc{tiny}",
                "hard": "nothing",
                "recipe": "none",
                "quick_recipe": "none",
                "folder": {"table": "table.csv"},
            }
        )
    )


@pytest.fixture
def make_archive() -> Callable[..., Path]:
    """Return a function that writes an archive; object i is the same whatever the number of objects."""
    return write_archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """42 objects, of which src003 has too few pixels, src004 is cut short and src005 is excluded by the card."""
    return write_archive(tmp_path / "archive")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let 42 cutouts fill several ranges, chunks and shards."""
    monkeypatch.setattr(layout, "CHUNK_ROWS", 4)
    monkeypatch.setattr(layout, "SHARD_BYTES", 8 * CUTOUT_BYTES)
    monkeypatch.setattr(layout, "RANGE_BYTES", 5 * CUTOUT_BYTES)
    return


@pytest.fixture
def repeat() -> Callable[..., None]:
    """Return ``repeat(archive, name, *others)``: give other sources the image and position of one."""

    def write(archive: Path, name: str, *others: str) -> None:
        table = Table.read(archive / "table.csv")
        ids = table["id_str"].tolist()
        for other in others:
            shutil.copy(archive / f"{name}.fits", archive / f"{other}.fits")
            table["ra"][ids.index(other)] = table["ra"][ids.index(name)]
        table.write(archive / "table.csv", overwrite=True)

    return write


def write_archive(folder: Path, num: int = 42, seed: int = 0, size: int = SIZE) -> Path:
    folder.mkdir(parents=True)
    rows = []
    for index in range(num):
        rng = np.random.default_rng([seed, index])
        image = rng.normal(0, 1e-4, (size, size)).astype(">f4")
        image[10:14, 10:14] += rng.uniform(1e-3, 1e-2)
        if index == 3:
            image[: size // 2] = np.nan
        if index == 6:
            image = image[:20, :18]
        header = fits.Header({"BUNIT": "JY/BEAM", "CDELT1": -0.0005, "CDELT2": 0.0005})
        header.update({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 10.0 + index, "CRVAL2": -30.0})
        header.update({"CRPIX1": size / 2, "CRPIX2": size / 2})
        path = folder / f"src{index:03d}.fits"
        fits.PrimaryHDU(image, header).writeto(path)
        if index == 4:
            path.write_bytes(path.read_bytes()[:3000])
        rows.append((f"src{index:03d}", 10.0 + index, -30.0, index % 2, ("train", "test")[index % 3 == 0]))
    Table(rows=rows, names=("id_str", "ra", "dec", "label", "split")).write(folder / "table.csv")
    return folder
