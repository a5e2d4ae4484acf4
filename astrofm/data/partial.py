"""The folder beside a store in which it is made: its lock, its atomic files, and the rename that publishes it."""

from __future__ import annotations

__all__ = ["exclusive", "partial_of", "publish", "write_atomically"]

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from astrofm.errors import StoreError


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
    """
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


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Args:
        path: The file; its folder is made where it is missing.
        write: Called with the open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def publish(store: Path, out: Path) -> None:
    """Move a complete store to its place; one that is there is replaced only now.

    Args:
        store: The complete store, inside the ``.partial`` folder of ``out``.
        out: Its place.
    """
    partial = partial_of(out)
    old = partial / "old"
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    store.rename(out)
    shutil.rmtree(partial)
