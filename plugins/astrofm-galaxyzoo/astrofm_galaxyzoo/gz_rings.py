"""The survey ``gz-rings``: one Parquet table of JPEG pictures, whose galaxies are named after their positions."""

from __future__ import annotations

__all__ = ["GalaxyZooRings", "position_of"]

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astrofm.survey import Source, Survey

if TYPE_CHECKING:
    from astropy.table import Table

NAME = re.compile(r"J(\d{2})(\d{2})(\d{2}\.\d+)([+-])(\d{2})(\d{2})(\d{2}(?:\.\d+)?)")
"""An IAU name: right ascension as hours, minutes and seconds, then declination as degrees, minutes and seconds."""


class GalaxyZooRings(Survey):
    """Galaxies with and without a ring; positions come from their names."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each galaxy, with the position that its name tells; unknown where it tells none."""
        table = super().catalog(source)
        positions = np.array([position_of(str(name)) for name in table["id_str"]], dtype=np.float64).reshape(-1, 2)
        for place, column in enumerate(("ra", "dec")):
            known = np.asarray(table[column], dtype=np.float64)
            table[column] = np.where(np.isnan(known), positions[:, place], known)
            table[column].unit = "deg"
        return table

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up disks with and without a ring as such a table; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.small_mocks import write_rings_mock

        return write_rings_mock(self.name, n, seed, out)


def position_of(name: str) -> tuple[float, float]:
    """Return (ra, dec) in degrees of a galaxy by its IAU name; NaN where it is none.

    >>> position_of("J003000.00-013000.0")
    (7.5, -1.5)
    """
    found = NAME.fullmatch(name)
    if found is None:
        return math.nan, math.nan
    hours, minutes, seconds, sign, degrees, arcmin, arcsec = found.groups()
    ra = 15.0 * (int(hours) + int(minutes) / 60.0 + float(seconds) / 3600.0)
    dec = int(degrees) + int(arcmin) / 60.0 + float(arcsec) / 3600.0
    return ra, -dec if sign == "-" else dec
