"""One shard of a merged store: the rows of several stores that fall into it."""

from __future__ import annotations

__all__ = ["MergeJob", "Span", "spans_of"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astrofm.data.making.shard_job import ShardJob
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
class MergeJob(ShardJob):
    """A shard whose rows lie in several stores."""

    spans: tuple[Span, ...]

    def chunks(self, array: Literal["image", "mask"]) -> Iterator[NDArray[Any]]:
        """Yield the rows of each chunk, after all of the shard were read."""
        values, chunk_rows = self._rows_of(array), self.layout.chunk_rows
        yield from (values[first : first + chunk_rows] for first in range(0, len(values), chunk_rows))

    def _rows_of(self, array: Literal["image", "mask"]) -> NDArray[Any]:
        """Return the rows of a shard from all parts; the masks of a part that has none are empty."""
        inner = self.layout.shape if array == "image" else self.layout.shape[1:]
        values = np.zeros((len(self.rows), *inner), self.layout.dtype if array == "image" else bool)
        start = 0
        for span in self.spans:
            stop = start + span.stop - span.first
            if array == "image" or span.has_mask:
                part, rows = CutoutStore.open(span.path), slice(span.first, span.stop)
                values[start:stop] = part.read(rows) if array == "image" else part.read_mask(rows)
            start = stop
        return values
