"""A made-up folder of images and a table for a survey that has only a card."""

from __future__ import annotations

__all__ = ["write_folder"]

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from astrofm.card import Product, SurveyCard
from astrofm.data.forms.fits_mock import mock_header, write_fits
from astrofm.data.forms.folder_files import band_files
from astrofm.data.forms.mock_images import mock_product, picture_of, to_uint8
from astrofm.data.forms.mock_sources import mock_file_name, mock_sources, write_mock_table
from astrofm.data.images import PICTURE_SUFFIXES
from astrofm.forms import ID, FolderLayout
from astrofm.mock.mark import write_mock_mark
from astrofm.schema import VoteSchema


def write_folder(
    card: SurveyCard, votes: VoteSchema | None, layout: FolderLayout, n: int, seed: int, out: Path
) -> Path:
    """Write images, table and ``MOCK.json``; see :func:`astrofm.data.forms.folder.folder_mock`."""
    product, _ = mock_product(card)
    rows = []
    for row, image in mock_sources(card, n, seed, votes):
        files = _files_of(layout, product, row["id_str"])
        for file, planes in zip(files, image[:, None] if layout.bands else [image], strict=True):
            path = out / file
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_image(path, planes, card, layout, row)
        rows.append(row | ({"file_loc": files[0]} if "file_loc" in layout.columns else {}))
    write_mock_table(rows, layout.columns, out / layout.table)
    return write_mock_mark(card.name, n, seed, out)


def _files_of(layout: FolderLayout, product: Product, id_str: str) -> list[str]:
    """Return the files of an object, relative to the folder: one, or one for each band."""
    if layout.bands:
        return band_files(layout, id_str)
    pattern = layout.images or product.pattern
    return [str(mock_file_name(pattern.replace(ID, id_str), "mock" if ID in pattern else id_str))]


def _write_image(
    path: Path, image: NDArray[np.float32], card: SurveyCard, layout: FolderLayout, row: dict[str, Any]
) -> None:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        Image.fromarray(picture_of(image, card)).save(path)
        return
    product, scale_arcsec = mock_product(card)
    pixels = to_uint8(image) if product.dtype == "uint8" else image
    header = mock_header(image.shape[1:], card, product, scale_arcsec, row)
    write_fits(path, pixels[0] if len(pixels) == 1 else pixels, header, layout.extensions)
