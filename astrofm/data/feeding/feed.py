"""What a loader reads: rows of a store, with their labels."""

from __future__ import annotations

__all__ = ["Feed", "check_feeds"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from astrofm.data.store import CutoutStore
from astrofm.errors import UsageError


@dataclass(frozen=True, eq=False)
class Feed:
    """Rows of a store that take part, and their labels.

    Attributes:
        survey: Name of the survey, the key of its input plan.
        store: The store.
        rows: Rows of the store. Shape: (n,).
        labels: Label columns for these rows, by name. Shape of each: (n, ...).
        weight: Share of a batch, in proportion to the weights of the other feeds; None: that of its number of rows.
        is_labelled: Which of these rows have labels, for balanced sampling; None: none. Shape: (n,).
    """

    survey: str
    store: CutoutStore
    rows: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    weight: float | None = None
    is_labelled: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        columns = {f"label {name!r}": values for name, values in self.labels.items()}
        if self.is_labelled is not None:
            columns["is_labelled"] = self.is_labelled
        for name, values in columns.items():
            if len(values) != len(self.rows):
                raise ValueError(f"{name} of {self.survey!r} has {len(values)} values for {len(self.rows)} rows")

    @property
    def row_bytes(self) -> int:
        """Memory that the pixels of one row take, decoded."""
        _, num_bands, ny, nx = self.store.shape
        mask_bytes = ny * nx if self.store.manifest.has_mask else 0
        return num_bands * ny * nx * self.store.dtype.itemsize + mask_bytes


def check_feeds(feeds: Sequence[Feed], batch_size: int, world_size: int, *, drop_last: bool) -> None:
    """Refuse what makes no batches.

    Raises:
        UsageError: If the batch is larger than the data or cannot be shared equally.
        ValueError: If the feeds do not all have the same labels.
    """
    num_rows = sum(len(feed.rows) for feed in feeds)
    surveys = ", ".join(feed.survey for feed in feeds)
    if num_rows == 0:
        raise UsageError(f"there are no rows to read in {surveys or 'no store'}")
    if batch_size < 1 or batch_size % world_size:
        raise UsageError(f"a batch of {batch_size} cannot be shared equally by {world_size} processes")
    fitting = num_rows // 2 // world_size * world_size
    if drop_last and batch_size > num_rows:
        raise UsageError(
            f"a batch of {batch_size} is larger than the data, {num_rows} rows of {surveys}: make it smaller"
            + (f", with --set training.batch_size={fitting}" if fitting >= 2 * world_size else "")
        )
    for feed in feeds[1:]:
        if feed.labels.keys() != feeds[0].labels.keys():
            raise ValueError(
                f"{feed.survey!r} has labels {sorted(feed.labels)} and {feeds[0].survey!r} {sorted(feeds[0].labels)}: "
                "give each feed the same, filled where a survey has none"
            )
