"""The order in which rows are read: blocks are shuffled, then the rows within a window of blocks.

Single random cutouts are read some thirty times slower than whole chunks (see :mod:`astrofm.data.layout`), so the
order never jumps between more blocks than a window holds. Data that fit into one window are shuffled row by row.
"""

from __future__ import annotations

__all__ = ["EpochOrder"]

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


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
        rng = np.random.default_rng([self.seed, self.epoch, self.world_size])
        names, block = np.unique(self.blocks, return_inverse=True)
        return np.argsort(rng.permutation(len(names))[block], kind="stable")

    def _shuffled_in_windows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, self.epoch, self.world_size, self.rank])
        starts = range(0, len(rows), self.window_rows)
        if not len(rows):
            return rows
        return np.concatenate([rng.permutation(rows[first : first + self.window_rows]) for first in starts])
