"""Exact search for the most similar embeddings, by cosine.

Scores are computed in float64 and compared as float32: two rows closer than that tie, and the lower row comes first.
Score and row are packed into one integer, so that the order is total and does not depend on the chunks.
"""

from __future__ import annotations

__all__ = ["Neighbours", "similar"]

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrofm.errors import DataError

_QUERIES = 512
_BANK = 8192
"""Rows of queries and bank in one matrix product: 32 MB of scores."""
_LAST_ROW = 0xFFFFFFFF
_NOTHING = np.iinfo(np.int64).min
"""A key below every other: no neighbour."""

Vectors = NDArray[Any]
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """The most similar rows of each query, best first.

    Attributes:
        rows: Rows of the embeddings; -1 where fewer distinct neighbours exist. Shape: (q, k).
        scores: Their cosine similarity; NaN beside a row of -1. Shape: (q, k).
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def similar(
    embeddings: ArrayLike,
    query: ArrayLike,
    k: int,
    *,
    positions: ArrayLike | None = None,
    min_separation_arcsec: float = 0.0,
) -> Neighbours:
    """Return the k most similar embeddings of each query.

    Args:
        embeddings: What is searched. Shape: (n, d).
        query: Vectors of shape (q, d), or rows of the embeddings as integers of shape (q,). A row is not its own
            neighbour.
        k: Number of neighbours.
        positions: (ra, dec) of each embedding, ICRS in degrees, NaN where unknown. Shape: (n, 2).
        min_separation_arcsec: With positions, a neighbour closer than this on the sky to the query row, or to a more
            similar neighbour, is the same source seen twice and is left out.

    Returns:
        The neighbours, best first; of equal scores the lower row.

    Raises:
        DataError: If k exceeds the rows there are, shapes do not fit, or a vector is zero or not finite.
    """
    bank = _checked(embeddings, "embeddings")
    vectors, own = _queries(bank, query)
    available = len(bank) - (own is not None)
    if not 1 <= k <= available:
        raise DataError(f"asked for {k} neighbours among {available}: ask for 1 to {available}")
    if (positions is not None) != (min_separation_arcsec > 0):
        raise DataError("duplicates on the sky need both positions and a min_separation_arcsec above 0")
    if positions is None:
        return _unpack(_search(bank, vectors, own, k))
    return _unpack(_search_apart(bank, vectors, own, k, _sky(positions, len(bank)), min_separation_arcsec))


def _checked(vectors: ArrayLike, what: str) -> Vectors:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"{what} need the shape (rows, features), got {array.shape}")
    if len(array) > _LAST_ROW:
        raise DataError(f"{len(array)} {what} are more than one search serves ({_LAST_ROW}): search them in parts")
    squared = np.einsum("nd,nd->n", array, array, dtype=np.float64)
    bad = np.flatnonzero(~((squared > 0) & np.isfinite(squared)))
    if len(bad):
        raise DataError(f"{len(bad)} of {len(array)} {what} are zero or not finite, the first in row {bad[0]}")
    return array


def _queries(bank: Vectors, query: ArrayLike) -> tuple[Vectors, NDArray[np.int64] | None]:
    """Return the query vectors, and their own rows where rows were given."""
    given = np.asarray(query)
    if given.ndim == 1 and np.issubdtype(given.dtype, np.integer) and given.size:
        outside = given[(given < 0) | (given >= len(bank))]
        if len(outside):
            raise DataError(f"no row {outside[0]} among {len(bank)} embeddings: rows are 0 to {len(bank) - 1}")
        return bank[given], given.astype(np.int64)
    vectors = _checked(given, "query vectors")
    if vectors.shape[1] != bank.shape[1]:
        raise DataError(f"query vectors have {vectors.shape[1]} features and the embeddings {bank.shape[1]}")
    return vectors, None


def _search(bank: Vectors, vectors: Vectors, own: NDArray[np.int64] | None, k: int) -> Keys:
    """Return the k greatest keys of each query, descending. Shape: (q, k)."""
    best = np.full((len(vectors), k), _NOTHING)
    for first_row in range(0, len(bank), _BANK):
        columns = _unit(bank[first_row : first_row + _BANK]).T
        rows = np.arange(first_row, first_row + columns.shape[1])
        for first in range(0, len(vectors), _QUERIES):
            part = slice(first, first + _QUERIES)
            keys = _pack(_unit(vectors[part]) @ columns, rows)
            if own is not None:
                keys[own[part, None] == rows] = _NOTHING
            candidates = np.concatenate([best[part], keys], axis=1)
            best[part] = np.partition(candidates, -k, axis=1)[:, -k:]
    return -np.sort(-best, axis=1)


def _search_apart(
    bank: Vectors,
    vectors: Vectors,
    own: NDArray[np.int64] | None,
    k: int,
    sky: NDArray[np.float64],
    min_separation_arcsec: float,
) -> Keys:
    """Return the k greatest keys of sources that lie apart, looking further down the list where many do not."""
    chord = 2.0 * np.sin(np.radians(min_separation_arcsec / 3600.0) / 2.0)
    found = np.full((len(vectors), k), _NOTHING)
    pending, depth = np.arange(len(vectors)), k
    while len(pending):
        depth = min(4 * depth, len(bank))
        keys = _search(bank, vectors[pending], None if own is None else own[pending], depth)
        unfinished = []
        for query, candidates in zip(pending, keys, strict=True):
            seen = [] if own is None else [sky[own[query]]]
            kept = _apart(candidates[candidates != _NOTHING], seen, k, sky, chord)
            found[query, : len(kept)] = kept
            if len(kept) < k and depth < len(bank):
                unfinished.append(query)
        pending = np.array(unfinished, dtype=np.int64)
    return found


def _apart(
    candidates: Keys, seen: list[NDArray[np.float64]], k: int, sky: NDArray[np.float64], chord: float
) -> list[np.int64]:
    """Return the first k candidates farther than a chord from every source before them."""
    kept: list[np.int64] = []
    for key, row in zip(candidates, _rows_of(candidates), strict=True):
        # A comparison with NaN is false: a source without a position is nobody's duplicate.
        if any(np.linalg.norm(sky[row] - other) < chord for other in seen):
            continue
        kept.append(key)
        seen.append(sky[row])
        if len(kept) == k:
            break
    return kept


def _unit(vectors: Vectors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def _sky(positions: ArrayLike, num: int) -> NDArray[np.float64]:
    """Return unit vectors of the positions. Shape: (num, 3)."""
    degrees = np.asarray(positions, dtype=np.float64)
    if degrees.shape != (num, 2):
        raise DataError(f"{num} embeddings need positions of shape ({num}, 2), got {degrees.shape}")
    ra, dec = np.radians(degrees).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _pack(scores: NDArray[np.float64], rows: NDArray[np.int64]) -> Keys:
    """Return integers that sort by score, then by descending row. Shape: that of the scores."""
    # The bits of a float32 sort as an integer once those of negative numbers are turned round; + 0 unsigns a zero.
    bits = (scores + 0.0).astype(np.float32).view(np.int32)
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)
    return (ordered << 32) + (_LAST_ROW - rows)


def _rows_of(keys: Keys) -> NDArray[np.int64]:
    return _LAST_ROW - (keys & _LAST_ROW)


def _unpack(keys: Keys) -> Neighbours:
    ordered = (keys >> 32).astype(np.int32)
    scores = np.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).astype(np.int32).view(np.float32)
    absent = keys == _NOTHING
    return Neighbours(np.where(absent, -1, _rows_of(keys)), np.where(absent, np.float32(np.nan), scores))
