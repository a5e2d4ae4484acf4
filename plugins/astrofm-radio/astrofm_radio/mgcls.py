"""MGCLS: 6161 extended sources of the MeerKAT Galaxy Cluster Legacy Survey, without labels.

Cutouts and interest scores: Lochner & Rudnick 2024, https://arxiv.org/abs/2411.04188; the survey: Knowles et al.
2022, https://arxiv.org/abs/2111.05673. Each cutout was scaled to its source, so the pixel scale varies.
"""

from __future__ import annotations

__all__ = ["CATALOGUE", "MGCLS"]

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astrofm import CutoutBatch, Rejected, Source, Survey
from astrofm.errors import DataError
from astrofm.forms import ArraysLayout
from astrofm_radio.archives import check_published

if TYPE_CHECKING:
    from astropy.table import Table

CATALOGUE = "protege_catalogue.csv"

LAYOUT = ArraysLayout(images="images", axes="nyx")

COLUMNS = {"objid": "id_str", "obj_size_pixels": "size_pix"}


class MGCLS(Survey):
    """Reader of the images (NumPy) and their table (CSV): row r of the images has ``protege_rank`` r."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each source, in the order of the images."""
        from astropy.table import Table

        from astrofm.data.forms.array_files import open_arrays

        file = source.files[0]
        table_file = file.with_name(CATALOGUE)
        if not table_file.is_file():
            raise DataError(f"no {CATALOGUE} beside {file}; it holds the position of each source")
        for part in (file, table_file):
            check_published(self.card, part)
        table = Table.read(table_file, format="ascii.csv", converters={"objid": [str]})
        table.sort("protege_rank")
        with open_arrays(file) as arrays:
            ranks = arrays["protege_rank"].read(0, arrays["images"].shape[0])
        if not np.array_equal(table["protege_rank"], ranks) or not np.array_equal(ranks, np.arange(len(ranks))):
            raise DataError(f"{file.name} and {CATALOGUE} do not list the same sources: their protege_rank differ")
        table.rename_columns(list(COLUMNS), list(COLUMNS.values()))
        table["ra"].unit = table["dec"].unit = "deg"
        table["split"] = "train"
        table["file_loc"], table["file_row"] = file.name, ranks
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[CutoutBatch | Rejected]:
        """Read the images of some rows."""
        from astrofm.data.forms.arrays import read_images

        yield from read_images(source, rows, LAYOUT)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up images and their table, in the names and columns of the real ones."""
        from astrofm_radio.mock_mgcls import write_mock_mgcls

        return write_mock_mgcls(self.card, n, seed, out)
