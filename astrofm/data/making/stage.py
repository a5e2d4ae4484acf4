"""The first pass of an ingest: read and judge one range of the catalogue, and keep what was taken in a file."""

from __future__ import annotations

__all__ = ["StageJob", "stage"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import QualityRules
from astrofm.data.changes.rounding import round_mantissa
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.layout import Layout
from astrofm.data.making.reading import read_cutouts
from astrofm.data.making.shard_writer import crc32c
from astrofm.data.making.staged import Staged, facts_of, keep
from astrofm.data.quality import fit_to, judge_all, too_small
from astrofm.data.units import unit_factor
from astrofm.errors import DataError
from astrofm.survey import Source, Survey

if TYPE_CHECKING:
    from astrofm.data.changes.prepare import Preparation

WAITING_BYTES = 16_000_000
"""Pixels of single cutouts that are held before they are judged together; archives may hold far larger images."""


@dataclass(frozen=True)
class StageJob:
    """One range of the catalogue, and all that a worker needs to read it."""

    survey: Survey
    source: Source
    layout: Layout
    unit: str
    """Of the stored pixels."""
    quality: QualityRules
    prepare: Preparation | None
    """What is done to each cutout before it is judged."""
    keep_bits: int | None
    rows: Table
    """The survey's own rows."""
    first: int
    """Catalogue row of the first."""
    refused: Mapping[int, Rejected]
    """Rows that are not read, by their place in the range."""
    file: Path
    """Where the result goes."""


def stage(job: StageJob) -> Staged:
    """Read, judge and keep one range; one that is kept already and whole is left as it is.

    Raises:
        DataError: If the survey does not give one cutout or rejection for each row.
    """
    return Staged.read(job.file) or _keep(job, list(_pieces(job)))


@dataclass(frozen=True)
class _Piece:
    """Cutouts of one size, judged and brought to the size of the store.

    Attributes:
        rejected: Why some were not taken, by place in the range.
        image: Of the others. Shape: (taken, band, y, x).
        mask: Shape: (taken, y, x), or None.
        columns: What was measured on them. Shape of each: (taken,).
    """

    rejected: Mapping[int, Rejected]
    image: NDArray[Any]
    mask: NDArray[np.bool_] | None
    columns: Mapping[str, NDArray[Any]]


def _pieces(job: StageJob) -> Iterator[_Piece]:
    wanted = np.array([place for place in range(len(job.rows)) if place not in job.refused], np.int64)
    if not len(wanted):
        return
    rows = job.rows if len(wanted) == len(job.rows) else job.rows[wanted]
    reached = 0
    for item in _in_batches(_prepared(read_cutouts(job.survey, job.source, rows), job.prepare)):
        num = 1 if isinstance(item, Rejected) else len(item.images)
        places = wanted[reached : reached + num]
        reached += num
        if reached > len(wanted):
            raise DataError(_miscount(job, "more"))
        yield _judged(item, places, job)
    if reached < len(wanted):
        raise DataError(_miscount(job, "fewer"))


def _miscount(job: StageJob, fewer: str) -> str:
    last = job.first + len(job.rows) - 1
    return (
        f"the reader of {job.survey.name!r} gave {fewer} cutouts than it was asked for in the catalogue rows "
        f"{job.first} to {last}: it must yield a cutout or a rejection for each row, in order"
    )


def _prepared(
    given: Iterator[Cutout | CutoutBatch | Rejected], prepare: Preparation | None
) -> Iterator[Cutout | CutoutBatch | Rejected]:
    if prepare is None:
        yield from given
        return
    for item in given:
        for cutout in _one_by_one(item) if isinstance(item, CutoutBatch) else (item,):
            yield cutout if isinstance(cutout, Rejected) else prepare(cutout)


def _one_by_one(batch: CutoutBatch) -> Iterator[Cutout]:
    for place, image in enumerate(batch.images):
        meta = {name: float(values[place]) for name, values in batch.meta.items()}
        yield Cutout(image, batch.unit, None if batch.masks is None else batch.masks[place], meta=meta)


def _in_batches(given: Iterator[Cutout | CutoutBatch | Rejected]) -> Iterator[CutoutBatch | Rejected]:
    """Put single cutouts that follow each other and are alike together: a batch is judged as a whole."""
    waiting: list[Cutout] = []
    for item in given:
        if waiting and not (isinstance(item, Cutout) and _is_alike(item, waiting)):
            yield _together(waiting)
            waiting = []
        if isinstance(item, Cutout):
            waiting.append(item)
        else:
            yield item
    if waiting:
        yield _together(waiting)


def _is_alike(cutout: Cutout, waiting: list[Cutout]) -> bool:
    first = waiting[0]
    return (
        cutout.image.shape == first.image.shape
        and cutout.image.dtype == first.image.dtype
        and cutout.unit == first.unit
        and getattr(cutout.mask, "shape", None) == getattr(first.mask, "shape", None)
        and len(waiting) * first.image.nbytes < WAITING_BYTES
    )


def _together(cutouts: list[Cutout]) -> CutoutBatch:
    names = dict.fromkeys(name for cutout in cutouts for name in cutout.meta)
    masks = [cutout.mask for cutout in cutouts if cutout.mask is not None]
    return CutoutBatch(
        np.stack([cutout.image for cutout in cutouts]),
        cutouts[0].unit,
        np.stack(masks) if masks else None,
        {name: np.array([float(cutout.meta.get(name, np.nan)) for cutout in cutouts]) for name in names},
    )


def _judged(item: CutoutBatch | Rejected, places: NDArray[np.int64], job: StageJob) -> _Piece:
    """Judge a batch and bring what is taken to the size, dtype and precision of the store."""
    layout = job.layout
    nothing = np.empty((0, *layout.shape), layout.dtype)
    if isinstance(item, Rejected):
        return _Piece({int(places[0]): item}, nothing, None, {})
    misfit = _misfit(item, job)
    if misfit is not None:
        return _Piece(dict.fromkeys(places.tolist(), misfit), nothing, None, {})
    images, masks = item.images, item.masks
    columns = {"size_y": np.full(len(images), images.shape[2]), "size_x": np.full(len(images), images.shape[3])}
    columns |= {name: np.asarray(values, np.float64) for name, values in sorted(item.meta.items())}
    unfit = judge_all(images, masks, job.quality)
    if unfit:
        taken = np.delete(np.arange(len(images)), list(unfit))
        images, masks = images[taken], None if masks is None else masks[taken]
        columns = {name: values[taken] for name, values in columns.items()}
    image, mask = fit_to(images.astype(layout.dtype, copy=False), masks, layout.shape[1:])
    if job.keep_bits is not None:
        image = round_mantissa(image, job.keep_bits)
    return _Piece({int(places[place]): rejected for place, rejected in unfit.items()}, image, mask, columns)


def _misfit(batch: CutoutBatch, job: StageJob) -> Rejected | None:
    """Refuse what cannot be brought to the product's bands, values, unit and size without changing their meaning."""
    images, layout = batch.images, job.layout
    if images.ndim != 4 or images.shape[1] != layout.shape[0]:
        found = f"shape {images.shape[1:]}, where (band, y, x) with {layout.shape[0]} bands is due"
        return Rejected("other bands", found)
    if layout.dtype == "uint8" and images.dtype != np.uint8:
        return Rejected("other values", f"{images.dtype} pixels, where the product has uint8")
    if batch.unit and unit_factor(batch.unit, job.unit) != 1:
        return Rejected("other unit", f"unit {batch.unit!r}, where the product has {job.unit!r}")
    return too_small((images.shape[2], images.shape[3]), layout.shape[1:]) if images.size else None


def _keep(job: StageJob, pieces: list[_Piece]) -> Staged:
    rejected = dict(job.refused)
    for piece in pieces:
        rejected |= piece.rejected
    filled = [piece for piece in pieces if len(piece.image)]
    images = [piece.image for piece in filled] or [np.empty((0, *job.layout.shape), job.layout.dtype)]
    image = images[0] if len(images) == 1 else np.concatenate(images)
    facts = facts_of(np.arange(job.first, job.first + len(job.rows)), rejected, _digests(image), _columns(filled))
    return keep(job.file, facts, image, _masks(filled, image.shape))


def _masks(pieces: list[_Piece], shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    if all(piece.mask is None for piece in pieces):
        return None
    empty = shape[-2:]
    masks = [np.zeros((len(piece.image), *empty), bool) if piece.mask is None else piece.mask for piece in pieces]
    return np.concatenate(masks)


def _columns(pieces: list[_Piece]) -> dict[str, NDArray[Any]]:
    names = dict.fromkeys(["size_y", "size_x", *sorted({name for piece in pieces for name in piece.columns})])
    return {
        name: np.concatenate(
            [np.zeros(0, np.int64 if name in ("size_y", "size_x") else np.float64)]
            + [piece.columns.get(name, np.full(len(piece.image), np.nan)) for piece in pieces]
        )
        for name in names
    }


def _digests(image: NDArray[Any]) -> NDArray[np.uint64]:
    """Return 64 bits of each image, to find equal ones: the CRC-32C of its two halves. Shape: (n,)."""
    size = image[:1].nbytes or 1
    rows = np.ascontiguousarray(image).reshape(-1).view(np.uint8).reshape(-1, size)
    crcs = [(crc32c(row[: size // 2]) << 32) | crc32c(row[size // 2 :]) for row in rows]
    return np.array(crcs, np.uint64)
