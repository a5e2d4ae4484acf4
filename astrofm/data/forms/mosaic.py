"""A survey from its card alone: mosaics and a catalogue, from which cutouts are made by sky position.

Each source is cut from the tile that contains it, so that the pixel nearest to it is the centre pixel of the cutout, in
the pixels of the tile: nothing is interpolated.
"""

from __future__ import annotations

__all__ = ["READER", "mosaic_catalog", "mosaic_cutouts", "mosaic_files", "mosaic_mock"]

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import CutoutBatch, Rejected
from astrofm.data.files.synonyms import columns_named
from astrofm.data.forms.form_tables import contract_table
from astrofm.data.forms.mosaic_cutting import Cutting, in_row_order
from astrofm.data.forms.mosaic_image import open_mosaic
from astrofm.data.forms.mosaic_pixels import UnusableMosaicError
from astrofm.data.forms.tiles import place_on_tiles
from astrofm.data.store_files import is_url
from astrofm.errors import DataError
from astrofm.forms import MosaicLayout
from astrofm.schema import VoteSchema
from astrofm.survey import FormReader, Source

OUTSIDE = "outside the mosaic"
NO_POSITION = "no position"

BATCH_BYTES, BATCH_ROWS = 32_000_000, 1024
"""Cutouts that are made at once."""


def mosaic_catalog(card: SurveyCard, source: Source) -> Table:
    """Return the catalogue of a mosaic with the names of the contract, and the tile of each source.

    Args:
        card: With a ``mosaic`` section.
        source: The folder of mosaics and table, or one mosaic with the table beside it.

    Returns:
        The rows of the table, in its order, with ``id_str``, ``ra`` and ``dec`` (deg), ``file_loc`` (the tile; where
        each band has its own, that of the first, and ``file_loc_BAND`` of the others) and ``rejected`` (``outside the
        mosaic``, ``no position``, or empty).

    Raises:
        DataError: If the card has no mosaic section, there is no mosaic or one that cannot be used, the table or a
            column is missing, or no position lies on a mosaic.
    """
    layout, folder = _layout(card), source.folder
    table = contract_table(layout.table, layout.columns, folder)
    catalog = Catalog.from_astropy(table)
    table.remove_columns([own for name in ("ra", "dec") for own in columns_named(table, name)])
    table["ra"], table["dec"] = catalog.column("ra"), catalog.column("dec")
    is_outside = np.zeros(len(table), bool)
    for column, pattern in _patterns(card, source).items():
        given = np.asarray(table[column], dtype=np.str_) if column in table.colnames else None
        tiles = _tiles(source, pattern, layout.table) if given is None else sorted(set(given.tolist()) - {""})
        table[column] = _tile_of_each(table, tiles, given, card, source)
        is_outside |= table[column] == ""
    if is_outside.all():
        raise DataError(
            f"no source of {layout.table!r} lies on a mosaic of {folder}: the first is at ra {table['ra'][0]:.5f}, dec "
            f"{table['dec'][0]:.5f} deg; its columns of position, or the mosaics, are others than those meant"
        )
    has_no_position = ~np.isfinite(np.asarray(table["ra"]) + np.asarray(table["dec"]))
    table["rejected"] = np.select([has_no_position, is_outside], [NO_POSITION, OUTSIDE], "")
    return table


def mosaic_cutouts(card: SurveyCard, source: Source, rows: Table) -> Iterator[CutoutBatch | Rejected]:
    """Cut the sources of some rows of :func:`mosaic_catalog` out of their tiles.

    Args:
        card: With a ``mosaic`` section.
        source: As there.
        rows: Part of the catalogue.

    Yields:
        For each row, in order, a cutout in the product's dtype and unit (NaN, or masked in a product of uint8, where
        nothing was observed), or the reason why there is none. East is to the left as in
        :func:`astrofm.data.fits.read_cutout`. ``meta`` has what is known of ``rms`` (single band: that of the box of
        about 256 pixels around the source, see :mod:`astrofm.data.forms.mosaic_noise`; of a mosaic on the web, that of
        the cutout), ``pixel_scale``, ``bmaj``, ``bmin``, ``bpa``, ``orientation_deg``, ``flip_x``, ``flip_y``, and
        ``edge_fraction``: the part of the cutout that lies beyond the edge of the mosaic.
    """
    cutting = Cutting(card, source, _layout(card), source.folder, tuple(_patterns(card, source)))
    cutout_bytes = 4 * int(np.prod(source.product.shape))
    step = min(BATCH_ROWS, max(1, BATCH_BYTES // cutout_bytes))
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        yield from in_row_order(*cutting.cut(some), num=len(some))


def mosaic_mock(card: SurveyCard, n: int, seed: int, out: Path, votes: VoteSchema | None = None) -> Path:
    """Write a mosaic of made-up sources, and its catalogue, in the form that the card describes.

    Args:
        card: With a ``mosaic`` section.
        n: Number of objects.
        seed: Seed; object ``i`` is the same whatever ``n``.
        out: Folder to write into; made if need be.
        votes: Its vote schema, each of whose answers gets a column; None: it has none.

    Returns:
        The folder.

    Raises:
        DataError: If the card asks for what cannot be made up.
    """
    from astrofm.data.forms.mosaic_mock import write_mosaic

    return write_mosaic(card, votes, _layout(card), n, seed, out)


def mosaic_files(card: SurveyCard, source: Source, rows: Table) -> set[Path]:
    """Return the table and the tiles that are files here; one on the web is known by its address alone."""
    folder = source.folder
    columns = [name for name in _patterns(card, source) if name in rows.colnames]
    tiles = {str(name) for column in columns for name in np.unique(np.asarray(rows[column], dtype=np.str_))}
    return {folder / _layout(card).table} | {folder / name for name in tiles if name and not is_url(name)}


READER = FormReader(mosaic_catalog, mosaic_cutouts, mosaic_mock, mosaic_files)


def _layout(card: SurveyCard) -> MosaicLayout:
    if card.mosaic is None:
        raise DataError(f"the card of {card.name!r} has no 'mosaic' section, which names the images and the table")
    unknown = sorted(set(card.mosaic.bands) ^ set(card.band_names)) if card.mosaic.bands else []
    if unknown:
        raise DataError(
            f"the mosaic section of {card.name!r} gives bands files, and {', '.join(unknown)} is on one side alone: "
            f"give {', '.join(card.band_names)} a pattern each"
        )
    return card.mosaic


def _patterns(card: SurveyCard, source: Source) -> dict[str, str]:
    """Return the column of the catalogue that names the tile, and the pattern of the tiles, for each set of them."""
    layout = _layout(card)
    if not layout.bands:
        return {"file_loc": layout.images or source.product.pattern}
    first, *others = card.band_names
    return {"file_loc": layout.bands[first], **{f"file_loc_{name}": layout.bands[name] for name in others}}


def _tiles(source: Source, pattern: str, table: str) -> list[str]:
    """Return the tiles that a pattern stands for, by their names relative to the folder, in name order."""
    if is_url(pattern):
        return [pattern]
    folder = source.folder
    if source.path.is_file() and fnmatch(source.path.name, PurePosixPath(pattern).name):
        return [source.path.name]
    files = (path for path in folder.glob(pattern) if path.is_file() and path != folder / table)
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    if not names:
        raise DataError(f"no mosaic in {folder} has a name like {pattern!r}, which the card gives")
    return names


def _tile_of_each(
    table: Table, tiles: list[str], given: NDArray[np.str_] | None, card: SurveyCard, source: Source
) -> NDArray[np.str_]:
    """Return the tile of each row, empty where there is none; one that the table gives must contain the source."""
    layout, folder = _layout(card), source.folder
    ra_deg, dec_deg = np.asarray(table["ra"]), np.asarray(table["dec"])
    chosen = np.full(len(table), "", dtype=np.array([*tiles, ""]).dtype)
    try:
        if given is None:
            opened = (open_mosaic(folder, name, source.product.unit, layout.extensions) for name in tiles)
            places = place_on_tiles(opened, ra_deg, dec_deg)
            return np.where(places >= 0, np.array(tiles)[places], chosen)
        for name in tiles:
            rows = np.flatnonzero(given == name)
            mosaic = open_mosaic(folder, name, source.product.unit, layout.extensions)
            chosen[rows[place_on_tiles([mosaic], ra_deg[rows], dec_deg[rows]) >= 0]] = name
        return chosen
    except UnusableMosaicError as error:
        raise DataError(f"a mosaic cannot be used ({error.reason}: {error.detail}): mend it or take it away") from error
