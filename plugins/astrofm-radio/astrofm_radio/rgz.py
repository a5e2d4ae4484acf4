"""RGZ: the radio sources of Radio Galaxy Zoo's first data release, as cutouts of VLA FIRST.

Table: Wong et al. 2025, https://arxiv.org/abs/2412.14502. Cutouts and selection: Slijepcevic et al. 2024,
https://arxiv.org/abs/2305.16127, with the code in https://github.com/inigoval/rgz. The archive is a folder of FITS
files named after their sources, and the table, of the release or of the version before it that the paper used.
"""

from __future__ import annotations

__all__ = ["LARGEST_ARCSEC", "RGZ", "SMALLEST_ARCSEC", "TABLES"]

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrofm import Cutout, Rejected, Source, Survey
from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Table

TABLES: dict[str, Mapping[str, str]] = {
    "DR1_FIRST_radio_classifications.csv": {"id_str": "RGZID", "ra": "RA", "dec": "Dec", "size_arcsec": "LAE"},
    "static_rgz_flat_2019-05-06_full.csv": {
        "id_str": "rgz_name",
        "ra": "radio.ra",
        "dec": "radio.dec",
        "size_arcsec": "radio.max_angular_extent",
    },
}
"""The tables that may lie beside the images, the first that is there is read: our names of their columns."""

SMALLEST_ARCSEC, LARGEST_ARCSEC = 15.0, 270.0
"""Sources are between these in size (config.yml of https://github.com/inigoval/rgz)."""


class RGZ(Survey):
    """Reader of a folder of FITS cutouts with the table of the release."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each row of the table; those of other sizes, and repeated names, are rejected there.

        Files are named after the sources, so that rows of one name share a file: the first of the right size has it.
        """
        table = _read(_table_file(source))
        names = np.char.strip(np.asarray(table["id_str"], dtype=str))
        reasons = _size_reasons(np.asarray(table["size_arcsec"], dtype=np.float64))
        is_repeat = _repeats(names, reasons == "")
        table["rejected"] = np.where(is_repeat, "name of an earlier row", reasons)
        table["id_str"] = _unique(names)
        table["file_loc"] = np.char.add(names, ".fits")
        table["ra"].unit = table["dec"].unit = "deg"
        table["size_arcsec"].unit = "arcsec"
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
        """Read the FITS files of some rows; a row without one is rejected as ``missing file``."""
        from astrofm.data.files.placement import Position
        from astrofm.data.fits import read_cutout

        for row in rows:
            position = Position(float(row["ra"]), float(row["dec"]))
            yield read_cutout(source.folder / str(row["file_loc"]), unit=source.product.unit, position=position)

    def files(self, source: Source, rows: Table) -> list[Path]:
        """Return the table and the images."""
        return [_table_file(source), *source.files]

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up FITS cutouts and a table with the columns of the release."""
        from astrofm_radio.mock_rgz import write_mock_rgz

        return write_mock_rgz(self.card, n, seed, out)


def _table_file(source: Source) -> Path:
    found = [source.folder / name for name in TABLES if (source.folder / name).is_file()]
    if not found:
        raise DataError(f"no {' or '.join(TABLES)} in {source.folder}; it holds name, position and size of each source")
    return found[0]


def _read(path: Path) -> Table:
    """Return the four columns that are needed, under our names."""
    from astrofm.data.tables import read_table

    columns = TABLES[path.name]
    found = read_table(path, text=[columns["id_str"]])
    missing = [name for name in columns.values() if name not in found.colnames]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(found.colnames)}")
    chosen = found[list(columns.values())]
    chosen.rename_columns(list(columns.values()), list(columns))
    return chosen


def _size_reasons(size_arcsec: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return why each source is left out by its angular size; empty where it is not."""
    reasons = np.full(len(size_arcsec), "", dtype="<U32")
    reasons[size_arcsec <= SMALLEST_ARCSEC] = f"{SMALLEST_ARCSEC:g} arcsec or smaller"
    reasons[size_arcsec >= LARGEST_ARCSEC] = f"{LARGEST_ARCSEC:g} arcsec or larger"
    reasons[np.isnan(size_arcsec)] = "unknown angular size"
    return reasons


def _repeats(names: NDArray[np.str_], is_taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the taken rows have the name of an earlier taken row."""
    taken = np.flatnonzero(is_taken)
    _, firsts = np.unique(names[taken], return_index=True)
    is_repeat = is_taken.copy()
    is_repeat[taken[firsts]] = False
    return is_repeat


def _unique(names: NDArray[np.str_]) -> list[str]:
    """Return the names, each further row of one with its place among them: ``RGZ_J000130.2+014816#2``."""
    seen: dict[str, int] = {}
    ids = []
    for name in names.tolist():
        seen[name] = seen.get(name, 0) + 1
        ids.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return ids
