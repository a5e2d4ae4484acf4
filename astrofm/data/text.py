"""Columns of text between NumPy, Python and Arrow, a block of rows at a time.

A Python string takes 50 bytes beside its letters, and a NumPy column 4 bytes a letter: all rows at once would take
several times what Arrow keeps of them.
"""

from __future__ import annotations

__all__ = ["blocks_of", "text_from_arrow", "text_to_arrow"]

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from astrofm.errors import DataError

BLOCK_ROWS = 65536


def blocks_of(num_rows: int) -> Iterator[slice]:
    """Yield the rows of one block after the other."""
    for first in range(0, num_rows, BLOCK_ROWS):
        yield slice(first, min(first + BLOCK_ROWS, num_rows))


def text_to_arrow(
    values: NDArray[Any], mask: NDArray[np.bool_], spell: Callable[[str], str] | None = None
) -> pa.StringArray:
    """Write values as text.

    Args:
        values: Text, UTF-8 bytes or objects. Shape: (n, ...).
        mask: True where the text is to be empty. Shape: broadcast to that of the values.
        spell: Applied to each text.
    """
    hidden = np.broadcast_to(mask, values.shape)
    blocks = [pa.array([], pa.string())]
    for rows in blocks_of(len(values)):
        words = _words(values[rows], hidden[rows])
        blocks.append(pa.array(words if spell is None else map(spell, words), pa.string()))
    return pa.concat_arrays(blocks)


def _words(values: NDArray[Any], hidden: NDArray[np.bool_]) -> list[str]:
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"a column of text has bytes that are not UTF-8, {error.object!r}: write it in UTF-8"
            ) from error
    return [str(value) for value in (np.where(hidden, "", values) if hidden.any() else values)]


def text_from_arrow(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Return a column of text as a unicode array, empty where it is null. Shape: (n,)."""
    num_letters = pc.max(pc.utf8_length(column)).as_py() or 1
    found = np.empty(len(column), f"<U{num_letters}")
    for rows in blocks_of(len(column)):
        found[rows] = column[rows].fill_null("").to_numpy()
    return found
