"""Pixel scale and orientation of an image by its header, and mirroring to East left.

Header arithmetic takes microseconds where building a WCS takes milliseconds; a header that needs more than the linear
keywords in degrees is handed to astropy.
"""

from __future__ import annotations

__all__ = ["Matrix", "NotASkyImageError", "east_left", "pixel_matrix", "units_in_degrees"]

from collections.abc import Mapping
from math import atan2, cos, degrees, hypot, radians, sin, sqrt
from typing import Any, NamedTuple

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

_LONGITUDES = ("RA--", "GLON", "ELON")
_LATITUDES = ("DEC-", "GLAT", "ELAT")
_DISTORTIONS = ("A_ORDER", "B_ORDER", "CPDIS1", "CPDIS2", "D2IMDIS1", "D2IMDIS2")
_SCALES = ("CDELT1", "CDELT2", *(f"{kind}{i}_{j}" for kind in ("CD", "PC") for i in (1, 2) for j in (1, 2)))
_ZENITHAL = ("AZP", "SZP", "TAN", "STG", "SIN", "NCP", "ARC", "ZPN", "ZEA", "AIR", "TPV")
_ALIGNED = 1e-6
"""Off-diagonal part of the pixel matrix, relative to the pixel scale, up to which the axes count as aligned."""


class NotASkyImageError(ValueError):
    """The axes of an image are not a longitude and a latitude on the sky."""


class Matrix(NamedTuple):
    """The derivatives d(longitude, latitude)/d(x, y), in degrees per pixel."""

    lon_x: float
    lon_y: float
    lat_x: float
    lat_y: float

    @property
    def determinant(self) -> float:
        """Negative where East is to the left of North."""
        return self.lon_x * self.lat_y - self.lon_y * self.lat_x


def east_left(
    image: NDArray[Any], header: Header, keywords: Mapping[str, Any] | None = None
) -> tuple[NDArray[Any], Header, dict[str, float]]:
    """Mirror an image so that East is to the left of North, and say how it lies on the sky.

    Only whole axes are reversed, so that no pixel changes its value: x where the image is a mirror image of the sky,
    and both axes where it is upside down. A rotation by any other angle stays. An image whose header has distortion
    terms stays as it is.

    Args:
        image: Shape: (band, y, x).
        header: Its FITS header; not changed.
        keywords: The same keywords where they can be read in less time.

    Returns:
        Image, header with the WCS moved along, and ``pixel_scale`` (arcsec, geometric mean of the axes),
        ``orientation_deg`` (direction of +y, from North through East), ``flip_x`` and ``flip_y`` (1 where reversed).
        The last three are absent where the header does not give a plain linear WCS, all four where it has no WCS.

    Raises:
        NotASkyImageError: If the header names axes and they are not celestial.
    """
    keywords = header if keywords is None else keywords
    if not any(_axis_types(keywords)):
        return image, header, {}
    if not any(key in keywords for key in _SCALES) and _is_sky(keywords):
        return image, header, {}  # the standard's default of one degree to a pixel is nobody's image
    matrix = pixel_matrix(keywords)
    if matrix is None:
        return image, header, {"pixel_scale": _scale_by_astropy(header)}
    scale_arcsec = sqrt(hypot(matrix.lon_x, matrix.lat_x) * hypot(matrix.lon_y, matrix.lat_y)) * 3600.0
    flip_x = matrix.determinant > 0
    is_aligned = abs(matrix.lon_y) <= _ALIGNED * abs(matrix.lat_y)
    flip_y = is_aligned and matrix.lat_y < 0
    if flip_y:  # upside down: half a turn, both axes
        flip_x = not flip_x
    if flip_x or flip_y:
        header = _mirrored(header, flip_x, flip_y)
        image = np.ascontiguousarray(image[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1])
    orientation_deg = 0.0 if is_aligned else degrees(atan2(matrix.lon_y, matrix.lat_y))
    meta = {"pixel_scale": scale_arcsec, "orientation_deg": orientation_deg}
    return image, header, meta | {"flip_x": float(flip_x), "flip_y": float(flip_y)}


def pixel_matrix(keywords: Mapping[str, Any]) -> Matrix | None:
    """Return the linear part of the WCS, or None where astropy is to be asked.

    Args:
        keywords: Of a header.
    """
    first, second = _axis_types(keywords)
    is_swapped = first.startswith(_LATITUDES) and second.startswith(_LONGITUDES)
    is_plain = is_swapped or (first.startswith(_LONGITUDES) and second.startswith(_LATITUDES))
    if not is_plain or any(key in keywords for key in _DISTORTIONS) or not _is_upright(keywords, first):
        return None
    units = units_in_degrees(keywords)
    if "CD1_1" in keywords or "CD2_2" in keywords:
        matrix = Matrix(*(float(keywords.get(key, 0.0)) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")))
    elif "CDELT1" in keywords and "CDELT2" in keywords:
        matrix = _scaled_rotation(keywords, float(keywords["CDELT1"]), float(keywords["CDELT2"]))
    else:
        return None
    is_odd = is_swapped and ("CROTA1" in keywords or "CROTA2" in keywords)  # which axis it turns is a matter of taste
    if units[0] is None or units[1] is None or is_odd:
        return None
    of_first = (matrix.lon_x * units[0], matrix.lon_y * units[0])
    of_second = (matrix.lat_x * units[1], matrix.lat_y * units[1])
    matrix = Matrix(*of_second, *of_first) if is_swapped else Matrix(*of_first, *of_second)
    return matrix if matrix.determinant != 0 else None


def units_in_degrees(keywords: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return how many degrees the units of the two axes are; None for one that is no angle."""
    return _in_degrees(keywords.get("CUNIT1", "deg")), _in_degrees(keywords.get("CUNIT2", "deg"))


def _in_degrees(unit: object) -> float | None:
    """Return how many degrees a unit of an axis is; None where it is no angle."""
    spelt = str(unit).strip()
    if spelt.lower() in ("", "deg", "degree", "degrees"):
        return 1.0
    from astropy import units as u

    try:
        return float(u.Unit(spelt.lower()).to(u.deg))
    except (ValueError, u.UnitConversionError):
        return None


def _is_upright(keywords: Mapping[str, Any], axis_type: str) -> bool:
    """Return whether the pole of the projection lies where it does by default, so that its axes are those of the sky.

    Calabretta & Greisen 2002, section 2.2: LONPOLE is 180 deg, but 0 for projections about the equator of a point that
    is not South of it.
    """
    if keywords.get("LONPOLE") is None:
        return True
    is_zenithal = axis_type.rpartition("-")[2] in _ZENITHAL
    latitude = "CRVAL1" if axis_type.startswith(_LATITUDES) else "CRVAL2"
    default = 180.0 if is_zenithal or float(keywords.get(latitude, 0.0)) < 0 else 0.0
    return abs(float(keywords["LONPOLE"]) - default) < 1e-6


def _is_sky(keywords: Mapping[str, Any]) -> bool:
    return all(kind.startswith((*_LONGITUDES, *_LATITUDES)) for kind in _axis_types(keywords))


def _axis_types(keywords: Mapping[str, Any]) -> tuple[str, str]:
    lon, lat = (str(keywords.get(key, "")).strip().upper() for key in ("CTYPE1", "CTYPE2"))
    return lon, lat


def _scaled_rotation(keywords: Mapping[str, Any], lon_step: float, lat_step: float) -> Matrix:
    """Return CDELT times the PC matrix, from the older CROTA2 where the header has that."""
    names = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")
    has_matrix = any(name in keywords for name in names)
    angle = 0.0 if has_matrix else radians(float(keywords.get("CROTA2") or 0.0))
    if angle:
        return Matrix(lon_step * cos(angle), -lat_step * sin(angle), lon_step * sin(angle), lat_step * cos(angle))
    if not has_matrix:
        return Matrix(lon_step, 0.0, 0.0, lat_step)
    unit = (1.0, 0.0, 0.0, 1.0)
    lon_x, lon_y, lat_x, lat_y = (float(keywords.get(name, own)) for name, own in zip(names, unit, strict=True))
    return Matrix(lon_step * lon_x, lon_step * lon_y, lat_step * lat_x, lat_step * lat_y)


def _scale_by_astropy(header: Header) -> float:
    """Return the pixel scale in arcsec, NaN where astropy finds none either."""
    import warnings

    from astropy.io.fits.verify import VerifyWarning
    from astropy.wcs import WCS, FITSFixedWarning, WcsError
    from astropy.wcs.utils import proj_plane_pixel_scales

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        warnings.simplefilter("ignore", VerifyWarning)
        try:
            wcs = WCS(header)
        except (WcsError, ValueError, KeyError):
            return float("nan")
    if not wcs.has_celestial:
        raise NotASkyImageError(
            f"its axes are {header.get('CTYPE1', '')!r} and {header.get('CTYPE2', '')!r}, not those of the sky"
        )
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs.celestial)))) * 3600.0


def _mirrored(header: Header, flip_x: bool, flip_y: bool) -> Header:
    """Return a header whose WCS gives each pixel the sky position it had before the axes were reversed."""
    moved = header.copy()
    for axis, is_flipped in ((1, flip_x), (2, flip_y)):
        if not is_flipped:
            continue
        moved[f"CRPIX{axis}"] = moved[f"NAXIS{axis}"] + 1 - moved.get(f"CRPIX{axis}", 0.0)
        prefix = "CD" if "CD1_1" in moved or "CD2_2" in moved else "PC"
        column = [f"{prefix}{row}_{axis}" for row in (1, 2)]
        if prefix == "CD" or any(f"PC{i}_{j}" in moved for i in (1, 2) for j in (1, 2)):
            for row, key in enumerate(column, start=1):
                moved[key] = -float(moved.get(key, float(row == axis and prefix == "PC")))
        else:
            moved[f"CDELT{axis}"] = -moved[f"CDELT{axis}"]
    return moved
