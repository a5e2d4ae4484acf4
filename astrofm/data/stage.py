"""The first pass of an ingest: read and judge one range of the catalogue, and keep what was taken in a file."""

from __future__ import annotations

__all__ = ["StageJob", "Staged", "stage"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.layout import Layout
from astrofm.data.partial import write_atomically
from astrofm.data.quality import fit_to, judge
from astrofm.data.units import unit_factor
from astrofm.errors import DataError
from astrofm.survey import Source, Survey

REJECTION_FIELDS = ("reason", "detail", "file")


@dataclass(frozen=True)
class StageJob:
    """One range of the catalogue, and all that a worker needs to read it."""

    survey: Survey
    source: Source
    layout: Layout
    rows: Table
    """The survey's own rows."""
    first: int
    """Catalogue row of the first."""
    refused: tuple[Rejected | None, ...]
    """For each row, why it is not read, or None."""
    file: Path
    """Where the result goes."""


@dataclass(frozen=True)
class Staged:
    """A finished range on disk; arrays are read when asked for."""

    file: Path

    @property
    def rows(self) -> NDArray[np.int64]:
        """Catalogue rows that were taken, ascending."""
        rows: NDArray[np.int64] = self._array("rows")
        return rows

    @property
    def image(self) -> NDArray[Any]:
        """Shape: (taken, band, y, x)."""
        image: NDArray[Any] = self._array("image")
        return image

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Shape: (taken, y, x); None where no cutout of the range has one."""
        return self._array("mask") if self.has_mask else None

    @property
    def has_mask(self) -> bool:
        """Whether any cutout of the range has a mask."""
        return "mask" in self._names()

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns for the catalogue, measured on the cutouts: ``size_y``, ``size_x`` and the readers' own."""
        names = [name for name in self._names() if name.startswith("column:")]
        return {name.removeprefix("column:"): self._array(name) for name in names}

    @property
    def rejected(self) -> list[tuple[int, Rejected]]:
        """Catalogue rows that were not taken, with the reason."""
        fields = [self._array(f"rejected:{name}").tolist() for name in REJECTION_FIELDS]
        rows = self._array("rejected:row").tolist()
        return [(row, Rejected(*values)) for row, *values in zip(rows, *fields, strict=True)]

    def _names(self) -> list[str]:
        with np.load(self.file, allow_pickle=False) as arrays:
            return list(arrays.files)

    def _array(self, name: str) -> Any:
        with np.load(self.file, allow_pickle=False) as arrays:
            return arrays[name]


def stage(job: StageJob) -> Staged:
    """Read, judge and keep one range; one that is kept already is left as it is.

    Raises:
        DataError: If the survey does not give one cutout or rejection for each row.
    """
    if not job.file.exists():
        arrays = _arrays(_take(job), job.layout)
        write_atomically(job.file, lambda file: np.savez(file, allow_pickle=False, **arrays))
    return Staged(job.file)


@dataclass(frozen=True)
class _Taken:
    image: NDArray[Any]
    mask: NDArray[np.bool_] | None
    size_pix: tuple[int, int]
    meta: Mapping[str, float]


def _take(job: StageJob) -> dict[int, _Taken | Rejected]:
    taken: dict[int, _Taken | Rejected] = {
        job.first + place: refused for place, refused in enumerate(job.refused) if refused is not None
    }
    wanted = [place for place, refused in enumerate(job.refused) if refused is None]
    if wanted:
        given = _one_by_one(job.survey.cutouts(job.source, job.rows[wanted]))
        for place in wanted:
            found = next(given, None)
            if found is None:
                raise DataError(_miscount(job, "fewer"))
            taken[job.first + place] = _judged(found, job.layout, job.source.product.unit)
        if next(given, None) is not None:
            raise DataError(_miscount(job, "more"))
    return dict(sorted(taken.items()))


def _miscount(job: StageJob, fewer: str) -> str:
    last = job.first + len(job.refused) - 1
    return (
        f"the reader of {job.survey.name!r} gave {fewer} cutouts than it was asked for in the catalogue rows "
        f"{job.first} to {last}: it must yield a cutout or a rejection for each row, in order"
    )


def _one_by_one(given: Iterator[Cutout | CutoutBatch | Rejected]) -> Iterator[Cutout | Rejected]:
    for item in given:
        if not isinstance(item, CutoutBatch):
            yield item
            continue
        for place, image in enumerate(item.images):
            meta = {name: float(values[place]) for name, values in item.meta.items()}
            yield Cutout(image, item.unit, None if item.masks is None else item.masks[place], meta=meta)


def _judged(found: Cutout | Rejected, layout: Layout, unit: str) -> _Taken | Rejected:
    if isinstance(found, Rejected):
        return found
    refused = _misfit(found, layout, unit) or judge(found.image, found.mask)
    if refused is not None:
        return refused
    image, mask = fit_to(found.image.astype(layout.dtype, copy=False), found.mask, layout.shape[1:])
    return _Taken(image, mask, (found.image.shape[-2], found.image.shape[-1]), found.meta)


def _misfit(cutout: Cutout, layout: Layout, unit: str) -> Rejected | None:
    """Refuse what cannot be brought to the product's bands, values and unit without changing their meaning."""
    image = cutout.image
    if image.ndim != 3 or len(image) != layout.shape[0]:
        return Rejected("other bands", f"shape {image.shape}, where (band, y, x) with {layout.shape[0]} bands is due")
    if layout.dtype == "uint8" and image.dtype != np.uint8:
        return Rejected("other values", f"{image.dtype} pixels, where the product has uint8")
    if cutout.unit and unit_factor(cutout.unit, unit) != 1:
        return Rejected("other unit", f"unit {cutout.unit!r}, where the product has {unit!r}")
    return None


def _arrays(results: Mapping[int, _Taken | Rejected], layout: Layout) -> dict[str, NDArray[Any]]:
    taken = {row: result for row, result in results.items() if isinstance(result, _Taken)}
    rejected = {row: result for row, result in results.items() if isinstance(result, Rejected)}
    image = np.empty((len(taken), *layout.shape), layout.dtype)
    for place, result in enumerate(taken.values()):
        image[place] = result.image
    arrays: dict[str, NDArray[Any]] = {"rows": np.array(list(taken), np.int64), "image": image}
    if any(result.mask is not None for result in taken.values()):
        arrays["mask"] = np.zeros((len(taken), *layout.shape[1:]), bool)
        for place, result in enumerate(taken.values()):
            if result.mask is not None:
                arrays["mask"][place] = result.mask
    arrays |= {f"column:{name}": values for name, values in _columns(list(taken.values())).items()}
    arrays["rejected:row"] = np.array(list(rejected), np.int64)
    for name in REJECTION_FIELDS:
        arrays[f"rejected:{name}"] = np.array([getattr(result, name) for result in rejected.values()], np.str_)
    return arrays


def _columns(taken: list[_Taken]) -> dict[str, NDArray[Any]]:
    sizes = np.array([result.size_pix for result in taken], np.int64).reshape(-1, 2)
    names = sorted({name for result in taken for name in result.meta})
    measured = {name: np.array([float(t.meta.get(name, np.nan)) for t in taken], np.float64) for name in names}
    return {"size_y": sizes[:, 0], "size_x": sizes[:, 1], **measured}
