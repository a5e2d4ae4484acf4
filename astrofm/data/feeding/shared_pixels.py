"""Pixels of a small store, decoded once for all processes of a user on a machine.

They lie in a file in shared memory whose name is a hash of the store's place and content and of the rows. The first
process that asks decodes them, the others wait for it and map the same pages. Each holds a shared lock on the file as
long as its arrays live; the last to let go removes it. The locks are the kernel's and end with their process, so what a
killed process leaves behind is recognised by nobody holding it, and removed by the next one that decodes anything.

Where there is no shared memory, or not enough of it (containers are often given 64 MB), a process decodes for itself.
"""

from __future__ import annotations

__all__ = ["SHARED_FOLDER", "decode_shared", "remove_abandoned"]

import mmap
import os
import time
import weakref
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.store import CutoutStore

SHARED_FOLDER = Path("/dev/shm")
PREFIX = "astrofm-pixels-"
COMPLETE = b"complete"
"""Last bytes of a file whose pixels are all there."""
LOOK_AGAIN_S = 0.01

Pixels = tuple[NDArray[Any], NDArray[np.bool_] | None]


def decode_shared(store: CutoutStore, rows: NDArray[np.int64]) -> Pixels:
    """Return the pixels and masks of rows, shared with the other processes that ask for the same.

    Args:
        store: The store.
        rows: Row numbers in any order. Shape: (n,).

    Returns:
        Images, not to be written to. Shape: (n, band, y, x). Masks or None. Shape: (n, y, x).

    Raises:
        StoreError: If the store is damaged.
    """
    if not SHARED_FOLDER.is_dir() or not len(rows):
        return store.read(rows), store.read_mask(rows)
    path = SHARED_FOLDER / _name(store, rows)
    size = _image_bytes(store, rows) + _mask_bytes(store, rows) + len(COMPLETE)
    try:
        descriptor = _attach(path, size, store, rows)
    except OSError:  # no room, or a folder in which nothing can be made or locked
        return store.read(rows), store.read_mask(rows)
    # Mapped whole at once: page by page on first use takes longer than copying out of it.
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    mapped = mmap.mmap(descriptor, size, flags=flags, prot=mmap.PROT_READ)
    weakref.finalize(mapped, _release, descriptor, path, os.getpid())
    return _arrays(mapped, store, rows)


def remove_abandoned() -> None:
    """Remove the files of this user that no process holds."""
    import fcntl

    for path in SHARED_FOLDER.glob(f"{PREFIX}{os.getuid()}-*"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _attach(path: Path, size: int, store: CutoutStore, rows: NDArray[np.int64]) -> int:
    """Return an open file that holds the pixels, with a shared lock on it; make it if there is none.

    A lock may be won on a file that was removed while we waited: then the name is another file's, and we begin anew.
    Nor do we wait to be alone with a file: one who fills it while we wait holds it from then on, as long as he trains.
    """
    import fcntl

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if not _is_complete(descriptor, size):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, path) and not _is_complete(descriptor, size):
                    remove_abandoned()
                    _fill(descriptor, size, store, rows)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path) and _is_complete(descriptor, size):
                return descriptor
        except BlockingIOError:  # our own lock has gone with the attempt, so one of those who try at once succeeds
            time.sleep(LOOK_AGAIN_S)
        except BaseException:
            if _is_at(descriptor, path):
                path.unlink()
            os.close(descriptor)
            raise
        os.close(descriptor)


def _fill(descriptor: int, size: int, store: CutoutStore, rows: NDArray[np.int64]) -> None:
    # Without room of its own, a write to the mapped file would end the process.
    os.ftruncate(descriptor, size)
    os.posix_fallocate(descriptor, 0, size)
    mapped = mmap.mmap(descriptor, size)
    images, mask = _arrays(mapped, store, rows)
    store.read(rows, out=images)
    if mask is not None:
        store.read_mask(rows, out=mask)
    mapped[-len(COMPLETE) :] = COMPLETE


def _arrays(mapped: mmap.mmap, store: CutoutStore, rows: NDArray[np.int64]) -> Pixels:
    """Return the arrays in a mapped file; they keep it mapped."""
    num_images = _image_bytes(store, rows)
    images = np.frombuffer(mapped, store.dtype, num_images // store.dtype.itemsize)
    mask = np.frombuffer(mapped, bool, _mask_bytes(store, rows), num_images)
    _, num_bands, ny, nx = store.shape
    return images.reshape(-1, num_bands, ny, nx), mask.reshape(-1, ny, nx) if len(mask) else None


def _image_bytes(store: CutoutStore, rows: NDArray[np.int64]) -> int:
    return len(rows) * int(np.prod(store.shape[1:])) * store.dtype.itemsize


def _mask_bytes(store: CutoutStore, rows: NDArray[np.int64]) -> int:
    return len(rows) * int(np.prod(store.shape[2:])) if store.manifest.has_mask else 0


def _name(store: CutoutStore, rows: NDArray[np.int64]) -> str:
    place = str(store.path) if "://" in str(store.path) else str(Path(store.path).resolve())
    digest = sha256(f"{place}\n{store.content_hash}\n".encode() + np.ascontiguousarray(rows, "<i8").tobytes())
    return f"{PREFIX}{os.getuid()}-{digest.hexdigest()[:40]}"


def _is_complete(descriptor: int, size: int) -> bool:
    found = os.fstat(descriptor)
    is_own = found.st_uid == os.getuid() and found.st_size == size
    return is_own and os.pread(descriptor, len(COMPLETE), size - len(COMPLETE)) == COMPLETE


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a file still has its name."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _release(descriptor: int, path: Path, owner: int) -> None:
    """Let go of a file, and remove it if nobody else holds it."""
    import fcntl

    try:
        if os.getpid() == owner:  # a forked child shares the lock and may not end it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                path.unlink()
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
