"""One process at a time: a lock file that the next in line waits for, and that is gone when nobody holds it."""

from __future__ import annotations

__all__ = ["locked"]

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_EVERY_SECONDS = 0.2


@contextmanager
def locked(
    path: Path, *, on_wait: Callable[[], None] | None = None, stop: threading.Event | None = None
) -> Iterator[None]:
    """Hold the lock on a path; wait while another process or thread holds it.

    The lock is of the operating system, so that it ends with its process, however that ends.

    Args:
        path: What is locked; the lock file is ``PATH.lock`` beside it.
        on_wait: Called once if there is somebody to wait for.
        stop: Set by whoever wants the wait to end.

    Raises:
        KeyboardInterrupt: If ``stop`` was set during the wait.
    """
    file = path.with_name(f"{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    stop = stop or threading.Event()
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _lock(handle) and _is_still_at(handle, file):
                try:
                    yield
                    return
                finally:
                    file.unlink(missing_ok=True)
        finally:
            os.close(handle)
        if on_wait is not None:
            on_wait()
            on_wait = None
        if stop.wait(LOOK_EVERY_SECONDS):
            raise KeyboardInterrupt


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_at(handle: int, file: Path) -> bool:
    """Whether the locked file is the one at the path: who held it before has removed it at the end."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
