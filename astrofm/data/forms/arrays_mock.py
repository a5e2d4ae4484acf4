"""Made-up HDF5 and NumPy files for a survey that has only a card."""

from __future__ import annotations

__all__ = ["write_arrays"]

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.forms.array_files import ARRAY_SUFFIXES
from astrofm.data.forms.mock_images import mock_product, to_uint8
from astrofm.data.forms.mock_sources import mock_file_name, mock_sources, write_mock_table
from astrofm.errors import DataError
from astrofm.forms import ArraysLayout
from astrofm.mock.mark import write_mock_mark
from astrofm.schema import VoteSchema


def write_arrays(
    card: SurveyCard, votes: VoteSchema | None, layout: ArraysLayout, n: int, seed: int, out: Path
) -> Path:
    """Write one file with all images, its columns in it or in the table beside it, and ``MOCK.json``."""
    product, _ = mock_product(card)
    path = out / mock_file_name(product.pattern, "mock")
    rows, images = zip(*mock_sources(card, n, seed, votes), strict=True)
    pixels = np.stack([to_uint8(image) if product.dtype == "uint8" else image for image in images])
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    name = layout.images.strip("/") or "images"
    beside = {} if layout.table else {_name_beside(name, own, layout): values for own, values in columns.items()}
    if layout.table:
        write_mock_table(rows, layout.columns, out / layout.table)
    _write(path, name, _as_archived(pixels, layout), beside)
    return write_mock_mark(card.name, n, seed, out)


def _name_beside(images: str, column: str, layout: ArraysLayout) -> str:
    """Return where the file has a column: where the card says, else in the group of the images."""
    return layout.columns.get(column, str(PurePosixPath(images).parent / column)).strip("/")


def _as_archived(images: NDArray[Any], layout: ArraysLayout) -> NDArray[Any]:
    """Return (n, band, y, x) images, South first, in the axes of the archive."""
    images = images[:, :, ::-1] if layout.top_row_first else images
    if layout.axes == "nyx":
        return images[:, 0]
    return np.moveaxis(images, 1, -1) if layout.axes == "nyxb" else images


def _write(path: Path, name: str, images: NDArray[Any], columns: dict[str, NDArray[Any]]) -> None:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        np.savez(path, allow_pickle=False, **{name: images, **columns, "MOCK": np.array(True)})
    elif suffix == ".npy" and columns.keys() <= {"id_str", "ra", "dec"}:  # which the reader makes up for
        np.save(path, images, allow_pickle=False)
    elif suffix in ARRAY_SUFFIXES and suffix != ".npy":
        _write_hdf5(path, {name: images, **columns})
    else:
        raise DataError(
            f"{path.name!r} cannot hold the arrays of the card: give a pattern that ends in "
            f"{', '.join(ARRAY_SUFFIXES)}, and with .npy a 'table' for the columns"
        )


def _write_hdf5(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"to write the HDF5 file {path.name} takes a package that is not here: pip install h5py"
        ) from error
    with h5py.File(path, "w") as file:
        file.attrs["MOCK"] = True
        for name, values in arrays.items():
            stored = np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values
            file.create_dataset(name, data=stored, track_times=False)
