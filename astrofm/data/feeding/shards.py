"""Chunks of a local store, decoded by several threads straight into the array that is wanted.

Zarr's own reading of a shard is bound by its bookkeeping rather than by the codec (see ``docs/performance.md``). The
store's format has one codec and one kind of shard, so that a chunk is a read at an offset and one call of blosc, both
of which let other threads run. A store behind a URL is read through Zarr.
"""

from __future__ import annotations

__all__ = ["ShardFiles"]

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.layout import Layout, shard_file
from astrofm.data.store_files import forbidden, is_url
from astrofm.errors import StoreError

LARGEST_POOL = 8
"""Threads that decode one request at most; more only fight over memory."""

INDEX_ENTRY = np.dtype([("offset", "<u8"), ("num_bytes", "<u8")])
ABSENT = 2**64 - 1
CHECKSUM_BYTES = 4
BLOSC_SIZES = (np.dtype([("decoded", "<u4"), ("block", "<u4"), ("encoded", "<u4")]), 1, 4)
"""What blosc notes of a chunk, how often, and after how many bytes."""


@dataclass(frozen=True)
class _Piece:
    """What is wanted of one chunk.

    Attributes:
        chunk: Number of the chunk in the array.
        rows: Wanted rows within the chunk, ascending. Shape: (n,).
        places: Where they go in the output. Shape: (n,).
    """

    chunk: int
    rows: NDArray[np.int64]
    places: NDArray[np.int64]

    def fills(self, num_rows: int) -> bool:
        """Whether the whole chunk of that many rows goes, in order, to one piece of the output."""
        whole = len(self.rows) == num_rows and self.rows[-1] == num_rows - 1 and self.rows[0] == 0
        return bool(whole and (np.diff(self.places) == 1).all() and (np.diff(self.rows) == 1).all())


class ShardFiles:
    """The files of one array of a store in a local folder.

    Args:
        store: Folder of the store.
        array: ``image`` or ``mask``.
        layout: Chunks and shards of the store.
        shape: Shape of the array.
        dtype: Type of its values.
    """

    def __init__(
        self, store: Path, array: str, layout: Layout, shape: tuple[int, ...], dtype: np.dtype[np.generic]
    ) -> None:
        self._store = store
        self._array = array
        self.shape = shape
        self.dtype = dtype
        self._chunk_rows = layout.chunk_rows
        self._chunks_per_shard = layout.shard_rows_for(shape[0]) // layout.chunk_rows

    @staticmethod
    def can_read(path: Path | str) -> bool:
        """Whether a store lies in a local folder, on a machine with the byte order of the format."""
        return not is_url(path) and sys.byteorder == "little"

    def read_into(self, out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Decode rows.

        Args:
            out: Where they go, contiguous. Shape: (n, ...).
            rows: Row numbers in any order, all in the array. Shape: (n,).

        Raises:
            StoreError: If a shard is missing, cut short or damaged.
        """
        pieces = list(self._pieces(rows))
        indices = {shard: self._index(shard) for shard in {piece.chunk // self._chunks_per_shard for piece in pieces}}

        def decode(piece: _Piece) -> None:
            self._decode(piece, indices[piece.chunk // self._chunks_per_shard], out)

        num_threads = min(_num_cpus(), LARGEST_POOL, len(pieces))
        if num_threads < 2:
            for piece in pieces:
                decode(piece)
            return
        with ThreadPoolExecutor(num_threads, "astrofm-decode") as pool:
            for _ in pool.map(decode, pieces):
                pass

    def _pieces(self, rows: NDArray[np.int64]) -> Iterator[_Piece]:
        order = np.argsort(rows, kind="stable")
        chunk, within = np.divmod(rows[order], self._chunk_rows)
        bounds = np.flatnonzero(np.diff(chunk, prepend=-1, append=-1))
        for first, stop in pairwise(bounds):
            yield _Piece(int(chunk[first]), within[first:stop], order[first:stop])

    def _decode(self, piece: _Piece, index: NDArray[Any], out: NDArray[Any]) -> None:
        from numcodecs import blosc

        shard, number = divmod(piece.chunk, self._chunks_per_shard)
        path = self._path(shard)
        offset, num_bytes = (int(value) for value in index[number])
        if offset == ABSENT:
            raise self._damaged(path, f"its chunk {number} is missing")
        with path.open("rb", buffering=0) as file:
            encoded = os.pread(file.fileno(), num_bytes, offset)
        whole = piece.fills(self._chunk_rows)
        first = int(piece.places[0])
        target = out[first : first + self._chunk_rows] if whole else np.empty(self._chunk_shape, self.dtype)
        try:
            sizes = np.frombuffer(encoded, *BLOSC_SIZES)[0]
            if (sizes["decoded"], sizes["encoded"]) != (target.nbytes, num_bytes):
                raise ValueError(f"a chunk of {target.nbytes} bytes was expected, in {num_bytes}")
            blosc.decompress(encoded, target.reshape(-1).view(np.uint8))
        except (RuntimeError, ValueError) as error:
            raise self._damaged(path, f"its chunk {number} cannot be decoded") from error
        if not whole:
            out[piece.places] = target[piece.rows]

    def _index(self, shard: int) -> NDArray[Any]:
        """Return where each chunk of a shard lies in its file, as written at its end with a checksum."""
        import google_crc32c

        size = self._chunks_per_shard * INDEX_ENTRY.itemsize + CHECKSUM_BYTES
        path = self._path(shard)
        try:
            with path.open("rb", buffering=0) as file:
                length = os.fstat(file.fileno()).st_size
                encoded = os.pread(file.fileno(), size, max(0, length - size))
        except FileNotFoundError as error:
            raise self._damaged(path, "it is missing") from error
        except PermissionError as error:
            raise forbidden(path) from error
        entries, checksum = encoded[:-CHECKSUM_BYTES], encoded[-CHECKSUM_BYTES:]
        if len(encoded) != size or google_crc32c.value(entries) != int.from_bytes(checksum, "little"):
            raise self._damaged(path, "its index does not have its checksum")
        return np.frombuffer(entries, INDEX_ENTRY)

    @property
    def _chunk_shape(self) -> tuple[int, ...]:
        return (self._chunk_rows, *self.shape[1:])

    def _path(self, shard: int) -> Path:
        return self._store / shard_file(self._array, shard, len(self.shape))

    def _damaged(self, path: Path, what: str) -> StoreError:
        return StoreError(
            f"{path.relative_to(self._store)} of {self._store} cannot be read, {what}: astrofm store verify says what "
            "else is damaged, astrofm store repair makes it again"
        )


def _num_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
