"""The second pass of an ingest: the taken cutouts, in catalogue order, into shards and a catalogue."""

from __future__ import annotations

__all__ = ["PackJob", "pack", "store_catalog", "write_rejected"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.data.layout import Layout, shard_file
from astrofm.data.making.selection import Part, Selection
from astrofm.data.making.shard_records import record_shards, recorded_shards
from astrofm.data.making.shard_writer import write_shard
from astrofm.data.making.staged import read_rows
from astrofm.data.manifest import Piece, Shard
from astrofm.data.splits import assign_splits


@dataclass(frozen=True)
class PackJob:
    """One shard of each array, and where its rows lie."""

    store: Path
    layout: Layout
    shard_rows: int
    """Rows of a whole shard."""
    index: int
    rows: range
    parts: tuple[Part, ...]
    has_mask: bool
    record: Path
    """File with the hashes of a finished shard."""


def pack(job: PackJob) -> tuple[Shard, ...]:
    """Write one shard of each array; what is there and whole by its record is left as it is.

    Returns:
        Its hashes.
    """
    recorded = recorded_shards(job.store, job.record)
    if recorded is not None:
        return recorded
    shards = (_write(job, "image"), *([_write(job, "mask")] if job.has_mask else []))
    record_shards(job.record, shards)
    return shards


def _write(job: PackJob, array: Literal["image", "mask"]) -> Shard:
    layout = job.layout
    file = shard_file(array, job.index, 4 if array == "image" else 3)
    chunks = _chunks(job, array)
    written = write_shard(job.store / file, chunks, layout.chunk_rows, job.shard_rows // layout.chunk_rows)
    piece = Piece(file=file, sha256=written.sha256, size_bytes=written.size_bytes)
    return Shard(
        array=array, first=job.rows.start, stop=job.rows.stop, piece=piece, pixels_sha256=written.pixels_sha256
    )


def _chunks(job: PackJob, array: Literal["image", "mask"]) -> Iterator[NDArray[np.generic]]:
    """Yield the rows of each chunk of a shard."""
    part_of = np.repeat(np.arange(len(job.parts)), [len(part.places) for part in job.parts])
    places = np.concatenate([part.places for part in job.parts])
    for first in range(0, len(places), job.layout.chunk_rows):
        here = slice(first, first + job.layout.chunk_rows)
        pieces = [
            _read(job, array, job.parts[part], places[here][part_of[here] == part])
            for part in range(part_of[here][0], part_of[here][-1] + 1)
        ]
        yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _read(job: PackJob, array: str, part: Part, places: NDArray[np.int32]) -> NDArray[np.generic]:
    if array == "image":
        return read_rows(part.file, "image", places, job.layout.shape, np.dtype(job.layout.dtype))
    if part.has_mask:
        return read_rows(part.file, "mask", places, job.layout.shape[1:], np.dtype(bool))
    return np.zeros((len(places), *job.layout.shape[1:]), bool)


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
