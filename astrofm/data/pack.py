"""The second pass of an ingest: the taken cutouts, in catalogue order, into shards and a catalogue."""

from __future__ import annotations

__all__ = ["PackJob", "StagedRanges", "pack", "store_catalog", "write_rejected"]

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import Rejected
from astrofm.data.layout import Layout, shard_file, write_rows
from astrofm.data.manifest import Piece, Shard
from astrofm.data.partial import write_atomically
from astrofm.data.splits import assign_splits
from astrofm.data.stage import Staged

_SHARDS = TypeAdapter(tuple[Shard, ...])


@dataclass(frozen=True)
class StagedRanges:
    """All ranges of a catalogue, staged."""

    ranges: tuple[Staged, ...]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Catalogue row of each cutout of the store."""
        return np.concatenate([np.zeros(0, np.int64), *(staged.rows for staged in self.ranges)])

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Store row at which each range starts, and the number of cutouts at the end: the prefix sum."""
        return np.cumsum([0, *(len(staged.rows) for staged in self.ranges)], dtype=np.int64)

    @cached_property
    def has_mask(self) -> bool:
        """Whether any cutout has a mask."""
        return any(staged.has_mask for staged in self.ranges)

    @cached_property
    def rejected(self) -> list[tuple[int, Rejected]]:
        """Catalogue rows that were not taken, with the reason."""
        return [entry for staged in self.ranges for entry in staged.rejected]

    @property
    def num_cutouts(self) -> int:
        """Number of cutouts taken."""
        return int(self.starts[-1])

    def counts(self) -> dict[str, int]:
        """Return the number of rejected rows for each reason."""
        return dict(sorted(Counter(refused.reason for _, refused in self.rejected).items()))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns measured on the cutouts; NaN where a range does not have one."""
        parts = [(staged.columns, len(staged.rows)) for staged in self.ranges]
        names = dict.fromkeys(name for columns, _ in parts for name in columns)
        return {
            name: np.concatenate([columns.get(name, np.full(num, np.nan)) for columns, num in parts if num])
            for name in names
        }

    def parts_of(self, rows: range) -> tuple[tuple[Staged, int, int], ...]:
        """Return the staged ranges that hold some store rows, with the part of each: first, stop."""
        parts = []
        for staged, start, end in zip(self.ranges, self.starts[:-1], self.starts[1:], strict=True):
            first, stop = max(rows.start, start), min(rows.stop, end)
            if first < stop:
                parts.append((staged, int(first - start), int(stop - start)))
        return tuple(parts)


@dataclass(frozen=True)
class PackJob:
    """One shard of each array, and where its rows lie."""

    store: Path
    layout: Layout
    index: int
    rows: range
    parts: tuple[tuple[Staged, int, int], ...]
    has_mask: bool
    record: Path
    """File with the hashes of a finished shard."""


def pack(job: PackJob) -> tuple[Shard, ...]:
    """Write one shard of each array; what is there and whole by its record is left as it is.

    Returns:
        Its hashes.
    """
    recorded = _recorded(job)
    if recorded is not None:
        return recorded
    image = np.concatenate([staged.image[first:stop] for staged, first, stop in job.parts])
    shards = [_write(job, "image", image)]
    if job.has_mask:
        masks = [(staged.mask, first, stop) for staged, first, stop in job.parts]
        empty = job.layout.shape[1:]
        found = [np.zeros((b - a, *empty), bool) if mask is None else mask[a:b] for mask, a, b in masks]
        shards.append(_write(job, "mask", np.concatenate(found)))
    write_atomically(job.record, lambda file: file.write(_SHARDS.dump_json(tuple(shards))))
    return tuple(shards)


def _recorded(job: PackJob) -> tuple[Shard, ...] | None:
    if not job.record.exists():
        return None
    shards = _SHARDS.validate_json(job.record.read_bytes())
    is_whole = all((job.store / s.piece.file).exists() and Piece.of(job.store, s.piece.file) == s.piece for s in shards)
    return shards if is_whole else None


def _write(job: PackJob, array: Any, values: NDArray[Any]) -> Shard:
    pixels_sha256 = write_rows(job.store, array, job.rows.start, values)
    piece = Piece.of(job.store, shard_file(array, job.index, values.ndim))
    return Shard(array=array, first=job.rows.start, stop=job.rows.stop, piece=piece, pixels_sha256=pixels_sha256)


def store_catalog(catalog: Catalog, staged: StagedRanges, splits: Splits) -> Catalog:
    """Return the catalogue of a store: one row for each cutout, with what was measured on it and its split.

    Args:
        catalog: The survey's whole catalogue.
        staged: What was taken of it.
        splits: How the card divides the rows.
    """
    taken = catalog.take(staged.rows)
    measured = staged.columns()
    for name in set(measured) & set(taken.columns):
        measured[name] = np.where(np.isnan(measured[name]), taken.column(name), measured[name])
    kept = Catalog(taken.table.drop_columns(["rejected"])) if "rejected" in taken.columns else taken
    return kept.with_columns({**measured, "split": assign_splits(taken, splits)})


def write_rejected(path: Path, catalog: Catalog, rejected: list[tuple[int, Rejected]]) -> None:
    """Write what was not taken: id, file, reason and detail."""
    ids = catalog.column("id_str")
    files = catalog.column("file_loc") if "file_loc" in catalog.columns else np.full(len(catalog), "")
    columns = {
        "id_str": [str(ids[row]) for row, _ in rejected],
        "file": [refused.file or str(files[row]) for row, refused in rejected],
        "reason": [refused.reason for _, refused in rejected],
        "detail": [refused.detail for _, refused in rejected],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    pq.write_table(table, path, compression="zstd")
