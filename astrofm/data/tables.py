"""Tables in the formats astronomers keep them in."""

from __future__ import annotations

__all__ = ["TABLE_SUFFIXES", "from_arrow", "read_table", "write_table"]

import csv
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import ascii
from astropy.table import MaskedColumn, Table
from astropy.table.meta import get_header_from_yaml
from astropy.units import Unit

from astrofm.errors import DataError, UsageError

_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".fits": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}
TABLE_SUFFIXES = tuple(_FORMATS)


def read_table(path: Path, *, text: Collection[str] = ()) -> Table:
    """Read a table; its format follows from the suffix.

    Args:
        path: CSV, ECSV, FITS, VOTable or Parquet.
        text: Columns of a CSV file, in any case, that are text even where all their entries look like numbers, so that
            ``007`` stays ``007``.

    Raises:
        DataError: If the file is missing or is not a table of that format.
    """
    file_format = _format_of(path)
    try:
        if file_format == "parquet":
            return _read_parquet(path)
        if file_format == "ascii.csv":
            return _read_csv(path, {name.lower() for name in text})
        return Table.read(path, format=file_format)
    except FileNotFoundError as error:
        raise DataError(f"no table at {path}") from error
    except PermissionError as error:
        raise DataError(f"the table {path} cannot be read: permission denied; let its owner allow it") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; give the name of a table ({', '.join(_FORMATS)})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as a table ({file_format}): {' '.join(str(error).split())}") from error


def write_table(table: Table, path: Path) -> None:
    """Write a table; its format follows from the suffix, and a file that is there is replaced.

    Raises:
        UsageError: If the suffix is of no known format.
        DataError: If the file cannot be written.
    """
    file_format = _format_of(path)
    try:
        if file_format == "parquet":
            columns = {name: pa.array(table[name].tolist()) for name in table.colnames}
            meta = {str(key): str(value) for key, value in table.meta.items()}
            pq.write_table(pa.table(columns).replace_schema_metadata(meta), path)
        else:
            table.write(path, format=file_format, overwrite=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        raise DataError(f"the table {path} cannot be written ({reason}): choose another file") from error


def _format_of(path: Path) -> str:
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path.name!r} has no suffix of a table; known: {', '.join(_FORMATS)}")
    return _FORMATS[path.suffix.lower()]


def _read_csv(path: Path, text: Collection[str]) -> Table:
    """Read CSV; the mark that spreadsheets put before UTF-8 is no part of the first name."""
    content = path.read_text(encoding="utf-8-sig")
    header = next(csv.reader(line for line in content.splitlines() if line.strip()), [])
    _check_separator(header, path)
    names = [name.strip() for name in header]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        warnings.warn(
            f"{path.name} has several columns named {', '.join(twice)}: the first counts, the others are called "
            f"{twice[0]}_1 and so on; rename what is meant",
            UserWarning,
            stacklevel=3,
        )
    converters = {name.strip(): str for name in header if name.strip().lower() in text}
    return ascii.read(f"{content}\n", format="csv", converters=converters)


def _check_separator(header: Sequence[str], path: Path) -> None:
    """Refuse a table whose columns are kept apart by something else than commas, which would be one long name."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and header[0].count(separator) > 1:
            raise DataError(f"the columns of {path} are separated by {name}: save it again with commas between them")


def _read_parquet(path: Path) -> Table:
    """Read Parquet, with the units that astropy or the fields themselves note."""
    arrow = pq.read_table(path)
    table = from_arrow(arrow)
    for name, unit in _units(arrow.schema).items():
        if name in table.colnames:
            table[name].unit = Unit(unit, parse_strict="silent")
    return table


def _units(schema: pa.Schema) -> dict[str, Any]:
    noted = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    lines = (schema.metadata or {}).get(b"table_meta_yaml", b"").decode().splitlines()
    if lines:
        noted |= {column["name"]: column.get("unit") for column in get_header_from_yaml(lines)["datatype"]}
    return {name: unit for name, unit in noted.items() if unit}


def from_arrow(arrow: pa.Table) -> Table:
    """Convert column by column; nulls come out masked, and text as text."""
    table = Table()
    for name in arrow.column_names:
        column = _plain(name, arrow[name])
        if pa.types.is_nested(column.type):
            table[name] = column.to_pylist()
            continue
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        hidden = column.is_null().to_numpy()
        filled = column.fill_null("" if is_text else _zero(column.type)) if hidden.any() else column
        values = filled.to_numpy().astype(np.str_) if is_text else filled.to_numpy()
        table[name] = MaskedColumn(values, mask=hidden) if hidden.any() else values
    return table


def _plain(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return categories as what they stand for, bytes as text, and a column of nothing but nulls as text."""
    if pa.types.is_dictionary(column.type):
        return _plain(name, column.cast(column.type.value_type))
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise DataError(f"column {name!r} holds bytes that are no text in UTF-8 ({error}): leave it out") from error
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _zero(kind: pa.DataType) -> pa.Scalar:
    return pa.array([0], pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)[0]
