"""What archives call the columns of the contract."""

from __future__ import annotations

__all__ = ["SYNONYMS", "column_named", "columns_named"]

from typing import TYPE_CHECKING

from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Table

SYNONYMS = {
    "id_str": ("object_id", "objid", "dr7objid", "iauname", "source_id", "id"),
    "ra": (
        *("_raj2000", "alphawin_j2000", "raj2000", "alpha_j2000", "ra_icrs", "_ra_icrs", "_ra"),
        *("ra_deg", "radeg", "ra_j2000", "right_ascension"),
    ),
    "dec": (
        *("_dej2000", "deltawin_j2000", "dej2000", "decj2000", "delta_j2000", "de_icrs", "dec_icrs", "_de_icrs", "_de"),
        *("dec_deg", "decdeg", "dedeg", "dec_j2000", "declination"),
    ),
}
"""Other names that are understood on input, compared without regard to case."""

_BETTER = ("_raj2000", "_dej2000", "alphawin_j2000", "deltawin_j2000")
"""Names that win over the others: VizieR's own positions in degrees, and windowed positions of SExtractor."""

_ADDED = ("file_loc", "rejected")
"""Columns that readers add, and that are no archive's own."""

_UCDS = {
    "id_str": ("meta.id;meta.main", "id_main"),
    "ra": ("pos.eq.ra;meta.main", "pos_eq_ra_main"),
    "dec": ("pos.eq.dec;meta.main", "pos_eq_dec_main"),
}
"""What VOTables say of a column whatever its name, in both versions of the vocabulary."""


def columns_named(table: Table, name: str) -> list[str]:
    """Return the columns of a table that could be one of the contract.

    Args:
        table: As an archive has it.
        name: ``id_str``, ``ra`` or ``dec``.

    Returns:
        The column of that name; else those of a synonym, or the best of them; else those whose UCD says it.
    """
    if name in table.colnames:
        return [name]
    found = [own for own in table.colnames if own.lower() in (name, *SYNONYMS[name])]
    better = [own for own in found if own.lower() in _BETTER]
    by_ucd = [own for own in table.colnames if _ucd(table, own) in _UCDS[name]]
    return (better if len(better) == 1 else found) or by_ucd


def _ucd(table: Table, name: str) -> str:
    meta = getattr(table[name].info, "meta", None) or {}
    return str(meta.get("ucd", "")).lower()


def column_named(table: Table, name: str) -> str:
    """Return what a table calls a column of the contract.

    Raises:
        DataError: If no column could be it, or several.
    """
    found = columns_named(table, name)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{' and '.join(map(repr, found))} could both be {name!r}: rename one of them to {name!r}")
    own = ", ".join(other for other in table.colnames if other not in _ADDED)
    raise DataError(
        f"the catalogue has no column {name!r} (or {', '.join(SYNONYMS[name])}, in any case); it has {own or 'none'}: "
        "map one of them under 'columns' of the card, or rename it"
    )
