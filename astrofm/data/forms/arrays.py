"""Archives in HDF5 or NumPy files: one array of images, its columns beside it in the file or in a table."""

from __future__ import annotations

__all__ = ["READER", "array_catalog", "array_cutouts", "read_images"]

import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table, vstack

from astrofm.card import Product, SurveyCard
from astrofm.data.cutouts import CutoutBatch, Rejected
from astrofm.data.files.eight_bit import as_uint8
from astrofm.data.files.synonyms import SYNONYMS
from astrofm.data.forms.array_files import ArrayFile, StoredArray, open_arrays
from astrofm.data.forms.columns import with_contract_names, with_places
from astrofm.data.tables import read_table
from astrofm.errors import DataError
from astrofm.forms import ArraysLayout
from astrofm.schema import VoteSchema
from astrofm.survey import FormReader, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_BYTES = 16_000_000


def array_catalog(card: SurveyCard, source: Source) -> Table:
    """Return the columns of the images under the names of the contract.

    Args:
        card: With an ``arrays`` section.
        source: The archive.

    Returns:
        One row for each image, file by file, with ``file_loc`` and ``file_row``; ``id_str`` from these two and
        unknown ``ra`` and ``dec`` where there are none.

    Raises:
        DataError: If a file cannot be read, an array is missing or is not of the product's shape, or the table beside
            has not one row for each image.
    """
    layout = _layout(card)
    parts, sizes = [], []
    for path in source.files:
        with open_arrays(path) as arrays:
            name, images = _images_of(arrays, layout, source.product, path.name)
            sizes.append(images.shape[0])
            parts.append(Table() if layout.table else _columns_beside(arrays, name, sizes[-1], layout, path.name))
    where = layout.table or f"the archive of {card.name!r}"
    table = _table_beside(layout, source.folder, sizes) if layout.table else _stacked(parts)
    table = with_places(table, [path.relative_to(source.folder).as_posix() for path in source.files], sizes)
    return with_contract_names(table, layout.columns, where)


def array_cutouts(card: SurveyCard, source: Source, rows: Table) -> Iterator[CutoutBatch | Rejected]:
    """Read the images of some rows of :func:`array_catalog`, in order and in the dtype of the product."""
    yield from read_images(source, rows, _layout(card))


def read_images(source: Source, rows: Table, layout: ArraysLayout) -> Iterator[CutoutBatch | Rejected]:
    """Read images, some megabytes at a time.

    Args:
        source: The archive.
        rows: With ``file_loc`` and ``file_row``.
        layout: Name of the array and what its axes are.

    Yields:
        Batches of cutouts in the dtype of the product, and ``not 8-bit`` for an image with other values than 0-255
        where the product is uint8.
    """
    places = zip(rows["file_loc"].tolist(), rows["file_row"].tolist(), strict=True)
    for file_loc, group in groupby(places, key=lambda place: str(place[0])):
        wanted = [row for _, row in group]
        with open_arrays(source.folder / file_loc) as arrays:
            _, images = _images_of(arrays, layout, source.product, file_loc)
            row_bytes = max(1, int(np.prod(images.shape[1:])) * images.dtype.itemsize)
            step = max(1, BATCH_BYTES // row_bytes)
            for first in range(0, len(wanted), step):
                part = _in_order(_rows_of(images, wanted[first : first + step]), layout)
                yield from _as_product(part, source.product, file_loc)


def array_mock(card: SurveyCard, n: int, seed: int, out: Path, votes: VoteSchema | None = None) -> Path:
    """Write arrays of made-up sources in the form that the card describes; see :meth:`Survey.mock`."""
    from astrofm.data.forms.arrays_mock import write_arrays

    return write_arrays(card, votes, _layout(card), n, seed, out)


def array_files(card: SurveyCard, source: Source, rows: Table) -> list[Path]:
    """Return the files of arrays, and the table beside them."""
    table = _layout(card).table
    return [*source.files, *([source.folder / table] if table else [])]


READER = FormReader(array_catalog, array_cutouts, array_mock, array_files)


def _images_of(arrays: ArrayFile, layout: ArraysLayout, product: Product, where: str) -> tuple[str, StoredArray]:
    """Return the array of the images, checked against the product."""
    many = {name: array for name, array in arrays.items() if len(array.shape) >= len(layout.axes)}
    name = layout.images.strip("/") or (next(iter(many)) if len(many) == 1 else "")
    if name not in arrays:
        asked = f"no array {layout.images!r}" if layout.images else f"{len(many)} arrays that could be the images"
        known = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "none"
        raise DataError(f"{where} has {asked}; name one of its arrays under 'images' in the card: {known}")
    images = arrays[name]
    if len(images.shape) != len(layout.axes):
        raise DataError(
            f"array {name!r} of {where} has the shape {images.shape}, and the card says that its axes are {layout.axes}"
        )
    num_bands = dict(zip(layout.axes, images.shape, strict=True)).get("b", 1)
    if num_bands != product.shape[0]:
        raise DataError(
            f"array {name!r} of {where}, read as {layout.axes}, has {num_bands} bands, "
            f"and the product {product.shape[0]}"
        )
    if images.dtype.kind not in "biuf":
        raise DataError(f"array {name!r} of {where} is of type {images.dtype}; images are real numbers")
    return name, images


def _columns_beside(arrays: ArrayFile, images: str, size: int, layout: ArraysLayout, where: str) -> Table:
    """Return the columns in the group of the images, those that the card maps, and the fields of tables."""
    group = PurePosixPath(images).parent
    mapped = {own.strip("/") for own in layout.columns.values()}
    table, left_out = Table(), []
    for name, array in arrays.items():
        is_elsewhere = name not in mapped and PurePosixPath(name).parent != group
        if name == images or is_elsewhere or not array.shape:
            continue
        if array.shape[:1] != (size,) or (len(array.shape) > 1 and name not in mapped):
            left_out.append(f"{name} {array.shape}")
            continue
        values = array.read(0, size)
        own_name = next((own for own in layout.columns.values() if own.strip("/") == name), PurePosixPath(name).name)
        for field in values.dtype.names or ():
            table[field] = values[field]
        if not values.dtype.names:
            table[own_name] = values
    if left_out:
        warnings.warn(f"{where}: no columns of the {size} images, left out: {', '.join(left_out)}", stacklevel=2)
    return table


def _stacked(parts: Sequence[Table]) -> Table:
    """Put the columns of all files below each other."""
    names = set(parts[0].colnames)
    if any(set(part.colnames) != names for part in parts):
        differing = set.union(*(set(part.colnames) ^ names for part in parts))
        raise DataError(f"the files of the archive differ in these columns: {', '.join(sorted(differing))}")
    return vstack(list(parts), metadata_conflicts="silent") if names else Table()


def _table_beside(layout: ArraysLayout, folder: Path, sizes: Sequence[int]) -> Table:
    text = {"id_str", *SYNONYMS["id_str"], *(layout.columns.get(name, name) for name in ("id_str", "label_name"))}
    table = read_table(folder / layout.table, text=text)
    if len(table) != sum(sizes):
        raise DataError(f"{layout.table!r} has {len(table)} rows for {sum(sizes)} images; it needs one for each")
    return table


def _rows_of(images: StoredArray, rows: Sequence[int]) -> NDArray[Any]:
    """Read rows in any order: as few stretches as there are, from the first to the last."""
    unique, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
    breaks = np.flatnonzero(np.diff(unique) != 1) + 1
    found = np.concatenate([images.read(int(run[0]), int(run[-1]) + 1) for run in np.split(unique, breaks)])
    if len(found) != len(unique):
        raise DataError(f"the array of the images ends before row {unique[-1]}: the file is damaged, get it again")
    return found if np.array_equal(places, np.arange(len(found))) else found[places]


def _in_order(values: NDArray[Any], layout: ArraysLayout) -> NDArray[Any]:
    """Return images as (n, band, y, x), y increasing to the North."""
    if layout.axes == "nyx":
        values = values[:, None]
    elif layout.axes == "nyxb":
        values = np.moveaxis(values, -1, 1)
    return values[:, :, ::-1] if layout.top_row_first else values


def _as_product(images: NDArray[Any], product: Product, where: str) -> Iterator[CutoutBatch | Rejected]:
    """Convert a batch; images that uint8 cannot hold come out as rejections in their places."""
    if product.dtype == "float32":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which counts as missing
            converted = np.ascontiguousarray(images, dtype=np.float32)
        yield CutoutBatch(converted, product.unit)
        return
    if images.dtype == np.uint8:
        yield CutoutBatch(np.ascontiguousarray(images), product.unit)
        return
    numbers, masks, is_whole = as_uint8(images)
    for first, stop in _stretches(is_whole):
        if is_whole[first]:
            part = masks[first:stop]
            yield CutoutBatch(numbers[first:stop], product.unit, masks=part if part.any() else None)
        else:
            said = f"{where} has an image with pixels that are no whole numbers in 0-255; the product is uint8"
            yield from (Rejected("not 8-bit", said, where) for _ in range(first, stop))


def _stretches(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Return (first, stop) of each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    yield from pairwise(edges)


def _layout(card: SurveyCard) -> ArraysLayout:
    if card.arrays is None:
        raise DataError(f"the card of {card.name!r} has no 'arrays' section, which names the array of the images")
    return card.arrays
