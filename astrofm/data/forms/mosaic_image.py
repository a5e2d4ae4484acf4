"""A mosaic, opened: where its pixels are, where they lie on the sky, and what its header says of them."""

from __future__ import annotations

__all__ = ["Mosaic", "forget", "open_mosaic"]

import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import BaseCoordinateFrame
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning, WcsError
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

from astrofm.data.files.extensions import NoSuchExtensionError, find_hdus, keywords_of
from astrofm.data.files.fits_plain import FoundImage
from astrofm.data.files.orientation import NotASkyImageError, east_left
from astrofm.data.fits import beam_of
from astrofm.data.forms.mosaic_noise import BoxNoise
from astrofm.data.forms.mosaic_pixels import MappedPixels, Pixels, Scaling, SectionPixels, UnusableMosaicError
from astrofm.data.store_files import is_url, transport_errors
from astrofm.data.units import unit_factor
from astrofm.errors import DataError
from astrofm.forms import Extensions

BLOCK_BYTES = 64 << 10
"""Read at once from a file on the web, beyond what is asked for."""

NUM_OPEN = 2
"""Mosaics that a process keeps open: catalogues follow the sky, so that neighbours in them lie on one tile."""

_UNREADABLE: tuple[type[BaseException], ...] = (ImportError, ValueError)
"""What opening raises besides errors of the file system: a protocol that is not installed or not known."""

_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, eq=False)
class Mosaic:
    """One image of a mosaic.

    Attributes:
        name: Its file name.
        image: Its pixels.
        scaling: From what is stored to values in the unit wanted.
        wcs: Of the pixels as they lie in the file; two axes.
        frame: Of the coordinates that the WCS gives.
        meta: What all its cutouts share: ``pixel_scale``, ``bmaj``, ``bmin`` (arcsec), ``bpa``, ``orientation_deg``
            (deg), ``flip_x`` and ``flip_y`` (1 where cutouts are mirrored to have East to the left).
        flags: Quality flags, or None.
        flag_zero: What is added to a stored flag; unsigned numbers are stored so.
        quality_bits: Those that count, None for any.
        noise: None for several bands.
        is_remote: Whether it is on the web.
    """

    name: str
    image: Pixels
    scaling: Scaling
    wcs: WCS
    frame: BaseCoordinateFrame
    meta: Mapping[str, float]
    flags: Pixels | None
    flag_zero: int
    quality_bits: int | None
    noise: BoxNoise | None
    is_remote: bool

    def is_flagged(self, flags: NDArray[Any]) -> NDArray[np.float32]:
        """Return 1 where a flag that counts is set. Shape: as given."""
        if flags.dtype.kind == "f":
            return np.asarray(flags != 0, np.float32)
        numbers = flags.astype(np.int64) + self.flag_zero
        counted = numbers if self.quality_bits is None else numbers & self.quality_bits
        return np.asarray(counted != 0, np.float32)

    @property
    def parts(self) -> tuple[Pixels | None, ...]:
        """All pixels that are read: image, flags, and those the noise is measured on."""
        return self.image, self.flags, None if self.noise is None else self.noise.pixels

    @property
    def pixel_scale_arcsec(self) -> float:
        """NaN where it is not known."""
        return self.meta.get("pixel_scale", float("nan"))


def open_mosaic(folder: Path, name: str, unit: str, extensions: Extensions) -> Mosaic:
    """Open a mosaic; one that was opened and has not changed is returned again.

    Args:
        folder: Of the archive.
        name: Path relative to it, or a URL.
        unit: Unit wanted of the values.
        extensions: Which HDUs are read.

    Raises:
        UnusableMosaicError: If no cutout can be made of it.
        DataError: If it is on the web and cannot be reached.
    """
    if is_url(name):
        return _opened(name, name, unit, extensions, None)
    path = folder / name
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnusableMosaicError("missing file", f"there is no file {name}") from error
    return _opened(str(path), name, unit, extensions, (status.st_ino, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=NUM_OPEN)
def _opened(address: str, name: str, unit: str, extensions: Extensions, state: tuple[int, ...] | None) -> Mosaic:
    """Open a mosaic in a state: a file that was written anew is another one."""
    with warnings.catch_warnings():
        # Cards that are off the standard are mended by astropy; a file that is too short is told apart below.
        warnings.simplefilter("ignore", AstropyUserWarning)
        warnings.simplefilter("ignore", FITSFixedWarning)
        hdus = _open(address, name)
        closing = ExitStack()
        closing.callback(hdus.close)
        try:
            mosaic = _mosaic(hdus, address, name, unit, extensions)
        except NoSuchExtensionError as error:
            raise UnusableMosaicError("no such extension", f"{name} has {error}") from error
        except NotASkyImageError as error:
            raise UnusableMosaicError("not a sky image", f"{name}: {error}") from error
        except (fits.VerifyError, WcsError, KeyError, ValueError, TypeError) as error:
            raise UnusableMosaicError("damaged file", f"{name}: {' '.join(str(error).split())}") from error
        else:
            if any(isinstance(pixels, SectionPixels) for pixels in mosaic.parts):
                closing.pop_all()  # they close the file when they are forgotten
            return mosaic
        finally:
            closing.close()


def forget() -> None:
    """Close the mosaics that are kept open."""
    _opened.cache_clear()


def _open(address: str, name: str) -> fits.HDUList:
    from_web = {"use_fsspec": True, "fsspec_kwargs": {"block_size": BLOCK_BYTES, "cache_type": "readahead"}}
    try:
        # Scaling is done here, on cutouts: astropy would do it on the whole image.
        return fits.open(address, memmap=False, do_not_scale_image_data=True, **(from_web if is_url(address) else {}))
    except (*_UNREADABLE, *transport_errors()) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if is_url(address):
            raise DataError(f"the mosaic {address} cannot be read: {said}") from error
        raise UnusableMosaicError("not FITS", f"{name}: {said}") from error


def _mosaic(hdus: fits.HDUList, address: str, name: str, unit: str, extensions: Extensions) -> Mosaic:
    image, flags, error = find_hdus(hdus, extensions)
    if image is None:
        raise UnusableMosaicError("no image", f"none of the {len(hdus)} HDUs of {name} holds an image")
    if len([length for length in image.shape[:-2] if length > 1]) > 1 or len(image.shape) < 2:
        raise UnusableMosaicError("not an image", f"{name} holds an array of shape {image.shape}")
    keywords = keywords_of(image, hdus)
    # One pixel stands for the image: cutouts are mirrored when they have been cut.
    _, _, meta = east_left(np.empty((1, 1, 1)), image.header, keywords)
    wcs, frame = _sky(image.header, hdus, name)
    pixels, scaling = _pixels(hdus, image, address, name), _scaling(image.header, keywords, unit, name)
    noise = None
    if pixels.shape[0] == 1 and error is not None:
        error_scaling = _scaling(error.header, {**keywords, **error.header, "SATURATE": None}, unit, name)
        noise = BoxNoise(_pixels(hdus, error, address, name), error_scaling, is_error=True)
    elif pixels.shape[0] == 1:
        noise = BoxNoise(pixels, scaling)
    return Mosaic(
        name=name,
        image=pixels,
        scaling=scaling,
        wcs=wcs,
        frame=frame,
        meta={**meta, **beam_of(FoundImage(np.empty(0), keywords, image.header))},
        flags=None if flags is None else _pixels(hdus, flags, address, name),
        flag_zero=0 if flags is None else int(flags.header.get("BZERO", 0)),
        quality_bits=extensions.quality_bits,
        noise=noise,
        is_remote=is_url(address),
    )


def _pixels(hdus: fits.HDUList, hdu: Any, address: str, name: str) -> Pixels:
    place = hdu.fileinfo()
    is_packed = (
        isinstance(hdu, fits.CompImageHDU) or is_url(address) or address.lower().endswith((".gz", ".bz2", ".xz"))
    )
    if is_packed or place is None:
        return SectionPixels(hdus, hdu, address)
    leading = tuple(length for length in hdu.shape[:-2] if length > 1)
    shape = (*(leading or (1,)), *hdu.shape[-2:])
    dtype = np.dtype(_DTYPES[hdu.header["BITPIX"]])
    end = place["datLoc"] + prod(shape) * dtype.itemsize
    found = Path(address).stat().st_size
    if found < end:
        raise UnusableMosaicError("truncated file", f"{name} has {found} bytes; its pixels end at byte {end}")
    return MappedPixels(Path(address), place["datLoc"], dtype, shape)


def _scaling(header: fits.Header, keywords: Mapping[str, Any], unit: str, name: str) -> Scaling:
    found = str(keywords.get("BUNIT") or "").strip()
    factor = unit_factor(found, unit) if found else 1.0
    if factor is None:
        raise UnusableMosaicError("unexpected unit", f"{name} is in {found!r}, which is not {unit!r}")
    is_float = header["BITPIX"] < 0
    limit = keywords.get("SATURATE")
    return Scaling(
        bscale=float(header.get("BSCALE", 1.0)),
        bzero=float(header.get("BZERO", 0.0)),
        blank=None if is_float or header.get("BLANK") is None else int(header["BLANK"]),
        saturate=float(limit) if isinstance(limit, int | float) and limit > 0 else None,
        factor=factor,
    )


def _sky(header: fits.Header, hdus: fits.HDUList, name: str) -> tuple[WCS, BaseCoordinateFrame]:
    wcs = WCS(header, fobj=hdus)
    wcs = wcs if wcs.naxis == 2 else wcs.sub([1, 2])
    if wcs.wcs.lng < 0 or wcs.wcs.lat < 0:
        kinds = f"{header.get('CTYPE1', '')!r} and {header.get('CTYPE2', '')!r}"
        raise UnusableMosaicError("not a sky image", f"{name}: its axes are {kinds}, not those of the sky")
    return wcs, wcs_to_celestial_frame(wcs)
