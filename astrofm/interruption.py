"""SIGINT and SIGTERM as a wish to stop: training saves its state at the end of the step and ends there."""

from __future__ import annotations

__all__ = ["WATCHED_SIGNALS", "Interrupted", "SignalWatch"]

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

WATCHED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The run was stopped by a signal after its state was saved."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} at step {step}")
        self.signum = signum
        self.step = step


class SignalWatch:
    """Notes the first signal of this process, whoever is to act on it; a second one ends the process at once.

    Entered, it watches SIGINT, which would else end Lightning's start or end with its own exit code. SIGTERM is
    watched from :meth:`watch_all` on, because Lightning takes that one for itself when it starts. Leaving gives both
    handlers back. Outside the main thread it does nothing: whoever owns that thread owns the signals.

    Attributes:
        received: The signal that this process noted; None where there was none.
        agreed: The signal that all processes of a run have agreed to stop for; None where there was none. This one may
            still be sent it, as SLURM sends it to each of them, one after the other.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.agreed: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {signum: signal.getsignal(signum) for signum in WATCHED_SIGNALS}
        self._set(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            self._set(signum, handler)

    def watch_all(self) -> None:
        """Watch SIGTERM too."""
        for signum in WATCHED_SIGNALS:
            self._set(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + signum)  # the last checkpoint is whole, whatever this step was doing
        self.received = signum

    def _set(self, signum: int, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signum, handler)
