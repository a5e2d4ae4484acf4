"""Rebuild the damaged pieces of a store from its archive, and nothing else."""

from __future__ import annotations

__all__ = ["manifest_to_mend", "repair"]

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.catalog import Catalog
from astrofm.data.ingest import Listener, pack_all, stage_all, write_files
from astrofm.data.layout import create_arrays
from astrofm.data.making.pack import PackJob
from astrofm.data.making.partial import exclusive
from astrofm.data.making.plan import Plan, check_same, make_plan
from astrofm.data.making.selection import Selection
from astrofm.data.making.workers import Workers
from astrofm.data.manifest import MANIFEST, Manifest, Piece, software_versions
from astrofm.data.store import read_manifest, store_info
from astrofm.data.store_files import read_bytes
from astrofm.data.verify import verify
from astrofm.errors import StoreError
from astrofm.survey import Survey


def repair(
    path: Path, survey: Survey, source: Path, *, workers: int = 1, listener: Listener | None = None
) -> dict[str, Any]:
    """Rebuild what is damaged in a store, bit for bit.

    Args:
        path: The store.
        survey: Its survey.
        source: The archive it was made from.
        workers: Number of processes.
        listener: Told of the progress.

    Returns:
        As :func:`astrofm.data.store.store_info`, with ``repaired``: the files that were rebuilt.

    Raises:
        StoreError: If the archive is not the one it was made from, the manifest is damaged, or this software makes
            other bytes.
    """
    store = Path(path)
    damages = verify(store)
    if any(damage.file == MANIFEST for damage in damages):
        raise StoreError(f"the {MANIFEST} of {store} is damaged, and with it every hash: ingest again with --overwrite")
    manifest = Manifest.from_bytes((store / MANIFEST).read_bytes())
    known = {piece.file for piece in manifest.pieces}
    broken = [damage.file for damage in damages if damage.file in known]
    if broken and manifest.made_from.merged_from:
        raise StoreError(
            f"{store} was merged from {len(manifest.made_from.merged_from)} stores and no archive holds it: mend them, "
            "then merge them again with 'astrofm store merge ... --overwrite'"
        )
    if broken:
        plan = make_plan(survey, Path(source), manifest.made_from.product, workers, manifest.made_from.options)
        check_same(plan.made_from, manifest.made_from, f"{store} was made", "give the source it was made from")
        tell = listener or (lambda done, total, what: None)
        with exclusive(store) as partial, Workers(workers) as pool:
            _rebuild(plan, manifest, store, broken, partial / "repair", pool, tell)
            shutil.rmtree(partial / "repair")
            if {entry.name for entry in partial.iterdir()} == {"lock"}:
                shutil.rmtree(partial)
    return {**store_info(store), "repaired": broken}


def manifest_to_mend(path: Path) -> Manifest:
    """Return the manifest of a store any other file of which may be damaged, also the one that says it is a store.

    Raises:
        StoreError: If there is no store, or its manifest is damaged.
    """
    try:
        return Manifest.from_bytes(read_bytes(path, MANIFEST))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return read_manifest(path)


def _rebuild(
    plan: Plan, manifest: Manifest, store: Path, broken: list[str], scratch: Path, workers: Workers, tell: Listener
) -> None:
    """Make the broken pieces in a folder of their own, compare them with their hashes, and move them into place."""
    shutil.rmtree(scratch, ignore_errors=True)
    spans = sorted({(shard.first, shard.stop) for shard in manifest.shards if shard.piece.file in broken})
    needs_all = not {"catalog.parquet", "rejected.parquet"}.isdisjoint(broken)
    rows = np.arange(len(plan.catalog)) if needs_all else _catalog_rows(plan, store, spans)
    narrow = plan.narrowed_to(rows)
    taken = stage_all(narrow, scratch, workers, tell)
    built = scratch / "store"
    if needs_all:
        write_files(narrow, taken, built)
    create_arrays(built, manifest.made_from.layout, manifest.num_cutouts, has_mask=manifest.has_mask)
    pack_all(_jobs(manifest, spans, taken, scratch, starts_at_row_0=needs_all), workers, tell)
    recorded = {piece.file: piece for piece in manifest.pieces}
    for file in broken:
        if not (built / file).exists() or Piece.of(built, file) != recorded[file]:
            raise StoreError(_other_bytes(store, file, manifest))
    for file in broken:
        (store / file).parent.mkdir(parents=True, exist_ok=True)
        (built / file).replace(store / file)


def _catalog_rows(plan: Plan, store: Path, spans: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the rows of the survey's catalogue that fill some rows of the store, in the order of both."""
    if not spans:
        return np.zeros(0, np.int64)
    ids = Catalog.read(store / "catalog.parquet").column("id_str")
    wanted = np.concatenate([ids[first:stop] for first, stop in spans])
    return np.flatnonzero(np.isin(plan.catalog.column("id_str"), wanted))


def _jobs(
    manifest: Manifest, spans: list[tuple[int, int]], taken: Selection, scratch: Path, *, starts_at_row_0: bool
) -> list[PackJob]:
    layout, jobs, reached = manifest.made_from.layout, [], 0
    shard_rows = layout.shard_rows_for(manifest.num_cutouts)
    for first, stop in spans:
        start = first if starts_at_row_0 else reached
        reached += stop - first
        index = first // shard_rows
        jobs.append(
            PackJob(
                store=scratch / "store",
                layout=layout,
                shard_rows=shard_rows,
                index=index,
                rows=range(first, stop),
                parts=taken.parts_of(range(start, start + stop - first)),
                has_mask=manifest.has_mask,
                record=scratch / "shards" / f"{index:06d}.json",
            )
        )
    return jobs


def _other_bytes(store: Path, file: str, manifest: Manifest) -> str:
    now = software_versions()
    changed = [
        f"{name} {then}, now {now.get(name)}" for name, then in manifest.versions.items() if now.get(name) != then
    ]
    return (
        f"{file} of {store} was built again from the same archive and differs "
        f"({'; '.join(changed) or 'the reader of the survey has changed'}): ingest again with --overwrite"
    )
