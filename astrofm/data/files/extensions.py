"""Which HDUs of a file hold the pixels, the flags and the errors."""

from __future__ import annotations

__all__ = ["NoSuchExtensionError", "find_hdus", "find_image", "keywords_of"]

from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astrofm.data.files.fits_plain import FoundImage
from astrofm.forms import Extensions

_SCIENCE, _QUALITY, _ERROR = "SCI", "DQ", "ERR"


class NoSuchExtensionError(LookupError):
    """A file has no extension of the name that the card gives."""


def find_image(hdus: fits.HDUList, wanted: Extensions) -> FoundImage | None:
    """Return the image that is asked for, with its flags and errors.

    An extension is given by its name (``SCI``), its name and version (``SCI,2``) or its number (``1``; the primary HDU
    is 0). By default the image is the first ``SCI`` that holds pixels, with the ``DQ`` and ``ERR`` of the same version
    where they are; in a file without one, the first image.

    Args:
        hdus: The open file.
        wanted: What the card says.

    Returns:
        The image, or None if no HDU holds one.

    Raises:
        NoSuchExtensionError: If one that the card names is not there.
    """
    image, flags, error = find_hdus(hdus, wanted)
    if image is None:
        return None
    header = keywords_of(image, hdus)
    return FoundImage(
        image.data,
        header,
        header,
        _flagged(flags, wanted.quality_bits),
        None if error is None else error.data,
        "" if error is None else str(error.header.get("BUNIT", "")).strip(),
    )


def find_hdus(hdus: fits.HDUList, wanted: Extensions) -> tuple[Any, Any, Any]:
    """Return the HDUs of the image, its flags and its errors, None for what is not there; see :func:`find_image`."""
    image = _named(hdus, wanted.image) if wanted.image else _by_default(hdus)
    if image is None:
        return None, None, None
    of_science = image.name == _SCIENCE
    flags = _beside(hdus, image, wanted.quality, _QUALITY if of_science else "")
    return image, flags, _beside(hdus, image, wanted.error, _ERROR if of_science else "")


def _flagged(hdu: Any, bits: int | None) -> NDArray[np.bool_] | None:
    """Return where the flags of an HDU have one of some bits, or any."""
    if hdu is None or hdu.data is None:
        return None
    if bits is None or hdu.data.dtype.kind == "f":
        return np.asarray(hdu.data != 0)
    return np.asarray((hdu.data.astype(np.int64) & bits) != 0)


def _by_default(hdus: fits.HDUList) -> Any:
    first = None
    for hdu in hdus:
        if not _is_image(hdu):
            continue
        if hdu.name == _SCIENCE:
            return hdu
        first = hdu if first is None else first
    return first


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image and hdu.header.get("NAXIS", 0) > 1 and all(hdu.shape))


def _beside(hdus: fits.HDUList, image: Any, named: str, usual: str) -> Any:
    """Return the HDU that belongs to an image: the one named, else the usual one of its version, else None."""
    if named:
        return _named(hdus, named if "," in named or named.isdigit() else f"{named},{image.ver}", named)
    found = [hdu for hdu in hdus if usual and hdu.name == usual and hdu.ver == image.ver and _is_image(hdu)]
    return found[0] if found else None


def _named(hdus: fits.HDUList, *names: str) -> Any:
    """Return the image HDU of the first name that is there."""
    for given in names:
        name, _, version = (part.strip().upper() for part in given.partition(","))
        for number, hdu in enumerate(hdus):
            is_it = number == int(name) if name.isdigit() else hdu.name == name and version in ("", str(hdu.ver))
            if is_it and _is_image(hdu):
                return hdu
    there = ", ".join(f"{number} {hdu.name},{hdu.ver}" for number, hdu in enumerate(hdus) if _is_image(hdu))
    raise NoSuchExtensionError(f"no image extension {names[-1]!r}; it has {there or 'none'}")


def keywords_of(image: Any, hdus: fits.HDUList) -> fits.Header:
    """Return the header of an HDU, with what it lacks of the primary one behind it where it inherits that."""
    header: fits.Header = image.header
    if header.get("INHERIT") is True and image is not hdus[0]:
        header = header.copy()
        header.extend(hdus[0].header, unique=True)
    return header
