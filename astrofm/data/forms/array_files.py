"""HDF5 files and NumPy archives, opened so that images are read a few at a time.

``.npy`` files and the members of ``.npz`` archives that are not compressed are memory-mapped. A compressed member is
unpacked as a stream up to the rows that are wanted: memory stays small, but every range of an ingest starts from the
beginning again, so for more than some gigabytes take HDF5. Nothing is unpickled.
"""

from __future__ import annotations

__all__ = ["ARRAY_SUFFIXES", "ArrayFile", "StoredArray", "open_arrays"]

import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from astrofm.errors import DataError

if TYPE_CHECKING:
    import h5py

_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_SKIP_BYTES = 2**20
ARRAY_SUFFIXES = (*_HDF5_SUFFIXES, ".npz", ".npy")


class StoredArray(Protocol):
    """An array on disk."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return the rows from ``first`` up to ``stop``."""


ArrayFile = Mapping[str, StoredArray]
"""The arrays of an open file by name; a ``.npy`` file has one, named after the file."""


@contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """Open a file of arrays, by its suffix: ``.h5``, ``.hdf5``, ``.hdf``, ``.npz`` or ``.npy``.

    Raises:
        DataError: If the suffix is another, the file is damaged, holds Python objects or points to other files, or
            reading HDF5 wants a package that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        raise DataError(f"{path.name} has no suffix of a file of arrays; known: {', '.join(ARRAY_SUFFIXES)}")
    try:
        if suffix in _HDF5_SUFFIXES:
            with _opened_hdf5(path) as file:
                yield file
        elif suffix == ".npy":
            yield MappingProxyType({path.stem: _mapped(path, 0)})
        else:
            with zipfile.ZipFile(path) as archive, ExitStack() as streams:
                yield MappingProxyType(dict(_members(path, archive, streams)))
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read as {suffix[1:]}: {' '.join(str(error).split())}") from error


class _Mapped:
    """A memory-mapped array."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.shape, self.dtype, self._values = values.shape, values.dtype, values

    def read(self, first: int, stop: int) -> NDArray[Any]:
        return np.array(self._values[first:stop])


class _Streamed:
    """A compressed member of an archive, unpacked forward; an earlier row than the last starts anew."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive, self._member = archive, member
        self._stream = archive.open(member)
        self.shape, is_fortran, self.dtype = _header(self._stream, member.filename)
        self._offset = self._stream.tell()
        if is_fortran and len(self.shape) > 1:
            raise DataError(
                f"array {member.filename.removesuffix('.npy')!r} is compressed in Fortran order, which cannot be read "
                "in parts: save np.ascontiguousarray of it"
            )

    def read(self, first: int, stop: int) -> NDArray[Any]:
        row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        self._skip_to(self._offset + first * row_bytes)
        content = self._stream.read((stop - first) * row_bytes)
        return np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])

    def _skip_to(self, place: int) -> None:
        if self._stream.tell() > place:
            self._stream.close()
            self._stream = self._archive.open(self._member)
        while self._stream.tell() < place:
            if not self._stream.read(min(_SKIP_BYTES, place - self._stream.tell())):
                raise EOFError(f"{self._member.filename} ends before byte {place}")

    def close(self) -> None:
        self._stream.close()


class _Dataset:
    """A dataset of an HDF5 file."""

    def __init__(self, dataset: h5py.Dataset, *, is_text: bool) -> None:
        self._dataset = dataset.asstr() if is_text else dataset
        self.shape, self.dtype = dataset.shape, np.dtype(np.str_) if is_text else dataset.dtype

    def read(self, first: int, stop: int) -> NDArray[Any]:
        values = np.asarray(self._dataset[first:stop])
        return values.astype(np.str_) if values.dtype.kind == "O" else values


def _mapped(path: Path, offset: int) -> _Mapped:
    """Map an array whose ``.npy`` header stands at an offset of the file."""
    with path.open("rb") as stream:
        stream.seek(offset)
        shape, is_fortran, dtype = _header(stream, path.name)
        start, size = stream.tell(), path.stat().st_size
    wanted = start + int(np.prod(shape)) * dtype.itemsize
    if wanted > size:
        raise DataError(f"{path.name} is cut short: it should have {wanted} bytes and has {size}; get it again")
    if 0 in shape:
        return _Mapped(np.empty(shape, dtype))
    return _Mapped(np.memmap(path, dtype, "r", start, shape, order="F" if is_fortran else "C"))


def _header(stream: BinaryIO | Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read what stands before the values of an array, and refuse one that would have to be unpickled."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which only unpickling could read, and that may run any code: "
            "save numbers and text as arrays of their own type"
        )
    return shape, is_fortran, dtype


def _members(path: Path, archive: zipfile.ZipFile, streams: ExitStack) -> Iterator[tuple[str, StoredArray]]:
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        name = member.filename.removesuffix(".npy")
        if member.compress_type == zipfile.ZIP_STORED:
            yield name, _mapped(path, _start_of(path, member))
        else:
            yield name, streams.enter_context(closing(_Streamed(archive, member)))


def _start_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the content of a member starts: behind its local header, whose length stands in it."""
    with path.open("rb") as stream:
        stream.seek(member.header_offset + 26)
        lengths = np.frombuffer(stream.read(4), "<u2")
    return member.header_offset + 30 + int(lengths.sum())


@contextmanager
def _opened_hdf5(path: Path) -> Iterator[ArrayFile]:
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path.name} is HDF5, and the package that reads it is not here: pip install h5py") from error
    with h5py.File(path, "r") as file:
        found: dict[str, StoredArray] = {}

        def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if not isinstance(item, h5py.Dataset) or not item.shape:
                return
            if item.is_virtual or item.external:
                raise DataError(f"{path.name}: the values of {name!r} lie in another file; copy them into this one")
            is_text = h5py.check_string_dtype(item.dtype) is not None and item.dtype.kind == "O"
            if is_text or not item.dtype.hasobject:
                found[name] = _Dataset(item, is_text=is_text)

        file.visititems(visit)
        yield MappingProxyType(found)
