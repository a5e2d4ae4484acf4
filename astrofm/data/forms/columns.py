"""Columns of an archive under the names of the contract.

Where images and columns lie together in files and no ids are given, a row is called after its file and place; where no
positions are given, they are unknown.
"""

from __future__ import annotations

__all__ = ["map_columns", "with_contract_names", "with_places"]

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from astropy.table import Table

from astrofm.data.files.synonyms import columns_named
from astrofm.errors import DataError


def with_places(table: Table, names: Sequence[str], sizes: Sequence[int]) -> Table:
    """Add to each row where its image lies.

    Args:
        table: The rows of all files, one file after the other; changed in place.
        names: Names of the files, relative to the source.
        sizes: Number of rows in each.

    Returns:
        The table with ``file_loc`` and ``file_row``.
    """
    table["file_loc"] = np.repeat(np.asarray(names, dtype=np.str_), sizes)
    table["file_row"] = np.concatenate([np.arange(size, dtype=np.int64) for size in sizes])
    return table


def map_columns(table: Table, columns: Mapping[str, str], where: str) -> None:
    """Rename the columns of a table as the card maps them, in place.

    Args:
        table: The archive's own columns.
        columns: Column of the contract to the table's own.
        where: What the table is called in messages.

    Raises:
        DataError: If a mapped column is missing, or is there beside one of the contract's name.
    """
    found = tuple(table.colnames)
    for name, own in columns.items():
        if own not in found:
            raise DataError(
                f"{where} has no column {own!r}, which the card maps to {name!r}; it has {', '.join(found) or 'none'}"
            )
        if name != own and name in found:
            raise DataError(f"{where} has a column {name!r} beside {own!r}, which the card maps to {name!r}")
        table[name] = table[own]
    table.remove_columns(list({*columns.values()} - columns.keys()))


def with_contract_names(table: Table, columns: Mapping[str, str], where: str) -> Table:
    """Give the columns of a table the names of the contract.

    Args:
        table: The archive's own columns and those of :func:`with_places`; changed in place.
        columns: Column of the contract to the table's own, as the card maps them.
        where: What the table is called in messages.

    Returns:
        The table, with ``ra`` and ``dec`` (NaN) where it has neither, and with ``id_str`` (``{file}-{row}``) where it
        has no ids.

    Raises:
        DataError: If a mapped column is missing, or is there beside one of the contract's name.
    """
    map_columns(table, columns, where)
    if not (columns_named(table, "ra") or columns_named(table, "dec")):
        table["ra"] = table["dec"] = np.full(len(table), np.nan)
    if not columns_named(table, "id_str"):
        stems = [str(PurePosixPath(name).with_suffix("")) for name in table["file_loc"]]
        table["id_str"] = [f"{stem}-{row}" for stem, row in zip(stems, table["file_row"], strict=True)]
    return table
