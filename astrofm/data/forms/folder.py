"""A survey from its card alone: a folder of images and a table.

The table gives one row for each image. The two are joined by the ``file_loc`` column (path relative to the folder), or
without one by the id, which then is the name of the file without its suffix. Where each band has a file of its own the
card says how the files are called.
"""

from __future__ import annotations

__all__ = ["READER", "folder_catalog", "folder_cutouts", "folder_files", "folder_mock"]

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from astrofm.card import Product, SurveyCard
from astrofm.data.catalog import sky_positions
from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.bands import read_bands
from astrofm.data.files.eight_bit import as_uint8
from astrofm.data.files.placement import Position
from astrofm.data.fits import read_cutout
from astrofm.data.forms.folder_files import band_files, join
from astrofm.data.forms.form_tables import contract_table
from astrofm.data.images import PICTURE_SUFFIXES, read_picture
from astrofm.errors import DataError
from astrofm.forms import FolderLayout
from astrofm.schema import VoteSchema
from astrofm.survey import FormReader, Source


def folder_catalog(card: SurveyCard, source: Source) -> Table:
    """Return the table of a folder with the names of the contract, and say what does not match.

    Args:
        card: With a ``folder`` section.
        source: A folder.

    Returns:
        The rows of the table, then one for each image without a row; with ``id_str``, ``file_loc`` (of the first band,
        where each has its file) and ``rejected`` (``missing file``, ``missing file of`` a band, ``no row in the
        table``, or empty).

    Raises:
        DataError: If the card has no folder section or its bands are not those of the card, the table or one of its
            columns is missing, two images have the name of one id, or no row has an image.
    """
    layout = _layout(card)
    if not source.path.is_dir():
        raise DataError(f"{source.path} is a file; {card.name!r} is a folder of images with the table {layout.table!r}")
    table = contract_table(layout.table, layout.columns, source.path)
    return join(table, source.path, layout, layout.images or source.product.pattern)


def folder_cutouts(card: SurveyCard, source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
    """Read the images of some rows of :func:`folder_catalog`.

    Args:
        card: With a ``folder`` section.
        source: The folder.
        rows: Part of the catalogue.

    Yields:
        For each row a cutout in the product's dtype and unit, or the reason why there is none.
    """
    layout = _layout(card)
    positions = zip(*(column.tolist() for column in sky_positions(rows)), strict=True)
    names = (rows[name].tolist() for name in ("id_str", "file_loc", "rejected"))
    for id_str, file_loc, rejected, position in zip(*names, positions, strict=True):
        if rejected:
            yield Rejected(str(rejected), f"{id_str}: {rejected}", str(file_loc))
            continue
        files = band_files(layout, str(id_str)) if layout.bands else [str(file_loc)]
        paths = [source.path / name for name in files]
        found = _read(paths, source.product, layout, Position(*position), card.band_names)
        yield replace(found, file=_told(found.file, files)) if isinstance(found, Rejected) else found


def folder_mock(card: SurveyCard, n: int, seed: int, out: Path, votes: VoteSchema | None = None) -> Path:
    """Write a folder of made-up sources in the form that the card describes.

    Args:
        card: With a ``folder`` section.
        n: Number of objects.
        seed: Seed; object ``i`` is the same whatever ``n``.
        out: Folder to write into; made if need be.
        votes: Its vote schema, each of whose answers gets a column; None: it has none.

    Returns:
        The folder.

    Raises:
        DataError: If the card asks for what cannot be made up, for example a picture of two bands.
    """
    from astrofm.data.forms.folder_mock import write_folder

    return write_folder(card, votes, _layout(card), n, seed, out)


def folder_files(card: SurveyCard, source: Source, rows: Table) -> set[Path]:
    """Return the images that the folder and its table lead to, and the table."""
    if not source.path.is_dir():
        return set(source.files)
    layout = _layout(card)
    images = rows["file_loc"].tolist() if "file_loc" in rows.colnames else []
    if layout.bands:
        images += [name for id_str in rows["id_str"].tolist() for name in band_files(layout, str(id_str))]
    return {*source.files, *(source.path / str(name) for name in (layout.table, *images) if name)}


READER = FormReader(folder_catalog, folder_cutouts, folder_mock, folder_files)


def _layout(card: SurveyCard) -> FolderLayout:
    layout = card.folder
    if layout is None:
        raise DataError(f"the card of {card.name!r} has no 'folder' section, which names the images and the table")
    if layout.bands and set(layout.bands) != set(card.band_names):
        raise DataError(
            f"the folder section of {card.name!r} has files for the bands {', '.join(layout.bands)}; the card's bands "
            f"are {', '.join(card.band_names)}"
        )
    in_order = {name: layout.bands[name] for name in card.band_names} if layout.bands else {}
    return layout.model_copy(update={"bands": in_order})


def _told(file: str, files: list[str]) -> str:
    """Return which of the files a reason is about, relative to the folder."""
    return next((name for name in files if Path(name).name == file), files[0])


def _read(
    paths: list[Path], product: Product, layout: FolderLayout, position: Position, bands: Sequence[str]
) -> Cutout | Rejected:
    """Read the image of a row and bring it to the product's dtype."""
    name = paths[0].name
    if layout.bands:
        cutout = read_bands(paths, unit=product.unit, extensions=layout.extensions, position=position, names=bands)
    elif paths[0].suffix.lower() in PICTURE_SUFFIXES:
        cutout = read_picture(paths[0])
    else:
        cutout = read_cutout(paths[0], unit=product.unit, extensions=layout.extensions, position=position, bands=bands)
    if isinstance(cutout, Rejected):
        return cutout
    if len(cutout.image) != product.shape[0]:
        return Rejected("wrong number of bands", f"{name} has {len(cutout.image)} bands, not {product.shape[0]}", name)
    if cutout.image.dtype == product.dtype:
        return replace(cutout, unit=product.unit)
    if product.dtype == "float32":
        image = cutout.image.astype(np.float32)
        if cutout.mask is not None:
            image[:, cutout.mask] = np.nan
        return replace(cutout, image=image, unit=product.unit, mask=None)
    return _as_uint8(cutout, name)


def _as_uint8(cutout: Cutout, name: str) -> Cutout | Rejected:
    """Return whole numbers in 0-255 as such; NaN becomes 0 and masked."""
    images, masks, is_whole = as_uint8(cutout.image[None])
    if not is_whole[0]:
        return Rejected("not 8-bit", f"{name} has pixels that are no whole numbers in 0-255; the product is uint8")
    mask = masks[0] if cutout.mask is None else masks[0] | cutout.mask
    return replace(cutout, image=images[0], mask=mask if mask.any() else None)
