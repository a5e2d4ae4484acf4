"""Ingest the sources of one large mosaic, against a plain loop of astropy cutouts.

Usage: ``OMP_NUM_THREADS=1 python benchmarks/ingest_mosaic.py [--size 10000] [--sources 20000] [--workers 2] [--json]``

The mosaic is float32 noise with a WCS; the sources lie at random on it, in no order. Plain loop: one process, for each
source ``Cutout2D(pixels, position, 64, wcs=wcs)`` into one row of an HDF5 file, from a memory-mapped mosaic; on
``--plain`` of the sources. The ingest hashes the mosaic, measures its noise, judges, compresses and hashes too.
Ceilings, each on one core: the reader alone (as the ingest calls it), one call of the WCS and slicing alone, and
compressing and writing with the codec of the store alone. All loops run in turn, and the best of ``--repeats`` counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.forms.mosaic_image import forget
from astrofm.data.ingest import ingest
from astrofm.data.layout import Layout, create_arrays
from astrofm.survey import Survey, find_source

SIZE_PIX, SCALE_DEG = 64, 5e-4
RANGE_ROWS = 1024
"""Rows that the ingest asks its reader for at once."""

CARD = {
    "name": "mosaic-benchmark",
    "title": "A mosaic and its catalogue",
    "domain": "radio",
    "reference": "made for a benchmark",
    "bands": [{"name": "MOCK-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
    "pixel_scale_arcsec": 3600 * SCALE_DEG,
    "field_of_view_arcsec": 3600 * SCALE_DEG * SIZE_PIX,
    "beam": {"value": {"bmaj_arcsec": 5.4, "bmin_arcsec": 5.4}},
    "products": {
        "map": {"pattern": "mosaic.fits", "shape": [1, SIZE_PIX, SIZE_PIX], "unit": "Jy/beam", "dtype": "float32"}
    },
    "splits": {"scheme": "by-id"},
    "citation": "@misc{none}",
    "hard": "nothing",
    "recipe": "byol-quick-radio",
    "quick_recipe": "byol-quick-radio",
    "mosaic": {"table": "sources.fits"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=10_000, help="side of the mosaic, in pixels")
    parser.add_argument("--sources", type=int, default=20_000)
    parser.add_argument("--plain", type=int, default=2000, help="sources that the plain loop cuts")
    parser.add_argument("--workers", type=int, default=2, help="processes of the ingest")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measured(asked, Path(folder))
    if asked.json:
        print(json.dumps(rates))
        return
    for name, value in rates.items():
        print(f"{name:36s} {value:12,.1f}")


def measured(asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return the rates in cutouts a second, and their ratios."""
    archive = write_archive(folder / "archive", asked.size, asked.sources)
    num_plain = min(asked.plain, asked.sources)
    survey, out = Survey(SurveyCard.model_validate(CARD)), folder / "out"
    cutouts = sliced(archive)
    loops: dict[str, tuple[int, Callable[[], object]]] = {
        "plain_loop": (num_plain, lambda: plain_loop(archive, num_plain, out / "plain.h5")),
        "reader": (asked.sources, lambda: read_all(survey, archive)),
        "wcs_and_slicing": (asked.sources, lambda: sliced(archive)),
        "compressing_and_writing": (asked.sources, lambda: write_all(survey, cutouts, out / "written")),
        "ingest": (asked.sources, lambda: ingest(survey, archive, out / "store.zarr", workers=asked.workers)),
    }
    seconds = dict.fromkeys(loops, np.inf)
    for _ in range(asked.repeats):
        for name, (_, loop) in loops.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            seconds[name] = min(seconds[name], timed(loop))
    rates = {f"{name}_per_s": num / seconds[name] for name, (num, _) in loops.items()}
    return rates | {
        "ingest_over_plain_loop": rates["ingest_per_s"] / rates["plain_loop_per_s"],
        "ingest_over_writing_on_all_workers": rates["ingest_per_s"]
        / (asked.workers * rates["compressing_and_writing_per_s"]),
    }


def write_archive(folder: Path, size: int, num_sources: int) -> Path:
    """Write the mosaic and its catalogue."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    header = fits.Header({"BUNIT": "JY/BEAM", "RADESYS": "ICRS", "BMAJ": 0.0015, "BMIN": 0.0015, "BPA": 0.0})
    for axis, (kind, value, step) in enumerate((("RA---SIN", 150.0, -SCALE_DEG), ("DEC--SIN", 2.0, SCALE_DEG)), 1):
        header.update({f"CTYPE{axis}": kind, f"CRVAL{axis}": value, f"CDELT{axis}": step, f"CRPIX{axis}": size / 2})
    pixels = rng.standard_normal((size, size), dtype=np.float32) * np.float32(1.5e-4)
    fits.PrimaryHDU(pixels, header).writeto(folder / "mosaic.fits")
    x, y = rng.uniform(SIZE_PIX, size - SIZE_PIX, (2, num_sources))
    ra, dec = WCS(header).wcs_pix2world(x, y, 0)
    table = Table({"id_str": [f"J{index:07d}" for index in range(num_sources)], "ra": ra, "dec": dec})
    table.write(folder / "sources.fits")
    return folder


def plain_loop(archive: Path, num: int, out: Path) -> None:
    """Cut each source as the documentation of astropy shows it, and write its pixels."""
    import h5py

    table = Table.read(archive / "sources.fits")[:num]
    with fits.open(archive / "mosaic.fits") as hdus, h5py.File(out, "w") as file:
        pixels, wcs = hdus[0].data, WCS(hdus[0].header)
        images = file.create_dataset("image", (num, SIZE_PIX, SIZE_PIX), np.float32)
        positions = SkyCoord(table["ra"] * u.deg, table["dec"] * u.deg)
        for row, position in enumerate(positions):
            images[row] = Cutout2D(pixels, position, SIZE_PIX, wcs=wcs, mode="partial").data


def read_all(survey: Survey, archive: Path) -> None:
    """Read all cutouts as the ingest does: in ranges."""
    forget()
    source = find_source(survey.card, archive)
    table = survey.catalog(source)
    for first in range(0, len(table), RANGE_ROWS):
        for _ in survey.cutouts(source, table[first : first + RANGE_ROWS]):
            pass


def sliced(archive: Path) -> NDArray[np.float32]:
    """Return all cutouts by one call of the WCS and one fancy index for a thousand of them. Shape: (n, 1, y, x)."""
    table = Table.read(archive / "sources.fits")
    with fits.open(archive / "mosaic.fits") as hdus:
        x, y = np.rint(WCS(hdus[0].header).wcs_world2pix(table["ra"], table["dec"], 0)).astype(int) - SIZE_PIX // 2
        windows = sliding_window_view(hdus[0].data, (SIZE_PIX, SIZE_PIX))
        cut = np.empty((len(table), 1, SIZE_PIX, SIZE_PIX), np.float32)
        for first in range(0, len(table), RANGE_ROWS):
            some = slice(first, first + RANGE_ROWS)
            cut[some, 0] = windows[y[some], x[some]]
    return cut


def write_all(survey: Survey, cutouts: NDArray[np.float32], store: Path) -> None:
    """Compress and write cutouts, shard by shard."""
    layout = Layout.of(survey.card.products["map"])
    create_arrays(store, layout, len(cutouts), has_mask=False)
    array = zarr.open_array(store / "image", mode="r+")
    for rows in layout.shards_of(len(cutouts)):
        array[rows.start : rows.stop] = cutouts[rows.start : rows.stop]


def timed(loop: Callable[[], object]) -> float:
    """Return the seconds that a loop takes."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
