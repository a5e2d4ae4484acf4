"""From an archive to a store, in two passes that can be stopped at any moment and given again.

Stage: fixed ranges of the catalogue are read and judged, each into a file of its own. Pack: the row of a cutout is
its place among those taken, and each shard is written once. Then the folder is renamed: a path holds a complete
store or none. What is written is a function of the archive, the card and the software, so that the same command ends
with the same bytes whatever the number of workers and however often it was killed.
"""

from __future__ import annotations

__all__ = ["Listener", "ingest"]

import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from astrofm.data.labels import unanswered
from astrofm.data.layout import create_arrays
from astrofm.data.making.cluster import ClusterWorkers
from astrofm.data.making.pack import PackJob, store_catalog, write_rejected
from astrofm.data.making.partial import (
    discard_work,
    exclusive,
    make_durable,
    partial_of,
    publish,
    sweep,
    write_atomically,
)
from astrofm.data.making.plan import Plan, check_same, make_plan
from astrofm.data.making.selection import Selection, select
from astrofm.data.making.shard_job import write_shards
from astrofm.data.making.sources import remembered
from astrofm.data.making.stage import stage
from astrofm.data.making.workers import Workers, start_server
from astrofm.data.manifest import MANIFEST, Manifest, Piece, Shard, software_versions
from astrofm.data.options import NO_CHANGES, IngestOptions
from astrofm.data.store import is_store, read_manifest, store_info
from astrofm.errors import DataError, StoreError, UsageError
from astrofm.survey import Survey

REMEMBERED = "sources.parquet"
"""File in the ``.partial`` folder with the hashes of the archive."""

SCALE_TOLERANCE = 0.05
"""Relative difference of pixel scales that calls for a word; headers differ from round numbers by less."""

BEAM_TOLERANCE = 1.5
"""Ratio of beams that calls for a word; that of one survey differs by some ten percent from field to field."""

Listener = Callable[[int, int, str], None]
"""Called with (done, total, what is being done)."""


def ingest(
    survey: Survey,
    source: Path,
    out: Path,
    *,
    product: str | None = None,
    options: IngestOptions = NO_CHANGES,
    workers: int = 1,
    dask: str = "",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Make a store of a survey's archive.

    Args:
        survey: The survey.
        source: The archive, a folder or a file.
        out: Path of the store.
        product: Name of the card's product, where the source holds several.
        options: What is changed about the images.
        workers: Number of processes; the store does not depend on it.
        dask: Address of a Dask scheduler whose workers do the work instead; they must see the archive and the store.
        overwrite: Replace a store that is there, once the new one is complete.
        listener: Told of the progress.

    Returns:
        As :func:`astrofm.data.store.store_info`, with ``already_complete``: whether the store was there.

    Raises:
        DataError: If the archive is not what the card says.
        StoreError: If there is another store, another process at work, no cutout worth keeping or no space left.
        UsageError: If the number of workers is not positive.
    """
    if workers < 1:
        raise UsageError(f"an ingest needs at least 1 worker, not {workers}")
    source, out = (Path(path).absolute() if dask else Path(path) for path in (source, out))
    if out.name.endswith(".partial"):
        raise UsageError(f"{out.name} is the name of an unfinished ingest: choose another --out, without .partial")
    if out.exists() and not is_store(out):
        raise StoreError(f"{out} exists and is no store of astrofm: choose another --out")
    if workers > 1 and not dask and (overwrite or not out.exists()):
        start_server()  # it imports while this process hashes
    plan = make_plan(survey, source, product, workers, options, remembered(partial_of(out) / REMEMBERED))
    tell = listener or (lambda done, total, what: None)
    for sentence in [] if plan.made_from.mock else unanswered(plan.catalog, survey.card, may_lack_labels=True):
        warnings.warn(f"of survey {survey.name!r}, {sentence}", UserWarning, stacklevel=2)
    if out.exists() and not overwrite:
        info = _already_complete(plan, out)
        if partial_of(out).exists():
            with suppress(StoreError), exclusive(out) as partial:
                _clear_leftovers(plan, partial)
        return info
    with exclusive(out) as partial, _pool(workers, dask, partial) as pool:
        if out.exists() and not overwrite:  # another process finished it before the lock was ours
            info = _already_complete(plan, out)
            _clear_leftovers(plan, partial)
            return info
        _continue_or_start(plan, partial, out, overwrite=overwrite)
        try:
            taken = stage_all(plan, partial, pool, tell)
        finally:
            _check_unchanged(plan, partial)
        if taken.num_cutouts == 0:
            sentence = _nothing_taken(taken, plan, out)
            shutil.rmtree(partial)
            raise StoreError(sentence)
        plan = plan.without_table()
        _compare_pixel_scales(taken, plan)
        _compare_beams(taken, plan)
        _tell_of_unknown_orientation(taken, plan)
        _compare_sizes(taken, plan)
        assemble(plan, taken, partial, pool, tell)
        publish(partial / "store", out)
    return {**store_info(out), "already_complete": False}


def _pool(workers: int, dask: str, partial: Path) -> Workers | ClusterWorkers:
    return ClusterWorkers(dask, partial) if dask else Workers(workers)


def _already_complete(plan: Plan, out: Path) -> dict[str, Any]:
    check_same(plan.made_from, read_manifest(out).made_from, f"{out} was made", "replace it with --overwrite")
    return {**store_info(out), "already_complete": True}


def _clear_leftovers(plan: Plan, partial: Path) -> None:
    """Remove what a kill after the last rename left; the unfinished work of another command stays."""
    file = partial / "plan.json"
    if not file.exists() or file.read_bytes() == plan.to_bytes():
        shutil.rmtree(partial)


def _continue_or_start(plan: Plan, partial: Path, out: Path, *, overwrite: bool) -> None:
    file = partial / "plan.json"
    if file.exists() and file.read_bytes() != plan.to_bytes():
        if not overwrite:
            begun = Plan.made_from_of(file.read_bytes())
            check_same(plan.made_from, begun, f"the ingest of {out} was begun", "start anew with --overwrite")
            raise StoreError(f"the ingest of {out} was begun by other software versions: start anew with --overwrite")
        discard_work(partial)
    elif file.exists() and not plan.sources.is_as(remembered(partial / REMEMBERED)):
        discard_work(partial)  # the same bytes, but something else may have been there while ranges were read
    write_atomically(file, lambda stream: stream.write(plan.to_bytes()))
    plan.sources.remember(partial / REMEMBERED)


def _check_unchanged(plan: Plan, partial: Path) -> None:
    """Refuse to make a store of files that are no longer those that were hashed.

    Raises:
        DataError: If one was touched; what was read of it is removed.
    """
    changed = plan.sources.changed()
    if changed:
        discard_work(partial)
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise DataError(
            f"{', '.join(changed[:3])}{more} of {plan.source.path} changed or vanished while the archive was read: "
            "give the same command again once nothing writes there"
        )


def _typical(taken: Selection, name: str) -> float | None:
    """Return the median of what was measured of the images, None where it is unknown of all."""
    values = taken.columns.get(name, np.zeros(0))
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _compare_pixel_scales(taken: Selection, plan: Plan) -> None:
    """Warn if the files have another pixel scale than the card says."""
    stated = plan.made_from.card.pixel_scale_of(plan.made_from.product)
    found = _typical(taken, "pixel_scale")
    if stated is None or found is None:
        return
    if abs(found / stated - 1.0) > SCALE_TOLERANCE:
        warnings.warn(
            f"the files of {plan.survey.name!r} have {found:.4g} arcsec to a pixel and its card says {stated:.4g}: "
            "correct pixel_scale_arcsec in the card, or resample with --pixel-scale",
            UserWarning,
            stacklevel=3,
        )


def _compare_beams(taken: Selection, plan: Plan) -> None:
    """Warn if the files have a beam far from that of the card, as one given in arcsec where the header has degrees."""
    beam, found = plan.made_from.card.beam, _typical(taken, "bmaj")
    if beam is None or beam.value is None or found is None or plan.made_from.options.beam_arcsec is not None:
        return
    stated = beam.value.bmaj_arcsec
    if 1 / BEAM_TOLERANCE < found / stated < BEAM_TOLERANCE:
        return
    is_in_arcsec = 1 / BEAM_TOLERANCE < found / stated / 3600.0 < BEAM_TOLERANCE
    why = "; BMAJ of a header is in degrees, and theirs would fit if it were in arcsec" if is_in_arcsec else ""
    warnings.warn(
        f"the files of {plan.survey.name!r} have a beam of {found:.4g} arcsec and its card says {stated:.4g}{why}: "
        "correct the headers, or the beam in the card",
        UserWarning,
        stacklevel=3,
    )


def _tell_of_unknown_orientation(taken: Selection, plan: Plan) -> None:
    """Warn of images that have a WCS and were not turned, as its linear part does not tell how they lie."""
    nothing = np.full(taken.num_cutouts, np.nan)
    scale, angle = (taken.columns.get(name, nothing) for name in ("pixel_scale", "orientation_deg"))
    num = int(np.count_nonzero(np.isfinite(scale) & np.isnan(angle)))
    if num:
        warnings.warn(
            f"{num} of {taken.num_cutouts} images of {plan.survey.name!r} stay as they lie in their files, mirrored or "
            "not: their WCS has distortion terms, or another pole than usual, and orientation_deg is unknown",
            UserWarning,
            stacklevel=3,
        )


def _compare_sizes(taken: Selection, plan: Plan) -> None:
    """Warn if most images are smaller than the store: a few are cut by the edge of a map, most by a wrong card."""
    have = np.stack([taken.columns["size_y"], taken.columns["size_x"]])
    stored = plan.made_from.layout.shape[1:]
    smaller = (have < np.array(stored)[:, None]).any(axis=0)
    if np.count_nonzero(smaller) * 2 <= taken.num_cutouts:
        return
    typical = np.median(have[:, smaller], axis=1).astype(int)
    warnings.warn(
        f"{np.count_nonzero(smaller)} of {taken.num_cutouts} images of {plan.survey.name!r} are smaller than the "
        f"{stored[0]} x {stored[1]} pixels that are stored, typically {typical[0]} x {typical[1]}, and got a border of "
        f"missing pixels: correct the shape of product {plan.made_from.product!r} in the card, or give --field-of-view",
        UserWarning,
        stacklevel=3,
    )


def _nothing_taken(taken: Selection, plan: Plan, out: Path) -> str:
    details = [detail for detail in taken.rejected["detail"].to_pylist() if detail]
    example = f"; for example: {details[0]}" if details else ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in taken.counts().items()) or "an empty catalogue"
    return (
        f"no cutout of {len(plan.catalog)} rows of {plan.survey.name!r} could be taken ({reasons}{example}): "
        f"{out} was not made"
    )


def stage_all(plan: Plan, partial: Path, workers: Workers | ClusterWorkers, tell: Listener) -> Selection:
    """Read and judge the whole catalogue, except the ranges that are there, and choose what is taken of it."""
    jobs = plan.stage_jobs(partial / "ranges")
    total, step = len(plan.catalog), plan.made_from.layout.range_rows
    ranges = workers.run(stage, jobs, lambda done: tell(min(done * step, total), total, "reading"))
    return select(ranges, plan.catalog, plan.survey.card.quality, plan.made_from.layout)


def assemble(
    plan: Plan, taken: Selection, partial: Path, workers: Workers | ClusterWorkers, tell: Listener
) -> Manifest:
    """Write the complete store into ``store`` inside the ``.partial`` folder, the manifest last."""
    store = partial / "store"
    files = write_files(plan, taken, store)
    shards = pack_all(pack_jobs(plan, taken, store, partial / "shards"), workers, tell)
    manifest = Manifest(
        made_from=plan.made_from,
        num_cutouts=taken.num_cutouts,
        has_mask=taken.has_mask,
        rejected=taken.counts(),
        files=tuple(Piece.of(store, file) for file in files),
        shards=tuple(sorted(shards, key=lambda shard: (shard.array, shard.first))),
        versions=software_versions(),
    )
    sweep(store, {piece.file for piece in manifest.pieces})
    make_durable(store)  # before there is a manifest that vouches for it
    write_atomically(store / MANIFEST, lambda stream: stream.write(manifest.to_bytes()))
    return manifest


def write_files(plan: Plan, taken: Selection, store: Path) -> list[str]:
    """Write all of a store but its pixels and manifest, and return the names of the files."""
    files = create_arrays(store, plan.made_from.layout, taken.num_cutouts, has_mask=taken.has_mask)
    store_catalog(plan.catalog, taken, plan.survey.card.splits).write(store / "catalog.parquet")
    write_rejected(store / "rejected.parquet", plan.catalog, taken.rejected)
    return [*files, "catalog.parquet", "rejected.parquet"]


def pack_jobs(plan: Plan, taken: Selection, store: Path, records: Path) -> list[PackJob]:
    """Return one job for each shard of the store."""
    layout = plan.made_from.layout
    return [
        PackJob(
            store=store,
            layout=layout,
            shard_rows=layout.shard_rows_for(taken.num_cutouts),
            index=index,
            rows=rows,
            parts=taken.parts_of(rows),
            has_mask=taken.has_mask,
            record=records / f"{index:06d}.json",
        )
        for index, rows in enumerate(layout.shards_of(taken.num_cutouts))
    ]


def pack_all(jobs: list[PackJob], workers: Workers | ClusterWorkers, tell: Listener) -> list[Shard]:
    """Write every shard, except those that are there and whole."""
    total = len(jobs)
    written = workers.run(write_shards, jobs, lambda done: tell(done, total, "packing"))
    return [shard for shards in written for shard in shards]
