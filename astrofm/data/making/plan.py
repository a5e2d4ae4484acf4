"""What an ingest will do, settled before a pixel is read."""

from __future__ import annotations

__all__ = ["Plan", "check_same", "make_plan"]

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import Product, SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import Rejected
from astrofm.data.files.noise import noise_column
from astrofm.data.labels import check_labels
from astrofm.data.layout import Layout
from astrofm.data.making.reading import read_catalog
from astrofm.data.making.sources import NOTHING_KNOWN, Sources, find_files, hash_sources
from astrofm.data.making.stage import StageJob
from astrofm.data.manifest import MadeFrom, software_versions
from astrofm.data.options import NO_CHANGES, IngestOptions
from astrofm.data.splits import assign_splits
from astrofm.data.text import blocks_of
from astrofm.data.units import unit_factor
from astrofm.errors import DataError, StoreError, UsageError
from astrofm.mock.mark import MOCK_MARK
from astrofm.survey import Source, Survey, find_source

if TYPE_CHECKING:
    from astrofm.data.changes.prepare import Preparation

HASHED_ROWS = 65536
"""Rows of the catalogue that are hashed together: another number gives another hash of columns with missing numbers."""


@dataclass(frozen=True)
class Plan:
    """A survey, its archive, the whole catalogue, and what decides the bytes of the store."""

    survey: Survey
    source: Source
    table: Table
    """The survey's own catalogue, row by row that of ``catalog``."""
    catalog: Catalog
    made_from: MadeFrom
    sources: Sources
    """The archive's files as they were hashed."""
    prepare: Preparation | None = None
    """What is done to each cutout before it is judged."""

    def to_bytes(self) -> bytes:
        """Return what two runs must agree on for the second to continue the first."""
        agreed = {"made_from": self.made_from.model_dump(mode="json"), "versions": software_versions()}
        return json.dumps(agreed, sort_keys=True).encode()

    @staticmethod
    def made_from_of(raw: bytes) -> MadeFrom:
        """Return the parameters in what :meth:`to_bytes` wrote.

        Raises:
            StoreError: If another release wrote them.
        """
        try:
            return MadeFrom.model_validate(json.loads(raw)["made_from"])
        except (ValueError, KeyError) as error:
            raise StoreError("the ingest was begun by another release: start anew with --overwrite") from error

    @property
    def product(self) -> Product:
        """The product as it is stored."""
        return self.made_from.card.products[self.source.product_name]

    def narrowed_to(self, rows: NDArray[np.int64]) -> Plan:
        """Return the plan for some rows of the catalogue."""
        return replace(self, table=self.table[rows], catalog=self.catalog.take(rows))

    def without_table(self) -> Plan:
        """Return the plan without the survey's own rows, which nobody asks for once the pixels are read."""
        return replace(self, table=self.table[:0].copy())

    def stage_jobs(self, folder: Path) -> Sequence[StageJob]:
        """Return one job for each fixed range of the catalogue, made when it is asked for."""
        return _StageJobs(self, folder)


class _StageJobs(Sequence[StageJob]):
    """The jobs of a plan: what they hold is as large as the catalogue, so they are not all made at once."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._step = plan.made_from.layout.range_rows

    def __len__(self) -> int:
        return -(-len(self._plan.catalog) // self._step)

    @overload
    def __getitem__(self, index: int) -> StageJob: ...
    @overload
    def __getitem__(self, index: slice) -> list[StageJob]: ...
    def __getitem__(self, index: int | slice) -> StageJob | list[StageJob]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        plan, first = self._plan, index * self._step
        rows = slice(first, first + self._step)
        return StageJob(
            survey=plan.survey,
            source=plan.source,
            layout=plan.made_from.layout,
            unit=plan.product.unit,
            quality=plan.survey.card.quality,
            prepare=plan.prepare,
            keep_bits=plan.made_from.options.keep_bits,
            rows=plan.table[rows],
            first=first,
            refused=_refused(plan.survey, Catalog(plan.catalog.table[rows])),
            file=self._folder / f"{first:09d}.facts",
        )


def make_plan(
    survey: Survey,
    path: Path,
    product: str | None,
    workers: int = 1,
    options: IngestOptions = NO_CHANGES,
    known: Sources = NOTHING_KNOWN,
) -> Plan:
    """Read the catalogue and hash the archive.

    Args:
        survey: The survey.
        path: Its archive.
        product: Name of the product, where the archive holds several.
        workers: Number of threads that hash.
        options: What is changed about the images.
        known: Hashes of the archive that an earlier command remembered.

    Raises:
        DataError: If the archive or its catalogue is not what the card says.
        UsageError: If the options are not for this product.
    """
    source = find_source(survey.card, path, product)
    prepare = _preparation(survey.card, source.product_name, options)
    card = survey.card if prepare is None else prepare.card_after()
    if options.pixel_scale_arcsec or options.field_of_view_arcsec:
        source = replace(source, resampled_arcsec=card.field_of_view_arcsec.value)
    table = _with_noise_in(read_catalog(survey, source), card.products[source.product_name].unit, card)
    catalog = _checked(check_labels(Catalog.from_astropy(table), survey.votes), card)
    _check_splits(survey, catalog)  # refused now, not after hours of reading
    root = source.folder
    sources = hash_sources(root, find_files(root, survey.files(source, table)), workers, known)
    made_from = MadeFrom(
        card=card,
        product=source.product_name,
        votes=survey.votes,
        mock=(root / MOCK_MARK).exists(),
        catalogue_sha256=_hash_catalog(catalog),
        sources=sources.files,
        layout=Layout.of(card.products[source.product_name]),
        options=options,
        given_card=None if prepare is None else survey.card,
    )
    return Plan(survey, source, table, catalog, made_from, sources, prepare)


def check_same(asked: MadeFrom, there: MadeFrom, was_made: str, way_on: str) -> None:
    """Refuse to go on from what was made of something else.

    Args:
        asked: What this command would make a store from.
        there: What the other was made from.
        was_made: Start of the message, for example ``"PATH was made"``.
        way_on: End of the message.

    Raises:
        StoreError: If they differ; names in what.
    """
    differences = asked.differences(there)
    if differences:
        raise StoreError(
            f"{was_made} with other parameters; this command differs in {', '.join(differences)}: {way_on}"
        )


def _preparation(card: SurveyCard, product_name: str, options: IngestOptions) -> Preparation | None:
    """Return what the options do to each cutout.

    Raises:
        UsageError: If the product is of another kind than the options need.
    """
    dtype = card.products[product_name].dtype
    if options.keep_bits is not None and dtype != "float32":
        raise UsageError(f"--keep-bits rounds float32 pixels and product {product_name!r} is {dtype}: leave it out")
    if not options.changes_images:
        return None
    from astrofm.data.changes.prepare import Preparation

    return Preparation(options, card, product_name)


def _noise_columns(card: SurveyCard) -> list[str]:
    return ["rms", *map(noise_column, card.band_names)]


def _with_noise_in(table: Table, unit: str, card: SurveyCard) -> Table:
    """Convert the columns of the noise that carry a unit to that of the stored pixels.

    Raises:
        DataError: If a column's unit is none of that quantity.
    """
    converted = table.copy(copy_data=False)
    for name in _noise_columns(card):
        given = str(getattr(table[name], "unit", None) or "") if name in table.colnames else ""
        if not given:
            continue
        factor = unit_factor(given, unit)
        if factor is None:
            raise DataError(
                f"the column {name!r} of the catalogue is in {given} and the pixels are stored in {unit or 'no unit'}; "
                "it is for the noise of each image: give it in the unit of the pixels, or rename it"
            )
        if factor != 1.0:
            converted[name] = table[name].value * factor
    return converted


def _checked(catalog: Catalog, card: SurveyCard) -> Catalog:
    """Refuse columns of the archive's own that the store would write something else into."""
    for name in ("size_y", "size_x"):
        if name in catalog.columns:
            raise DataError(
                f"the catalogue has a column {name!r}, and a store keeps the size of each image under that name: "
                "rename it or leave it out"
            )
    for name in _noise_columns(card):
        kind = catalog.table[name].type if name in catalog.columns else pa.float64()
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise DataError(
                f"the column {name!r} of the catalogue holds {kind} values; it is for the noise of each image, as a "
                "number in the unit of the stored pixels: give numbers, or rename it"
            )
    if "rejected" in catalog.columns and not pa.types.is_string(catalog.table["rejected"].type):
        raise DataError(
            "the column 'rejected' of the catalogue holds "
            f"{catalog.table['rejected'].type} values; it is for the reason, as text, why a row is not to be taken: "
            "rename it or leave it out"
        )
    return catalog


def _check_splits(survey: Survey, catalog: Catalog) -> None:
    splits = survey.card.splits
    if splits.scheme == "by-id":
        return  # an id cannot be wrong
    needed = [
        name for name in ("id_str", "ra", "dec", "_healpix_29", "split", splits.column) if name in catalog.columns
    ]
    taken = np.ones(len(catalog), bool)
    for rows in blocks_of(len(catalog)):
        taken[rows][list(_refused(survey, Catalog(catalog.table[rows])))] = False
    table = catalog.table.select(needed)
    assign_splits(Catalog(table if taken.all() else table.filter(pa.array(taken))), splits)


def _hash_catalog(catalog: Catalog) -> str:
    """Return a hash of the values, which stays the same when Parquet is written in another way."""
    total = hashlib.sha256()
    for name in catalog.columns:
        column = catalog.table[name]
        total.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
        for first in range(0, len(column), HASHED_ROWS):
            part = Catalog(pa.table({name: column.slice(first, HASHED_ROWS)})).column(name)
            is_text = part.dtype.kind == "U"
            total.update("\0".join(part.tolist()).encode() + b"\0" if is_text else np.ascontiguousarray(part).tobytes())
    return total.hexdigest()


def _refused(survey: Survey, catalog: Catalog) -> dict[int, Rejected]:
    """Return the rows of a range that are not read, with the reason: the catalogue's own or the card's."""
    ids, excluded = catalog.table["id_str"], survey.card.excluded
    found = pc.index_in(ids, pa.array(excluded, pa.string())).is_valid() if excluded else pa.nulls(len(ids))
    reasons = {row: excluded[ids[row].as_py()] for row in np.flatnonzero(found.fill_null(False))} if excluded else {}
    if "rejected" in catalog.columns:
        given = catalog.table["rejected"].fill_null("")
        reasons |= {row: given[row].as_py() for row in np.flatnonzero(pc.not_equal(given, ""))}
    return {int(row): Rejected(reason) for row, reason in sorted(reasons.items())}
