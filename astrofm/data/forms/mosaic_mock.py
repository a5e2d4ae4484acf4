"""A made-up mosaic for a survey that has only a card: one tile, on which the sources lie side by side."""

from __future__ import annotations

__all__ = ["write_mosaic"]

from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from astrofm.card import Product, SurveyCard
from astrofm.data.forms.fits_mock import mock_header, write_fits
from astrofm.data.forms.mock_images import mock_product, to_uint8
from astrofm.data.forms.mock_sources import mock_file_name, mock_sources, write_mock_table
from astrofm.data.store_files import is_url
from astrofm.errors import DataError
from astrofm.forms import Extensions, MosaicLayout
from astrofm.mock.mark import write_mock_mark
from astrofm.schema import VoteSchema

RA_DEG, DEC_DEG = 150.0, 2.0
"""Of the first source: a field that both hemispheres see."""

_BLOCK = 2880


def write_mosaic(
    card: SurveyCard, votes: VoteSchema | None, layout: MosaicLayout, n: int, seed: int, out: Path
) -> Path:
    """Write a tile (one for each band where the card has it so), its catalogue and ``MOCK.json``.

    Each source has a square of the size of a cutout to itself, with its own noise. The squares fill the tile in growing
    layers from its first corner, so that a source keeps its place on the sky however many there are; those of the last
    layer that are left over stay blank. See :func:`astrofm.data.forms.mosaic.mosaic_mock`.
    """
    product, scale_arcsec = mock_product(card)
    out.mkdir(parents=True, exist_ok=True)
    num_side = isqrt(max(n, 1) - 1) + 1
    place = {"ra": RA_DEG, "dec": DEC_DEG, "id_str": card.name}
    header = mock_header(product.size_pix, card, product, scale_arcsec, place)
    files = _files(layout, product)
    planes = [_blank(out / file, header, _tile_shape(product, num_side, len(files)), product) for file in files]
    rows = []
    wcs = WCS(header)
    for index, (row, image) in enumerate(mock_sources(card, n, seed, votes)):
        y, x = (place * length for place, length in zip(_square(index), product.size_pix, strict=True))
        pixels = to_uint8(image) if product.dtype == "uint8" else image
        for plane, own in zip(planes, pixels[:, None] if layout.bands else [pixels], strict=True):
            plane[:, y : y + image.shape[1], x : x + image.shape[2]] = own
        ra_deg, dec_deg = wcs.wcs_pix2world(x + product.size_pix[1] // 2, y + product.size_pix[0] // 2, 0)
        given = {"file_loc": files[0]} if "file_loc" in layout.columns else {}
        rows.append(row | {"ra": float(ra_deg), "dec": float(dec_deg)} | given)
    for file, plane in zip(files, planes, strict=True):
        _finish(out / file, plane, header, layout.extensions)
    write_mock_table(rows, layout.columns, out / layout.table)
    return write_mock_mark(card.name, n, seed, out)


def _files(layout: MosaicLayout, product: Product) -> list[str]:
    """Return the name of the tile, or of those of the bands."""
    patterns = list(layout.bands.values()) or [layout.images or product.pattern]
    remote = [pattern for pattern in patterns if is_url(pattern)]
    if remote:
        raise DataError(f"a made-up mosaic cannot be written to {remote[0]}: give a card whose mosaics are files")
    files = [str(mock_file_name(pattern, "mock")) for pattern in patterns]
    if len(set(files)) < len(files):
        raise DataError(f"the patterns of the bands, {', '.join(patterns)}, do not tell their files apart")
    return files


def _square(index: int) -> tuple[int, int]:
    """Return the (row, column) of a source: layer ``k`` has those whose larger one is ``k``."""
    layer = isqrt(index)
    rest = index - layer * layer
    return (layer, rest) if rest < layer else (rest - layer, layer)


def _tile_shape(product: Product, num_side: int, num_files: int) -> tuple[int, int, int]:
    return (product.shape[0] // num_files, num_side * product.shape[1], num_side * product.shape[2])


def _blank(path: Path, header: fits.Header, shape: tuple[int, int, int], product: Product) -> NDArray[Any]:
    """Write a FITS file without an observed pixel and return its pixels, to be filled on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_float = product.dtype == "float32"
    dtype = np.dtype(">f4" if is_float else "u1")
    axes = shape[1:] if shape[0] == 1 else shape
    begin = fits.Header({"SIMPLE": True, "BITPIX": -32 if is_float else 8, "NAXIS": len(axes)})
    begin.update({f"NAXIS{number}": length for number, length in enumerate(reversed(axes), start=1)})
    begin.extend(header)
    raw = begin.tostring().encode("ascii")
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + -(-prod(shape) * dtype.itemsize // _BLOCK) * _BLOCK)
    pixels: NDArray[Any] = np.memmap(path, dtype, "r+", len(raw), shape)
    if is_float:
        for plane in pixels:
            plane[:] = np.nan
    return pixels


def _finish(path: Path, pixels: NDArray[Any], header: fits.Header, extensions: Extensions) -> None:
    """Write the pixels out; into the extensions that the card names, beside their flags and errors."""
    if isinstance(pixels, np.memmap):
        pixels.flush()
    if extensions != Extensions():
        native = np.array(pixels, dtype=pixels.dtype.newbyteorder("="))
        write_fits(path, native[0] if len(native) == 1 else native, header, extensions)
