"""How two stores or catalogues overlap on the sky: which sources of one lie near which of the other, split by split."""

from __future__ import annotations

__all__ = ["Field", "OverlapReport", "measure_overlap"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.data.catalog import Catalog
from astrofm.data.crossmatch import Overlap, overlap
from astrofm.data.files.synonyms import SYNONYMS
from astrofm.data.store import CutoutStore
from astrofm.data.store_files import is_url
from astrofm.data.tables import TABLE_SUFFIXES, read_table

NUM_NEAREST = 5
"""Pairs that are named as examples."""


@dataclass(frozen=True)
class Field:
    """A store or a table with positions.

    Attributes:
        name: Path or URL.
        catalog: Its rows.
        split: Split of each row; empty where it has none. Shape: (len(catalog),).
    """

    name: str
    catalog: Catalog
    split: NDArray[np.str_]

    @classmethod
    def open(cls, path: Path | str) -> Field:
        """Open a store, or a table by its suffix (CSV, ECSV, FITS, VOTable or Parquet).

        A table without ids counts its rows: ``row 0``, ``row 1``, ...

        Raises:
            DataError: If the table cannot be read or has no positions.
            StoreError: If there is no store.
        """
        is_table = not is_url(path) and Path(path).suffix.lower() in TABLE_SUFFIXES and not Path(path).is_dir()
        catalog = _read_catalog(Path(path)) if is_table else CutoutStore.open(path).catalog
        has_split = "split" in catalog.columns
        split = catalog.column("split").astype(np.str_) if has_split else np.full(len(catalog), "", np.str_)
        return cls(str(path), catalog, split)

    @property
    def num_placed(self) -> int:
        """Number of rows whose position is known; the others can be near nothing."""
        return int(np.isfinite(self.catalog.column("ra")).sum())


@dataclass(frozen=True)
class OverlapReport:
    """What :func:`measure_overlap` found."""

    first: Field
    second: Field
    radius_arcsec: float
    pairs: Overlap

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the nearest pairs, in values that JSON can hold."""
        return {
            "radius_arcsec": self.radius_arcsec,
            "a": self._side(self.first, self.pairs.rows_a),
            "b": self._side(self.second, self.pairs.rows_b),
            "num_pairs": len(self.pairs),
            "splits": self._by_split(),
            "nearest": self._nearest(),
        }

    def table(self) -> Table:
        """Return the pairs, nearest first: ids, rows, splits, positions (deg) and ``separation_arcsec``."""
        order = np.argsort(self.pairs.separation_arcsec, kind="stable")
        columns: dict[str, NDArray[Any]] = {"separation_arcsec": self.pairs.separation_arcsec[order]}
        for side, field, rows in (
            ("a", self.first, self.pairs.rows_a[order]),
            ("b", self.second, self.pairs.rows_b[order]),
        ):
            columns |= {f"id_{side}": field.catalog.column("id_str")[rows], f"row_{side}": rows}
            columns |= {f"split_{side}": field.split[rows]}
            columns |= {f"{name}_{side}": field.catalog.column(name)[rows] for name in ("ra", "dec")}
        return Table(columns)

    @staticmethod
    def _side(field: Field, rows: NDArray[np.int64]) -> dict[str, Any]:
        return {
            "name": field.name,
            "num_sources": len(field.catalog),
            "num_with_position": field.num_placed,
            "num_near_the_other": len(np.unique(rows)),
        }

    def _by_split(self) -> list[dict[str, Any]]:
        """Return the sources of each side that have a neighbour, for every two splits that share any."""
        splits = np.stack([self.first.split[self.pairs.rows_a], self.second.split[self.pairs.rows_b]], axis=1)
        found = []
        for split_a, split_b in np.unique(splits, axis=0).tolist():
            members = (splits == (split_a, split_b)).all(axis=1)
            num_a, num_b = (len(np.unique(rows[members])) for rows in (self.pairs.rows_a, self.pairs.rows_b))
            found.append({"split_a": split_a, "split_b": split_b, "num_a": num_a, "num_b": num_b})
        return found

    def _nearest(self) -> list[dict[str, Any]]:
        nearest = np.argsort(self.pairs.separation_arcsec, kind="stable")[:NUM_NEAREST]
        ids_a, ids_b = self.first.catalog.column("id_str"), self.second.catalog.column("id_str")
        return [
            {
                "id_a": str(ids_a[self.pairs.rows_a[pair]]),
                "id_b": str(ids_b[self.pairs.rows_b[pair]]),
                "separation_arcsec": float(self.pairs.separation_arcsec[pair]),
            }
            for pair in nearest
        ]


def measure_overlap(first: Path | str, second: Path | str, radius_arcsec: float) -> OverlapReport:
    """Find all sources of one store or table within a radius of those of another, edge included.

    Args:
        first: Store (folder or URL) or table.
        second: Another one, or the same: each source is then near itself.
        radius_arcsec: Greatest great-circle distance.

    Raises:
        DataError: As :meth:`Field.open`.
        StoreError: As :meth:`Field.open`.
        UsageError: If the radius is negative or not a number.
    """
    fields = Field.open(first), Field.open(second)
    return OverlapReport(*fields, radius_arcsec, overlap(fields[0].catalog, fields[1].catalog, radius_arcsec))


def _read_catalog(path: Path) -> Catalog:
    names = {"id_str", *SYNONYMS["id_str"]}
    table = read_table(path, text=names)
    if not any(name.lower() in names for name in table.colnames):
        table["id_str"] = [f"row {row}" for row in range(len(table))]
    return Catalog.from_astropy(table)
