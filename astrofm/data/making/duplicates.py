"""Cutouts that are in an archive twice: the same pixels, or the same place on the sky.

Of a group the first in the order of the catalogue is taken, so that the result does not depend on who read what.
"""

from __future__ import annotations

__all__ = ["same_pixels", "same_place"]

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from astrofm.data.catalog import Catalog
from astrofm.data.crossmatch import overlap


def same_pixels(
    digests: NDArray[np.uint64], read: Callable[[int], NDArray[np.generic]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the cutouts whose pixels are those of an earlier one, bit for bit.

    Args:
        digests: Of each cutout; equal pixels have equal digests. Shape: (n,).
        read: Returns the pixels of one cutout; called for those with equal digests alone.

    Returns:
        Which cutouts, ascending, and the first one like each. Shape of both: (num_duplicates,).
    """
    ordered = np.sort(digests)
    shared = ordered[1:][ordered[1:] == ordered[:-1]]
    firsts: dict[int, list[int]] = {}
    found: dict[int, int] = {}
    for place in np.flatnonzero(np.isin(digests, shared)).tolist():
        known = firsts.setdefault(int(digests[place]), [])
        pixels = read(place).tobytes() if known else b""
        like = next((first for first in known if read(first).tobytes() == pixels), None)
        if like is None:
            known.append(place)
        else:
            found[place] = like
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def same_place(
    catalog: Catalog, radius_arcsec: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find the rows that lie close to an earlier row that is kept.

    Args:
        catalog: With positions; a row without one is near to none.
        radius_arcsec: Greatest distance, edge included.

    Returns:
        Which rows, ascending, the first kept row near each, and its distance in arcsec. Shape of each: (num,).
    """
    first_of = _first_there(catalog)  # thousands of rows at one place have millions of pairs
    kept = np.flatnonzero(first_of == np.arange(len(first_of)))
    pairs = overlap(catalog.take(kept), catalog.take(kept), radius_arcsec)
    is_later = pairs.rows_b > pairs.rows_a
    near: dict[int, tuple[int, float]] = {}
    columns = (pairs.rows_a[is_later], pairs.rows_b[is_later], pairs.separation_arcsec[is_later])
    for first, second, distance in zip(*(values.tolist() for values in columns), strict=True):
        # In the order of the first row, which has met all rows before it and is known to be kept or not.
        if first not in near and second not in near:
            near[second] = (first, distance)
    near = {int(kept[row]): (int(kept[first]), distance) for row, (first, distance) in near.items()}
    for row in np.flatnonzero(first_of != np.arange(len(first_of))).tolist():
        first = int(first_of[row])
        near[row] = near.get(first, (first, 0.0))
    rows = np.array(sorted(near), np.int64)
    return (
        rows,
        np.array([near[row][0] for row in rows.tolist()], np.int64),
        np.array([near[r][1] for r in rows.tolist()]),
    )


def _first_there(catalog: Catalog) -> NDArray[np.int64]:
    """Return for each row the first one of exactly its position, itself where it has none. Shape: (rows,)."""
    ra, dec = (catalog.column(axis) for axis in ("ra", "dec"))
    order = np.lexsort((dec, ra))  # stable: rows of one position follow each other as they come
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(ra[order]) != 0) | (np.diff(dec[order]) != 0)  # also of NaN, which is at no place
    first_of = np.empty(len(order), dtype=np.int64)
    first_of[order] = order[is_first][np.cumsum(is_first) - 1]
    return first_of
