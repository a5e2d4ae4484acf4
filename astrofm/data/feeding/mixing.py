"""Batches of a given composition: surveys by weight, and labelled beside unlabelled rows.

Each combination is a *stratum* and gives its share of every batch, to within a row for each stratum by rounding. A
stratum is gone through without replacement: each of its rows comes once a lap, and when a lap is done the next begins,
also in the middle of an epoch; one that gives less than a lap in an epoch goes on in the next epoch where it stopped.
So a row comes twice in a batch only where two laps meet, or where its stratum has fewer rows than its share of a batch.

An epoch has the steps it would have without weights: all rows divided by the batch size.

Order and position are functions of (seed, step, world size) alone. In every lap the ranks read disjoint rows; of a
stratum that they cannot share equally, up to ``world_size - 1`` rows are left out of a lap, others each time.
"""

from __future__ import annotations

__all__ = ["Group", "Mixture", "groups_of", "split"]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astrofm.data.feeding.feed import Feed
from astrofm.data.feeding.order import Draw, EpochOrder, Position, Stratum, Window
from astrofm.errors import UsageError


def split(total: int, shares: Sequence[float]) -> list[int]:
    """Divide a number of rows by shares.

    Each part grows or stays as the total grows, so that the rows of a step are the difference of two such divisions.

    Args:
        total: Number of rows.
        shares: Positive; only their ratios matter.

    Returns:
        Parts that add up to the total; each is its exact share to within half a row for each part there is.
    """
    parts, left = [], total
    for number, share in enumerate(shares[:-1]):
        parts.append(math.floor(left * (share / math.fsum(shares[number:])) + 0.5))
        left -= parts[-1]
    return [*parts, left]


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that give a share of every batch, divided among strata.

    Attributes:
        share: Share of a batch; those of all groups add up to 1.
        weights: Of each stratum in the group; only their ratios matter.
        rows: Of each stratum, ascending. Shape of each: (n,).
    """

    share: float
    weights: tuple[float, ...]
    rows: tuple[NDArray[np.int64], ...]


def groups_of(feeds: Sequence[Feed], labelled_fraction: float | None, world_size: int) -> list[Group]:
    """Return the strata of some feeds: labelled and unlabelled rows apart, and surveys apart where they have weights.

    Where a survey has no row of a group, the others of the group give its share.

    Args:
        feeds: The feeds; either all have a weight or none.
        labelled_fraction: Share of labelled rows in a batch; None: as it comes.
        world_size: Number of processes that share each batch.

    Raises:
        UsageError: If some feeds have no weight and others do, a group is empty, or a stratum cannot be shared.
    """
    names = ", ".join(feed.survey for feed in feeds)
    without = [feed.survey for feed in feeds if feed.weight is None]
    if 0 < len(without) < len(feeds):
        raise UsageError(f"{', '.join(without)} has no weight and the other surveys do: give each a weight, or none")
    is_in = {"": (1.0, np.ones(sum(len(feed.rows) for feed in feeds), dtype=bool))}
    if labelled_fraction is not None:
        if not 0 < labelled_fraction < 1:
            raise UsageError(f"labelled_fraction must lie between 0 and 1, and {labelled_fraction} was given")
        labelled = np.concatenate([_labelled(feed) for feed in feeds])
        is_in = {"labelled ": (labelled_fraction, labelled), "unlabelled ": (1 - labelled_fraction, ~labelled)}
    groups = []
    for kind, (share, chosen) in is_in.items():
        strata = [(weight, rows[chosen[rows]]) for weight, rows in _by_weight(feeds)]
        strata = [(weight, rows) for weight, rows in strata if len(rows)]
        if not strata:
            raise UsageError(f"a share of {share:g} of {kind}rows was asked for, and {names} has no {kind}row")
        if min(len(rows) for _, rows in strata) < world_size:
            raise UsageError(
                f"a survey of {names} has fewer {kind}rows than the {world_size} processes that share them"
            )
        groups.append(Group(share, tuple(weight for weight, _ in strata), tuple(rows for _, rows in strata)))
    return groups


def _labelled(feed: Feed) -> NDArray[np.bool_]:
    return np.zeros(len(feed.rows), dtype=bool) if feed.is_labelled is None else feed.is_labelled


def _by_weight(feeds: Sequence[Feed]) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Yield the weight and the rows of each survey, or of all together where there are no weights."""
    starts = np.cumsum([0, *(len(feed.rows) for feed in feeds)])
    if feeds[0].weight is None:
        yield 1.0, np.arange(starts[-1])
        return
    for feed, start, stop in zip(feeds, starts[:-1], starts[1:], strict=True):
        yield feed.weight or 0.0, np.arange(start, stop)


class Mixture:
    """Strata with their shares of every batch.

    Args:
        groups: What the strata are.
        whole: Order of all rows without shares: its blocks, batch, seed and ranks are those of the mixture, and its
            window is divided among the strata by their shares.
    """

    def __init__(self, groups: Sequence[Group], whole: EpochOrder) -> None:
        self._groups = tuple(groups)
        self._whole = whole
        self._per_rank = whole.batch_size // whole.world_size
        shares = [group.share * weight / math.fsum(group.weights) for group in groups for weight in group.weights]
        rows = [rows for group in groups for rows in group.rows]
        self.shares = tuple(shares)
        self.strata = tuple(self._stratum(number, *of) for number, of in enumerate(zip(rows, shares, strict=True)))

    @property
    def num_steps(self) -> int:
        """Batches in an epoch."""
        return len(self._whole.blocks) // self._whole.batch_size

    def sizes(self, step: int) -> list[int]:
        """Return how many rows of a global batch each rank reads: every batch is whole."""
        return [self._per_rank] * self._whole.world_size

    def draws(self, position: Position) -> list[Draw]:
        """Return the rows of this rank's batch, the strata in random places."""
        step = position.epoch * self.num_steps + position.step
        starts, stops = self._counts(step), self._counts(step + 1)
        rng = np.random.default_rng([self._whole.seed, *position, self._whole.world_size, self._whole.rank])
        places = np.split(rng.permutation(self._per_rank), np.cumsum(np.subtract(stops, starts))[:-1])
        return [
            draw
            for stratum, start, stop, own in zip(self.strata, starts, stops, places, strict=True)
            for draw in self._drawn(stratum, start, stop, own)
        ]

    def _counts(self, step: int) -> list[int]:
        """Return how many rows each stratum has given to a rank before a step of the run."""
        of_groups = split(step * self._per_rank, [group.share for group in self._groups])
        divided = [split(total, group.weights) for total, group in zip(of_groups, self._groups, strict=True)]
        return [count for counts in divided for count in counts]

    def _drawn(self, stratum: Stratum, start: int, stop: int, places: NDArray[np.int64]) -> Iterator[Draw]:
        """Yield the rows that a stratum gives to this rank as its ``start``-th to last before ``stop``, by window."""
        lap, within = np.divmod(np.arange(start, stop), len(stratum.row_ids) // self._whole.world_size)
        for number in np.unique(lap):
            order, at = stratum.lap(int(number)), within[lap == number]
            row_ids, own, windows = stratum.row_ids[order.rows[at]], places[lap == number], at // order.window_rows
            for window in np.unique(windows):
                chosen = windows == window
                yield Draw(Window(stratum.number, int(number), int(window)), row_ids[chosen], own[chosen])

    def _stratum(self, number: int, rows: NDArray[np.int64], share: float) -> Stratum:
        """Return a stratum; each rank reads as many of its rows in a lap as any other."""
        first = replace(
            self._whole,
            blocks=self._whole.blocks[rows],
            window_rows=max(1, int(self._whole.window_rows * share)),
            batch_size=self._whole.world_size,
            # One of its own for each, so that their shuffles have nothing in common.
            seed=int(np.random.SeedSequence([self._whole.seed, number]).generate_state(1, np.uint64)[0]),
            drop_last=True,
        )
        return Stratum(number, rows, first)
