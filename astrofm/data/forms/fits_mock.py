"""Made-up FITS files in the form that a card describes: one HDU, or pixels with flags and errors beside them."""

from __future__ import annotations

__all__ = ["mock_header", "write_fits"]

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astrofm.card import Product, SurveyCard
from astrofm.data.forms.mock_images import beam_of
from astrofm.errors import DataError
from astrofm.forms import Extensions

_FLAGGED = (0, 0)
"""The pixel, (y, x), that every mock with flags has as a bad one."""

_MOCK_CARD = ("MOCK", True, "made-up source: not an observation")


def write_fits(path: Path, pixels: NDArray[Any], header: fits.Header, extensions: Extensions) -> None:
    """Write an image as astronomers do.

    Args:
        path: A file that is there is replaced.
        pixels: Shape: (y, x) or (band, y, x).
        header: Of the image, the WCS included.
        extensions: Where the card has the image; by default in the primary HDU. With extensions, flags (one pixel is
            bad) and errors are written too.

    Raises:
        DataError: If the card gives extensions by their number.
    """
    if extensions == Extensions():
        fits.PrimaryHDU(pixels, header).writeto(path, overwrite=True)
        return
    flags = np.zeros(pixels.shape[-2:], dtype=np.int16)
    flags[_FLAGGED] = 1 if extensions.quality_bits is None else extensions.quality_bits & -extensions.quality_bits
    noise = np.full(pixels.shape[-2:], np.std(pixels[..., :4, :]), dtype=np.float32)
    primary = fits.PrimaryHDU(header=fits.Header({"MOCK": True}))
    science = fits.ImageHDU(pixels, header)
    hdus = [primary, science, fits.ImageHDU(noise), fits.ImageHDU(flags)]
    given = (extensions.image or "SCI", extensions.error or "ERR", extensions.quality or "DQ")
    for hdu, name in zip(hdus[1:], given, strict=True):
        _call(hdu, name, default_version=_version(given[0]))
    fits.HDUList(hdus).writeto(path, overwrite=True)


def mock_header(
    size_pix: tuple[int, ...], card: SurveyCard, product: Product, scale_arcsec: float, row: dict[str, Any]
) -> fits.Header:
    """Return the header of an image with its source at the centre pixel: WCS, unit, beam, and that it is made up."""
    header = fits.Header()
    scale_deg, (ny, nx) = scale_arcsec / 3600.0, size_pix
    for axis, ctype, crval, cdelt, length in (
        (1, "RA---TAN", row["ra"], -scale_deg, nx),
        (2, "DEC--TAN", row["dec"], scale_deg, ny),
    ):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = ctype, "deg"
        header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = crval, cdelt
        header[f"CRPIX{axis}"] = length // 2 + 1.0
    header["RADESYS"], header["BUNIT"], header["OBJECT"] = "ICRS", product.unit, row["id_str"]
    if card.domain == "radio":
        bmaj_arcsec, bmin_arcsec, header["BPA"] = beam_of(card, scale_arcsec)
        header["BMAJ"], header["BMIN"] = bmaj_arcsec / 3600.0, bmin_arcsec / 3600.0
    header.append(_MOCK_CARD)
    return header


def _call(hdu: fits.ImageHDU, name: str, default_version: int) -> None:
    if name.isdigit():
        raise DataError(f"a made-up archive needs names of its extensions, not the number {name} that the card gives")
    hdu.name = name.partition(",")[0].strip()
    hdu.ver = _version(name) if "," in name else default_version


def _version(name: str) -> int:
    return int(name.partition(",")[2] or 1)
