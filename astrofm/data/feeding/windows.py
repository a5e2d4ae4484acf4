"""Decoded pixels: those of a window that was or will be read, or all of a store that fits into memory."""

from __future__ import annotations

__all__ = ["Buffers", "Decoded", "FeedPixels", "Windows"]

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.feeding.feed import Feed
from astrofm.data.feeding.order import Stratum, Window
from astrofm.data.feeding.shared_pixels import decode_shared


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels in memory.

    Attributes:
        row_ids: Which rows these are, ascending. Shape: (n,).
        images: Shape: (n, band, y, x).
        mask: Shape: (n, y, x), or None.
    """

    row_ids: NDArray[np.int64]
    images: NDArray[Any]
    mask: NDArray[np.bool_] | None

    def copy_to(self, images: NDArray[Any], mask: NDArray[np.bool_] | None, row_ids: NDArray[np.int64]) -> None:
        """Copy rows, in the order given.

        Args:
            images: Where they go. Shape: (n, band, y, x).
            mask: Where their masks go, or None. Shape: (n, y, x).
            row_ids: Rows, all among :attr:`row_ids`. Shape: (n,).
        """
        places = np.searchsorted(self.row_ids, row_ids)
        # mode="clip" lets numpy write into the output without a buffer; no place is outside.
        np.take(self.images, places, axis=0, out=images, mode="clip")
        if self.mask is not None and mask is not None:
            np.take(self.mask, places, axis=0, out=mask, mode="clip")


class Windows:
    """The windows around the position reached; safe to ask from several threads, each is decoded once.

    Args:
        decode: Reads the rows of a window.
        let_go: Told of each window that is held no longer.
    """

    def __init__(self, decode: Callable[[Window], Decoded], let_go: Callable[[Decoded], None]) -> None:
        self._decode = decode
        self._let_go = let_go
        self._held: dict[Window, Future[Decoded]] = {}
        self._wanted: frozenset[Window] = frozenset()
        self._lock = Lock()

    def get(self, window: Window) -> Decoded:
        """Return a window: held, being decoded by another thread, or decoded now."""
        with self._lock:
            is_new = window not in self._held
            future = self._held.setdefault(window, Future())
        if is_new:
            self._fill(window, future)
        return future.result()

    def prepare(self, window: Window) -> None:
        """Decode a window before it is asked for; one that is not among those to be kept is past by now."""
        with self._lock:
            if window in self._held or window not in self._wanted:
                return
            future = self._held.setdefault(window, Future())
        self._fill(window, future)

    def keep_only(self, windows: Collection[Window]) -> None:
        """Let go of all other windows."""
        with self._lock:
            self._wanted = frozenset(windows)
            dropped = [future for window, future in self._held.items() if window not in self._wanted]
            self._held = {window: future for window, future in self._held.items() if window in self._wanted}
        for future in dropped:
            if future.done() and future.exception() is None:
                self._let_go(future.result())

    def _fill(self, window: Window, future: Future[Decoded]) -> None:
        try:
            future.set_result(self._decode(window))
        except BaseException as error:
            # Whoever waits hears of it too; who asks again reads again.
            future.set_exception(error)
            with self._lock:
                self._held.pop(window, None)
            raise


class Buffers:
    """Memory that is used again: to be given pages anew costs as much time as to decode into them."""

    def __init__(self) -> None:
        self._spare: list[NDArray[Any]] = []

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array with whatever is in it."""
        for place, spare in enumerate(self._spare):
            if len(spare) >= shape[0] and spare.shape[1:] == shape[1:] and spare.dtype == dtype:
                return self._spare.pop(place)[: shape[0]]
        return np.empty(shape, dtype)

    def give_back(self, array: NDArray[Any]) -> None:
        """Take an array that nobody will read any more."""
        self._spare.append(array if array.base is None else array.base)


class FeedPixels:
    """The pixels that a stratum takes from a feed: all of them kept, or those of a window and the one beside it.

    Args:
        feed: The feed.
        first_id: Row number of its first row in the union of the feeds.
        stratum: The stratum.
        row_ids: Rows of the stratum that are the feed's, ascending, at least one. Shape: (n,).
    """

    is_kept = False

    def __init__(self, feed: Feed, first_id: int, stratum: Stratum, row_ids: NDArray[np.int64]) -> None:
        self._feed = feed
        self._first_id = first_id
        self._stratum = stratum
        self._row_ids = row_ids
        self._buffers = Buffers()
        self._windows = Windows(self._decode, self._let_go)

    @property
    def num_bytes(self) -> int:
        """Memory that all of them take."""
        return len(self._row_ids) * self._feed.row_bytes

    def get(self, window: Window) -> Decoded:
        """Return pixels, at least those of a window."""
        return self._everything if self.is_kept else self._windows.get(window)

    def prepare(self, window: Window) -> None:
        """Decode a window before it is asked for."""
        if not self.is_kept:
            self._windows.prepare(window)

    def keep_near(self, touched: Sequence[Window]) -> None:
        """Let go of what is neither in a batch nor next.

        Args:
            touched: Windows of the stratum that the batch touches; if there are none, what is held will serve later.
        """
        if touched:
            next_one = [self._stratum.after(touched[0])] if len(touched) == 1 else []
            self._windows.keep_only([*touched, *next_one])

    def _decode(self, window: Window) -> Decoded:
        rows = np.sort(self._stratum.rows_in(window))
        first, stop = np.searchsorted(rows, [self._row_ids[0], self._row_ids[-1] + 1])
        store, row_ids = self._feed.store, rows[first:stop]
        of_store = self._of_store(row_ids)
        images = store.read(of_store, self._buffers.take((len(row_ids), *store.shape[1:]), store.dtype))
        if not store.manifest.has_mask:
            return Decoded(row_ids, images, None)
        masks = self._buffers.take((len(row_ids), *store.shape[2:]), np.dtype(bool))
        return Decoded(row_ids, images, store.read_mask(of_store, masks))

    def _let_go(self, decoded: Decoded) -> None:
        self._buffers.give_back(decoded.images)
        if decoded.mask is not None:
            self._buffers.give_back(decoded.mask)

    @cached_property
    def _everything(self) -> Decoded:
        return Decoded(self._row_ids, *decode_shared(self._feed.store, self._of_store(self._row_ids)))

    def _of_store(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._feed.rows[row_ids - self._first_id]
