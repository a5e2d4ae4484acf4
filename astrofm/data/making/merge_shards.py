"""One shard of a merged store: the rows of several stores that fall into it."""

from __future__ import annotations

__all__ = ["ShardJob", "Span", "merge_shard", "spans_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astrofm.data.layout import Layout, shard_file
from astrofm.data.making.shard_records import record_shards, recorded_shards
from astrofm.data.making.shard_writer import write_shard
from astrofm.data.manifest import Piece, Shard
from astrofm.data.store import CutoutStore


@dataclass(frozen=True)
class Span:
    """Rows of one part."""

    path: Path | str
    has_mask: bool
    first: int
    stop: int


def spans_of(parts: Sequence[CutoutStore], rows: range) -> tuple[Span, ...]:
    """Return what holds some rows of the merged store."""
    spans, start = [], 0
    for part in parts:
        first, stop = max(rows.start, start) - start, min(rows.stop, start + len(part)) - start
        if first < stop:
            spans.append(Span(part.path, part.manifest.has_mask, first, stop))
        start += len(part)
    return tuple(spans)


@dataclass(frozen=True)
class ShardJob:
    """One shard of each array, and where its rows lie."""

    store: Path
    layout: Layout
    shard_rows: int
    """Rows of a whole shard."""
    index: int
    rows: range
    spans: tuple[Span, ...]
    has_mask: bool
    record: Path
    """File with the hashes of a finished shard."""


def merge_shard(job: ShardJob) -> tuple[Shard, ...]:
    """Write one shard of each array, unless it is there and whole by its record, and return its hashes."""
    recorded = recorded_shards(job.store, job.record)
    if recorded is not None:
        return recorded
    shards = (_write(job, "image"), *([_write(job, "mask")] if job.has_mask else []))
    record_shards(job.record, shards)
    return shards


def _write(job: ShardJob, array: Literal["image", "mask"]) -> Shard:
    values, chunk_rows = _rows_of(job, array), job.layout.chunk_rows
    chunks = (values[first : first + chunk_rows] for first in range(0, len(values), chunk_rows))
    file = shard_file(array, job.index, values.ndim)
    written = write_shard(job.store / file, chunks, chunk_rows, job.shard_rows // chunk_rows)
    piece = Piece(file=file, sha256=written.sha256, size_bytes=written.size_bytes)
    return Shard(
        array=array, first=job.rows.start, stop=job.rows.stop, piece=piece, pixels_sha256=written.pixels_sha256
    )


def _rows_of(job: ShardJob, array: Literal["image", "mask"]) -> NDArray[Any]:
    """Return the rows of a shard from all parts; the masks of a part that has none are empty."""
    inner = job.layout.shape if array == "image" else job.layout.shape[1:]
    values = np.zeros((len(job.rows), *inner), job.layout.dtype if array == "image" else bool)
    start = 0
    for span in job.spans:
        stop = start + span.stop - span.first
        if array == "image" or span.has_mask:
            part, rows = CutoutStore.open(span.path), slice(span.first, span.stop)
            values[start:stop] = part.read(rows) if array == "image" else part.read_mask(rows)
        start = stop
    return values
