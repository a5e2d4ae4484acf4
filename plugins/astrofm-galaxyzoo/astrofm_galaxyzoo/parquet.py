"""Read the Parquet shards of Galaxy Zoo Evo: the catalogue column by column, the images row by row.

A shard is named after its split (``train-00000-of-00052.parquet``). It holds ``id_str``, ``image`` (a struct of JPEG
``bytes`` and ``path``), where known ``ra``, ``dec`` (deg) and ``dataset_name``, and one column of vote counts for each
answer, null where the galaxy was not part of the campaign.
"""

from __future__ import annotations

__all__ = ["decode", "read_catalog", "read_cutouts"]

import warnings
from collections.abc import Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray
from PIL import Image

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.errors import DataError
from astrofm.schema import VoteSchema
from astrofm.survey import Source

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_NOT_VOTES = {"id_str", "image", "ra", "dec", "dataset_name"}
_DERIVED = ("_fraction", "_total-votes")
"""Endings of the columns that follow from the counts."""


def read_catalog(source: Source, schema: VoteSchema) -> Table:
    """Return one row for each image of the archive, shard by shard.

    Args:
        source: The archive.
        schema: The vote schema; missing votes are zero.

    Returns:
        Columns ``id_str``, ``ra``, ``dec`` (NaN where not published), ``dataset_name``, ``split``, ``file_loc`` (the
        shard, relative to the source), ``file_row`` and the counts of every answer of the schema.

    Raises:
        DataError: If a shard cannot be read, lacks a column, or tells no split by its name.
    """
    shards = []
    unasked: set[str] = set()
    unknown: set[str] = set()
    for path in source.files:
        with _open(path) as file:
            names = file.schema_arrow.names
            unasked |= _unasked_questions(names, schema, path)
            unknown |= {name for name in names if _is_unknown(name, schema)}
            shards.append(_read_shard(file, schema, path, _relative(path, source)))
    _warn_of(unasked, f"nobody was asked these questions of {schema.name} in {source.path.name}; their votes are zero")
    _warn_of(unknown, f"{schema.name} does not know these columns of {source.path.name}; they are left out")
    return Table({name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]})


def read_cutouts(source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
    """Decode the images of some rows of :func:`read_catalog`, in order.

    Args:
        source: The archive; its product says to which size the images are resized.
        rows: Part of the catalogue.

    Yields:
        For each row a cutout, or the reason why there is none. dtype: uint8, shape: (band, y, x), red, green, blue.
    """
    root = source.path.parent if source.path.is_file() else source.path
    places = zip(rows["file_loc"], rows["file_row"], strict=True)
    for file_loc, group in groupby(places, key=lambda place: str(place[0])):
        with _Shard(root / file_loc) as shard:
            for _, row in group:
                decoded = decode(shard.image(int(row)), source.product.size_pix, file_loc)
                yield decoded if isinstance(decoded, Rejected) else Cutout(decoded, source.product.unit)


def decode(jpeg: bytes | None, size_pix: tuple[int, int], file: str = "") -> NDArray[np.uint8] | Rejected:
    """Decode a picture with North up and resize it, antialiased, to the stored size.

    Args:
        jpeg: Content of the image file, or None where the archive has none.
        size_pix: Stored size, (ny, nx); the picture is made smaller, never larger.
        file: Name of the shard, for the reason.

    Returns:
        Red, green and blue, y increasing to the North. Shape: (3, ny, nx). Or the reason why there is none.
    """
    if not jpeg:
        return Rejected("no image", "the image column is null", file)
    try:
        with Image.open(BytesIO(jpeg)) as picture:
            colour = picture.convert("RGB")
    except OSError as error:
        return Rejected("unreadable image", str(error), file)
    ny, nx = size_pix
    if colour.width * ny != colour.height * nx:
        return Rejected("wrong aspect", f"{colour.width} x {colour.height} px cannot be resized to {nx} x {ny}", file)
    if colour.height < ny:
        return Rejected("too small", f"{colour.width} x {colour.height} px, less than the stored {nx} x {ny}", file)
    resized = colour if colour.height == ny else colour.resize((nx, ny), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.moveaxis(np.asarray(resized)[::-1], -1, 0))


class _Shard:
    """One open shard; keeps the images of the row group it read last."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        groups = range(self._file.num_row_groups)
        sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._first_rows = np.cumsum([0, *sizes])
        self._group = -1
        self._images = pa.chunked_array([], type=pa.null())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def image(self, row: int) -> bytes | None:
        """Return the content of the image file in a row, or None where it is null."""
        group = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        if group != self._group:
            self._images = self._file.read_row_group(group, columns=["image"]).column("image")
            self._group = group
        value: dict[str, bytes | None] | None = self._images[row - int(self._first_rows[group])].as_py()
        return None if value is None else value["bytes"]


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet ({error}); fetch it again") from error


def _relative(path: Path, source: Source) -> str:
    return path.name if source.path.is_file() else path.relative_to(source.path).as_posix()


def _read_shard(file: pq.ParquetFile, schema: VoteSchema, path: Path, file_loc: str) -> dict[str, NDArray[np.generic]]:
    """Return the columns of one shard, the images left out. Length of each: number of rows."""
    num = file.metadata.num_rows
    names = set(file.schema_arrow.names)
    columns: dict[str, NDArray[np.generic]] = {"id_str": _text(file, "id_str")}
    for name in ("ra", "dec"):
        columns[name] = _numbers(file, name) if name in names else np.full(num, np.nan)
    columns["dataset_name"] = _text(file, "dataset_name") if "dataset_name" in names else np.full(num, "")
    columns["split"] = np.full(num, _split_of(path))
    columns["file_loc"] = np.full(num, file_loc)
    columns["file_row"] = np.arange(num, dtype=np.int64)
    for name in schema.columns:
        columns[name] = _counts(file, name, path) if name in names else np.zeros(num, dtype=np.int32)
    return columns


def _text(file: pq.ParquetFile, name: str) -> NDArray[np.generic]:
    column = file.read(columns=[name]).column(name)
    return np.asarray(pc.fill_null(column.cast(pa.string()), "").to_pylist(), dtype=np.str_)


def _numbers(file: pq.ParquetFile, name: str) -> NDArray[np.float64]:
    column = file.read(columns=[name]).column(name).cast(pa.float64())
    return np.asarray(pc.fill_null(column, float("nan")).to_numpy(), dtype=np.float64)


def _counts(file: pq.ParquetFile, name: str, path: Path) -> NDArray[np.int32]:
    values = np.nan_to_num(_numbers(file, name), nan=0.0)  # a null is a galaxy that was not part of the campaign
    if (values < 0).any() or (values % 1 != 0).any():
        bad = values[(values < 0) | (values % 1 != 0)][0]
        raise DataError(f"column {name} of {path.name} holds {bad:g}, which is no number of votes")
    return values.astype(np.int32)


def _unasked_questions(names: list[str], schema: VoteSchema, path: Path) -> set[str]:
    """Return the questions without any column; a question with some of its columns is refused."""
    missing = [name for name in ("id_str", "image") if name not in names]
    present = set(names)
    unasked = set()
    for question in schema.questions:
        absent = [column for column in question.columns if column not in present]
        if len(absent) == len(question.columns):
            unasked.add(question.name)
        else:
            missing += absent
    if missing:
        raise DataError(
            f"{path.name} lacks {_some(missing)}, which {schema.name} needs; choose the schema it was made by"
        )
    if len(unasked) == len(schema.questions):
        raise DataError(f"{path.name} has no vote column of {schema.name}; it starts with {_some(names)}")
    return unasked


def _is_unknown(name: str, schema: VoteSchema) -> bool:
    return name not in _NOT_VOTES and not name.endswith(_DERIVED) and name not in schema.columns


def _split_of(path: Path) -> str:
    word = path.name.split("-")[0]
    if word not in _SPLITS:
        raise DataError(f"{path.name} tells no split; shards are named train-*, validation-* or test-*")
    return _SPLITS[word]


def _warn_of(names: set[str], sentence: str) -> None:
    if names:
        warnings.warn(f"{sentence}: {_some(sorted(names))}", UserWarning, stacklevel=4)


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
