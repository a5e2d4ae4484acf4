"""The files of an array as Zarr asks for them: one that is missing is an error, not a shard of fill values."""

from __future__ import annotations

__all__ = ["FolderFiles", "RemoteFiles"]

import asyncio
from typing import TYPE_CHECKING

from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore

from astrofm.data.store_files import fetch
from astrofm.errors import StoreError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class FolderFiles(LocalStore):
    """An array in a folder."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file or a part of it; see :meth:`zarr.abc.store.Store.get`."""
        found = await super().get(key, prototype, byte_range)
        if found is None:
            raise StoreError(_missing(str(self.root / key)))
        return found


class RemoteFiles(FsspecStore):
    """An array behind a URL, read through the blocking side of its file system, which closes its connections itself.

    Args:
        system: File system that serves it.
        place: Folder of the array, as the file system calls it.
        url: The same for people.
    """

    def __init__(self, system: AbstractFileSystem, place: str, url: str) -> None:
        super().__init__(AsyncFileSystemWrapper(system, asynchronous=True), read_only=True, path=place)
        self._system = system
        self._url = url
        self._indexes: dict[str, bytes] = {}
        """The end of each shard that was read from: where its chunks lie, 16 bytes a chunk."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file or a part of it; see :meth:`zarr.abc.store.Store.get`."""
        content = self._indexes.get(key) if isinstance(byte_range, SuffixByteRequest) else None
        if content is None:
            content = await asyncio.to_thread(self._fetch, key, byte_range)
        if isinstance(byte_range, SuffixByteRequest):
            self._indexes[key] = content
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    def _fetch(self, key: str, byte_range: ByteRequest | None) -> bytes:
        start, stop = _limits(byte_range)
        try:
            return fetch(self._system, f"{self.path}/{key}", f"{self._url}/{key}", start, stop)
        except FileNotFoundError as error:
            raise StoreError(_missing(f"{self._url}/{key}")) from error


def _limits(byte_range: ByteRequest | None) -> tuple[int | None, int | None]:
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, SuffixByteRequest):
        return -byte_range.suffix, None
    return (byte_range.offset, None) if isinstance(byte_range, OffsetByteRequest) else (None, None)


def _missing(file: str) -> str:
    return f"{file} is missing: 'astrofm store verify' names all that is damaged, 'astrofm store repair' mends it"
