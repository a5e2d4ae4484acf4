"""Units of brightness as archives spell them."""

from __future__ import annotations

__all__ = ["unit_factor"]

import re
from functools import cache

_SPELLINGS = {
    "jy": "Jy",
    "beam": "beam",
    "electron": "electron",
    "electrons": "electron",
    "count": "count",
    "counts": "count",
    "s": "s",
    "sec": "s",
    "nmgy": "nanomaggy",
    "nanomaggy": "nanomaggy",
    "nanomaggies": "nanomaggy",
}
"""Spellings that are understood in any case. MJY is not among them: it may be a thousandth or a million of a Jy."""

_PART = re.compile(r"\s*([/.*]?)\s*([A-Za-z]+)(?:\^?\(?(-?\d+)\)?)?\s*")


@cache
def unit_factor(found: str, wanted: str) -> float | None:
    """Return what values in one unit are multiplied by to be in another.

    Args:
        found: Unit as a file gives it, for example ``JY/BEAM`` or ``mJy beam-1``.
        wanted: Unit wanted, for example ``Jy/beam``.

    Returns:
        The factor, exactly 1 for two spellings of one unit; None where they are not units of the same quantity.
    """
    found, wanted = _in_one_spelling(found), _in_one_spelling(wanted)
    if found == wanted:
        return 1.0
    from astropy import units as u

    try:
        return float(u.Unit(found).to(u.Unit(wanted)))
    except (ValueError, u.UnitConversionError):
        return None


def _in_one_spelling(unit: str) -> str:
    """Return ``Jy.beam-1`` for any spelling of it; text that is not a product of named units comes back as it is."""
    parts = [match.groups() for match in _PART.finditer(unit)]
    if "".join(match.group() for match in _PART.finditer(unit)) != unit:
        return unit.strip()
    spelt = []
    for operator, name, power in parts:
        exponent = int(power or 1) * (-1 if operator == "/" else 1)
        spelt.append(_SPELLINGS.get(name.lower(), name) + ("" if exponent == 1 else str(exponent)))
    return ".".join(spelt)
