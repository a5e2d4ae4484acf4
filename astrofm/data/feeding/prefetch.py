"""Batches made while the network computes, by two threads: one assembles them, one decodes the next window.

Copying and decoding let other threads run, so threads suffice and nothing is sent between processes.
"""

from __future__ import annotations

__all__ = ["Prefetch"]

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from astrofm.data.batch import Batch
from astrofm.data.feeding.order import Position
from astrofm.data.loader import Loader

NUM_AHEAD = 3
"""Batches that wait at most; each takes its pixels in memory."""


class Prefetch:
    """A loader that works ahead: the same batches in the same order, and the same position.

    The position, and so what a checkpoint holds, is that of the batches that were taken, never of those made. Whatever
    fails in a thread is raised where the batch is taken. The threads go on from one epoch into the next and end with
    the context, whether or not the batches were used up.

    Args:
        loader: Makes the batches; its position is used and advanced.
        num_steps: Batches from the start of the first epoch after which nothing is made; None: no end.
        send: Called in the thread with each batch and its number from the start of the first epoch, for example to
            bring it to a device; what it returns is taken for the batch.

    Attributes:
        waited_s: Seconds that batches were waited for so far.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        num_steps: int | None = None,
        send: Callable[[Batch, int], Batch] = lambda batch, number: batch,
    ) -> None:
        self._loader = loader
        self._num_steps = num_steps
        self._send = send
        self._batches = ThreadPoolExecutor(1, "astrofm-batches")
        self._windows = ThreadPoolExecutor(1, "astrofm-windows")
        self._pending: dict[Position, Future[Batch]] = {}
        self._decoding: Future[None] | None = None
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; what they were making is finished first and dropped."""
        self._batches.shutdown(cancel_futures=True)
        self._windows.shutdown(cancel_futures=True)
        self._pending.clear()

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._loader.begin()
        while self._loader.position.step < len(self):
            batch = self._take(self._loader.position)
            self._loader.advance()
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the state of the loader."""
        return self._loader.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a position of the loader; batches of another are dropped when the next is taken."""
        self._loader.load_state_dict(state)

    def _take(self, position: Position) -> Batch:
        wanted = self._ahead_of(position)
        for made in self._pending.keys() - wanted:
            self._pending.pop(made).cancel()
        for place in wanted:
            if place not in self._pending:
                self._pending[place] = self._batches.submit(self._make, place)
        asked = time.monotonic()
        batch = self._pending.pop(position).result()
        self.waited_s += time.monotonic() - asked
        return batch

    def _ahead_of(self, position: Position) -> list[Position]:
        """Return a position and those that follow, over the end of the epoch but not of the run."""
        first = self._number(position)
        stop = first + NUM_AHEAD + 1
        if self._num_steps is not None:
            stop = max(first + 1, min(stop, self._num_steps))
        return [Position(*divmod(step, len(self))) for step in range(first, stop)]

    def _number(self, position: Position) -> int:
        """Return the number of batches before a position, from the start of the first epoch."""
        return position.epoch * len(self) + position.step

    def _make(self, position: Position) -> Batch:
        batch = self._send(self._loader.batch_at(position), self._number(position))
        if self._decoding is None or self._decoding.done():
            # What fails there fails again, and is raised, when a batch needs the window.
            self._decoding = self._windows.submit(self._loader.decode_ahead, position)
        return batch
