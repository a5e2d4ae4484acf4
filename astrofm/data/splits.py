"""Division of a catalogue into train, val and test."""

from __future__ import annotations

__all__ = ["SPLITS", "assign_splits", "split_of"]

import hashlib

import numpy as np
from numpy.typing import NDArray

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.errors import DataError, one_of

SPLITS = ("train", "val", "test")

_SALT = b"astrofm split 1\x00"
"""Keeps the draw independent of other uses of a hash of the id. To change it is to change every split."""


def assign_splits(catalog: Catalog, splits: Splits) -> NDArray[np.str_]:
    """Return the split of each row.

    ``published`` keeps the catalogue's own ``split`` column (``valid`` and ``validation`` are read as ``val``).
    ``by-id`` draws from the id of each row alone, see :func:`split_of`: a row never changes sides because others
    were added, and every class is divided in the same proportion up to counting noise.

    Args:
        catalog: With a ``split`` column where the scheme is ``published``.
        splits: The card's rule.

    Returns:
        ``train``, ``val`` or ``test`` for each row. Shape: (len(catalog),).

    Raises:
        DataError: If the published column is missing or holds another word.
        UnknownNameError: If there is no such scheme.
    """
    if splits.scheme == "by-id":
        return np.array([split_of(name, splits.test_fraction) for name in catalog.column("id_str")], dtype="<U5")
    if splits.scheme != "published":
        raise one_of("split scheme", splits.scheme, ("published", "by-id"))
    if "split" not in catalog.columns:
        raise DataError(
            "the card says that the splits are published and the catalogue has no 'split' column; "
            "map the table's own column to it, or set the scheme to 'by-id'"
        )
    published = np.char.lower(np.char.strip(catalog.column("split").astype(np.str_)))
    published = np.where(np.isin(published, ("valid", "validation")), "val", published)
    unknown = ~np.isin(published, SPLITS)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise DataError(
            f"the split of {str(catalog.column('id_str')[row])!r} is {str(catalog.column('split')[row])!r}; "
            f"it must be one of {', '.join(SPLITS)}"
        )
    return published.astype("<U5")


def split_of(id_str: str, test_fraction: float) -> str:
    """Return ``test`` for a fraction of all ids and ``train`` for the others, by a hash of the id."""
    digest = hashlib.sha256(_SALT + id_str.encode()).digest()
    fraction = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if fraction < test_fraction else "train"
