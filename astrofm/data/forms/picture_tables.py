"""Archives in Parquet whose rows hold an encoded picture beside its labels, as data hubs give them out.

The catalogue is read column by column and never touches the pictures. Pictures are read a few hundred at a time,
forward through a file, so that memory does not depend on the size of its row groups.
"""

from __future__ import annotations

__all__ = ["READER", "picture_catalog", "picture_cutouts"]

import threading
import warnings
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from astrofm.card import Product, SurveyCard
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.forms.columns import with_contract_names, with_places
from astrofm.data.forms.pictures import decode_picture
from astrofm.data.tables import from_arrow
from astrofm.errors import DataError
from astrofm.forms import PicturesLayout
from astrofm.schema import VoteSchema
from astrofm.survey import FormReader, Source

if TYPE_CHECKING:
    from astropy.table import Table

SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""First words of the names of files that tell a split."""

PICTURES_PER_READ = 256
_READ_BUFFER_BYTES = 2**18
"""Without a buffer pyarrow reads the whole column of a row group before it gives out the first picture."""


def picture_catalog(card: SurveyCard, source: Source) -> Table:
    """Return the columns beside the pictures under the names of the contract.

    Args:
        card: With a ``pictures`` section.
        source: The archive.

    Returns:
        One row for each picture, file by file: the files' own columns, ``file_loc`` and ``file_row``; ``id_str`` from
        these two and unknown ``ra`` and ``dec`` where the files have none; ``split`` where the names tell it.

    Raises:
        DataError: If a file cannot be read or lacks a column.
    """
    layout = _layout(card)
    parts = [_columns_of(path, layout) for path in source.files]
    _check_alike(parts, source)
    try:
        table = from_arrow(pa.concat_tables(parts, promote_options="permissive"))
    except pa.ArrowException as error:
        raise DataError(f"the files of {source.path} differ in the type of a column: {error}") from error
    sizes = [part.num_rows for part in parts]
    if layout.split_from_name:
        table["split"] = np.repeat([_split_of(path) for path in source.files], sizes)
    table = with_places(table, [path.relative_to(source.folder).as_posix() for path in source.files], sizes)
    return with_contract_names(table, layout.columns, f"the archive of {card.name!r}")


def picture_cutouts(card: SurveyCard, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
    """Decode the pictures of some rows of :func:`picture_catalog`, in order.

    Args:
        card: With a ``pictures`` section.
        source: The archive; its product says to which size pictures are resized.
        rows: With ``file_loc`` and ``file_row``.

    Yields:
        Batches of cutouts, and between them each picture that has a mask and each reason why there is none: see
        :func:`astrofm.data.forms.pictures.decode_picture`.
    """
    places = zip(rows["file_loc"].tolist(), rows["file_row"].tolist(), strict=True)
    for file_loc, group in groupby(places, key=lambda place: str(place[0])):
        contents = _contents(source.folder / file_loc, _layout(card).image, [row for _, row in group])
        decoded = (decode_picture(content, source.product.shape, file_loc) for content in contents)
        yield from _batched(decoded, source.product)


def picture_mock(card: SurveyCard, n: int, seed: int, out: Path, votes: VoteSchema | None = None) -> Path:
    """Write Parquet files of made-up sources in the form that the card describes; see :meth:`Survey.mock`."""
    from astrofm.data.forms.pictures_mock import write_picture_tables

    return write_picture_tables(card, votes, _layout(card), n, seed, out)


def picture_files(card: SurveyCard, source: Source, rows: Table) -> list[Path]:
    """Return the Parquet files: they hold everything."""
    return source.files


READER = FormReader(picture_catalog, picture_cutouts, picture_mock, picture_files)


class _Forward:
    """The pictures of one file, read forward; asking for an earlier row than the last one starts anew."""

    def __init__(self, path: Path, image: str) -> None:
        self._path = path
        self._file = _open(path)
        is_struct = pa.types.is_struct(self._file.schema_arrow.field(image).type)
        self._column = f"{image}.bytes" if is_struct else image
        self._pictures: list[bytes | None]
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._first_rows = np.cumsum([0, *sizes])
        self._start_at(0)

    def content(self, row: int) -> bytes | None:
        """Return the content of the picture in a row of the file, or None where it is null."""
        if not 0 <= row - self._first < len(self._pictures):
            self._go_to(row)
        return self._pictures[row - self._first]

    def _go_to(self, row: int) -> None:
        group = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        if group != self._group or row < self._first:
            self._start_at(group)
        while row >= self._first + len(self._pictures):
            self._first += len(self._pictures)
            self._pictures = self._next_batch()

    def _start_at(self, group: int) -> None:
        self._group, self._first = group, int(self._first_rows[group])
        self._batches = self._file.iter_batches(
            PICTURES_PER_READ, row_groups=[group], columns=[self._column], use_threads=False
        )
        self._pictures = []

    def _next_batch(self) -> list[bytes | None]:
        try:
            column = next(self._batches).column(0)
        except (StopIteration, pa.ArrowException, OSError) as error:
            raise DataError(f"{self._path.name} is damaged behind row {self._first} ({error}): get it again") from error
        contents = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
        pictures: list[bytes | None] = contents.to_pylist()
        return pictures


@lru_cache(maxsize=1)
def _forward(path: Path, image: str, written_ns: int, thread: int) -> _Forward:
    """Keep the file of the last call open: the next range goes on in it, and need not skip a long row group again."""
    return _Forward(path, image)


def _contents(path: Path, image: str, rows: Sequence[int]) -> Iterator[bytes | None]:
    try:
        written_ns = path.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise DataError(f"{path.name} has vanished since the catalogue was read") from error
    reader = _forward(path, image, written_ns, threading.get_ident())
    return map(reader.content, rows)


def _batched(decoded: Iterator[Cutout | Rejected], product: Product) -> Iterator[Cutout | CutoutBatch | Rejected]:
    """Put consecutive pictures without masks together."""
    images = np.empty((PICTURES_PER_READ, *product.shape), dtype=product.dtype)
    filled = 0
    for found in decoded:
        is_plain = isinstance(found, Cutout) and found.mask is None
        if filled and (not is_plain or filled == len(images)):
            yield CutoutBatch(images[:filled], product.unit)
            images, filled = np.empty_like(images), 0
        if isinstance(found, Cutout) and found.mask is None:
            images[filled] = found.image
            filled += 1
        else:
            yield found if isinstance(found, Rejected) else _as_product(found, product)
    if filled:
        yield CutoutBatch(images[:filled], product.unit)


def _as_product(cutout: Cutout, product: Product) -> Cutout:
    """Return a picture as the product stores it: what is masked is NaN in floating-point pixels."""
    if product.dtype == "uint8" or cutout.mask is None:
        return Cutout(cutout.image.astype(product.dtype), product.unit, mask=cutout.mask)
    return Cutout(np.where(cutout.mask, np.float32(np.nan), cutout.image), product.unit)


def _open(path: Path) -> pq.ParquetFile:
    """Open a Parquet file for reading in small pieces.

    Raises:
        DataError: If it is none.
    """
    try:
        return pq.ParquetFile(path, buffer_size=_READ_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet ({error}); get it again") from error


def _columns_of(path: Path, layout: PicturesLayout) -> pa.Table:
    """Read the columns of one file that go into the catalogue."""
    with _open(path) as file:
        schema = file.schema_arrow
        _check_pictures(schema, layout.image, path)
        others = [field for field in schema if field.name != layout.image]
        wanted = [field for field in others if not any(fnmatchcase(field.name, p) for p in layout.leave_out)]
        odd = [field.name for field in wanted if not _is_plain(field.type)]
        if odd:
            warnings.warn(f"{path.name}: neither numbers nor text, left out: {', '.join(odd)}", stacklevel=3)
        return file.read(columns=[field.name for field in wanted if field.name not in odd])


def _check_pictures(schema: pa.Schema, image: str, path: Path) -> None:
    if image not in schema.names:
        raise DataError(
            f"{path.name} has no column {image!r} with pictures, which the card names; it has {', '.join(schema.names)}"
        )
    kind = schema.field(image).type
    content = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(content) or pa.types.is_large_binary(content)):
        raise DataError(
            f"column {image!r} of {path.name} is of type {kind}; pictures are bytes, or a struct with a field 'bytes'"
        )


def _check_alike(parts: Sequence[pa.Table], source: Source) -> None:
    """Refuse files with different columns: what one of them lacks would pass for null."""
    for path, part in zip(source.files, parts, strict=True):
        differing = sorted(set(part.column_names) ^ set(parts[0].column_names))
        if differing:
            raise DataError(f"{path.name} and {source.files[0].name} differ in the columns {', '.join(differing)}")


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return not (is_binary or pa.types.is_nested(kind))


def _split_of(path: Path) -> str:
    word = path.name.replace("_", "-").replace(".", "-").split("-")[0]
    if word not in SPLIT_WORDS:
        raise DataError(f"{path.name} tells no split; files are named train-*, validation-* or test-*")
    return SPLIT_WORDS[word]


def _layout(card: SurveyCard) -> PicturesLayout:
    if card.pictures is None:
        raise DataError(f"the card of {card.name!r} has no 'pictures' section, which names the column of the pictures")
    return card.pictures
