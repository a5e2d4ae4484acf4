"""MGCLS: 6161 extended sources of the MeerKAT Galaxy Cluster Legacy Survey, without labels.

Cutouts and interest scores: Lochner & Rudnick 2024, https://arxiv.org/abs/2411.04188; the survey: Knowles et al.
2022, https://arxiv.org/abs/2111.05673. Each cutout was scaled to its source, so the pixel scale varies.
"""

from __future__ import annotations

__all__ = ["CATALOGUE", "MGCLS"]

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astrofm import CutoutBatch, Source, Survey
from astrofm.errors import DataError
from astrofm_radio.archives import check_published

if TYPE_CHECKING:
    from astropy.table import Table

CATALOGUE = "protege_catalogue.csv"

IMAGES_PER_BATCH = 512

COLUMNS = {"objid": "id_str", "obj_size_pixels": "size_pix"}


class MGCLS(Survey):
    """Reader of the images (NumPy) and their table (CSV): row r of the images has ``protege_rank`` r."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each source, in the order of the images."""
        from astropy.table import Table

        file = source.files[0]
        table_file = file.with_name(CATALOGUE)
        if not table_file.is_file():
            raise DataError(f"no {CATALOGUE} beside {file}; it holds the position of each source")
        for part in (file, table_file):
            check_published(self.card, part)
        table = Table.read(table_file, format="ascii.csv", converters={"objid": [str]})
        table.sort("protege_rank")
        ranks = np.load(file)["protege_rank"]
        if not np.array_equal(table["protege_rank"], ranks) or not np.array_equal(ranks, np.arange(len(ranks))):
            raise DataError(f"{file.name} and {CATALOGUE} do not list the same sources: their protege_rank differ")
        table.rename_columns(list(COLUMNS), list(COLUMNS.values()))
        table["ra"].unit = table["dec"].unit = "deg"
        table["split"] = "train"
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[CutoutBatch]:
        """Read the images of some rows."""
        images = _images(source.files[0])
        ranks = np.asarray(rows["protege_rank"], dtype=np.int64)
        for first in range(0, len(ranks), IMAGES_PER_BATCH):
            yield CutoutBatch(images[ranks[first : first + IMAGES_PER_BATCH], None], source.product.unit)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up images and their table, in the names and columns of the real ones."""
        from astrofm_radio.mock_mgcls import write_mock_mgcls

        return write_mock_mgcls(self.card, n, seed, out)


def _images(file: Path) -> np.ndarray:
    try:
        with np.load(file) as archive:
            return np.asarray(archive["images"])
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} holds no 'images' array: {error}") from error
