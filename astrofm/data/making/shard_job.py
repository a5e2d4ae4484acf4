"""One shard of a store to be written, wherever its rows come from: an ingest's ranges or the parts of a merge."""

from __future__ import annotations

__all__ = ["ShardJob", "write_shards"]

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from astrofm.data.layout import Layout, shard_file
from astrofm.data.making.shard_records import record_shards, recorded_shards
from astrofm.data.making.shard_writer import write_shard
from astrofm.data.manifest import Piece, Shard


@dataclass(frozen=True)
class ShardJob(ABC):
    """One shard of each array; a subclass says where its rows lie."""

    store: Path
    layout: Layout
    shard_rows: int
    """Rows of a whole shard."""
    index: int
    rows: range
    has_mask: bool
    record: Path
    """File with the hashes of a finished shard."""

    @abstractmethod
    def chunks(self, array: Literal["image", "mask"]) -> Iterator[NDArray[Any]]:
        """Yield the rows of each chunk of the shard, in order. Shape of each: (rows, ...)."""


def write_shards(job: ShardJob) -> tuple[Shard, ...]:
    """Write one shard of each array, unless it is there and whole by its record, and return its hashes."""
    recorded = recorded_shards(job.store, job.record)
    if recorded is not None:
        return recorded
    shards = (_write(job, "image"), *([_write(job, "mask")] if job.has_mask else []))
    record_shards(job.record, shards)
    return shards


def _write(job: ShardJob, array: Literal["image", "mask"]) -> Shard:
    chunk_rows = job.layout.chunk_rows
    file = shard_file(array, job.index, 4 if array == "image" else 3)
    written = write_shard(job.store / file, job.chunks(array), chunk_rows, job.shard_rows // chunk_rows)
    piece = Piece(file=file, sha256=written.sha256, size_bytes=written.size_bytes)
    return Shard(
        array=array, first=job.rows.start, stop=job.rows.stop, piece=piece, pixels_sha256=written.pixels_sha256
    )
