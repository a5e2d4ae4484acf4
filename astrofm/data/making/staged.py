"""What was read of one range of the catalogue, on disk between the two passes of an ingest.

Three files: the pixels and masks as raw bytes, and the facts, a row for each row of the catalogue, as an Arrow stream.
None waits for the disk: each carries a CRC-32C, and a range that a power cut has torn is read anew.
"""

from __future__ import annotations

__all__ = ["MEASURED", "NO_FACTS", "Staged", "facts_of", "keep", "read_rows"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from astrofm.data.cutouts import Rejected
from astrofm.data.making.partial import write_atomically
from astrofm.data.making.shard_writer import crc32c
from astrofm.errors import StoreError

MEASURED = "column:"
"""Prefix of the columns that go into the catalogue."""

_CRC_BYTES = 4


@dataclass(frozen=True)
class Staged:
    """A finished range; its facts stay on disk until they are asked for.

    Attributes:
        file: Where its facts are; pixels and masks lie beside them.
        num_taken: Number of cutouts that were taken.
        has_mask: Whether any cutout of the range has a mask.
    """

    file: Path
    num_taken: int
    has_mask: bool

    @classmethod
    def read(cls, file: Path) -> Staged | None:
        """Return a range that is whole, else None."""
        facts = _read_facts(file)
        if facts is None:
            return None
        crcs = {kind.decode(): int(crc) for kind, crc in (facts.schema.metadata or {}).items()}
        if any(_crc_of(pixels_file(file, kind)) != crc for kind, crc in crcs.items()):
            return None
        return cls(file, _num_taken(facts), "mask" in crcs)

    def facts(self) -> pa.Table:
        """Read what is known of each row.

        Returns:
            ``row`` (of the catalogue, ascending), ``reason`` (empty for what was taken), ``detail``, ``file``,
            ``digest`` (of the stored pixels) and ``column:NAME`` for each measured value.

        Raises:
            StoreError: If the file is no longer what was written.
        """
        facts = _read_facts(self.file)
        if facts is None:
            raise StoreError(_damaged(self.file))
        return facts.replace_schema_metadata(None)


def _read_facts(file: Path) -> pa.Table | None:
    """Return the facts of a range with the CRCs of its pixels as metadata; None where they are not whole."""
    if not file.exists():
        return None
    content = file.read_bytes()
    if crc32c(content[_CRC_BYTES:]).to_bytes(_CRC_BYTES, "little") != content[:_CRC_BYTES]:
        return None
    return pa.ipc.open_stream(content[_CRC_BYTES:]).read_all()


def _num_taken(facts: pa.Table) -> int:
    return int(pc.sum(pc.equal(facts["reason"], "")).as_py() or 0)


def _damaged(file: Path) -> str:
    return f"{file} was damaged while the store was made: give the same command again"


def pixels_file(file: Path, kind: str) -> Path:
    """Return where the ``image`` or ``mask`` of a range lies."""
    return file.with_suffix(f".{kind}")


def keep(file: Path, facts: pa.Table, image: NDArray[Any], mask: NDArray[np.bool_] | None) -> Staged:
    """Write a range, the facts last.

    Args:
        file: Where the facts go.
        facts: As of :meth:`Staged.facts`.
        image: Of the taken rows. Shape: (taken, band, y, x).
        mask: Shape: (taken, y, x), or None.
    """
    crcs = {}
    for kind, values in (("image", image), ("mask", mask)):
        if values is not None:
            crcs[kind] = str(_keep_pixels(pixels_file(file, kind), values))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, facts.schema.with_metadata(crcs)) as writer:
        writer.write_table(facts)
    stream = sink.getvalue().to_pybytes()
    crc = crc32c(stream).to_bytes(_CRC_BYTES, "little")
    write_atomically(file, lambda out: out.write(crc + stream), durable=False)
    return Staged(file, _num_taken(facts), mask is not None)


def _keep_pixels(file: Path, values: NDArray[Any]) -> int:
    content = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    write_atomically(file, lambda stream: stream.write(content.data), durable=False)
    return crc32c(content)


def facts_of(
    rows: NDArray[np.int64],
    rejected: Mapping[int, Rejected],
    digests: NDArray[np.uint64],
    columns: Mapping[str, NDArray[Any]],
) -> pa.Table:
    """Return the facts of a range.

    Args:
        rows: All rows of the range, ascending. Shape: (n,).
        rejected: Why rows were not taken, by their place in the range.
        digests: Of the others. Shape: (taken,).
        columns: What was measured on them, by name. Shape of each: (taken,).
    """
    taken = np.ones(len(rows), bool)
    taken[list(rejected)] = False
    places = np.where(taken, np.cumsum(taken) - 1, 0)
    indices = pa.array(places, pa.int64(), mask=~taken)
    words = {
        name: pa.array([getattr(rejected[place], name) if place in rejected else "" for place in range(len(rows))])
        for name in ("reason", "detail", "file")
    }
    measured = {f"{MEASURED}{name}": pa.array(values).take(indices) for name, values in columns.items()}
    words = {name: values.cast(pa.string()) for name, values in words.items()}
    return pa.table({"row": pa.array(rows), **words, "digest": pa.array(digests).take(indices), **measured})


NO_FACTS = facts_of(np.zeros(0, np.int64), {}, np.zeros(0, np.uint64), {})


def read_rows(
    file: Path, kind: str, places: NDArray[np.integer[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Read the pixels or masks of some cutouts of a range.

    Args:
        file: Of the range.
        kind: ``image`` or ``mask``.
        places: Places among those taken, ascending; what lies between them is read too. Shape: (n,).
        shape: Of one cutout.
        dtype: Of its values.

    Returns:
        Shape: (n, ...).

    Raises:
        StoreError: If the file is shorter than it was written.
    """
    first, num = int(places[0]), int(places[-1] - places[0]) + 1
    size = int(np.prod(shape))
    values = np.fromfile(pixels_file(file, kind), dtype, num * size, offset=first * size * dtype.itemsize)
    if len(values) != num * size:
        raise StoreError(_damaged(file))
    images = values.reshape(num, *shape)
    return images if num == len(places) else images[places - first]


def _crc_of(file: Path) -> int | None:
    return crc32c(np.fromfile(file, np.uint8)) if file.exists() else None
