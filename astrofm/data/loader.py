"""Batches from one or several stores: the same order on every machine.

The order is a function of (seed, epoch, world size) and of the stores, never of the memory limit: the limit only
decides whether the rows of a store are decoded once and kept, or window by window as they are read.

**Memory.** What is kept stays below ``memory_limit_bytes`` and is shared by the processes of a user on a machine
(:mod:`astrofm.data.feeding.shared_pixels`). What is not is held as two windows, the one being read and the next or the
last, of at most ``WINDOW_BYTES`` each over all surveys; only a batch longer than a window holds as many as it touches.

**Randomness.** Rows of one window are in random order. So the rows of data no larger than a window, 1 GiB or 65,536
rows, are shuffled as by a permutation. Of larger data, the blocks (chunks) that make a window are random, and within
it two neighbouring rows of the store are as close as chance brings them.
"""

from __future__ import annotations

__all__ = ["Feed", "Loader", "meta_of"]

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.batch import Batch, Share
from astrofm.data.feeding.feed import Feed, check_feeds
from astrofm.data.feeding.mixing import Mixture, groups_of
from astrofm.data.feeding.order import ORDER_VERSION, Draw, EpochOrder, Position, Schedule, Stratum, Uniform
from astrofm.data.feeding.windows import FeedPixels
from astrofm.errors import RunError

WINDOW_BYTES = 2**30
"""Pixels that are shuffled among each other."""
WINDOW_ROWS = 2**16

GIBIBYTE = 2**30


class Loader:
    """Batches of cutouts, grouped by survey, that resume in the middle of an epoch.

    Without weights and balance each row comes once an epoch; with them see :mod:`astrofm.data.feeding.mixing`.

    Iterating goes on from the position reached: ``iter()`` on a loader whose epoch is done starts the next epoch, so
    a caller that takes ``len(loader)`` batches at a time, as Lightning does, sees every epoch once. Iterators of one
    loader share its position. They work when asked; :class:`astrofm.data.feeding.prefetch.Prefetch` works ahead.

    Args:
        feeds: What to read; ``row_ids`` of the batches index their rows, one feed after the other.
        batch_size: Rows in a batch over all ranks.
        seed: Seed of the order.
        shuffle: Whether to shuffle; without it rows come in the order of the feeds.
        drop_last: Leave out an incomplete last batch. If kept, some ranks may have one row less in it, or none.
        labelled_fraction: Share of labelled rows in each batch; None: as they come.
        rank: Place of this process among ``world_size``.
        world_size: Number of processes that share each batch.
        memory_limit_bytes: Feeds are decoded once and kept in memory, those whose rows come most often first and
            otherwise in their order, as long as they stay below it.

    Raises:
        UsageError: If the batch is larger than the data or cannot be shared equally, or the shares cannot be given.
        ValueError: If the feeds do not all have the same labels, or shares are asked for without shuffling.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        batch_size: int,
        seed: int,
        *,
        shuffle: bool = True,
        drop_last: bool = True,
        labelled_fraction: float | None = None,
        rank: int = 0,
        world_size: int = 1,
        memory_limit_bytes: int = 4 * GIBIBYTE,
    ) -> None:
        check_feeds(feeds, batch_size, world_size, drop_last=drop_last)
        self.feeds = tuple(feeds)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.labelled_fraction = labelled_fraction
        self.rank = rank
        self.world_size = world_size
        self._starts = np.cumsum([0, *(len(feed.rows) for feed in feeds)])
        self._schedule = self._make_schedule(drop_last=drop_last)
        self._pixels = self._make_pixels(memory_limit_bytes)
        self.position = Position(0, 0)

    def __len__(self) -> int:
        return self._schedule.num_steps

    def __iter__(self) -> Iterator[Batch]:
        self.begin()
        while self.position.step < len(self):
            batch = self.batch_at(self.position)
            self.advance()
            yield batch

    def begin(self) -> None:
        """Go to the next epoch if this one is done."""
        if self.position.step >= len(self):
            self.position = Position(self.position.epoch + 1, 0)

    def advance(self) -> None:
        """Count the batch at the position as taken; the position after an epoch's last is that epoch's end."""
        self.position = self.position._replace(step=self.position.step + 1)

    def batch_at(self, position: Position) -> Batch:
        """Return a batch, wherever the loader stands.

        Raises:
            StoreError: If a store is damaged.
        """
        draws = self._schedule.draws(position)
        sizes = self._schedule.sizes(position.step)
        row_ids = np.empty(sizes[self.rank], dtype=np.int64)
        for draw in draws:
            row_ids[draw.places] = draw.row_ids
        for stratum in self._schedule.strata:
            for pixels in self._pixels[stratum.number].values():
                pixels.keep_near([draw.window for draw in draws if draw.window.stratum == stratum.number])
        shares = [share for number in range(len(self.feeds)) if (share := self._share(number, draws)) is not None]
        labels = {name: values[row_ids] for name, values in self._labels.items()}
        return Batch(tuple(shares), row_ids, sum(sizes[: self.rank]), sum(sizes), labels)

    def decode_ahead(self, position: Position) -> None:
        """Decode the windows that follow those of a batch, where it touches one of a stratum alone.

        Raises:
            StoreError: If a store is damaged.
        """
        if all(pixels.is_kept for of_stratum in self._pixels for pixels in of_stratum.values()):
            return
        windows = [draw.window for draw in self._schedule.draws(position)]
        for stratum in self._schedule.strata:
            touched = [window for window in windows if window.stratum == stratum.number]
            if len(touched) == 1:
                for pixels in self._pixels[stratum.number].values():
                    pixels.prepare(stratum.after(touched[0]))

    def state_dict(self) -> dict[str, int]:
        """Return the position, and what the order depends on."""
        return {**self.position._asdict(), **self._identity}

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
        self.position = Position(state["epoch"], state["step"])

    @property
    def is_mixed(self) -> bool:
        """Whether batches have a given composition."""
        return self.labelled_fraction is not None or any(feed.weight is not None for feed in self.feeds)

    @cached_property
    def _identity(self) -> dict[str, int]:
        identity = {
            "order_version": ORDER_VERSION,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "num_rows": int(self._starts[-1]),
            "shuffle": int(self.shuffle),
        }
        if not self.is_mixed:
            return identity
        shares = repr((self.labelled_fraction, [feed.weight for feed in self.feeds])).encode()
        rows = [stratum.row_ids.tobytes() for stratum in self._schedule.strata]
        return {**identity, "shares": zlib.crc32(b"".join([shares, *rows]))}

    def _make_schedule(self, *, drop_last: bool) -> Schedule:
        largest = max(feed.row_bytes for feed in self.feeds if len(feed.rows))
        whole = EpochOrder(
            blocks=self._blocks,
            window_rows=max(1, min(WINDOW_ROWS, WINDOW_BYTES // largest)),
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=0,
            shuffle=self.shuffle,
            drop_last=drop_last,
            rank=self.rank,
            world_size=self.world_size,
        )
        if not self.is_mixed:
            return Uniform(whole)
        if not (self.shuffle and drop_last):
            raise ValueError(
                "weights and labelled_fraction need shuffle and drop_last: they fill whole batches at random"
            )
        return Mixture(groups_of(self.feeds, self.labelled_fraction, self.world_size), whole)

    @property
    def _blocks(self) -> NDArray[np.int64]:
        """Block of each row; blocks of different feeds are different."""
        numbers = [feed.rows // feed.store.chunk_rows for feed in self.feeds]
        starts = np.cumsum([0, *(len(feed.store.blocks()) for feed in self.feeds)])
        return np.concatenate([start + block for start, block in zip(starts, numbers, strict=False)])

    def _make_pixels(self, memory_limit_bytes: int) -> list[dict[int, FeedPixels]]:
        """Return where the pixels of each stratum come from, by feed; those that come most often are kept first."""
        pixels = [self._pixels_of(stratum) for stratum in self._schedule.strata]
        laps_per_epoch = [
            share / len(stratum.row_ids)
            for share, stratum in zip(self._schedule.shares, self._schedule.strata, strict=True)
        ]
        total = 0
        for number in sorted(range(len(pixels)), key=lambda number: -laps_per_epoch[number]):
            for of_feed in pixels[number].values():
                total += of_feed.num_bytes
                of_feed.is_kept = total <= memory_limit_bytes
        return pixels

    def _pixels_of(self, stratum: Stratum) -> dict[int, FeedPixels]:
        bounds = np.searchsorted(stratum.row_ids, self._starts)
        return {
            number: FeedPixels(feed, int(self._starts[number]), stratum, stratum.row_ids[first:stop])
            for number, (feed, (first, stop)) in enumerate(zip(self.feeds, pairwise(bounds), strict=True))
            if stop > first
        }

    def _share(self, number: int, draws: Sequence[Draw]) -> Share | None:
        """Return what a feed gives to a batch, window after window; None if nothing."""
        start, stop = self._starts[number : number + 2]
        mine = [draw.where((draw.row_ids >= start) & (draw.row_ids < stop)) for draw in draws]
        mine = [draw for draw in mine if len(draw.row_ids)]
        if not mine:
            return None
        row_ids = np.concatenate([draw.row_ids for draw in mine])
        feed = self.feeds[number]
        images = np.empty((len(row_ids), *feed.store.shape[1:]), feed.store.dtype)
        mask = np.empty((len(row_ids), *feed.store.shape[2:]), bool) if feed.store.manifest.has_mask else None
        stops = np.cumsum([0, *(len(draw.row_ids) for draw in mine)])
        for draw, own in zip(mine, map(slice, stops[:-1], stops[1:]), strict=True):
            decoded = self._pixels[draw.window.stratum][number].get(draw.window)
            decoded.copy_to(images[own], None if mask is None else mask[own], draw.row_ids)
        meta = {name: values[row_ids - start] for name, values in self._meta[number].items()}
        return Share(feed.survey, images, mask, np.concatenate([draw.places for draw in mine]), meta)

    @cached_property
    def _labels(self) -> dict[str, NDArray[Any]]:
        return {name: np.concatenate([feed.labels[name] for feed in self.feeds]) for name in self.feeds[0].labels}

    @cached_property
    def _meta(self) -> list[dict[str, NDArray[np.float64]]]:
        return [meta_of(feed) for feed in self.feeds]


def meta_of(feed: Feed) -> dict[str, NDArray[np.float64]]:
    """Return what stretches and views need to know of each row."""
    store, rows = feed.store, feed.rows
    pixel_scale = store.measured("pixel_scale")[rows]
    common = store.card.pixel_scale_of(store.product_name)
    if common is not None:
        pixel_scale = np.where(np.isnan(pixel_scale), common, pixel_scale)
    found = [name for name in ("bmaj", "bmin", "bpa", "orientation_deg") if name in store.catalog.columns]
    measured = {name: store.measured(name)[rows] for name in ("ebv", *found)}
    return {"pixel_scale": pixel_scale, "rms": store.noise()[rows], **measured}
