"""Catalogues: one row for each cutout, with the same column names, units and types whatever the archive calls them.

Synonyms and other units are understood where an archive's table enters, in :meth:`Catalog.from_astropy`, and nowhere
else. Positions are taken as ICRS; a table in another frame is to be converted by whoever knows the frame.
"""

from __future__ import annotations

__all__ = ["CONTRACT_COLUMNS", "Catalog", "checked_ids", "healpix_29", "sky_positions"]

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from astrofm.data.files.label_names import LABEL_UNITS, contract_label_names
from astrofm.data.files.synonyms import column_named
from astrofm.data.text import blocks_of, text_from_arrow, text_to_arrow
from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Column, Table
    from astropy.units import UnitBase

CONTRACT_COLUMNS = (
    *("id_str", "ra", "dec", "_healpix_29", "file_loc", "split", "rejected", "label", "label_name"),
    *("z_spec", "z_err", "z_phot", "z_phot_lo", "z_phot_hi", "z_pdf", "ebv"),
    *("pixel_scale", "bmaj", "bmin", "bpa", "rms"),
)
"""Columns with a fixed meaning, in the order in which they come first; all others follow by name."""

UNITS = {
    **{"ra": "deg", "dec": "deg", "pixel_scale": "arcsec", "bmaj": "arcsec", "bmin": "arcsec", "bpa": "deg"},
    **LABEL_UNITS,
}
"""Unit of each column that has one; a table that names another unit is converted."""

_ANGLES = {
    **dict.fromkeys(("h:m:s", "hms", "hours", "hour", "hr", "h"), "hourangle"),
    **dict.fromkeys(("d:m:s", "dms", "degrees", "degree", "degs"), "deg"),
}
"""Spellings of units in archives, of which astropy knows some and takes an hour to be one of time."""

_HEALPIX_ORDER = 29


@dataclass(frozen=True)
class Catalog:
    """A table whose row ``i`` describes cutout ``i``.

    Attributes:
        table: The columns; those of :data:`CONTRACT_COLUMNS` that are present come first.
    """

    table: pa.Table

    @classmethod
    def from_astropy(cls, table: Table, *, required: Iterable[str] = ()) -> Self:
        """Convert what a survey's ``catalog`` returns.

        Args:
            table: With ``id_str``, ``ra`` and ``dec`` or their synonyms. A column that carries a unit is converted to
                degrees or arcseconds: right ascension in hours is understood through its unit alone. Masked entries
                become NaN, an empty string or (integers and booleans) null.
            required: Further columns, for example of labels, that must be there.

        Returns:
            The catalogue, with the ``_healpix_29`` of every position (-1 where there is none).

        Raises:
            DataError: If a column is missing or ambiguous, an id is empty or comes twice, or a position is not on the
                sky.
        """
        names = {name: column_named(table, name) for name in ("id_str", "ra", "dec")}
        missing = [name for name in required if name not in table.colnames]
        if missing:
            raise DataError(
                f"the catalogue has no column {', '.join(map(repr, missing))}; it has {', '.join(table.colnames)}"
            )
        renamed = {found: name for name, found in names.items()} | contract_label_names(table)
        columns = {"id_str": _ids(table[names["id_str"]])}
        for name in table.colnames:
            if name != names["id_str"]:
                columns[renamed.get(name, name)] = _to_arrow(renamed.get(name, name), table[name])
        ra_deg, dec_deg = _checked_positions(columns)
        columns |= {"ra": pa.array(ra_deg), "_healpix_29": pa.array(healpix_29(ra_deg, dec_deg))}
        return cls(_in_order(columns))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a catalogue written by :meth:`write`.

        Raises:
            DataError: If the file is missing or is not Parquet.
        """
        try:
            return cls(pq.read_table(path))
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise DataError(f"no catalogue can be read at {path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write as Parquet: the same rows give the same bytes, however they were put together."""
        table = self.table.combine_chunks().replace_schema_metadata(None)
        pq.write_table(table, path, compression="zstd", compression_level=3, version="2.6")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.table.column_names)

    def column(self, name: str) -> NDArray[Any]:
        """Return one column.

        Returns:
            Strings as a unicode array; integers with nulls as float64 with NaN; lists as rows. Shape: (len, ...).

        Raises:
            DataError: If there is no such column.
        """
        if name not in self.columns:
            raise DataError(f"the catalogue has no column {name!r}; it has {', '.join(self.columns)}")
        if pa.types.is_string(self.table[name].type) or pa.types.is_large_string(self.table[name].type):
            return text_from_arrow(self.table[name])
        column = self.table[name].combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
            return values.reshape(len(column), column.type.list_size)
        if column.null_count:
            column = column.cast(pa.int8() if pa.types.is_boolean(column.type) else column.type).cast(pa.float64())
        array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return array

    def take(self, rows: ArrayLike) -> Self:
        """Return some rows, in the order given."""
        return type(self)(self.table.take(pa.array(np.asarray(rows).astype(np.int64, copy=False))))

    def with_columns(self, columns: Mapping[str, ArrayLike]) -> Self:
        """Return a catalogue with columns added or replaced. Shape of each: (len,)."""
        arrays = {name: self.table[name] for name in self.columns}
        arrays |= {name: pa.array(np.asarray(values)) for name, values in columns.items()}
        return type(self)(_in_order(arrays))


def sky_positions(table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions of an archive's table, (ra, dec) in degrees; NaN where there is none. Shape of each: (n,).

    Raises:
        DataError: If a column is missing, ambiguous or in a unit that is no angle.
    """
    ra_deg, dec_deg = (_to_arrow(name, table[column_named(table, name)]) for name in ("ra", "dec"))
    return np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)


def healpix_29(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the HEALPix cell of each position: order 29, NESTED, the spatial index of HATS; -1 where it is NaN."""
    from astropy import units as u
    from astropy_healpix import lonlat_to_healpix

    cells = np.full(ra_deg.shape, -1, dtype=np.int64)
    for rows in blocks_of(len(cells)):  # each angle is copied half a dozen times on the way
        known = np.isfinite(ra_deg[rows]) & np.isfinite(dec_deg[rows])
        if known.any():
            longitude, latitude = ra_deg[rows][known] * u.deg, dec_deg[rows][known] * u.deg
            cells[rows][known] = lonlat_to_healpix(longitude, latitude, 2**_HEALPIX_ORDER, order="nested")
    return cells


def _in_order(columns: Mapping[str, pa.Array]) -> pa.Table:
    first = [name for name in CONTRACT_COLUMNS if name in columns]
    rest = sorted(set(columns) - set(first))
    return pa.table({name: columns[name] for name in first + rest})


def _to_arrow(name: str, column: Column) -> pa.Array:
    """Convert one column, its unit and its masked entries."""
    if not hasattr(column, "dtype"):
        raise DataError(f"column {name!r} holds {type(column).__name__} objects; give numbers or text")
    mask = np.asarray(getattr(column, "mask", np.zeros(1, dtype=bool)))
    values, mask = _without_objects(np.ma.getdata(np.ma.asarray(getattr(column, "value", column))), mask)
    unit = getattr(column, "unit", None)
    if name in UNITS:
        values = _in_unit(name, values, unit, mask)
    if values.dtype.kind in "SUO":
        return text_to_arrow(values, mask)
    if values.dtype.kind == "f":
        values = np.where(mask, np.nan, values) if mask.any() else values
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if native.ndim > 1:
        return pa.FixedSizeListArray.from_arrays(native.reshape(-1), int(np.prod(native.shape[1:])))
    if native.dtype.kind in "cV":
        raise DataError(f"column {name!r} holds values of type {native.dtype}; give numbers or text")
    return pa.array(native, mask=np.broadcast_to(mask, native.shape) if native.dtype.kind in "iubmM" else None)


def _without_objects(values: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return Python objects with None and NaN masked, as numbers where all others are numbers."""
    if values.dtype.kind != "O" or values.ndim != 1:
        return values, mask
    is_none = np.array([value is None or (isinstance(value, float) and value != value) for value in values], dtype=bool)
    mask = mask | is_none
    given = values[~mask]
    if not len(given) or not all(isinstance(value, Real) and not isinstance(value, bool) for value in given):
        return values, mask
    numbers = np.zeros(len(values), dtype=np.result_type(*map(type, given)))
    numbers[~mask] = given
    return numbers, mask


def _in_unit(name: str, values: NDArray[Any], unit: UnitBase | None, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Convert to the unit of the contract, from the one the column carries or else the contract's own."""
    from astropy import units as u
    from astropy.coordinates import Angle

    spelt = str(unit).strip('"').lower()
    if spelt in _ANGLES:
        unit = u.Unit(_ANGLES[spelt])
    is_text = values.dtype.kind in "SUO"
    if is_text:
        values = text_from_arrow(pa.chunked_array([text_to_arrow(values, mask, str.strip)]))
        mask = values == ""
    if is_text and unit is None:
        raise DataError(
            f"column {name!r} holds text such as {_first_that_is_no_number(values)!r}: give numbers in "
            f"{UNITS[name]}, or a table with the unit of the column ('hourangle' or 'deg'): ECSV, VOTable or FITS"
        )
    try:
        if is_text:
            text = np.where(mask, "0", values)
            converted = Angle(text, unit=unit).to_value(UNITS[name])
        else:
            numbers = values.astype(np.float64)
            converted = numbers if unit in (None, u.Unit(UNITS[name])) else (numbers * unit).to_value(UNITS[name])
    except (u.UnitsError, ValueError) as error:
        raise DataError(f"column {name!r} in {str(unit)!r} cannot be read as {UNITS[name]}: {error}") from error
    return np.where(mask, np.nan, converted) if mask.any() else np.asarray(converted, dtype=np.float64)


def _first_that_is_no_number(values: NDArray[np.str_]) -> str:
    """Return the first value for whose sake a column is text; the first one where all are numbers or empty."""
    for value in values.tolist():
        try:
            float(value or "nan")
        except ValueError:
            return str(value)
    return str(values[0]) if len(values) else ""


def checked_ids(column: Column) -> NDArray[np.str_]:
    """Return ids as text; refuse floats (they lose digits), empty ids and duplicates. Shape: (n,)."""
    return text_from_arrow(pa.chunked_array([_ids(column)]))


def _ids(column: Column) -> pa.StringArray:
    given = np.ma.asarray(column)
    values, mask = _without_objects(np.ma.getdata(given), np.ma.getmaskarray(given))
    if values.dtype.kind == "f" and len(values):
        raise DataError("the ids are floating-point numbers, which lose digits: give them as text or integers")
    ids = text_to_arrow(values, mask, str.strip)
    empty = pc.index(ids, "").as_py()
    if empty >= 0:
        raise DataError(f"row {empty} of the catalogue has no id")
    twice = _repeated(ids)
    if twice:
        more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
        raise DataError(f"these ids come more than once: {', '.join(twice[:3])}{more}; an id names one cutout")
    return ids


def _repeated(ids: pa.StringArray) -> list[str]:
    """Return the ids that come more than once, in order: a set of all would take 100 bytes a row."""
    hashes = np.empty(len(ids), np.int64)
    for rows in blocks_of(len(ids)):
        hashes[rows] = [hash(name) for name in ids[rows].to_pylist()]
    ordered = np.sort(hashes)
    shared = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(shared):
        return []
    counts = Counter(ids.filter(pa.array(np.isin(hashes, shared))).to_pylist())
    return [name for name, count in counts.items() if count > 1]


def _checked_positions(columns: Mapping[str, pa.Array]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (ra, dec) in degrees with 0 <= ra < 360; both are NaN or neither is."""
    ra_deg, dec_deg = (np.asarray(columns[name], dtype=np.float64) for name in ("ra", "dec"))
    off_sky = ~(((ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90)) | (np.isnan(ra_deg) & np.isnan(dec_deg)))
    if off_sky.any():
        row = int(np.argmax(off_sky))
        raise DataError(
            f"the position of {columns['id_str'][row].as_py()!r}, ra {ra_deg[row]:g} and dec {dec_deg[row]:g} deg, is "
            "not on the sky: ra must lie in 0-360 and dec in -90-90 (a table in hours says so in the column's unit)"
        )
    return np.where(ra_deg == 360.0, 0.0, ra_deg), dec_deg
