"""Ingest a folder of small FITS, against a plain astropy loop.

Usage: ``OMP_NUM_THREADS=1 python benchmarks/ingest_fits_folder.py [--num 8000] [--workers 2] [--json]``

The files are 64 x 64 float32 images of noise and a source, with the header that an interferometer's archive gives them:
four axes, celestial WCS, beam, twenty lines of history. Plain loop: one process, ``fits.open``, ``WCS(header)``, the
pixels as float32 into one row of an HDF5 file after the other; it measures no noise, which the ingest does. Ceiling:
``fits.getdata`` alone, and reading a file's bytes. The last lines compare the noise of a field with that of astropy.
All loops run in turn, and the best of ``--repeats`` counts; the files are in the cache of the system.
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
from astropy.io import fits

from astrofm.card import SurveyCard
from astrofm.data.files.noise import clipped_std
from astrofm.data.fits import read_cutout
from astrofm.data.ingest import ingest
from astrofm.survey import Survey

SIZE_PIX, SCALE_DEG = 64, 5e-4

CARD = {
    "name": "fits-benchmark",
    "title": "A folder of small FITS",
    "domain": "radio",
    "reference": "made for a benchmark",
    "bands": [{"name": "Mock-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
    "pixel_scale_arcsec": 1.8,
    "field_of_view_arcsec": 115.2,
    "beam": {"bmaj_arcsec": 5.4, "bmin_arcsec": 5.4},
    "products": {
        "fits": {"pattern": "*.fits", "shape": [1, SIZE_PIX, SIZE_PIX], "unit": "Jy/beam", "dtype": "float32"}
    },
    "splits": {"scheme": "by-id"},
    "citation": "none",
    "hard": "nothing",
    "recipe": "none",
    "quick_recipe": "none",
    "folder": {"table": "table.csv"},
}


def main() -> None:
    """Run the benchmark and print its rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=8000, help="files to ingest")
    parser.add_argument("--plain-num", type=int, default=1500, help="files of the plain loops")
    parser.add_argument("--workers", type=int, default=2, help="processes of the ingest")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measured(asked, Path(folder)) | noise_rates()
    if asked.json:
        print(json.dumps(rates))
        return
    for name, value in rates.items():
        print(f"{name:36s} {value:12,.2f}")


def measured(asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return the rates in files a second, and their ratios."""
    archive = write_archive(folder / "archive", asked.num)
    paths = sorted(archive.glob("*.fits"))
    some = paths[: min(asked.plain_num, asked.num)]
    survey, stores = Survey(SurveyCard.model_validate(CARD)), folder / "stores"
    loops = {
        "plain_loop": (len(some), lambda: plain_loop(some, folder / "plain.h5")),
        "getdata": (len(some), lambda: [fits.getdata(path) for path in some]),
        "bytes": (len(paths), lambda: [path.read_bytes() for path in paths]),
        "read_cutout": (len(some), lambda: [read_cutout(path) for path in some]),
        "ingest": (len(paths), lambda: ingest(survey, archive, stores / "store.zarr", workers=asked.workers)),
    }
    seconds = dict.fromkeys(loops, np.inf)
    for _ in range(asked.repeats):
        for name, (_, loop) in loops.items():
            shutil.rmtree(stores, ignore_errors=True)
            stores.mkdir()
            seconds[name] = min(seconds[name], timed(loop))
    rates = {f"{name}_per_s": num / seconds[name] for name, (num, _) in loops.items()}
    return rates | {
        "ingest_over_plain_loop": rates["ingest_per_s"] / rates["plain_loop_per_s"],
        "ingest_over_getdata": rates["ingest_per_s"] / rates["getdata_per_s"],
    }


def noise_rates() -> dict[str, float]:
    """Return the time that the noise of a field takes, in microseconds, and that of astropy over it."""
    from astropy.stats import sigma_clipped_stats

    found = {}
    for size_pix in (64, 150, 300):
        image = np.random.default_rng(0).normal(0, 1e-4, (size_pix, size_pix)).astype(np.float32)
        image[10:16, 10:16] += 1e-2
        own = min(timed(lambda image=image: clipped_std(image)) for _ in range(50))
        theirs = min(timed(lambda image=image: sigma_clipped_stats(image, sigma=3, maxiters=5)) for _ in range(50))
        found |= {f"noise_{size_pix}px_us": own * 1e6, f"noise_{size_pix}px_over_astropy": theirs / own}
    return found


def plain_loop(paths: list[Path], out: Path) -> None:
    """Read each file with its WCS and write its pixels."""
    import h5py
    from astropy.wcs import WCS

    with h5py.File(out, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = file.create_dataset("image", (len(paths), SIZE_PIX, SIZE_PIX), np.float32)
        positions = np.empty((len(paths), 2))
        for row, path in enumerate(paths):
            with fits.open(path) as hdus:
                wcs = WCS(hdus[0].header).celestial
                images[row] = hdus[0].data[0, 0].astype(np.float32)
            positions[row] = wcs.wcs_pix2world([[SIZE_PIX // 2, SIZE_PIX // 2]], 0)[0]
        file["position"] = positions


def write_archive(folder: Path, num: int) -> Path:
    """Write the files and their table."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE_PIX, :SIZE_PIX] - SIZE_PIX / 2
    lines = ["id_str,ra,dec"]
    for index in range(num):
        ra, dec = float(rng.uniform(0, 360)), float(rng.uniform(-10, 60))
        width = rng.uniform(1.5, 6)
        image = rng.normal(0, 1.5e-4, (1, 1, SIZE_PIX, SIZE_PIX)) + 5e-3 * np.exp(-(x**2 + y**2) / (2 * width**2))
        fits.PrimaryHDU(image.astype(">f4"), header(ra, dec)).writeto(folder / f"J{index:06d}.fits")
        lines.append(f"J{index:06d},{ra!r},{dec!r}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def header(ra_deg: float, dec_deg: float) -> fits.Header:
    """Return a header such as a radio archive gives."""
    made = fits.Header({"OBJECT": "MOCK", "TELESCOP": "MOCK", "DATE-OBS": "2000-01-01", "BUNIT": "JY/BEAM"})
    axes = (("RA---SIN", ra_deg, -SCALE_DEG, SIZE_PIX / 2 + 1), ("DEC--SIN", dec_deg, SCALE_DEG, SIZE_PIX / 2 + 1))
    for axis, (kind, value, step, place) in enumerate(
        (*axes, ("FREQ", 1.4e9, 4.2e7, 1.0), ("STOKES", 1.0, 1.0, 1.0)), 1
    ):
        made[f"CTYPE{axis}"], made[f"CRVAL{axis}"], made[f"CDELT{axis}"] = kind, value, step
        made[f"CRPIX{axis}"], made[f"CROTA{axis}"] = place, 0.0
    made["EQUINOX"], made["BMAJ"], made["BMIN"], made["BPA"] = 2000.0, 0.0015, 0.0015, 0.0
    for line in range(20):
        made.add_history(f"MOCK   TASK{line:02d} RELEASE = '31DEC99' / made up, as are all of these lines")
    return made


def timed(loop: Callable[[], object]) -> float:
    """Return the seconds that a loop takes."""
    start = time.perf_counter()
    loop()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
