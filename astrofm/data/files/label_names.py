"""What archives call the labels that are measured: redshifts and angular sizes, with their units."""

from __future__ import annotations

__all__ = ["LABEL_UNITS", "contract_label_names"]

from typing import TYPE_CHECKING

from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Table

LABEL_UNITS = {"las_arcsec": "arcsec", "size_arcsec": "arcsec"}
"""Unit of each label column that has one; a table that names another unit is converted."""

_REDSHIFTS = {
    "z_spec": ("redshift", "specz", "spec_z", "zspec", "z"),
    "z_err": ("redshift_err", "redshift_error", "specz_err", "zspec_err", "e_z", "e_zspec", "zerr", "z_error"),
}

_SIZES = {"las_arcsec": ("las", "largest_angular_size"), "size_arcsec": ("angular_size", "ang_size")}
"""Understood only where the column carries a unit: half of all catalogues mean arcminutes."""

_OTHER_BANDS = {"u", "g", "r", "i"}
"""Beside one of these ``z`` is a magnitude and ``z_err`` its error."""


def contract_label_names(table: Table) -> dict[str, str]:
    """Return the columns of a table that are labels under another name, each with its name in the contract.

    Synonyms are compared without regard to case; a column of the contract's own name wins over all of them.

    Raises:
        DataError: If two columns could be one label.
    """
    lower = {name.lower() for name in table.colnames}
    has_magnitudes = bool(_OTHER_BANDS & lower)
    renamed: dict[str, str] = {}
    for name, understood in (_REDSHIFTS | _SIZES).items():
        if name in table.colnames:
            continue
        own = [other for other in table.colnames if other.lower() in (name, *understood)]
        if name in _SIZES:
            own = [other for other in own if getattr(table[other], "unit", None) is not None]
        if has_magnitudes:
            own = [other for other in own if other.lower() not in ("z", "z_err", "z_error", "e_z", "zerr")]
        if len(own) > 1:
            raise DataError(f"{' and '.join(map(repr, own))} could both be {name!r}: rename one of them to {name!r}")
        renamed |= {other: name for other in own}
    return renamed
