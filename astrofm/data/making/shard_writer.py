"""Shards of a store's arrays, written as Zarr v3 lays them down.

A shard is its compressed chunks one after the other, then an index of their offsets and lengths with a CRC-32C
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/). They are written here rather than through
zarr so that a chunk is hashed, compressed and written while it lies in the processor's cache, and so that every shard
gets a file and every chunk an entry: what is missing is then always damage.
"""

from __future__ import annotations

__all__ = ["WrittenShard", "crc32c", "write_shard"]

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from astrofm.data.layout import BLOCK_BYTES, CODEC_LEVEL, CODEC_NAME
from astrofm.data.making.partial import start_writing, write_atomically

_ABSENT = np.uint64(2**64 - 1)
"""Offset and length of a chunk that lies behind the end of the array."""


@dataclass(frozen=True)
class WrittenShard:
    """What is known of a shard once it is written."""

    sha256: str
    """Of the file."""
    size_bytes: int
    pixels_sha256: str
    """Of the decoded rows, C order, little-endian."""


def write_shard(file: Path, chunks: Iterable[NDArray[Any]], chunk_rows: int, chunks_per_shard: int) -> WrittenShard:
    """Write one shard, whole or not at all, without waiting for the disk (see :func:`make_durable`).

    Args:
        file: The file.
        chunks: The rows of each chunk, in order; the last may be short. Shape of each: (rows, ...).
        chunk_rows: Rows of a chunk.
        chunks_per_shard: Chunks of every shard of the array, also of one that the array does not fill.
    """
    pixels, content = hashlib.sha256(), hashlib.sha256()
    index = np.full((chunks_per_shard, 2), _ABSENT, np.dtype("<u8"))

    def write(stream: BinaryIO) -> int:
        place = 0
        # Off the main thread blosc compresses with one thread: with several the bytes follow their timing.
        with ThreadPoolExecutor(1) as other:
            for number, rows in enumerate(chunks):
                compressing = other.submit(_compress, _filled_up(rows, chunk_rows))
                pixels.update(_as_bytes(rows))
                packed = compressing.result()
                content.update(packed)
                stream.write(packed)
                index[number] = place, len(packed)
                place += len(packed)
        ending = index.tobytes()
        ending += crc32c(ending).to_bytes(4, "little")
        content.update(ending)
        stream.write(ending)
        start_writing(stream)
        return place + len(ending)

    size_bytes = write_atomically(file, write, durable=False)
    return WrittenShard(content.hexdigest(), size_bytes, pixels.hexdigest())


def crc32c(content: bytes | NDArray[np.uint8]) -> int:
    """Return the CRC-32C of some bytes."""
    return int(google_crc32c.value(content))


def _compress(rows: NDArray[Any]) -> bytes:
    packed: bytes = blosc.compress(rows, CODEC_NAME.encode(), CODEC_LEVEL, blosc.BITSHUFFLE, BLOCK_BYTES)
    return packed


def _filled_up(rows: NDArray[Any], num: int) -> NDArray[Any]:
    """Return the rows of a whole chunk: a chunk is never shorter, and what is behind the end is the fill value."""
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
    if len(rows) == num:
        return rows
    filled = np.full((num, *rows.shape[1:]), np.nan if rows.dtype.kind == "f" else 0, rows.dtype)
    filled[: len(rows)] = rows
    return filled


def _as_bytes(rows: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
