"""The table of an archive without code, brought to the column names of the contract."""

from __future__ import annotations

__all__ = ["contract_table", "stem_of"]

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from astropy.table import Table

from astrofm.data.catalog import checked_ids
from astrofm.data.files.synonyms import SYNONYMS, columns_named
from astrofm.data.forms.columns import map_columns
from astrofm.data.tables import read_table
from astrofm.errors import DataError

_COMPRESSIONS = (".gz", ".fz")


def contract_table(name: str, columns: Mapping[str, str], folder: Path) -> Table:
    """Read the table of a folder and give its columns the names of the contract.

    Args:
        name: File name of the table.
        columns: Column of the contract to the table's own, as the card maps them.
        folder: The folder.

    Returns:
        The table, with ``id_str`` as text.

    Raises:
        DataError: If the table or a mapped column is missing, a name comes twice, or there are no ids.
    """
    own_names = {"id_str", *SYNONYMS["id_str"], "file_loc"}
    mapped = {columns[own] for own in ("id_str", "file_loc", "label_name") if own in columns}
    table = read_table(folder / name, text=own_names | mapped)
    if len(table) == 0:
        raise DataError(f"{name!r} has no rows, only the columns {', '.join(table.colnames)}")
    map_columns(table, columns, repr(name))
    if "rejected" in table.colnames:
        raise DataError(
            f"{name!r} has a column 'rejected', a name that is kept for the reason why a row is not taken: rename it, "
            "and leave rows out by 'excluded' on the card"
        )
    if "id_str" not in table.colnames:
        table["id_str"] = _found_ids(table, name)
    table["id_str"] = checked_ids(table["id_str"])
    return table


def _found_ids(table: Table, name: str) -> list[str]:
    found = columns_named(table, "id_str")
    if len(found) == 1:
        ids = list(checked_ids(table[found[0]]))
        table.remove_column(found[0])
        return ids
    if not found and "file_loc" in table.colnames:
        return [stem_of(str(value)) for value in table["file_loc"]]
    raise DataError(
        f"{name!r} has {'no column' if not found else 'several columns'} of ids; map one to 'id_str' under 'columns' "
        f"in the card; it has {', '.join(table.colnames)}"
    )


def stem_of(name: str) -> str:
    """Return a file's name without its ending, and without that of its compression."""
    path = PurePosixPath(name)
    return PurePosixPath(path.stem).stem if path.suffix.lower() in _COMPRESSIONS else path.stem
