"""One store of several: the rows of one after those of another, whatever the archives they were made from.

Nothing is judged or divided anew: pixels, splits and labels stay as they are in the parts. It is made as an ingest
makes a store: in ``OUT.partial``, shard by shard, each kept with its hash, and renamed when it is whole; the same
command goes on where it was stopped and ends with the same bytes.
"""

from __future__ import annotations

__all__ = ["merge"]

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from astrofm.data.catalog import Catalog
from astrofm.data.layout import create_arrays
from astrofm.data.making.merge_catalogs import unite
from astrofm.data.making.merge_shards import MergeJob, spans_of
from astrofm.data.making.partial import discard_work, exclusive, make_durable, publish, sweep, write_atomically
from astrofm.data.making.plan import Plan, check_same
from astrofm.data.making.shard_job import write_shards
from astrofm.data.making.workers import Workers
from astrofm.data.manifest import MANIFEST, MadeFrom, Manifest, MergedPart, Piece, SourceFile, software_versions
from astrofm.data.store import CutoutStore, is_store, read_manifest, read_rejected, store_info, verify
from astrofm.data.store_files import is_url
from astrofm.errors import StoreError, UsageError

Listener = Callable[[int, int, str], None]
"""Called with (done, total, what is being done)."""


def merge(
    stores: Sequence[Path | str],
    out: Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Make one store of several of the same survey.

    Every hash of the parts is checked before their pixels are taken. Memory: one shard a process, and the catalogues.

    Args:
        stores: Folders or URLs; their rows come in this order.
        out: Path of the new store.
        workers: Number of processes; the store does not depend on it.
        overwrite: Replace a store that is there, once the new one is complete.
        listener: Told of the progress.

    Returns:
        As :func:`astrofm.data.store.store_info`, with ``already_complete``: whether the store was there.

    Raises:
        StoreError: If the parts differ in what they hold, share an id or are damaged, or ``out`` is something else.
        UsageError: If there are fewer than two stores, or one comes twice.
    """
    out = Path(out)
    _check_paths(stores, out)
    if out.exists() and not is_store(out):
        raise StoreError(f"{out} exists and is no store of astrofm: choose another --out")
    parts = [CutoutStore.open(path) for path in stores]
    made_from = _made_from(parts)
    if out.exists() and not overwrite:
        return _already_complete(made_from, out)
    catalog = unite(parts)
    tell = listener or (lambda done, total, what: None)
    with exclusive(out) as partial, Workers(workers) as pool:
        if out.exists() and not overwrite:  # another process finished it before the lock was ours
            return _already_complete(made_from, out)
        _continue_or_start(made_from, partial, out, overwrite=overwrite)
        _check_sound(parts, pool, tell)
        _assemble(parts, made_from, catalog, partial, pool, tell)
        publish(partial / "store", out)
    return {**store_info(out), "already_complete": False}


def _check_paths(stores: Sequence[Path | str], out: Path) -> None:
    if len(stores) < 2:
        raise UsageError(f"a merge takes at least two stores, not {len(stores)}")
    places = [str(path).rstrip("/") if is_url(path) else str(Path(path).resolve()) for path in stores]
    twice = [place for place, count in Counter(places).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} was given twice: each store goes into a merge once")
    if str(out.resolve()) in places:
        raise UsageError(f"--out names {out}, one of the stores to merge: choose another --out")


def _made_from(parts: Sequence[CutoutStore]) -> MadeFrom:
    """Return what the merged store is made from.

    Raises:
        StoreError: If two parts differ in more than their sources; names in what.
    """
    first = parts[0].manifest.made_from
    for part in parts[1:]:
        other = part.manifest.made_from
        like_first = other.model_copy(
            update={key: getattr(first, key) for key in ("sources", "catalogue_sha256", "merged_from")}
        )
        differences = like_first.differences(first)
        if differences:
            raise StoreError(
                f"{part.path} cannot be merged with {parts[0].path}: they differ in {', '.join(differences)}; "
                "ingest one of them again as the other was"
            )
    catalogues = "".join(part.manifest.made_from.catalogue_sha256 for part in parts)
    return first.model_copy(
        update={
            "catalogue_sha256": hashlib.sha256(catalogues.encode()).hexdigest(),
            "sources": _united_sources(parts),
            "merged_from": tuple(MergedPart(content_sha256=p.content_hash, num_cutouts=len(p)) for p in parts),
        }
    )


def _united_sources(parts: Sequence[CutoutStore]) -> tuple[SourceFile, ...]:
    """Return the files of all archives; a name that two of them give to different files gets the part's number."""
    meanings: dict[str, set[str]] = {}
    for part in parts:
        for file in part.manifest.made_from.sources:
            meanings.setdefault(file.name, set()).add(file.sha256)
    united = {}
    for number, part in enumerate(parts, start=1):
        for file in part.manifest.made_from.sources:
            name = file.name if len(meanings[file.name]) == 1 else f"{number}/{file.name}"
            united[name] = file.model_copy(update={"name": name})
    return tuple(united[name] for name in sorted(united))


def _already_complete(made_from: MadeFrom, out: Path) -> dict[str, Any]:
    check_same(made_from, read_manifest(out).made_from, f"{out} was made", "replace it with --overwrite")
    return {**store_info(out), "already_complete": True}


def _continue_or_start(made_from: MadeFrom, partial: Path, out: Path, *, overwrite: bool) -> None:
    file = partial / "plan.json"
    agreed = {"made_from": made_from.model_dump(mode="json"), "versions": software_versions()}
    content = json.dumps(agreed, sort_keys=True).encode()
    if file.exists() and file.read_bytes() != content:
        if not overwrite:
            begun = Plan.made_from_of(file.read_bytes())
            check_same(made_from, begun, f"{out} was begun", "start anew with --overwrite")
            raise StoreError(f"{out} was begun by other software versions: start anew with --overwrite")
        discard_work(partial)
    write_atomically(file, lambda stream: stream.write(content))


def _check_sound(parts: Sequence[CutoutStore], workers: Workers, tell: Listener) -> None:
    found = workers.run(verify, [part.path for part in parts], lambda done: tell(done, len(parts), "checking"))
    for part, damages in zip(parts, found, strict=True):
        if damages:
            more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
            raise StoreError(
                f"{part.path} is damaged ({damages[0]}{more}): mend it with 'astrofm store repair', then merge again"
            )


def _assemble(
    parts: Sequence[CutoutStore], made_from: MadeFrom, catalog: Catalog, partial: Path, workers: Workers, tell: Listener
) -> None:
    """Write the complete store into ``store`` inside the ``.partial`` folder, the manifest last."""
    store, layout, num = partial / "store", made_from.layout, sum(map(len, parts))
    has_mask = any(part.manifest.has_mask for part in parts)
    files = create_arrays(store, layout, num, has_mask=has_mask)
    catalog.write(store / "catalog.parquet")
    _write_rejected(parts, store / "rejected.parquet")
    jobs = [
        MergeJob(
            store=store,
            layout=layout,
            shard_rows=layout.shard_rows_for(num),
            index=index,
            rows=rows,
            spans=spans_of(parts, rows),
            has_mask=has_mask,
            record=partial / "shards" / f"{index:06d}.json",
        )
        for index, rows in enumerate(layout.shards_of(num))
    ]
    shards = workers.run(write_shards, jobs, lambda done: tell(done, len(jobs), "merging"))
    manifest = Manifest(
        made_from=made_from,
        num_cutouts=num,
        has_mask=has_mask,
        rejected=dict(sorted(sum((Counter(part.manifest.rejected) for part in parts), Counter()).items())),
        files=tuple(Piece.of(store, file) for file in [*files, "catalog.parquet", "rejected.parquet"]),
        shards=tuple(sorted((s for pair in shards for s in pair), key=lambda shard: (shard.array, shard.first))),
        versions=software_versions(),
    )
    sweep(store, {piece.file for piece in manifest.pieces})
    make_durable(store)  # before there is a manifest that vouches for it
    write_atomically(store / MANIFEST, lambda stream: stream.write(manifest.to_bytes()))


def _write_rejected(parts: Sequence[CutoutStore], path: Path) -> None:
    tables = [read_rejected(part.path) for part in parts]
    pq.write_table(pa.concat_tables(tables).combine_chunks(), path, compression="zstd")
