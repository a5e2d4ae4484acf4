"""One shard of a merged store: the rows of several stores that fall into it."""

from __future__ import annotations

__all__ = ["ShardJob", "Span", "merge_shard", "spans_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from astrofm.data.layout import Layout, shard_file, write_rows
from astrofm.data.making.partial import write_atomically
from astrofm.data.manifest import Piece, Shard
from astrofm.data.store import CutoutStore

_SHARDS = TypeAdapter(tuple[Shard, ...])


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
    index: int
    rows: range
    spans: tuple[Span, ...]
    has_mask: bool
    record: Path
    """File with the hashes of a finished shard."""


def merge_shard(job: ShardJob) -> tuple[Shard, ...]:
    """Write one shard of each array, unless it is there and whole by its record, and return its hashes."""
    recorded = _SHARDS.validate_json(job.record.read_bytes()) if job.record.exists() else ()
    if recorded and all(_is_there(job.store, shard.piece) for shard in recorded):
        return recorded
    shards = tuple(_write(job, array) for array in (("image", "mask") if job.has_mask else ("image",)))
    write_atomically(job.record, lambda file: file.write(_SHARDS.dump_json(shards)))
    return shards


def _is_there(store: Path, piece: Piece) -> bool:
    return (store / piece.file).exists() and Piece.of(store, piece.file) == piece


def _write(job: ShardJob, array: Any) -> Shard:
    inner = job.layout.shape if array == "image" else job.layout.shape[1:]
    values = np.zeros((len(job.rows), *inner), job.layout.dtype if array == "image" else bool)
    start = 0
    for span in job.spans:
        stop = start + span.stop - span.first
        if array == "image" or span.has_mask:
            part, rows = CutoutStore.open(span.path), slice(span.first, span.stop)
            values[start:stop] = part.read(rows) if array == "image" else part.read_mask(rows)
        start = stop
    pixels_sha256 = write_rows(job.store, array, job.rows.start, values)
    piece = Piece.of(job.store, shard_file(array, job.index, values.ndim))
    return Shard(array=array, first=job.rows.start, stop=job.rows.stop, piece=piece, pixels_sha256=pixels_sha256)
