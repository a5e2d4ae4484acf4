"""MiraBest: 1256 radio galaxies of VLA FIRST with expert Fanaroff-Riley classes.

Porter & Scaife 2023, https://arxiv.org/abs/2305.11108. The archive comes as pickled 8-bit batches, as the raw FITS
files behind them, or as one cube of the raw images' centres; a source has the same ``id_str`` in all of them.
"""

from __future__ import annotations

__all__ = ["MiraBest"]

import csv
from collections.abc import Collection, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astrofm import Cutout, CutoutBatch, Rejected, Source, Survey
from astrofm.errors import DataError
from astrofm_radio.archives import check_published
from astrofm_radio.batches import batch_names, read_batches
from astrofm_radio.source_names import CLASSES, SourceName

if TYPE_CHECKING:
    from astropy.table import Table

INDEX = "mirabest_index.csv"
"""Table beside the cube, and beside FITS files whose split is not the published one."""

PLANES_PER_BATCH = 64


class MiraBest(Survey):
    """Reader of the three forms of the archive."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each source, with its class, redshift, size and published split."""
        if source.product_name == "batches":
            return self._table(_batch_rows(self, source))
        if source.product_name == "cube":
            return self._table(_cube_rows(source))
        return self._table(_fits_rows(source))

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read the images of some rows; all forms have row 0 in the South and column 0 in the East."""
        if source.product_name == "batches":
            yield from _batch_cutouts(source, rows)
        elif source.product_name == "cube":
            yield from _cube_cutouts(source, rows)
        else:
            yield from _fits_cutouts(source, rows)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up FITS files, named as the real ones, with a table of their splits."""
        from astrofm_radio.mock_mirabest import write_mock_mirabest

        return write_mock_mirabest(self.card, n, seed, out)

    def _table(self, rows: list[dict[str, Any]]) -> Table:
        """Add to the rows what the names say."""
        from astropy.table import Table

        for row in rows:
            name = SourceName.parse(row["id_str"])
            row |= {"ra": name.ra, "dec": name.dec, "z_spec": name.redshift, "size_arcsec": name.size_arcsec}
            row |= {"label": name.label, "label_name": self.card.label_names.get(name.label, f"class {name.class3}")}
            row["rejected"] = self.card.excluded.get(row["id_str"]) or name.why_left_out
        return Table(rows=rows, units={"ra": "deg", "dec": "deg", "size_arcsec": "arcsec"})


def _batch_rows(survey: Survey, source: Source) -> list[dict[str, Any]]:
    for file in batch_names(source.path):
        check_published(survey.card, file)
    rows = []
    for batch in read_batches(source.path):
        split = "test" if batch.name == "test_batch" else "train"
        for place, (name, label) in enumerate(zip(batch.filenames, batch.labels, strict=True)):
            if SourceName.parse(name).label != label:
                raise DataError(
                    f"image {place} of {batch.name} has label {label} and its name {name!r} says "
                    f"{SourceName.parse(name).label}; the published labels follow the order {', '.join(CLASSES)}"
                )
            rows.append({"id_str": name, "split": split, "batch": batch.name, "batch_index": place})
    return rows


def _batch_cutouts(source: Source, rows: Table) -> Iterator[CutoutBatch]:
    wanted = set(map(str, rows["batch"]))
    images = {batch.name: batch.images for batch in read_batches(source.path, wanted)}
    places = zip(map(str, rows["batch"]), rows["batch_index"], strict=True)
    yield CutoutBatch(np.stack([images[batch][place] for batch, place in places])[:, None], source.product.unit)


def _cube_rows(source: Source) -> list[dict[str, Any]]:
    index = _read_index(_cube_file(source).with_name(INDEX), ("name", "split", "cube_index", "rms300_jy_beam"))
    return [{"id_str": row["name"], "split": row["split"], "cube_index": int(row["cube_index"])} for row in index]


def _cube_cutouts(source: Source, rows: Table) -> Iterator[CutoutBatch]:
    """Read planes of the compressed cube; the noise is that of the full raw image, from the table beside it."""
    from astropy.io import fits

    file = _cube_file(source)
    rms = {int(row["cube_index"]): float(row["rms300_jy_beam"]) for row in _read_index(file.with_name(INDEX), ())}
    planes = [int(plane) for plane in rows["cube_index"]]
    with fits.open(file) as hdus:
        cube = next(hdu for hdu in hdus if len(hdu.shape) == 3)
        for first in range(0, len(planes), PLANES_PER_BATCH):
            part = planes[first : first + PLANES_PER_BATCH]
            images = np.stack([np.asarray(cube.section[plane], dtype=np.float32) for plane in part])[:, None]
            meta = {"rms": np.array([rms[plane] for plane in part], dtype=np.float64)}
            yield CutoutBatch(images, source.product.unit, meta=meta)


def _fits_rows(source: Source) -> list[dict[str, Any]]:
    """List the FITS files; their split is that of the table beside them, else the published one."""
    index = source.files[0].with_name(INDEX)
    splits = dict.fromkeys(_published_test_names(), "test")
    if index.is_file():
        splits |= {row["name"]: row["split"] for row in _read_index(index, ("name", "split"))}
    return [
        {"id_str": file.stem, "split": splits.get(file.stem, "train"), "file_loc": file.name} for file in source.files
    ]


def _fits_cutouts(source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
    from astrofm.data.fits import read_cutout

    folder = source.files[0].parent
    for name in map(str, rows["file_loc"]):
        yield read_cutout(folder / name, unit=source.product.unit)


def _published_test_names() -> list[str]:
    text = (files("astrofm_radio") / "mirabest_test_names.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def _cube_file(source: Source) -> Path:
    return source.files[0]


def _read_index(path: Path, needed: Collection[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"no {path.name} beside the images in {path.parent}; it names each image and its split")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}")
        return list(reader)
