"""The order in which rows are read: blocks are shuffled, then the rows within a window of blocks.

Single random cutouts are read some thirty times slower than whole chunks (see :mod:`astrofm.data.layout`), so the
order never jumps between more blocks than a window holds. Data that fit into one window are shuffled row by row.
"""

from __future__ import annotations

__all__ = ["ORDER_VERSION", "Draw", "EpochOrder", "Position", "Schedule", "Stratum", "Uniform", "Window"]

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

ORDER_VERSION = 2
"""Of the function from (seed, epoch, world size) to an order: a state of another one is not continued."""

_BLOCKS, _WINDOWS = 0, 1
"""First word of the seed of each shuffle: the same numbers for both would let one undo the other."""


class Position(NamedTuple):
    """A batch of a run: epoch and step in it, from 0."""

    epoch: int
    step: int


class Window(NamedTuple):
    """Rows that are decoded together and shuffled among each other.

    Attributes:
        stratum: Number of the stratum.
        lap: Which pass over its rows, from 0; an epoch where there is one stratum.
        number: Place among the windows of the lap, from 0.
    """

    stratum: int
    lap: int
    number: int


class Draw(NamedTuple):
    """The rows of a batch that lie in one window.

    Attributes:
        window: The window.
        row_ids: The rows. Shape: (n,).
        places: Where they go in the batch of this rank. Shape: (n,).
    """

    window: Window
    row_ids: NDArray[np.int64]
    places: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> Draw:
        """Return the part of it that is chosen."""
        return Draw(self.window, self.row_ids[chosen], self.places[chosen])


@dataclass(frozen=True)
class EpochOrder:
    """The rows that one rank reads in one epoch; a function of (seed, epoch, world size) and the blocks alone.

    The shuffled blocks are cut into equal pieces, one for each rank: ranks share no row, and at most one block with
    each neighbour.

    Attributes:
        blocks: Number of the block that each row lies in. Shape: (rows,).
        window_rows: Rows that are shuffled among each other.
        batch_size: Rows in a global batch, a multiple of ``world_size``.
        seed: Seed of the run.
        epoch: Counted from 0.
        shuffle: Whether to shuffle at all.
        drop_last: Whether an incomplete last batch is left out.
        rank: Place of this process among ``world_size``.
        world_size: Number of processes that share each batch.
    """

    blocks: NDArray[np.int64]
    window_rows: int
    batch_size: int
    seed: int
    epoch: int
    shuffle: bool
    drop_last: bool
    rank: int
    world_size: int

    @property
    def num_steps(self) -> int:
        """Number of batches, the same on every rank."""
        full, rest = divmod(len(self.blocks), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def sizes(self, step: int) -> list[int]:
        """Return how many rows of a global batch each rank reads; those of an incomplete one differ by at most one."""
        num_rows = min(self.batch_size, len(self.blocks) - step * self.batch_size)
        share, rest = divmod(num_rows, self.world_size)
        return [share + (rank < rest) for rank in range(self.world_size)]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows of this rank, in order."""
        full = len(self.blocks) // self.batch_size
        last = self.sizes(full) if self.num_steps > full else [0] * self.world_size
        counts = [full * (self.batch_size // self.world_size) + num for num in last]
        first = sum(counts[: self.rank])
        everything = self._in_shuffled_blocks() if self.shuffle else np.arange(len(self.blocks))
        piece = everything[first : first + counts[self.rank]]
        return self._shuffled_in_windows(piece) if self.shuffle else piece

    def rows_at(self, step: int) -> NDArray[np.int64]:
        """Return the rows of this rank in one batch."""
        return self.rows[self._positions(step)]

    def windows_at(self, step: int) -> NDArray[np.int64]:
        """Return the number of the window that each row of one batch lies in, ascending."""
        positions = self._positions(step)
        return np.arange(positions.start, positions.stop) // self.window_rows

    def window(self, number: int) -> NDArray[np.int64]:
        """Return the rows of one window: those at ``number * window_rows`` and after it in :attr:`rows`."""
        return self.rows[number * self.window_rows : (number + 1) * self.window_rows]

    def _positions(self, step: int) -> slice:
        first = step * (self.batch_size // self.world_size)
        return slice(first, first + self.sizes(step)[self.rank])

    def _in_shuffled_blocks(self) -> NDArray[np.int64]:
        """Return the rows of one block after another, those of each shuffled too: what is cut off is always another."""
        rng = np.random.default_rng([_BLOCKS, self.seed, self.epoch, self.world_size])
        names, block = np.unique(self.blocks, return_inverse=True)
        return np.argsort(rng.permutation(len(names))[block] + rng.random(len(block)), kind="stable")

    def _shuffled_in_windows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        rng = np.random.default_rng([_WINDOWS, self.seed, self.epoch, self.world_size, self.rank])
        starts = range(0, len(rows), self.window_rows)
        if not len(rows):
            return rows
        return np.concatenate([rng.permutation(rows[first : first + self.window_rows]) for first in starts])


class Stratum:
    """Rows that are gone through again and again, in another order each lap.

    Args:
        number: Its place among the strata.
        row_ids: Its rows, ascending. Shape: (n,).
        first: Order of its first lap, over places in ``row_ids``.
    """

    def __init__(self, number: int, row_ids: NDArray[np.int64], first: EpochOrder) -> None:
        self.number = number
        self.row_ids = row_ids
        self._first = first
        self._laps: dict[int, EpochOrder] = {}

    def lap(self, number: int) -> EpochOrder:
        """Return the order of a lap, over places in :attr:`row_ids`; two are kept, for they take time to make."""
        laps = self._laps  # replaced and never changed: two threads may look
        if number in laps:
            return laps[number]
        order = replace(self._first, epoch=number)
        self._laps = dict([*list(laps.items())[-1:], (number, order)])
        return order

    def rows_in(self, window: Window) -> NDArray[np.int64]:
        """Return the rows of one of its windows."""
        return self.row_ids[self.lap(window.lap).window(window.number)]

    def after(self, window: Window) -> Window:
        """Return the window that this rank reads after another."""
        order = self.lap(window.lap)
        if (window.number + 1) * order.window_rows < len(order.rows):
            return window._replace(number=window.number + 1)
        return Window(window.stratum, window.lap + 1, 0)


class Schedule(Protocol):
    """Which rows make which batch."""

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """What the rows are drawn from; no row is in two."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of a batch that each stratum gives."""

    @property
    def num_steps(self) -> int:
        """Batches in an epoch."""

    def sizes(self, step: int) -> list[int]:
        """Return how many rows of a global batch each rank reads."""

    def draws(self, position: Position) -> list[Draw]:
        """Return the rows of this rank's batch."""


class Uniform:
    """Each row once an epoch.

    Args:
        first: Order of the first epoch.
    """

    def __init__(self, first: EpochOrder) -> None:
        self.strata = (Stratum(0, np.arange(len(first.blocks)), first),)
        self.shares = (1.0,)
        self._first = first

    @property
    def num_steps(self) -> int:
        """Batches in an epoch."""
        return self._first.num_steps

    def sizes(self, step: int) -> list[int]:
        """Return how many rows of a global batch each rank reads."""
        return self._first.sizes(step)

    def draws(self, position: Position) -> list[Draw]:
        """Return the rows of this rank's batch."""
        order = self.strata[0].lap(position.epoch)
        row_ids, windows = order.rows_at(position.step), order.windows_at(position.step)
        return [
            Draw(Window(0, position.epoch, int(number)), row_ids[windows == number], np.flatnonzero(windows == number))
            for number in np.unique(windows)
        ]
