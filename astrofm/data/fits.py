"""FITS images as archives have them, read into one form.

Whatever the file holds (4-D radio images, scaled integers with BLANK, compressed or gzipped images, images in an
extension with flags and errors beside it), a cutout comes out as native float32 of shape (band, y, x) with NaN where
nothing was observed, in the orientation of the sky: East to the left. What cannot be read is returned as a reason,
never raised.
"""

from __future__ import annotations

__all__ = ["read_cutout"]

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # it has no public name
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.extensions import NoSuchExtensionError, find_image
from astrofm.data.files.fits_plain import CARD, FoundImage, plain_image
from astrofm.data.files.noise import clipped_std, noise_column
from astrofm.data.files.orientation import NotASkyImageError, east_left
from astrofm.data.files.placement import Position, outside
from astrofm.data.units import unit_factor
from astrofm.forms import Extensions

_GZIP = b"\x1f\x8b"

_BAD_KEYWORDS = (fits.VerifyError, AttributeError, KeyError, TypeError, ValueError)
"""What astropy raises where a keyword is missing, cannot be parsed or is of a wrong type."""
_DAMAGE = (*_BAD_KEYWORDS, CfitsioException, gzip.BadGzipFile, zlib.error)
"""What astropy and zlib raise on broken bytes."""

_BEAM = (("BMAJ", 3600.0), ("BMIN", 3600.0), ("BPA", 1.0))
_CLEAN_BEAM = re.compile(r"HISTORY[^\n]*\bBMAJ=\s*(\S+)\s+BMIN=\s*(\S+)\s+BPA=\s*([^\s/]+)")
"""As the task that made the image writes it, in degrees: many radio archives have it nowhere else."""

_BY_DEFAULT = Extensions()


def read_cutout(
    path: Path,
    *,
    unit: str | None = None,
    measure_rms: bool = True,
    extensions: Extensions = _BY_DEFAULT,
    position: Position | None = None,
    bands: Sequence[str] = (),
) -> Cutout | Rejected:
    """Read one image of a FITS file.

    Axes of length one (STOKES, FREQ) are dropped; a cube keeps its third axis as bands. Infinite pixels become NaN.
    An image in which East is to the right is mirrored, with its WCS, see
    :func:`astrofm.data.files.orientation.east_left`.
    Pixels at or above SATURATE, and those that the quality extension flags, are masked.

    Args:
        path: The file, plain or gzipped.
        unit: Unit wanted; the file's BUNIT is converted to it, and taken to be it where there is none. None: the
            file's own.
        measure_rms: Give the noise of a single-band image: the median of its error extension, else the standard
            deviation after clipping at 3 sigma, at most 5 times, over the whole field.
        extensions: Which HDUs are read.
        position: Where the catalogue has the source; an image of another place is refused.
        bands: Names of the bands of a cube, under which the noise of each is told: the standard deviation after
            clipping.

    Returns:
        The cutout, whose ``meta`` has what is known of ``rms``, or of a cube ``rms_BAND`` for each band (in the unit of
        the image; float32 precision held as float64, so that a threshold of k rms is that of the published pipelines
        to the bit), ``pixel_scale``,
        ``bmaj``, ``bmin`` (arcsec), ``bpa`` (deg, North through East), ``orientation_deg`` (direction of +y, North
        through East), ``flip_x`` and ``flip_y`` (1 where the file was mirrored). Or the reason why there is none:
        ``missing file``, ``unreadable file``, ``not FITS``, ``truncated file``, ``damaged file``, ``no image``,
        ``no such extension``, ``not an image``, ``not a sky image``, ``unexpected unit``, ``other quality shape``,
        ``position outside the image``.
    """
    found = _read(path, extensions)
    if isinstance(found, Rejected):
        return found
    try:
        misplaced = "" if position is None else outside(found.keywords, position)
        if misplaced:
            return Rejected("position outside the image", f"{path.name}: {misplaced}", path.name)
        return _cutout(found, path.name, unit, measure_rms, bands)
    except NotASkyImageError as error:
        return Rejected("not a sky image", f"{path.name}: {error}", path.name)
    except _BAD_KEYWORDS as error:
        return Rejected("damaged file", f"{path.name}: {_one_line(error)}", path.name)


def _cutout(
    found: FoundImage, name: str, unit: str | None, measure_rms: bool, bands: Sequence[str]
) -> Cutout | Rejected:
    """Bring pixels to the one form and collect what the header says of them."""
    image = _as_bands(found.pixels)
    if image is None:
        return Rejected("not an image", f"{name} holds an array of shape {found.pixels.shape}", name)
    own = str(found.keywords.get("BUNIT", "")).strip()
    wanted = own if unit is None else unit
    factor = unit_factor(own, wanted) if own else 1.0
    if factor is None:
        return Rejected("unexpected unit", f"{name} is in {own!r}, which is not {wanted!r}", name)
    if found.flags is not None and found.flags.shape[-2:] != image.shape[1:]:
        sizes = f"{found.flags.shape[-2:]} for pixels {image.shape[1:]}"
        return Rejected("other quality shape", f"{name} has flags {sizes}", name)
    mask = _mask(image, found)
    if factor != 1.0:
        image = image * np.float32(factor)
    image, header, meta = east_left(image, found.header, found.keywords)
    if mask is not None:
        mask = mask[:: -1 if meta.get("flip_y") else 1, :: -1 if meta.get("flip_x") else 1].copy()
    meta |= beam_of(found)
    if measure_rms and len(image) == 1:
        meta |= _rms(image[0], mask, found, own, wanted)
    elif measure_rms and len(image) == len(bands):
        meta |= _noise_of_bands(image, mask, bands)
    return Cutout(image, wanted, mask=mask, header=header, meta=meta)


def _read(path: Path, extensions: Extensions) -> FoundImage | Rejected:
    """Read the whole file once, and find its image."""
    name = path.name
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return Rejected("missing file", f"there is no file {name}", name)
    except OSError as error:
        return Rejected("unreadable file", f"{name}: {_one_line(error)}", name)
    is_packed = raw.startswith(_GZIP)
    try:
        # Unpacked whole: astropy stops at the last pixel, before the checksum that tells of damage.
        raw = gzip.decompress(raw) if is_packed else raw
        plain = plain_image(raw) if extensions == _BY_DEFAULT else None
        return plain or _read_by_astropy(raw, extensions, name)
    except EOFError as error:
        return Rejected("truncated file", f"{name}: {_one_line(error)}", name)
    except _DAMAGE as error:
        return Rejected("damaged file", f"{name}: {_one_line(error)}", name)
    except OSError as error:
        reason = "truncated file" if is_packed or raw.startswith(b"SIMPLE") else "not FITS"
        return Rejected(reason, f"{name}: {_one_line(error)}", name)


def _read_by_astropy(raw: bytes, extensions: Extensions, name: str) -> FoundImage | Rejected:
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        # Cards that are off the standard are mended by astropy; a file that is too short fails when it is read.
        warnings.simplefilter("ignore", AstropyUserWarning)
        with fits.open(io.BytesIO(raw), memmap=False) as hdus:
            try:
                found = find_image(hdus, extensions)
            except NoSuchExtensionError as error:
                return Rejected("no such extension", f"{name} has {error}", name)
            except (ValueError, TypeError) as error:
                # What astropy raises where the bytes that are there do not fill the array.
                return Rejected("truncated file", f"{name}: {_one_line(error)}", name)
            if found is None:
                return Rejected("no image", f"none of the {len(hdus)} HDUs of {name} holds an image", name)
            return found


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


def _mask(image: NDArray[np.float32], found: FoundImage) -> NDArray[np.bool_] | None:
    """Return where a band is saturated or flagged; None where no pixel is. Shape: (y, x)."""
    masks = []
    limit = found.keywords.get("SATURATE")
    if isinstance(limit, int | float) and not isinstance(limit, bool) and limit > 0:
        masks.append((image >= limit).any(axis=0))
    if found.flags is not None:
        masks.append(found.flags.any(axis=tuple(range(found.flags.ndim - 2))))
    masks = [mask for mask in masks if mask.any()]
    return np.logical_or.reduce(masks) if masks else None


def beam_of(found: FoundImage) -> dict[str, float]:
    """Return the beam that the header gives: axes in arcsec, position angle in degrees."""
    values = [found.keywords.get(key) for key, _ in _BEAM]
    if values[0] is None and "HISTORY" in found.keywords:
        values = list(_clean_beam(found.cards)) or values
    beam = {}
    for (key, scale), value in zip(_BEAM, values, strict=True):
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            beam[key.lower()] = float(value) * scale
    return {} if beam.get("bmaj", 1.0) <= 0 else beam


def _clean_beam(cards: str) -> tuple[float, ...]:
    """Return the beam of the last CLEAN that the history tells of: BMAJ, BMIN, BPA in degrees."""
    if "BMAJ=" not in cards:
        return ()
    told = _CLEAN_BEAM.findall("\n".join(cards[place : place + CARD] for place in range(0, len(cards), CARD)))
    try:
        return tuple(float(value) for value in told[-1]) if told else ()
    except ValueError:
        return ()


def _rms(
    image: NDArray[np.float32], mask: NDArray[np.bool_] | None, found: FoundImage, own: str, wanted: str
) -> dict[str, float]:
    """Return the noise of a field, (y, x): what the file says of it, else what is measured of the unmasked pixels."""
    error = _median_error(mask, found, own, wanted)
    if error is not None:
        return {"rms": error}
    std = clipped_std(image if mask is None else image[~mask])
    return {"rms": std} if isfinite(std) else {}


def _noise_of_bands(
    image: NDArray[np.float32], mask: NDArray[np.bool_] | None, bands: Sequence[str]
) -> dict[str, float]:
    """Return the noise of each band, measured on the unmasked pixels, as ``rms_BAND``; none where nothing was observed.

    Args:
        image: Shape: (band, y, x).
        mask: True where a pixel does not count. Shape: (y, x).
        bands: Their names.
    """
    stds = [clipped_std(plane if mask is None else plane[~mask]) for plane in image]
    return {noise_column(name): std for name, std in zip(bands, stds, strict=True) if isfinite(std)}


def _median_error(mask: NDArray[np.bool_] | None, found: FoundImage, own: str, wanted: str) -> float | None:
    """Return the median of the error extension over the pixels that are not masked, in the unit wanted."""
    if found.error is None:
        return None
    errors = np.asarray(found.error, dtype=np.float64).reshape(-1)
    good = np.isfinite(errors) & (errors > 0)
    if mask is not None and mask.size == errors.size:
        good &= ~mask.reshape(-1)
    unit = found.error_unit or own
    factor = unit_factor(unit, wanted) if unit else 1.0
    return float(np.median(errors[good])) * factor if good.any() and factor is not None else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
