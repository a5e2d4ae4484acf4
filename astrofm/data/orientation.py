"""Pixel scale and orientation of an image by its header, and mirroring to East left.

Header arithmetic takes microseconds where building a WCS takes milliseconds; a header that needs more than the linear
keywords in degrees is handed to astropy.
"""

from __future__ import annotations

__all__ = ["NotASkyImageError", "east_left"]

from typing import Any

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

_LONGITUDES = ("RA--", "GLON", "ELON")
_LATITUDES = ("DEC-", "GLAT", "ELAT")
_DISTORTIONS = ("A_ORDER", "B_ORDER", "CPDIS1", "CPDIS2", "D2IMDIS1", "D2IMDIS2")
_ALIGNED = 1e-6
"""Off-diagonal part of the pixel matrix, relative to the pixel scale, up to which the axes count as aligned."""


class NotASkyImageError(ValueError):
    """The axes of an image are not a longitude and a latitude on the sky."""


def east_left(image: NDArray[Any], header: Header) -> tuple[NDArray[Any], Header, dict[str, float]]:
    """Mirror an image so that East is to the left of North, and say how it lies on the sky.

    Only whole axes are reversed, so that no pixel changes its value: x where the image is a mirror image of the sky,
    and both axes where it is upside down. A rotation by any other angle stays. An image whose header has distortion
    terms stays as it is.

    Args:
        image: Shape: (band, y, x).
        header: Its FITS header; not changed.

    Returns:
        Image, header with the WCS moved along, and ``pixel_scale`` (arcsec, geometric mean of the axes),
        ``orientation_deg`` (direction of +y, from North through East), ``flip_x`` and ``flip_y`` (1 where reversed).
        The last three are absent where the header does not give a plain linear WCS, all four where it has no WCS.

    Raises:
        NotASkyImageError: If the header names axes and they are not celestial.
    """
    axes = (_axis_type(header, 1), _axis_type(header, 2))
    if not any(axes):
        return image, header, {}
    matrix = _linear_matrix(header, axes)
    if matrix is None:
        return image, header, {"pixel_scale": _scale_by_astropy(header)}
    scale_arcsec = float(np.sqrt(np.hypot(*matrix[:, 0]) * np.hypot(*matrix[:, 1]))) * 3600.0
    flip_x = bool(np.linalg.det(matrix) > 0)
    if flip_x:
        matrix[:, 0] *= -1
    is_aligned = abs(matrix[0, 1]) <= _ALIGNED * abs(matrix[1, 1])
    flip_y = is_aligned and bool(matrix[1, 1] < 0)
    if flip_y:  # upside down: half a turn, both axes
        flip_x, matrix = not flip_x, -matrix
    if flip_x or flip_y:
        header = _mirrored(header, flip_x, flip_y)
        image = np.ascontiguousarray(image[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1])
    orientation_deg = 0.0 if is_aligned else float(np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1])))
    meta = {"pixel_scale": scale_arcsec, "orientation_deg": orientation_deg}
    return image, header, meta | {"flip_x": float(flip_x), "flip_y": float(flip_y)}


def _axis_type(header: Header, axis: int) -> str:
    return str(header.get(f"CTYPE{axis}", "")).strip().upper()


def _linear_matrix(header: Header, axes: tuple[str, str]) -> NDArray[np.float64] | None:
    """Return d(longitude, latitude)/d(x, y) in degrees per pixel, or None where astropy is to be asked."""
    in_degrees = all(str(header.get(f"CUNIT{axis}", "deg")).strip() in ("", "deg") for axis in (1, 2))
    is_plain = axes[0].startswith(_LONGITUDES) and axes[1].startswith(_LATITUDES) and in_degrees
    if not is_plain or any(key in header for key in _DISTORTIONS):
        return None
    if "CD1_1" in header or "CD2_2" in header:
        matrix = np.array([[float(header.get(f"CD{i}_{j}", 0.0)) for j in (1, 2)] for i in (1, 2)])
    elif "CDELT1" in header and "CDELT2" in header:
        matrix = np.diag([float(header["CDELT1"]), float(header["CDELT2"])]) @ _rotation(header)
    else:
        return None
    return matrix if np.linalg.det(matrix) != 0 else None


def _rotation(header: Header) -> NDArray[np.float64]:
    """Return the PC matrix, from the older CROTA2 where the header has that."""
    if any(f"PC{i}_{j}" in header for i in (1, 2) for j in (1, 2)) or not header.get("CROTA2"):
        return np.array([[float(header.get(f"PC{i}_{j}", i == j)) for j in (1, 2)] for i in (1, 2)])
    angle, ratio = np.radians(float(header["CROTA2"])), float(header["CDELT2"]) / float(header["CDELT1"])
    return np.array([[np.cos(angle), -np.sin(angle) * ratio], [np.sin(angle) / ratio, np.cos(angle)]])


def _scale_by_astropy(header: Header) -> float:
    """Return the pixel scale in arcsec, NaN where astropy finds none either."""
    import warnings

    from astropy.wcs import WCS, FITSFixedWarning, WcsError
    from astropy.wcs.utils import proj_plane_pixel_scales

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
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
