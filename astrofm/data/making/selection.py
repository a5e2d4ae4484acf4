"""Which of the cutouts that were read go into the store, in which order, and why the others do not."""

from __future__ import annotations

__all__ = ["Part", "Selection", "select"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from astrofm.card import QualityRules
from astrofm.data.catalog import Catalog
from astrofm.data.layout import Layout
from astrofm.data.making.duplicates import same_pixels, same_place
from astrofm.data.making.staged import MEASURED, NO_FACTS, Staged, read_rows

REASONS = ("reason", "detail", "file")
"""Why a row was not taken."""

KEYS = {"row": np.int64, "digest": np.uint64}
"""What is known of every cutout, with its type."""


@dataclass(frozen=True)
class Part:
    """Cutouts of one staged range that follow each other in the store."""

    file: Path
    """Of the range."""
    has_mask: bool
    places: NDArray[np.int32]
    """Among those taken from the range, ascending. Shape: (n,)."""


@dataclass(frozen=True)
class Selection:
    """The cutouts of a store; cutout ``i`` is row ``i``.

    Attributes:
        rows: Row of the survey's catalogue. Shape: (num_cutouts,).
        columns: What was measured on them, by name; NaN where it was not. Shape of each: (num_cutouts,).
        rejected: Rows that were not taken: ``row``, ``reason``, ``detail``, ``file``, in the catalogue's order.
        ranges: Where the pixels lie: files, and whether they have masks.
        range_of: Range of each cutout. Shape: (num_cutouts,).
        place_of: Its place among those taken from the range. Shape: (num_cutouts,).
    """

    rows: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    rejected: pa.Table
    ranges: tuple[tuple[Path, bool], ...]
    range_of: NDArray[np.int32]
    place_of: NDArray[np.int32]

    @property
    def num_cutouts(self) -> int:
        """Number of cutouts."""
        return len(self.rows)

    @property
    def has_mask(self) -> bool:
        """Whether any range has masks."""
        return any(has_mask for _, has_mask in self.ranges)

    def counts(self) -> dict[str, int]:
        """Return the number of rejected rows for each reason."""
        counts = self.rejected["reason"].value_counts()
        return dict(sorted((count["values"], count["counts"]) for count in counts.to_pylist()))

    def parts_of(self, rows: range) -> tuple[Part, ...]:
        """Return where some rows of the store lie."""
        ranges = self.range_of[rows.start : rows.stop]
        breaks = [0, *(np.flatnonzero(np.diff(ranges)) + 1).tolist(), len(ranges)]
        return tuple(
            Part(*self.ranges[int(ranges[first])], places=self.place_of[rows.start + first : rows.start + stop])
            for first, stop in pairwise(breaks)
            if first < stop
        )

    def without(self, places: NDArray[np.int64], reason: str, details: Sequence[str]) -> Selection:
        """Return the selection without some cutouts, which are rejected."""
        if not len(places):
            return self
        dropped = pa.table(
            {
                "row": pa.array(self.rows[places]),
                "reason": pa.array([reason] * len(places), pa.string()),
                "detail": pa.array(details, pa.string()),
                "file": pa.array([""] * len(places), pa.string()),
            }
        )
        kept = np.delete(np.arange(self.num_cutouts), places)
        return Selection(
            rows=self.rows[kept],
            columns={name: values[kept] for name, values in self.columns.items()},
            rejected=pa.concat_tables([self.rejected, dropped]).sort_by("row"),
            ranges=self.ranges,
            range_of=self.range_of[kept],
            place_of=self.place_of[kept],
        )


def select(staged: Sequence[Staged], catalog: Catalog, rules: QualityRules, layout: Layout) -> Selection:
    """Put the ranges in one order and leave out what comes twice.

    Args:
        staged: All ranges, in the order of the catalogue.
        catalog: The survey's catalogue, with positions.
        rules: What counts as twice.
        layout: Of the pixels.
    """
    found, digests = _all_taken(staged)
    if rules.duplicates == "reject":
        shape, dtype = layout.shape, np.dtype(layout.dtype)

        def pixels(cutout: int) -> NDArray[Any]:
            file, _ = found.ranges[found.range_of[cutout]]
            return read_rows(file, "image", found.place_of[cutout : cutout + 1], shape, dtype)

        places, firsts = same_pixels(digests, pixels)
        ids = _ids(catalog, found.rows[firsts])
        found = found.without(places, "duplicate image", [f"its pixels are those of {name}" for name in ids])
    if rules.near_duplicates_arcsec is not None:
        taken = Catalog(catalog.table.select(["ra", "dec"])).take(found.rows)
        places, firsts, distances = same_place(taken, rules.near_duplicates_arcsec)
        near = zip(distances.tolist(), _ids(catalog, found.rows[firsts]), strict=True)
        found = found.without(places, "near duplicate", [f"{arcsec:.2f} arcsec from {name}" for arcsec, name in near])
    return found


def _all_taken(staged: Sequence[Staged]) -> tuple[Selection, NDArray[np.uint64]]:
    """Put the facts of all ranges together, one range after the other, with the digests of the taken cutouts."""
    counts = [part.num_taken for part in staged]
    ends = np.cumsum([0, *counts])
    taken: dict[str, NDArray[Any]] = {name: np.empty(ends[-1], kind) for name, kind in KEYS.items()}
    rejected = [NO_FACTS.select(["row", *REASONS])]
    for part, (first, stop) in zip(staged, pairwise(ends.tolist()), strict=True):
        facts = part.facts()
        is_taken = pc.equal(facts["reason"], "")
        rejected.append(facts.select(["row", *REASONS]).filter(pc.invert(is_taken)))
        for name in facts.drop_columns(REASONS).column_names:
            values = facts[name].filter(is_taken).to_numpy()
            if name not in taken:
                taken[name] = np.full(ends[-1], np.nan if values.dtype.kind == "f" else 0, values.dtype)
            taken[name][first:stop] = values
    selection = Selection(
        rows=taken["row"],
        columns={name.removeprefix(MEASURED): values for name, values in taken.items() if name.startswith(MEASURED)},
        rejected=pa.concat_tables(rejected),
        ranges=tuple((part.file, part.has_mask) for part in staged),
        range_of=np.repeat(np.arange(len(staged), dtype=np.int32), counts),
        place_of=np.concatenate([np.zeros(0, np.int32), *(np.arange(count, dtype=np.int32) for count in counts)]),
    )
    return selection, taken["digest"]


def _ids(catalog: Catalog, rows: NDArray[np.int64]) -> list[str]:
    ids: list[str] = catalog.table["id_str"].take(pa.array(rows)).to_pylist()
    return ids
