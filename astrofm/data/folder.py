"""A survey from its card alone: a folder of images and a table.

The table gives one row for each image. The two are joined by the ``file_loc`` column (path relative to the folder), or
without one by the id, which then is the name of the file without its suffix.
"""

from __future__ import annotations

__all__ = ["READER", "folder_catalog", "folder_cutouts", "folder_mock"]

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table, vstack

from astrofm.card import Product, SurveyCard
from astrofm.data.catalog import SYNONYMS, checked_ids
from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.fits import read_cutout
from astrofm.data.images import PICTURE_SUFFIXES, read_picture
from astrofm.data.tables import read_table
from astrofm.errors import DataError
from astrofm.forms import FolderLayout
from astrofm.survey import FormReader, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_FILE, NO_ROW = "missing file", "no row in the table"

_COMPRESSIONS = (".gz", ".fz")


def folder_catalog(card: SurveyCard, source: Source) -> Table:
    """Return the table of a folder with the names of the contract, and say what does not match.

    Args:
        card: With a ``folder`` section.
        source: A folder.

    Returns:
        The rows of the table, then one for each image without a row; with ``id_str``, ``file_loc`` and ``rejected``
        (``missing file``, ``no row in the table``, or empty).

    Raises:
        DataError: If the card has no folder section, the table or one of its columns is missing, two images have the
            name of one id, or no row has an image.
    """
    layout = _layout(card)
    if not source.path.is_dir():
        raise DataError(f"{source.path} is a file; {card.name!r} is a folder of images with the table {layout.table!r}")
    table = _contract_table(layout, source.path)
    table_path = source.path / layout.table
    images = layout.images or source.product.pattern
    files = sorted(path for path in source.path.glob(images) if path.is_file() and path != table_path)
    names = [path.relative_to(source.path).as_posix() for path in files]
    wanted = _files_of(table, names)
    there = np.array([bool(name) and (source.path / name).is_file() for name in wanted], dtype=bool)
    if not there.any():
        raise DataError(
            f"no row of {layout.table!r} has its image: rows such as {', '.join(_ids(table)[:3]) or '(none)'}, files "
            f"matching {images!r} such as {', '.join(names[:3]) or '(none)'}; join them with a file_loc column"
        )
    table["file_loc"] = wanted
    table["rejected"] = np.where(there, "", NO_FILE)
    return _with_rowless(table, sorted(set(names) - set(wanted[there])))


def folder_cutouts(card: SurveyCard, source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
    """Read the images of some rows of :func:`folder_catalog`.

    Args:
        card: With a ``folder`` section.
        source: The folder.
        rows: Part of the catalogue.

    Yields:
        For each row a cutout in the product's dtype and unit, or the reason why there is none.
    """
    for id_str, file_loc, rejected in zip(rows["id_str"], rows["file_loc"], rows["rejected"], strict=True):
        if rejected:
            yield Rejected(str(rejected), f"{id_str}: {rejected}", str(file_loc))
            continue
        found = _read(source.path / str(file_loc), source.product)
        yield replace(found, file=str(file_loc)) if isinstance(found, Rejected) else found


def folder_mock(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write a folder of made-up sources in the form that the card describes.

    Args:
        card: With a ``folder`` section.
        n: Number of objects.
        seed: Seed; object ``i`` is the same whatever ``n``.
        out: Folder to write into; made if need be.

    Returns:
        The folder.

    Raises:
        DataError: If the card asks for what cannot be made up, for example a picture of two bands.
    """
    from astrofm.data.folder_mock import write_folder

    return write_folder(card, _layout(card), n, seed, out)


def folder_files(card: SurveyCard, source: Source, rows: Table) -> set[Path]:
    """Return the images that the folder and its table lead to, and the table."""
    if not source.path.is_dir():
        return set(source.files)
    images = map(str, rows["file_loc"]) if "file_loc" in rows.colnames else ()
    return {*source.files, *(source.path / name for name in (_layout(card).table, *images))}


READER = FormReader(folder_catalog, folder_cutouts, folder_mock, folder_files)


def _layout(card: SurveyCard) -> FolderLayout:
    if card.folder is None:
        raise DataError(f"the card of {card.name!r} has no 'folder' section, which names the images and the table")
    return card.folder


def _contract_table(layout: FolderLayout, folder: Path) -> Table:
    """Read the table and give its columns the names of the contract."""
    own_names = {"id_str", *SYNONYMS["id_str"], "file_loc"}
    mapped = {layout.columns[name] for name in ("id_str", "file_loc", "label_name") if name in layout.columns}
    table = read_table(folder / layout.table, text=own_names | mapped)
    found = tuple(table.colnames)
    if len(table) == 0:
        raise DataError(f"{layout.table!r} has no rows, only the columns {', '.join(found)}")
    for name, own in layout.columns.items():
        if own not in found:
            raise DataError(
                f"{layout.table!r} has no column {own!r}, which the card maps to {name!r}; it has {', '.join(found)}"
            )
        if name != own and name in found:
            raise DataError(f"{layout.table!r} has a column {name!r} beside {own!r}, which the card maps to {name!r}")
        table[name] = table[own]
    table.remove_columns(list({*layout.columns.values()} - layout.columns.keys()))
    if "id_str" not in table.colnames:
        table["id_str"] = _found_ids(table, layout)
    table["id_str"] = checked_ids(table["id_str"])
    return table


def _found_ids(table: Table, layout: FolderLayout) -> list[str]:
    found = [name for name in table.colnames if name.lower() in SYNONYMS["id_str"]]
    if len(found) == 1:
        ids = list(checked_ids(table[found[0]]))
        table.remove_column(found[0])
        return ids
    if not found and "file_loc" in table.colnames:
        return [_stem(str(value)) for value in table["file_loc"]]
    raise DataError(
        f"{layout.table!r} has {'no column' if not found else 'several columns'} of ids; map one to 'id_str' under "
        f"'columns' in the card's folder section; it has {', '.join(table.colnames)}"
    )


def _ids(table: Table) -> list[str]:
    return [str(name) for name in table["id_str"]]


def _files_of(table: Table, names: list[str]) -> NDArray[np.str_]:
    """Return the image of each row, empty where the table does not lead to one."""
    if "file_loc" in table.colnames:
        blank = np.ma.getmaskarray(np.ma.asarray(table["file_loc"]))
        locations = zip(blank, table["file_loc"], strict=True)
        return np.array(["" if gone else _inside(str(name).strip()) for gone, name in locations], dtype=np.str_)
    of_stem: dict[str, str] = {}
    ids = set(_ids(table))
    for name in names:
        stem = _stem(name)
        if stem in of_stem and stem in ids:
            raise DataError(f"both {of_stem[stem]!r} and {name!r} could be {stem!r}; say which in a file_loc column")
        of_stem[stem] = name
    return np.array([of_stem.get(name, "") for name in _ids(table)], dtype=np.str_)


def _inside(name: str) -> str:
    """Return a path relative to the folder in its one spelling, empty where there is none."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"the file_loc {name!r} leads out of the folder: give paths relative to it, without '..'")
    return str(path) if name else ""


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return PurePosixPath(path.stem).stem if path.suffix in _COMPRESSIONS else path.stem


def _with_rowless(table: Table, names: list[str]) -> Table:
    """Add a rejected row for each image that the table does not know; its other columns are masked."""
    if not names:
        return table
    ids, taken = [], set(_ids(table))
    for name in names:
        id_str = name if _stem(name) in taken else _stem(name)
        taken.add(id_str)
        ids.append(id_str)
    rowless = Table({"id_str": ids, "file_loc": names, "rejected": [NO_ROW] * len(names)})
    return vstack([table, rowless], join_type="outer", metadata_conflicts="silent")


def _read(path: Path, product: Product) -> Cutout | Rejected:
    """Read an image and bring it to the product's dtype."""
    is_picture = path.suffix.lower() in PICTURE_SUFFIXES
    cutout = read_picture(path) if is_picture else read_cutout(path, unit=product.unit)
    if isinstance(cutout, Rejected):
        return cutout
    if len(cutout.image) != product.shape[0]:
        return Rejected("wrong number of bands", f"{path.name} has {len(cutout.image)} bands, not {product.shape[0]}")
    if cutout.image.dtype == product.dtype:
        return replace(cutout, unit=product.unit)
    if product.dtype == "float32":
        image = cutout.image.astype(np.float32)
        if cutout.mask is not None:
            image[:, cutout.mask] = np.nan
        return replace(cutout, image=image, unit=product.unit, mask=None)
    return _as_uint8(cutout, path.name)


def _as_uint8(cutout: Cutout, name: str) -> Cutout | Rejected:
    """Return whole numbers in 0..255 as such; NaN becomes 0 and masked."""
    missing = np.isnan(cutout.image)
    values = np.where(missing, 0, cutout.image)
    image = np.clip(values, 0, 255).astype(np.uint8)
    if (image != values).any():
        return Rejected("not 8-bit", f"{name} has pixels that are no whole numbers in 0-255; the product is uint8")
    return replace(cutout, image=image, mask=missing.any(axis=0) if missing.any() else cutout.mask)
