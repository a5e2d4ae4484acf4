"""Ingest JPEG cutouts from Parquet, against a plain Pillow loop.

Usage: ``python benchmarks/ingest_jpeg_parquet.py [--num 100000] [--json]``

The pictures are galaxies of the mock sky of 128 x 128 pixels, or with ``--pictures FILE COLUMN`` those of a Parquet
file; each comes many times, shifted differently, since an ingest refuses what is the same pixel by pixel. Plain loop:
one process, pyarrow to bytes, Pillow, one row of an HDF5 file after the other. Ceiling: the store's decoder alone on
two processes, with nothing kept. Both loops run in turn, and the best of ``--repeats`` counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from astrofm.card import SurveyCard
from astrofm.data.forms.pictures import decode_picture
from astrofm.data.ingest import ingest
from astrofm.mock.optical import render_galaxy, sample_galaxy, to_rgb
from astrofm.mock.seeding import object_rng
from astrofm.survey import Survey

SIZE_PIX, POOL, SHAPE = 128, 1000, (3, 128, 128)

CARD = {
    "name": "jpeg-benchmark",
    "title": "JPEG cutouts in Parquet",
    "domain": "optical",
    "reference": "made for a benchmark",
    "bands": [
        {"name": f"Mock-{name}", "unit": "8-bit", "wavelength_nm": wavelength}
        for name, wavelength in (("i", 763), ("r", 622), ("g", 475))
    ],
    "pixel_scale_arcsec": 0.4,
    "field_of_view_arcsec": 51.2,
    "psf_fwhm_arcsec": 1.3,
    "products": {"parquet": {"pattern": "*.parquet", "shape": SHAPE, "unit": "8-bit", "dtype": "uint8"}},
    "splits": {"scheme": "by-id"},
    "citation": "none",
    "hard": "nothing",
    "recipe": "none",
    "quick_recipe": "none",
    "pictures": {},
}


def main() -> None:
    """Run the benchmark and print its rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=100_000, help="pictures to ingest")
    parser.add_argument("--plain-num", type=int, help="pictures of the plain loop; a fifth of --num if left out")
    parser.add_argument("--row-group", type=int, default=1000, help="rows in a row group")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--pictures", nargs=2, metavar=("FILE", "COLUMN"), help="real pictures to repeat")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measured(asked, Path(folder))
    if asked.json:
        print(json.dumps(rates))
        return
    for name, value in rates.items():
        print(f"{name:28s} {value:12,.2f}")


def measured(asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return the rates in pictures a second, and their ratios."""
    archive = folder / "archive"
    write_archive(archive, asked)
    file, num_plain = archive / "pictures.parquet", min(asked.num, asked.plain_num or max(1, asked.num // 5))
    survey = Survey(SurveyCard.model_validate(CARD))
    plain_s, ingest_s, ceiling_s = [], [], []
    for _ in range(asked.repeats):
        plain_s.append(seconds(lambda: plain_loop(file, folder / "plain.h5", num_plain)))
        ingest_s.append(seconds(lambda: ingest(survey, archive, folder / "s.zarr", workers=2, overwrite=True)))
        ceiling_s.append(decode_alone(file))
    plain, whole, ceiling = num_plain / min(plain_s), asked.num / min(ingest_s), asked.num / min(ceiling_s)
    return {
        "num": asked.num,
        "plain_per_s": plain,
        "ingest_per_s": whole,
        "ratio": whole / plain,
        "ceiling_per_s": ceiling,
        "part_of_ceiling": whole / ceiling,
    }


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_archive(folder: Path, asked: argparse.Namespace) -> None:
    """Write the Parquet file, a row group at a time."""
    folder.mkdir()
    pool = real_pool(*asked.pictures) if asked.pictures else mock_pool()
    schema = pa.schema([("id_str", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    with pq.ParquetWriter(folder / "pictures.parquet", schema) as writer:
        for first in range(0, asked.num, asked.row_group):
            rows = [
                {"id_str": f"g{row:07d}", "image": {"bytes": jpeg(pool, row), "path": f"{row}.jpg"}}
                for row in range(first, min(first + asked.row_group, asked.num))
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=asked.row_group)


def mock_pool() -> NDArray[np.uint8]:
    """Draw galaxies of the mock sky. Shape: (POOL, y, x, 3)."""
    pictures = np.empty((POOL, SIZE_PIX, SIZE_PIX, 3), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        rng = object_rng(0, index)
        look = {"size_pix": SIZE_PIX, "pixel_scale_arcsec": 0.4, "psf_fwhm_arcsec": 1.3}
        picture[:] = to_rgb(render_galaxy(sample_galaxy(rng), rng, bands=("g", "r", "i"), noise=0.02, **look))
    return pictures


def real_pool(file: str, column: str) -> NDArray[np.uint8]:
    """Decode the pictures of a Parquet file that have the right size. Shape: (n, y, x, 3)."""
    contents = pq.read_table(file, columns=[column]).column(0).to_pylist()
    pictures = (np.asarray(Image.open(BytesIO(content)).convert("RGB")) for content in contents)
    return np.stack([picture for picture in pictures if picture.shape == (SIZE_PIX, SIZE_PIX, 3)])


def jpeg(pool: NDArray[np.uint8], row: int) -> bytes:
    """Encode a picture of the pool, shifted by a number of pixels of its own for each time it comes round."""
    turn, index = divmod(row, len(pool))
    shifted = np.roll(pool[index], divmod(turn, SIZE_PIX), axis=(0, 1))
    buffer = BytesIO()
    Image.fromarray(shifted).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def plain_loop(file: Path, out: Path, num: int) -> None:
    """Read pictures as most scripts do."""
    with h5py.File(out, "w") as store:
        images = store.create_dataset("image", (num, SIZE_PIX, SIZE_PIX, 3), dtype="uint8")
        for row, content in zip(range(num), contents_of(file), strict=False):
            with Image.open(BytesIO(content)) as picture:
                images[row] = np.asarray(picture.convert("RGB"))


def contents_of(file: Path) -> Iterator[bytes]:
    """Yield the content of each picture."""
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(256, columns=["image"]):
            for value in batch.column(0):
                yield value.as_py()["bytes"]


def decode_alone(file: Path) -> float:
    """Decode everything on two processes that are there, keep nothing, and return how long it took."""
    with pq.ParquetFile(file) as table:
        places = [(file, group) for group in range(table.num_row_groups)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(decode_group, places[:1] * 2, chunksize=1)  # until both have imported what they need
        return seconds(lambda: pool.map(decode_group, places, chunksize=1))


def decode_group(place: tuple[Path, int]) -> None:
    """Decode one row group."""
    file, group = place
    with pq.ParquetFile(file) as table:
        for value in table.read_row_group(group, columns=["image.bytes"]).column(0):
            decode_picture(value.as_py()["bytes"], SHAPE)


if __name__ == "__main__":
    main()
