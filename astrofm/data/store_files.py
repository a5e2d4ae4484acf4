"""The files of a store, in a folder or behind a URL: their bytes, their names, and the arrays in them.

Whatever fsspec understands serves as a URL (``https://``, ``s3://``, ``memory://``, ...). A file is fetched by one
request; of a shard only the chunks that are wanted are, one request each, and its index once. A shard that is not there
is an error: Zarr by itself takes it for one of nothing but fill values.
"""

from __future__ import annotations

__all__ = ["fetch", "file_names", "forbidden", "is_url", "open_array", "read_bytes", "transport_errors"]

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astrofm.errors import StoreError

if TYPE_CHECKING:
    import zarr
    from fsspec import AbstractFileSystem

_FOREIGN_ERRORS = {"aiohttp": ("ClientError",), "botocore.exceptions": ("BotoCoreError", "ClientError")}
"""Errors of the libraries that fsspec calls, which derive from nothing that is always there."""

_FORBIDDEN = (401, 403)


def is_url(path: Path | str) -> bool:
    """Whether a path is a URL for fsspec rather than a place in the file system."""
    return "://" in str(path)


def read_bytes(path: Path | str, name: str) -> bytes:
    """Read a file of a store.

    Args:
        path: Folder or URL of the store.
        name: Of the file, relative to it.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the file may not be read, or the URL cannot be.
    """
    if not is_url(path):
        try:
            return (Path(path) / name).read_bytes()
        except PermissionError as error:
            raise forbidden(Path(path) / name) from error
    url = f"{_without_slash(path)}/{name}"
    system, place = _reach(url)
    return fetch(system, place, url)


def forbidden(file: Path) -> StoreError:
    """Return the error for a file of a store that this user may not read, to be raised by the caller."""
    return StoreError(f"{file} may not be read (permission denied): change its rights, or read it as somebody who may")


def file_names(path: Path | str) -> set[str] | None:
    """Return the names of all files of a store, relative to it; None where the server has no listing (HTTP).

    Raises:
        StoreError: If the URL cannot be read.
    """
    if not is_url(path):
        return {file.relative_to(path).as_posix() for file in Path(path).rglob("*") if not file.is_dir()}
    system, place = _reach(_without_slash(path))
    if "http" in system.protocol or "https" in system.protocol:
        return None
    try:
        found = system.find(place)
    except transport_errors() as error:
        raise StoreError(_in_words(error, str(path))) from error
    root = str(system._strip_protocol(place)).rstrip("/")
    return {str(name).removeprefix(root).lstrip("/") for name in found}


def open_array(path: Path | str, name: str) -> zarr.Array[Any]:
    """Open one of the arrays of a store for reading.

    Args:
        path: Folder or URL of the store.
        name: ``image`` or ``mask``.

    Returns:
        The array; reading from it raises a StoreError where a shard is missing or cannot be fetched.
    """
    import zarr

    from astrofm.data.zarr_files import FolderFiles, RemoteFiles

    if not is_url(path):
        return zarr.open_array(FolderFiles(Path(path) / name, read_only=True), mode="r", zarr_format=3)
    url = f"{_without_slash(path)}/{name}"
    system, place = _reach(url)
    return zarr.open_array(RemoteFiles(system, place, url), mode="r", zarr_format=3)


def fetch(system: AbstractFileSystem, place: str, url: str, start: int | None = None, stop: int | None = None) -> bytes:
    """Fetch a file or a part of it by one request.

    Args:
        system: File system that serves it.
        place: The file, as the file system calls it.
        url: The same for people.
        start: First byte; negative: that many at the end.
        stop: First byte after the part.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If it cannot be fetched, or the server sends another part than was asked for.
    """
    try:
        content: bytes = system.cat_file(place, start=start, end=stop)
    except FileNotFoundError:
        raise
    except transport_errors() as error:
        raise StoreError(_in_words(error, url)) from error
    asked = None if start is None else -start if start < 0 else None if stop is None else stop - start
    if asked is not None and len(content) != asked:
        raise StoreError(
            f"the server sent {len(content)} bytes of {url} where {asked} were asked for: the file is cut short or the "
            "server does not serve parts of files (HTTP ranges); copy the store here and give its folder"
        )
    return content


def _without_slash(path: Path | str) -> str:
    return str(path).rstrip("/")


def _reach(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system that serves a URL, and what the URL is called in it."""
    from fsspec.core import url_to_fs

    try:
        system, place = url_to_fs(url)
    except ImportError as error:
        raise StoreError(
            f"{url} needs packages that are not installed ({error}): install them with pip install 'astrofm[remote]'"
        ) from error
    except ValueError as error:
        raise StoreError(
            f"{url} is no address that can be read ({error}): give a folder, or https:// or s3://"
        ) from error
    return system, str(place)


def transport_errors() -> tuple[type[BaseException], ...]:
    """Return the errors that fetching may raise; those of libraries that are not loaded cannot be."""
    loaded = [(sys.modules.get(module), names) for module, names in _FOREIGN_ERRORS.items()]
    foreign = [getattr(module, name) for module, names in loaded if module is not None for name in names]
    return (OSError, asyncio.TimeoutError, *foreign)


def _in_words(error: BaseException, url: str) -> str:
    status = getattr(error, "status", None)
    if status in _FORBIDDEN or isinstance(error, PermissionError):
        return f"{url} is there only for those who may read it ({_said(error)}): check the address and your credentials"
    if status is not None:
        return f"the server answers {status} to {url}: check the address, or try again later"
    if "redentials" in str(error):
        return (
            f"{url} was asked for without credentials ({_said(error)}): set them in the environment, "
            "or FSSPEC_S3_ANON=true for a public bucket"
        )
    return f"{url} cannot be reached ({_said(error)}): check the address and the network, or copy the store here"


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
