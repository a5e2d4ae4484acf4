"""Batches from one or several stores: each row once an epoch, the same order on every machine.

The order is a function of (seed, epoch, world size) and of the stores, never of the memory limit: the limit only
decides whether a store is decoded once and kept, or window by window as it is read.
"""

from __future__ import annotations

__all__ = ["Feed", "Loader"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.batch import Batch, Share
from astrofm.data.order import EpochOrder
from astrofm.data.store import CutoutStore
from astrofm.errors import RunError, UsageError

WINDOW_BYTES = 2**30
"""Pixels that are shuffled among each other; a window and the one before it are held in memory."""
WINDOW_ROWS = 2**16

GIBIBYTE = 2**30


@dataclass(frozen=True, eq=False)
class Feed:
    """Rows of a store that take part, and their labels.

    Attributes:
        survey: Name of the survey, the key of its input plan.
        store: The store.
        rows: Rows of the store. Shape: (n,).
        labels: Label columns for these rows, by name. Shape of each: (n, ...).
    """

    survey: str
    store: CutoutStore
    rows: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.labels.items():
            if len(values) != len(self.rows):
                raise ValueError(
                    f"label {name!r} of {self.survey!r} has {len(values)} values for {len(self.rows)} rows"
                )

    @property
    def num_bytes(self) -> int:
        """Memory that the pixels of these rows take, decoded."""
        _, num_bands, ny, nx = self.store.shape
        mask_bytes = ny * nx if self.store.manifest.has_mask else 0
        return len(self.rows) * (num_bands * ny * nx * self.store.dtype.itemsize + mask_bytes)


class Loader:
    """Batches of cutouts, grouped by survey, that resume in the middle of an epoch.

    Iterating goes on from the position reached: ``iter()`` on a loader whose epoch is done starts the next epoch, so
    a caller that takes ``len(loader)`` batches at a time, as Lightning does, sees every epoch once. Iterators of one
    loader share its position.

    Args:
        feeds: What to read; ``row_ids`` of the batches index their rows, one feed after the other.
        batch_size: Rows in a batch over all ranks.
        seed: Seed of the order.
        shuffle: Whether to shuffle; without it rows come in the order of the feeds.
        drop_last: Leave out an incomplete last batch. If kept, some ranks may have one row less in it, or none.
        rank: Place of this process among ``world_size``.
        world_size: Number of processes that share each batch.
        memory_limit_bytes: Feeds are decoded once and kept in memory, in their order, as long as they stay below it.

    Raises:
        UsageError: If the batch is larger than the data or cannot be shared equally.
        ValueError: If the feeds do not all have the same labels.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        batch_size: int,
        seed: int,
        *,
        shuffle: bool = True,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
        memory_limit_bytes: int = 4 * GIBIBYTE,
    ) -> None:
        _check(feeds, batch_size, world_size, drop_last=drop_last)
        self.feeds = tuple(feeds)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self._starts = np.cumsum([0, *(len(feed.rows) for feed in feeds)])
        num_bytes = np.cumsum([feed.num_bytes for feed in feeds])
        self._readers = [
            _Reader(feed, int(start), is_kept=bool(total <= memory_limit_bytes))
            for feed, start, total in zip(feeds, self._starts, num_bytes, strict=False)
        ]
        self._epoch = 0
        self._step = 0

    def __len__(self) -> int:
        return self._order(self._epoch).num_steps

    def __iter__(self) -> Iterator[Batch]:
        num_steps = len(self)
        if self._step >= num_steps:
            self._epoch, self._step = self._epoch + 1, 0
        order = self._order(self._epoch)
        while self._step < num_steps:
            batch = self._batch(order, self._step)
            self._step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position, and what the order depends on."""
        return {"epoch": self._epoch, "step": self._step, **self._identity}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a position.

        Raises:
            RunError: If it was reached in another order.
        """
        changed = [
            f"{key} ({own}, not {state.get(key)})" for key, own in self._identity.items() if state.get(key) != own
        ]
        if changed:
            raise RunError(f"the data cannot be resumed in the order they were in; changed: {', '.join(changed)}")
        self._epoch, self._step = state["epoch"], state["step"]

    @property
    def _identity(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "num_rows": int(self._starts[-1]),
            "shuffle": int(self.shuffle),
        }

    def _order(self, epoch: int) -> EpochOrder:
        return EpochOrder(
            blocks=self._blocks,
            window_rows=self._window_rows,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            shuffle=self.shuffle,
            drop_last=self.drop_last,
            rank=self.rank,
            world_size=self.world_size,
        )

    @cached_property
    def _blocks(self) -> NDArray[np.int64]:
        """Block of each row; blocks of different feeds are different."""
        numbers = [feed.rows // feed.store.chunk_rows for feed in self.feeds]
        starts = np.cumsum([0, *(len(feed.store.blocks()) for feed in self.feeds)])
        return np.concatenate([start + block for start, block in zip(starts, numbers, strict=False)])

    @cached_property
    def _window_rows(self) -> int:
        largest = max(feed.num_bytes // len(feed.rows) for feed in self.feeds if len(feed.rows))
        return max(1, min(WINDOW_ROWS, WINDOW_BYTES // largest))

    def _batch(self, order: EpochOrder, step: int) -> Batch:
        row_ids, windows = order.rows_at(step), order.windows_at(step)
        where = np.searchsorted(self._starts, row_ids, side="right") - 1
        shares = []
        for number, reader in enumerate(self._readers):
            places = np.flatnonzero(where == number)
            if len(places):
                shares.append(reader.share(order, row_ids[places], windows[places], places))
        sizes = order.sizes(step)
        labels = {name: values[row_ids] for name, values in self._labels.items()}
        return Batch(tuple(shares), row_ids, sum(sizes[: self.rank]), sum(sizes), labels)

    @cached_property
    def _labels(self) -> dict[str, NDArray[Any]]:
        return {name: np.concatenate([feed.labels[name] for feed in self.feeds]) for name in self.feeds[0].labels}


@dataclass(frozen=True)
class _Decoded:
    """Pixels in memory.

    Attributes:
        members: Which of the feed's rows these are, ascending. Shape: (n,).
        images: Shape: (n, band, y, x).
        mask: Shape: (n, y, x), or None.
    """

    members: NDArray[np.int64]
    images: NDArray[Any]
    mask: NDArray[np.bool_] | None

    @classmethod
    def of(cls, feed: Feed, members: NDArray[np.int64]) -> _Decoded:
        rows = feed.rows[members]
        return cls(members, feed.store.read(rows), feed.store.read_mask(rows))

    def at(self, members: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        places = np.searchsorted(self.members, members)
        return self.images[places], None if self.mask is None else self.mask[places]


class _Reader:
    """The pixels of one feed: all of them kept, or those of the windows that the last batch touched."""

    def __init__(self, feed: Feed, first_id: int, *, is_kept: bool) -> None:
        self._feed = feed
        self._first_id = first_id
        self._is_kept = is_kept
        self._windows: dict[tuple[int, int], _Decoded] = {}

    def share(
        self, order: EpochOrder, row_ids: NDArray[np.int64], windows: NDArray[np.int64], places: NDArray[np.int64]
    ) -> Share:
        members = row_ids - self._first_id
        images, mask = self._everything.at(members) if self._is_kept else self._from_windows(order, members, windows)
        meta = {name: values[members] for name, values in self._meta.items()}
        return Share(self._feed.survey, images, mask, places, meta)

    def _from_windows(
        self, order: EpochOrder, members: NDArray[np.int64], windows: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return pixels in the order of the members: windows ascend within a batch."""
        touched = [(order.epoch, int(window)) for window in np.unique(windows)]
        self._windows = {key: held for key, held in self._windows.items() if key in touched}
        for key in touched:
            if key not in self._windows:
                self._windows[key] = _Decoded.of(self._feed, self._members_of(order, key[1]))
        parts = [self._windows[key].at(members[windows == key[1]]) for key in touched]
        images, masks = zip(*parts, strict=True)
        return np.concatenate(images), None if masks[0] is None else np.concatenate(masks)

    def _members_of(self, order: EpochOrder, window: int) -> NDArray[np.int64]:
        members = np.sort(order.window(window)) - self._first_id
        return members[(members >= 0) & (members < len(self._feed.rows))]

    @cached_property
    def _everything(self) -> _Decoded:
        return _Decoded.of(self._feed, np.arange(len(self._feed.rows)))

    @cached_property
    def _meta(self) -> dict[str, NDArray[np.float64]]:
        store, rows = self._feed.store, self._feed.rows
        pixel_scale = store.measured("pixel_scale")[rows]
        common = store.card.pixel_scale_of(store.product_name)
        if common is not None:
            pixel_scale = np.where(np.isnan(pixel_scale), common, pixel_scale)
        return {"rms": store.measured("rms")[rows], "pixel_scale": pixel_scale}


def _check(feeds: Sequence[Feed], batch_size: int, world_size: int, *, drop_last: bool) -> None:
    num_rows = sum(len(feed.rows) for feed in feeds)
    surveys = ", ".join(feed.survey for feed in feeds)
    if num_rows == 0:
        raise UsageError(f"there are no rows to read in {surveys or 'no store'}")
    if batch_size < 1 or batch_size % world_size:
        raise UsageError(f"a batch of {batch_size} cannot be shared equally by {world_size} processes")
    if drop_last and batch_size > num_rows:
        raise UsageError(
            f"a batch of {batch_size} is larger than the data, {num_rows} rows of {surveys}: make it smaller"
        )
    for feed in feeds[1:]:
        if feed.labels.keys() != feeds[0].labels.keys():
            raise ValueError(
                f"{feed.survey!r} has labels {sorted(feed.labels)} and {feeds[0].survey!r} {sorted(feeds[0].labels)}: "
                "give each feed the same, filled where a survey has none"
            )
