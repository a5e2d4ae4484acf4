"""Cross-matching of positions, complete across the poles and the meridian of zero right ascension.

Positions become unit vectors and neighbours are found in a k-d tree of chords, so that the sphere has no edges.
"""

from __future__ import annotations

__all__ = ["Overlap", "near", "overlap"]

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrofm.data.catalog import Catalog
from astrofm.errors import UsageError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_ROUNDING = 1e-14
"""Slack on the chord: rounding must not lose a pair at the very radius. It is worth 2 nano-arcseconds."""

_ROWS_AT_ONCE = 2**16
"""Rows whose neighbours are held as Python lists at a time."""

_ARCSEC_PER_RADIAN = 3600.0 * 180.0 / np.pi


@dataclass(frozen=True)
class Overlap:
    """Pairs of rows of two catalogues that lie close together, ordered by first and then second row.

    Attributes:
        rows_a: Rows of the first catalogue. Shape: (num_pairs,).
        rows_b: Rows of the second one. Shape: (num_pairs,).
        separation_arcsec: Great-circle distance of each pair. Shape: (num_pairs,).
    """

    rows_a: NDArray[np.int64]
    rows_b: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows_a)


def near(
    ra: ArrayLike, dec: ArrayLike, other_ra: ArrayLike, other_dec: ArrayLike, radius_arcsec: float
) -> NDArray[np.bool_]:
    """Say for each position whether one of the others lies within the radius, edge included.

    Args:
        ra: Right ascension, ICRS degrees. Shape: (n,).
        dec: Declination, degrees. Shape: (n,).
        other_ra: Right ascension of the others, degrees. Shape: (m,).
        other_dec: Declination of the others, degrees. Shape: (m,).
        radius_arcsec: Greatest great-circle distance.

    Returns:
        True where a neighbour exists; a position that is NaN has none. Shape: (n,).

    Raises:
        UsageError: If the radius is negative or not a number.
    """
    chord = _chord(radius_arcsec)
    found = np.zeros(np.shape(ra), dtype=bool)
    rows, vectors = _unit_vectors(ra, dec)
    _, others = _unit_vectors(other_ra, other_dec)
    if len(rows) and len(others):
        distance, _ = _tree(others).query(vectors)
        found[rows] = distance <= chord
    return found


def overlap(catalog_a: Catalog, catalog_b: Catalog, radius_arcsec: float) -> Overlap:
    """Find all pairs of rows within the radius, edge included.

    Raises:
        UsageError: If the radius is negative or not a number.
    """
    chord = _chord(radius_arcsec)
    rows_a, vectors_a = _unit_vectors(catalog_a.column("ra"), catalog_a.column("dec"))
    rows_b, vectors_b = rows_a, vectors_a
    if catalog_b is not catalog_a:
        rows_b, vectors_b = _unit_vectors(catalog_b.column("ra"), catalog_b.column("dec"))
    if not (len(rows_a) and len(rows_b)):
        return Overlap(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    tree = _tree(vectors_b)
    first, second, apart = [], [], []
    for start in range(0, len(rows_a), _ROWS_AT_ONCE):
        few = vectors_a[start : start + _ROWS_AT_ONCE]
        found = np.asarray(tree.query_ball_point(few, chord, return_sorted=True), dtype=object).tolist()
        first.append(start + np.repeat(np.arange(len(found)), [len(rows) for rows in found]))
        second.append(np.fromiter(chain.from_iterable(found), np.int64))
        distance = np.linalg.norm(vectors_a[first[-1]] - vectors_b[second[-1]], axis=1)
        apart.append(2.0 * np.arcsin(np.minimum(distance / 2.0, 1.0)) * _ARCSEC_PER_RADIAN)
    return Overlap(rows_a[np.concatenate(first)], rows_b[np.concatenate(second)], np.concatenate(apart))


def _tree(vectors: NDArray[np.float64]) -> cKDTree:
    from scipy.spatial import cKDTree  # takes longer to import than most ingests take to plan

    return cKDTree(vectors)


def _chord(radius_arcsec: float) -> float:
    """Return the straight distance on the unit sphere that an angle spans."""
    if not radius_arcsec >= 0:
        raise UsageError(f"a radius of {radius_arcsec} arcsec cannot be searched; give one of at least 0")
    half_angle = min(radius_arcsec / _ARCSEC_PER_RADIAN / 2.0, np.pi / 2.0)
    return float(2.0 * np.sin(half_angle)) * (1.0 + _ROUNDING) + _ROUNDING


def _unit_vectors(ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows whose position is known and their directions. Shapes: (k,) and (k, 3)."""
    ra, dec = np.radians(np.asarray(ra_deg, np.float64)), np.radians(np.asarray(dec_deg, np.float64))
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    ra, dec = ra[rows], dec[rows]
    return rows.astype(np.int64), np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
