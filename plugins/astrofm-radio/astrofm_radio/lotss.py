"""LoTSS DR2: cutouts of the mosaics around catalogued sources, with Fanaroff-Riley classes where a source has one.

Survey: Shimwell et al. 2022, https://arxiv.org/abs/2202.11733. Classes: Mingo et al. 2019,
https://doi.org/10.1093/mnras/stz1901. The core makes the cutouts by the ``mosaic`` section of the card; what is left is
to join the table of morphologies, whose sources are those of DR1, to the catalogue of DR2.
"""

from __future__ import annotations

__all__ = ["FLAGS", "MATCH_ARCSEC", "MORPHOLOGIES", "Lotss", "classify_flags", "nearest_pairs"]

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrofm import Source, Survey
from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Table

MORPHOLOGIES = "Mingo19_LoMorph_Cat.fits"
"""The table of morphologies, beside the catalogue."""

FLAGS = ("FR1", "FR2", "Indeterminate", "Small", "NAT", "WAT", "D-D")
"""Its flags, a column each."""

MATCH_ARCSEC = 6.0
"""A source of DR1 is that of DR2 within one beam. DR2 has 780 sources in a square degree, so that by chance another one
lies within it in 0.7% of all cases."""


class Lotss(Survey):
    """Reader of mosaics, a catalogue and the table of morphologies."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each row of the catalogue, labelled where the table of morphologies has the source.

        Beside the columns of the catalogue there are ``label`` (-1 where there is no class), ``label_name``,
        ``morphology_id`` (name of the source in the table of morphologies, else empty) and ``morphology_arcsec`` (how
        far off it is there, else NaN).
        """
        table = super().catalog(source)
        morphologies = _read_morphologies(source.folder / MORPHOLOGIES)
        rows, found, separation_arcsec = nearest_pairs(table, morphologies, MATCH_ARCSEC)
        label = np.full(len(table), -1, dtype=np.int64)
        label[rows] = classify_flags({name: np.asarray(morphologies[name], dtype=bool) for name in FLAGS})[found]
        names = np.char.strip(np.asarray(morphologies["id_str"], dtype=np.str_))
        ids, off_arcsec = np.full(len(table), "", dtype=names.dtype), np.full(len(table), np.nan)
        ids[rows], off_arcsec[rows] = names[found], separation_arcsec
        table["label"] = label
        table["label_name"] = [self.card.label_names[value] for value in label.tolist()]
        table["morphology_id"], table["morphology_arcsec"] = ids, off_arcsec
        return table

    def files(self, source: Source, rows: Table) -> set[Path]:
        """Return the catalogue, the mosaics and the table of morphologies."""
        return {*super().files(source, rows), source.folder / MORPHOLOGIES}

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write a made-up mosaic, its catalogue and a table of morphologies in the columns of the real one."""
        from astrofm_radio.mock_lotss import write_mock_morphologies

        return write_mock_morphologies(self.card, super().mock(n, seed, out), seed)


def classify_flags(flags: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Turn the flags of the table into classes.

    A source has a class if it is flagged FR1 or FR2 and not both; all that are flagged NAT or WAT are FR1 as well.
    Indeterminate ones, double-doubles and small ones without a Fanaroff-Riley flag have none.

    Args:
        flags: For each of :data:`FLAGS` whether it is set. Shape of each: (n,).

    Returns:
        0 FRI, 1 FRII, 2 FRI small, 3 FRII small, 4 FRI narrow-angle tail, 5 FRI wide-angle tail, -1 no class.
        Shape: (n,).
    """
    is_fr1, is_fr2 = flags["FR1"] & ~flags["FR2"], flags["FR2"] & ~flags["FR1"]
    return np.select(
        [
            is_fr1 & flags["NAT"],
            is_fr1 & flags["WAT"],
            is_fr1 & flags["Small"],
            is_fr2 & flags["Small"],
            is_fr1,
            is_fr2,
        ],
        [4, 5, 2, 3, 0, 1],
        -1,
    ).astype(np.int64)


def nearest_pairs(
    table: Table, others: Table, radius_arcsec: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find the rows of two tables that are the nearest to each other, both ways.

    Args:
        table: With ``id_str``, ``ra`` and ``dec`` (deg).
        others: As well.
        radius_arcsec: Greatest distance.

    Returns:
        Row of the first table, row of the second and their distance in arcsec, for each pair. Shape of each: (pairs,).
    """
    from astrofm.data.catalog import Catalog
    from astrofm.data.crossmatch import overlap

    positions = ["id_str", "ra", "dec"]
    # Neighbours are looked up for each row of the first argument: that is the short one here.
    found = overlap(Catalog.from_astropy(others[positions]), Catalog.from_astropy(table[positions]), radius_arcsec)
    order = np.argsort(found.separation_arcsec, kind="stable")
    theirs, ours = found.rows_a[order], found.rows_b[order]
    _, nearest_of_theirs = np.unique(theirs, return_index=True)
    _, nearest_of_ours = np.unique(ours, return_index=True)
    kept = np.intersect1d(nearest_of_theirs, nearest_of_ours)
    return ours[kept], theirs[kept], found.separation_arcsec[order][kept]


def _read_morphologies(path: Path) -> Table:
    """Return the table of morphologies, its name and position under the names of the contract."""
    from astrofm.data.tables import read_table

    if not path.is_file():
        raise DataError(
            f"no {path.name} in {path.parent}, which gives the classes of the sources: get it from "
            f"https://lofar-surveys.org/public/{path.name}"
        )
    table = read_table(path)
    missing = [name for name in ("Source_Name", "RA", "DEC", *FLAGS) if name not in table.colnames]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.colnames)}")
    table.rename_columns(["Source_Name", "RA", "DEC"], ["id_str", "ra", "dec"])
    table["ra"].unit = table["dec"].unit = "deg"
    return table
