"""The folder beside a store in which it is made: its lock, its atomic files, and the rename that publishes it."""

from __future__ import annotations

__all__ = [
    "discard_work",
    "exclusive",
    "make_durable",
    "partial_of",
    "publish",
    "start_writing",
    "sweep",
    "write_atomically",
]

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from astrofm.errors import StoreError, UsageError

Written = TypeVar("Written")

OLD = "old"
"""Where a store waits that is being replaced."""

_URL = re.compile(r"[a-z0-9]{2,}:/")
"""Beginning of a URL; ``Path`` has taken one of its slashes."""


def partial_of(out: Path) -> Path:
    """Return the folder in which a store is made until it is complete: ``OUT.partial``."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def exclusive(out: Path) -> Iterator[Path]:
    """Hold the lock of a store's ``.partial`` folder, and say in one sentence what the file system refuses.

    Args:
        out: Path of the store.

    Yields:
        The ``.partial`` folder, which exists.

    Raises:
        StoreError: If another process holds the lock, the disk is full or the folder cannot be written.
        UsageError: If the path is a URL.
    """
    if _URL.match(str(out)):
        raise UsageError(f"a store is made in a folder and not at {out}: choose a folder, and copy the store there")
    partial = partial_of(out)
    try:
        with _locked(out, partial):
            yield partial
    except OSError as error:
        raise StoreError(_in_words(error, out)) from error


@contextmanager
def _locked(out: Path, partial: Path) -> Iterator[None]:
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        with (partial / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(f"another process is writing {out}: wait for it, or choose another --out") from error
            if _is_still_at(lock, partial / "lock"):
                if (partial / OLD).exists() and not out.exists():  # killed between the two renames of publish
                    (partial / OLD).rename(out)
                yield
                return


def _is_still_at(lock: BinaryIO, path: Path) -> bool:
    """Whether the locked file is the one at the path: the process that held it may have removed the folder."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _in_words(error: OSError, out: Path) -> str:
    place = error.filename or out
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space left on the disk of {out}: free some and give the same command again, "
            "which goes on where this one stopped"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{place} may not be written or read ({os.strerror(error.errno)}): change its rights or choose another path"
        )
    return f"{place}: {error.strerror or error}; give the same command again, which goes on where this one stopped"


def write_atomically(path: Path, write: Callable[[BinaryIO], Written], *, durable: bool = True) -> Written:
    """Write a file so that it is there whole or not at all.

    Args:
        path: The file; its folder is made where it is missing.
        write: Called with the open file.
        durable: Whether to wait until it is on the disk, and whole also after a power cut; see :func:`make_durable`.

    Returns:
        What ``write`` returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random: processes of two machines may have one number, and both may be given the same job.
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with unfinished.open("wb") as file:
            written = write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # on a full disk half a file is in the way
        raise
    return written


def start_writing(file: BinaryIO) -> None:
    """Let the system begin to bring a file to the disk, without waiting for it, where it can be told."""
    file.flush()
    if hasattr(os, "posix_fadvise"):  # "not needed" drops what is written and starts the writing of the rest
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_durable(folder: Path) -> None:
    """Wait until all files in a folder are on the disk."""
    paths = [folder, *folder.rglob("*")]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard_work(partial: Path) -> None:
    """Remove from a ``.partial`` folder the work of an earlier command; a store that was being replaced stays."""
    for entry in [entry for entry in partial.iterdir() if entry.name not in ("lock", OLD)]:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def sweep(store: Path, known: Collection[str]) -> None:
    """Remove the half-written files that kills have left in a store.

    Args:
        store: The store, of which everything is written but the manifest.
        known: Its files, relative to it.
    """
    for file in [file for file in store.rglob("*") if file.is_file()]:
        if file.relative_to(store).as_posix() not in known:
            file.unlink()


def publish(store: Path, out: Path) -> None:
    """Move a complete store to its place; one that is there is replaced only now.

    Args:
        store: The complete store, inside the ``.partial`` folder of ``out``.
        out: Its place.
    """
    partial = partial_of(out)
    old = partial / OLD
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    store.rename(out)
    shutil.rmtree(partial)
