"""FITS images as archives have them, read into one form.

Whatever the file holds (4-D radio images, scaled integers with BLANK, compressed or gzipped images, images in an
extension), a cutout comes out as native float32 of shape (band, y, x) with NaN where nothing was observed, in the
orientation of the sky: East to the left. What cannot be read is returned as a reason, never raised.
"""

from __future__ import annotations

__all__ = ["read_cutout"]

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # it has no public name
from astropy.stats import sigma_clipped_stats
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.orientation import NotASkyImageError, east_left
from astrofm.data.units import unit_factor

_GZIP = b"\x1f\x8b"

_DAMAGE = (fits.VerifyError, CfitsioException, gzip.BadGzipFile, zlib.error, KeyError, TypeError, ValueError)
"""What astropy and zlib raise on broken bytes; the last three where a keyword is missing or of a wrong type."""


def read_cutout(path: Path, *, unit: str | None = None, measure_rms: bool = True) -> Cutout | Rejected:
    """Read the first image of a FITS file.

    Axes of length one (STOKES, FREQ) are dropped; a cube keeps its third axis as bands. Infinite pixels become NaN.
    An image in which East is to the right is mirrored, with its WCS, see :func:`astrofm.data.orientation.east_left`.

    Args:
        path: The file, plain or gzipped.
        unit: Unit wanted; the file's BUNIT is converted to it, and taken to be it where there is none. None: the
            file's own.
        measure_rms: Measure the noise of a single-band image: the standard deviation after clipping at 3 sigma, at
            most 5 times, over the whole field.

    Returns:
        The cutout, whose ``meta`` has what is known of ``rms`` (in the unit of the image; float32 precision held as
        float64, so that a threshold of k rms is that of the published pipelines to the bit), ``pixel_scale``,
        ``bmaj``, ``bmin`` (arcsec), ``bpa`` (deg, North through East), ``orientation_deg`` (direction of +y, North
        through East), ``flip_x`` and ``flip_y`` (1 where the file was mirrored). Or the reason why there is none:
        ``missing file``, ``not FITS``, ``truncated file``, ``damaged file``, ``no image``, ``not an image``,
        ``not a sky image``, ``unexpected unit``.
    """
    read = _read_first_image(path)
    if isinstance(read, Rejected):
        return read
    try:
        return _cutout(*read, path.name, unit, measure_rms)
    except NotASkyImageError as error:
        return Rejected("not a sky image", f"{path.name}: {error}", path.name)
    except (fits.VerifyError, ValueError, TypeError) as error:  # a keyword that cannot be parsed or is no number
        return Rejected("damaged file", f"{path.name}: {_one_line(error)}", path.name)


def _cutout(
    pixels: NDArray[Any], header: fits.Header, name: str, unit: str | None, measure_rms: bool
) -> Cutout | Rejected:
    """Bring pixels to the one form and collect what the header says of them."""
    image = _as_bands(pixels)
    if image is None:
        return Rejected("not an image", f"{name} holds an array of shape {pixels.shape}", name)
    found = str(header.get("BUNIT", "")).strip()
    wanted = found if unit is None else unit
    factor = unit_factor(found, wanted) if found else 1.0
    if factor is None:
        return Rejected("unexpected unit", f"{name} is in {found!r}, which is not {wanted!r}", name)
    if factor != 1.0:
        image = image * np.float32(factor)
    image, header, meta = east_left(image, header)
    meta |= _beam(header)
    if measure_rms and len(image) == 1 and np.isfinite(image).any():
        meta["rms"] = _noise(image[0])
    return Cutout(image, wanted, header=header, meta=meta)


def _read_first_image(path: Path) -> tuple[NDArray[Any], fits.Header] | Rejected:
    """Return the pixels and header of the first HDU that is an image with data."""
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        # Cards that are off the standard are mended by astropy; a file that is too short fails when it is read.
        warnings.simplefilter("ignore", AstropyUserWarning)
        begin = b""
        try:
            with path.open("rb") as file:
                begin = file.read(6)
                file.seek(0)
                # Unpacked whole: astropy stops at the last pixel, before the checksum that tells of damage.
                opened = io.BytesIO(gzip.decompress(file.read())) if begin.startswith(_GZIP) else file
                with fits.open(opened, memmap=False) as hdus:
                    return _first_image(hdus, path)
        except (FileNotFoundError, IsADirectoryError):
            return Rejected("missing file", f"there is no file {path.name}", path.name)
        except EOFError as error:
            return Rejected("truncated file", f"{path.name}: {_one_line(error)}", path.name)
        except _DAMAGE as error:
            return Rejected("damaged file", f"{path.name}: {_one_line(error)}", path.name)
        except OSError as error:
            reason = "truncated file" if begin.startswith((b"SIMPLE", _GZIP)) else "not FITS"
            return Rejected(reason, f"{path.name}: {_one_line(error)}", path.name)


def _first_image(hdus: fits.HDUList, path: Path) -> tuple[NDArray[Any], fits.Header] | Rejected:
    for hdu in hdus:
        if not hdu.is_image or hdu.header.get("NAXIS", 0) == 0:
            continue
        try:
            pixels = hdu.data
        except (ValueError, TypeError) as error:
            # What astropy raises where the bytes that are there do not fill the array.
            return Rejected("truncated file", f"{path.name}: {_one_line(error)}", path.name)
        if pixels is not None and pixels.size:
            return pixels, hdu.header
    return Rejected("no image", f"none of the {len(hdus)} HDUs of {path.name} holds an image", path.name)


def _as_bands(pixels: NDArray[Any]) -> NDArray[np.float32] | None:
    """Return native float32 of shape (band, y, x) with NaN for infinities, or None if it has no such shape."""
    if pixels.ndim < 2 or pixels.dtype.kind not in "fiu":
        return None
    leading = [length for length in pixels.shape[:-2] if length > 1]
    if len(leading) > 1:
        return None
    with np.errstate(over="ignore"):  # beyond float32 is infinite, thus NaN below
        image = pixels.reshape(*(leading or [1]), *pixels.shape[-2:]).astype(np.float32)
    image[np.isinf(image)] = np.nan
    return image


def _beam(header: fits.Header) -> dict[str, float]:
    """Return the beam that the header gives: axes in arcsec, position angle in degrees."""
    found = {}
    for key, scale in (("BMAJ", 3600.0), ("BMIN", 3600.0), ("BPA", 1.0)):
        value = header.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
            found[key.lower()] = float(value) * scale
    return {} if found.get("bmaj", 1.0) <= 0 else found


def _noise(image: NDArray[np.float32]) -> float:
    """Return the clipped standard deviation of a field, (y, x), of what was observed of it."""
    known = np.isfinite(image)
    field = image if known.all() else image[known]
    _, _, std = sigma_clipped_stats(field, sigma=3.0, maxiters=5)
    return float(std)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
