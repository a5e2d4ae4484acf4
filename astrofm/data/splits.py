"""Division of a catalogue into train, val and test.

``published`` keeps what the catalogue says. The other schemes draw by hashes, so that the order of the rows, the
machine and the day do not matter:

- ``by-id`` looks at the id of each row alone: a row never changes sides because others were added, and every class is
  divided in the same proportion up to counting noise.
- ``sky`` looks at the HEALPix cell of each row alone: a block of the sky goes to one split whole. The fractions hold
  for blocks, and for rows only so far as the blocks are many. Neighbours across the border of two blocks may be in two
  splits; what lies within a radius of the test split is left out of training by ``data.exclude`` of a recipe.
- ``stratified`` gives each class its exact share, to a whole row. For that it must look at all rows: one may
  change sides when others of its class are added.
"""

from __future__ import annotations

__all__ = ["SPLITS", "assign_splits", "split_of"]

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.data.text import blocks_of
from astrofm.errors import DataError, one_of

SPLITS = ("train", "val", "test")

_SALT = b"astrofm split 1\x00"
"""Keeps the draw independent of other uses of a hash of the id. To change it is to change every split."""

_HEALPIX_ORDER = 29
"""Of the catalogue's spatial index."""


def assign_splits(catalog: Catalog, splits: Splits) -> NDArray[np.str_]:
    """Return the split of each row.

    Args:
        catalog: With a ``split`` column where the scheme is ``published`` (``valid`` and ``validation`` are read as
            ``val``), and the label column where it is ``stratified``.
        splits: The card's rule.

    Returns:
        ``train``, ``val`` or ``test`` for each row. Shape: (len(catalog),).

    Raises:
        DataError: If the column is missing or holds what cannot be used.
        UnknownNameError: If there is no such scheme.
    """
    schemes = {"published": _published, "by-id": _by_id, "sky": _by_sky, "stratified": _stratified}
    if splits.scheme not in schemes:
        raise one_of("split scheme", splits.scheme, schemes)
    return schemes[splits.scheme](catalog, splits)


def split_of(name: str, test_fraction: float, val_fraction: float = 0.0) -> str:
    """Return the split that the hash of a name gives, the fractions being those of all names.

    Args:
        name: An id, or what stands for a block of the sky.
        test_fraction: Part of all names that is ``test``; a larger one only adds to it.
        val_fraction: Part of all names that is ``val``; the others are ``train``.
    """
    place = _place_of(name)
    if place < test_fraction:
        return "test"
    return "val" if place < test_fraction + val_fraction else "train"


def _place_of(name: str) -> float:
    """Return a number in [0, 1) that only the name decides."""
    digest = hashlib.sha256(_SALT + name.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _by_id(catalog: Catalog, splits: Splits) -> NDArray[np.str_]:
    drawn = np.empty(len(catalog), "<U5")
    for rows in blocks_of(len(catalog)):
        names = _column(catalog, "id_str", rows).tolist()
        drawn[rows] = [split_of(name, splits.test_fraction, splits.val_fraction) for name in names]
    return drawn


def _column(catalog: Catalog, name: str, rows: slice) -> NDArray[Any]:
    """Return some rows of a column: as Python objects or unicode arrays, all of them would outweigh the catalogue."""
    return Catalog(catalog.table.select([name])[rows]).column(name)


def _by_sky(catalog: Catalog, splits: Splits) -> NDArray[np.str_]:
    """Draw by the block; a row without a position, which has none, by its id."""
    cells = catalog.column("_healpix_29")
    blocks, member_of = np.unique(cells >> 2 * (_HEALPIX_ORDER - splits.healpix_order), return_inverse=True)
    names = [f"healpix {splits.healpix_order} {block}" for block in blocks]
    drawn = np.array([split_of(name, splits.test_fraction, splits.val_fraction) for name in names], "<U5")[member_of]
    placeless = np.flatnonzero(cells < 0)
    if len(placeless):
        drawn[placeless] = _by_id(catalog.take(placeless), splits)
    return drawn


def _stratified(catalog: Catalog, splits: Splits) -> NDArray[np.str_]:
    """Rank the rows of each class by the hash of their id; those without a label are a class of their own."""
    places = np.empty(len(catalog))
    for rows in blocks_of(len(catalog)):
        places[rows] = [_place_of(name) for name in _column(catalog, "id_str", rows).tolist()]
    classes = _classes(catalog, splits.column)
    order = np.lexsort((places, classes))
    sizes = np.bincount(classes)
    rank_in_class = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[classes[order]]
    num_test = np.floor(sizes * splits.test_fraction + 0.5)[classes[order]]
    num_drawn = np.floor(sizes * (splits.test_fraction + splits.val_fraction) + 0.5)[classes[order]]
    drawn = np.empty(len(order), "<U5")
    drawn[order] = np.select([rank_in_class < num_test, rank_in_class < num_drawn], ["test", "val"], "train")
    return drawn


def _classes(catalog: Catalog, column: str) -> NDArray[np.int64]:
    """Return the number of the class of each row; values that are missing have the same one. Shape: (len,)."""
    if column in catalog.columns and pa.types.is_string(catalog.table[column].type):
        words = catalog.table[column].combine_chunks().fill_null("").dictionary_encode()
        return np.asarray(words.indices, np.int64)
    values = catalog.column(column)
    if values.ndim != 1:
        raise DataError(f"column {column!r} holds lists, which are no classes: name another one for stratified splits")
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        if (known % 1 != 0).any():
            example = float(known[known % 1 != 0][0])
            raise DataError(
                f"column {column!r} holds measurements such as {example:g}, which are no classes: "
                "name a label column for stratified splits"
            )
    _, classes = np.unique(values, return_inverse=True)
    return classes


def _published(catalog: Catalog, splits: Splits) -> NDArray[np.str_]:
    if "split" not in catalog.columns:
        raise DataError(
            "the card says that the splits are published and the catalogue has no 'split' column; "
            "map the table's own column to it, or set the scheme to 'by-id', 'sky' or 'stratified'"
        )
    own = {word.lower().strip(): split for split, words in splits.words.items() for word in words}
    kept = np.empty(len(catalog), "<U5")
    for rows in blocks_of(len(catalog)):
        given = _column(catalog, "split", rows).astype(np.str_)
        published = np.char.lower(np.char.strip(given))
        for word, split in {"valid": "val", "validation": "val", **own}.items():
            published = np.where(published == word, split, published)
        unknown = ~np.isin(published, SPLITS)
        if unknown.any():
            row = int(np.argmax(unknown))
            raise DataError(
                f"the split of {str(_column(catalog, 'id_str', rows)[row])!r} is {str(given[row])!r}; "
                f"it must be one of {', '.join(SPLITS)}, or be among the words of the card's splits, as "
                f"words: {{test: [{str(given[row]).strip()}]}}"
            )
        kept[rows] = published
    return kept
