"""The catalogues of several stores as one."""

from __future__ import annotations

__all__ = ["unite"]

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from astrofm.data.catalog import Catalog
from astrofm.data.store import CutoutStore
from astrofm.errors import StoreError


def unite(parts: Sequence[CutoutStore]) -> Catalog:
    """Return the rows of several stores, in order, with the columns of all of them.

    Where a part does not have a column its rows are NaN in numbers with a fraction, empty in text and null in others.

    Raises:
        StoreError: If an id is in two parts, or a column cannot hold the values of both.
    """
    _check_ids(parts)
    names = dict.fromkeys(name for part in parts for name in part.catalog.columns)
    columns = {name: _united(name, parts) for name in names}
    return Catalog(pa.table(columns)).with_columns({})


def _check_ids(parts: Sequence[CutoutStore]) -> None:
    owners: dict[str, int] = {}
    shared: dict[str, tuple[int, int]] = {}
    for number, part in enumerate(parts):
        for name in part.catalog.column("id_str").tolist():
            if name in owners:
                shared[name] = (owners[name], number)
            owners[name] = number
    if shared:
        example, (first, second) = next(iter(shared.items()))
        more = f" and {len(shared) - 1} more ids are" if len(shared) > 1 else " is"
        raise StoreError(
            f"{example!r}{more} in two stores ({parts[first].path} and {parts[second].path}), and an id names one "
            "cutout: ingest one of them again without these rows, or with other ids"
        )


def _united(name: str, parts: Sequence[CutoutStore]) -> pa.ChunkedArray:
    given = [part.catalog.table[name].type for part in parts if name in part.catalog.columns]
    kind = _common(name, given, is_complete=len(given) == len(parts))
    pieces = [
        part.catalog.table[name].cast(kind) if name in part.catalog.columns else _missing(kind, len(part))
        for part in parts
    ]
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], kind)


def _common(name: str, kinds: Sequence[pa.DataType], *, is_complete: bool) -> pa.DataType:
    """Return the type that holds the values of all parts, and NaN in lists where a part has none."""
    try:
        fields = [pa.schema([pa.field(name, kind)]) for kind in kinds]
        kind = pa.unify_schemas(fields, promote_options="permissive").field(name).type
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        found = " and ".join(dict.fromkeys(str(kind) for kind in kinds))
        raise StoreError(
            f"column {name!r} is {found} in the stores to merge: ingest one again with it as it is in the other"
        ) from error
    if pa.types.is_fixed_size_list(kind) and not is_complete:
        return pa.list_(pa.float64(), kind.list_size)
    return kind


def _missing(kind: pa.DataType, num: int) -> pa.ChunkedArray:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.full(num * kind.list_size, np.nan))
        return pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, kind.list_size)])
    if pa.types.is_floating(kind):
        return pa.chunked_array([pa.array(np.full(num, np.nan)).cast(kind)])
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.chunked_array([pa.array([""] * num, kind)])
    return pa.chunked_array([pa.nulls(num, kind)])
