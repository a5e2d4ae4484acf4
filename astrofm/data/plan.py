"""What an ingest will do, settled before a pixel is read."""

from __future__ import annotations

__all__ = ["Plan", "check_same", "make_plan"]

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import Rejected
from astrofm.data.layout import Layout
from astrofm.data.manifest import MadeFrom, SourceFile, software_versions
from astrofm.data.options import NO_CHANGES, IngestOptions
from astrofm.data.splits import assign_splits
from astrofm.data.stage import StageJob
from astrofm.errors import StoreError
from astrofm.survey import Source, Survey, find_source


@dataclass(frozen=True)
class Plan:
    """A survey, its archive, the whole catalogue, and what decides the bytes of the store."""

    survey: Survey
    source: Source
    table: Table
    """The survey's own catalogue, row by row that of ``catalog``."""
    catalog: Catalog
    made_from: MadeFrom

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

    def narrowed_to(self, rows: NDArray[np.int64]) -> Plan:
        """Return the plan for some rows of the catalogue."""
        return replace(self, table=self.table[rows], catalog=self.catalog.take(rows))

    def stage_jobs(self, folder: Path) -> list[StageJob]:
        """Return one job for each fixed range of the catalogue."""
        refused = _refused(self.survey, self.catalog)
        layout = self.made_from.layout
        return [
            StageJob(
                survey=self.survey,
                source=self.source,
                layout=layout,
                rows=self.table[first : first + layout.range_rows],
                first=first,
                refused=tuple(refused[first : first + layout.range_rows]),
                file=folder / f"{first:09d}.npz",
            )
            for first in range(0, len(self.catalog), layout.range_rows)
        ]


def make_plan(
    survey: Survey, path: Path, product: str | None, workers: int = 1, options: IngestOptions = NO_CHANGES
) -> Plan:
    """Read the catalogue and hash the archive.

    Args:
        survey: The survey.
        path: Its archive.
        product: Name of the product, where the archive holds several.
        workers: Number of threads that hash.
        options: What is changed about the images.

    Raises:
        DataError: If the archive or its catalogue is not what the card says.
    """
    source = find_source(survey.card, path, product)
    table = survey.catalog(source)
    catalog = Catalog.from_astropy(table)
    wanted = [row for row, refused in enumerate(_refused(survey, catalog)) if refused is None]
    assign_splits(catalog.take(wanted), survey.card.splits)  # refused now, not after hours of reading
    made_from = MadeFrom(
        card=survey.card,
        product=source.product_name,
        votes=survey.votes,
        mock=(_folder_of(source) / "MOCK.json").exists(),
        catalogue_sha256=_hash_catalog(catalog),
        sources=_hash_sources(survey, source, table, workers),
        layout=Layout.of(source.product),
        options=options,
    )
    return Plan(survey, source, table, catalog, made_from)


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


def _folder_of(source: Source) -> Path:
    return source.path if source.path.is_dir() else source.path.parent


def _hash_sources(survey: Survey, source: Source, table: Table, workers: int) -> tuple[SourceFile, ...]:
    paths = survey.files(source, table)
    files = {file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,))}
    names = {file.relative_to(_folder_of(source)).as_posix(): file for file in files if file.is_file()}
    with ThreadPoolExecutor(workers) as pool:
        return tuple(pool.map(lambda name: SourceFile.of(names[name], name), sorted(names)))


def _hash_catalog(catalog: Catalog) -> str:
    """Return a hash of the values, which stays the same when Parquet is written in another way."""
    total = hashlib.sha256()
    for name in catalog.columns:
        values = catalog.column(name)
        is_text = values.dtype.kind == "U"
        content = "\0".join(values.tolist()).encode() if is_text else np.ascontiguousarray(values).tobytes()
        total.update(f"{name}\0{values.dtype.kind if is_text else values.dtype.str}\0{values.shape}\0".encode())
        total.update(content)
    return total.hexdigest()


def _refused(survey: Survey, catalog: Catalog) -> list[Rejected | None]:
    ids = catalog.column("id_str").tolist()
    given = catalog.column("rejected").tolist() if "rejected" in catalog.columns else [""] * len(ids)
    excluded = survey.card.excluded
    reasons = [reason or excluded.get(name, "") for name, reason in zip(ids, given, strict=True)]
    return [Rejected(reason) if reason else None for reason in reasons]
