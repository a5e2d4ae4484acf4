"""Whether a catalogue position lies in the image that is said to show it.

A catalogue in hours that is read as degrees, or a table joined to the wrong files, gives cutouts whose labels are
those of other sources. The tangent plane about the reference position tells, in microseconds.
"""

from __future__ import annotations

__all__ = ["Position", "outside"]

from collections.abc import Callable, Mapping
from math import atan2, cos, degrees, hypot, radians, sin, tan
from typing import Any, NamedTuple

from astrofm.data.files.orientation import pixel_matrix, units_in_degrees

MARGIN = 1.0
"""How far a source may lie outside its image, in sides of the image: the frames and epochs of archives differ."""

_RADIUS: dict[str, Callable[[float], float]] = {
    "TAN": tan,
    "SIN": sin,
    "ARC": lambda distance: distance,
    "ZEA": lambda distance: 2 * sin(distance / 2),
    "STG": lambda distance: 2 * tan(distance / 2),
}
"""Zenithal projections: distance from the reference position to that from its pixel, both in radians."""


class Position(NamedTuple):
    """Where the catalogue has a source: ICRS, in degrees."""

    ra_deg: float
    dec_deg: float


def outside(keywords: Mapping[str, Any], position: Position) -> str:
    """Say how a source lies outside its image, if it does by more than :data:`MARGIN`.

    Args:
        keywords: Header of the image.
        position: NaN where the catalogue has none.

    Returns:
        The end of a sentence, empty where the source is inside, or the header does not tell in equatorial coordinates
        of J2000 and a zenithal projection.
    """
    if position.ra_deg != position.ra_deg or not _tells(keywords) or _is_inside(keywords, position):
        return ""
    reference = f"{float(keywords['CRVAL1']):g} {float(keywords['CRVAL2']):g}"
    found = f"the catalogue has it at ra, dec {position.ra_deg:g} {position.dec_deg:g} deg, the image at {reference}"
    if position.ra_deg <= 24 and _is_inside(keywords, Position(position.ra_deg * 15.0, position.dec_deg)):
        return f"{found}: its right ascension is in hours; give the column that unit"
    return found


def _tells(keywords: Mapping[str, Any]) -> bool:
    lon, lat = (str(keywords.get(key, "")).strip().upper() for key in ("CTYPE1", "CTYPE2"))
    equinox = keywords.get("EQUINOX", keywords.get("EPOCH", 2000.0))
    is_j2000 = equinox == 2000 and str(keywords.get("RADESYS", "ICRS")).strip().upper() in ("", "ICRS", "FK5")
    is_equatorial = lon.startswith("RA--") and lat.startswith("DEC-") and lon[-3:] in _RADIUS
    names = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "NAXIS1", "NAXIS2")
    is_told = not {"PV2_1", "PV1_3"} & set(keywords) and all(name in keywords for name in names)
    if not (is_j2000 and is_equatorial and is_told and units_in_degrees(keywords) == (1.0, 1.0)):
        return False
    reference = keywords["CRVAL2"]
    return isinstance(reference, int | float) and abs(reference) < 90.0


def _is_inside(keywords: Mapping[str, Any], position: Position) -> bool:
    matrix = pixel_matrix(keywords)
    if matrix is None:
        return True
    dec, dec0 = radians(position.dec_deg), radians(float(keywords["CRVAL2"]))
    dra = radians(position.ra_deg - float(keywords["CRVAL1"]))
    east, north = cos(dec) * sin(dra), cos(dec0) * sin(dec) - sin(dec0) * cos(dec) * cos(dra)
    toward, aside = sin(dec0) * sin(dec) + cos(dec0) * cos(dec) * cos(dra), hypot(east, north)
    if toward <= 0:  # beyond the horizon of most projections
        return False
    radius = _RADIUS[str(keywords["CTYPE1"]).strip().upper()[-3:]](atan2(aside, toward))
    stretch = degrees(radius / aside) if aside else 0.0
    lon, lat = east * stretch, north * stretch
    x = float(keywords["CRPIX1"]) + (matrix.lat_y * lon - matrix.lon_y * lat) / matrix.determinant
    y = float(keywords["CRPIX2"]) + (matrix.lon_x * lat - matrix.lat_x * lon) / matrix.determinant
    sides = ((x, float(keywords["NAXIS1"])), (y, float(keywords["NAXIS2"])))
    return all(-MARGIN * side <= place <= (1 + MARGIN) * side for place, side in sides)
