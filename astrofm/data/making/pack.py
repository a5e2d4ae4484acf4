"""The second pass of an ingest: the taken cutouts, in catalogue order, into shards and a catalogue."""

from __future__ import annotations

__all__ = ["PackJob", "store_catalog", "write_rejected"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.data.making.selection import Part, Selection
from astrofm.data.making.shard_job import ShardJob
from astrofm.data.making.staged import read_rows
from astrofm.data.splits import assign_splits


@dataclass(frozen=True)
class PackJob(ShardJob):
    """A shard whose rows lie in staged ranges."""

    parts: tuple[Part, ...]

    def chunks(self, array: Literal["image", "mask"]) -> Iterator[NDArray[Any]]:
        """Yield the rows of each chunk, read as they are asked for."""
        part_of = np.repeat(np.arange(len(self.parts)), [len(part.places) for part in self.parts])
        places = np.concatenate([part.places for part in self.parts])
        for first in range(0, len(places), self.layout.chunk_rows):
            here = slice(first, first + self.layout.chunk_rows)
            pieces = [
                self._read(array, self.parts[part], places[here][part_of[here] == part])
                for part in range(part_of[here][0], part_of[here][-1] + 1)
            ]
            yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read(self, array: str, part: Part, places: NDArray[np.int32]) -> NDArray[np.generic]:
        if array == "image":
            return read_rows(part.file, "image", places, self.layout.shape, np.dtype(self.layout.dtype))
        if part.has_mask:
            return read_rows(part.file, "mask", places, self.layout.shape[1:], np.dtype(bool))
        return np.zeros((len(places), *self.layout.shape[1:]), bool)


def store_catalog(catalog: Catalog, selection: Selection, splits: Splits) -> Catalog:
    """Return the catalogue of a store: one row for each cutout, with what was measured on it and its split.

    Args:
        catalog: The survey's whole catalogue.
        selection: What was taken of it.
        splits: How the card divides the rows.
    """
    taken = catalog.take(selection.rows)
    measured = dict(selection.columns)
    for name in set(measured) & set(taken.columns):
        measured[name] = np.where(np.isnan(measured[name]), taken.column(name), measured[name])
    kept = Catalog(taken.table.drop_columns(["rejected"])) if "rejected" in taken.columns else taken
    return kept.with_columns({**measured, "split": assign_splits(taken, splits)})


def write_rejected(path: Path, catalog: Catalog, rejected: pa.Table) -> None:
    """Write what was not taken: id, file, reason and detail."""
    rows, files = rejected["row"], rejected["file"]
    if "file_loc" in catalog.columns:
        listed = catalog.table["file_loc"].take(rows).cast(pa.string()).fill_null("")
        files = pc.if_else(pc.equal(files, ""), listed, files)
    columns = {
        "id_str": catalog.table["id_str"].take(rows),
        "file": files,
        "reason": rejected["reason"],
        "detail": rejected["detail"],
    }
    table = pa.table({name: values.cast(pa.string()) for name, values in columns.items()})
    pq.write_table(table.combine_chunks(), path, compression="zstd")
