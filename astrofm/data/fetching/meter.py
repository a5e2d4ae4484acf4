"""The progress of several files that come at once, as one."""

from __future__ import annotations

__all__ = ["Meter"]

import threading
from collections.abc import Mapping

from astrofm.listener import Progress


class Meter:
    """Adds up the progress of several files; told from several threads."""

    def __init__(self, what: str, sizes: Mapping[str, int], listener: Progress | None) -> None:
        self._listener, self._what = listener, f"{what} (MB)"
        self._lock = threading.Lock()
        self._done = dict.fromkeys(sizes, 0)
        self._total = dict(sizes)
        self._last = -1

    def of(self, name: str) -> Progress:
        """Return the listener of one file."""

        def listener(done: int, total: int, what: str) -> None:
            with self._lock:
                self._done[name], self._total[name] = done, total
                self._tell()

        return listener

    def _tell(self) -> None:
        done = sum(self._done.values()) // 1_000_000
        if self._listener is not None and done != self._last:
            self._last = done
            self._listener(done, -(-sum(self._total.values()) // 1_000_000), self._what)
