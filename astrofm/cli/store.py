"""``astrofm store``: look at a store, check it, mend it, merge it with others, see what they share."""

from __future__ import annotations

__all__ = ["app", "show_store"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from astrofm.cli.show import AsJson, emit, note, progress, table, warn_of_mock

app = typer.Typer(
    help="Look at a store, check it, mend it; merge and compare stores.", no_args_is_help=True, rich_markup_mode=None
)


def _kept(given: str) -> str:
    """Return the store that is kept of a survey of this name, where nothing lies at the path."""
    from astrofm.home import store_path

    is_name = Path(given).name == given and not Path(given).exists()
    return str(store_path(given)) if is_name and store_path(given).exists() else given


StorePath = Annotated[
    str,
    typer.Argument(metavar="STORE", help="A store: a folder, a URL (https://, s3://), or a survey.", callback=_kept),
]


def show_store(info: Mapping[str, Any]) -> None:
    """Print what :func:`astrofm.data.store.store_info` returns."""
    rejected = [f"{count} {reason}" for reason, count in info["rejected"].items()]
    rows = [
        ["survey", str(info["survey"])],
        ["cutouts", str(info["num_cutouts"])],
        ["shape", " x ".join(str(side) for side in info["shape"])],
        ["product", str(info["product"])],
        ["rejected", "; ".join(rejected) or "none"],
        ["size", f"{info['bytes'] / 1e6:.1f} MB"],
    ]
    table(str(info["store"]), ("", ""), rows)
    if info["mock"]:
        warn_of_mock()


@app.command("info")
def info(
    path: StorePath,
    rejected: Annotated[bool, typer.Option("--rejected", help="List each row that was not taken, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a store holds and what was rejected."""
    from astrofm.data.store import read_rejected, store_info

    found = store_info(path)
    left_out = read_rejected(path).to_pylist() if rejected else []
    if as_json:
        emit(found | ({"rejected_rows": left_out} if rejected else {}))
        return
    show_store(found)
    if rejected:
        rows = [[row["id_str"], row["file"], row["reason"], row["detail"]] for row in left_out]
        table(f"not taken: {len(rows)}", ("id", "file", "reason", "what was found"), rows)


@app.command("verify")
def verify(path: StorePath, as_json: AsJson = False) -> None:
    """Recompute every hash; exit 1 if anything is damaged."""
    from astrofm.data.store import verify as verify_store

    damages = verify_store(path)
    if as_json:
        emit({"store": str(path), "damages": [str(damage) for damage in damages]})
    else:
        for damage in damages:
            note(str(damage))
        lost = [damage.file for damage in damages if not damage.is_foreign]
        note(_mend(path, lost) if lost else "every hash is right")
    if damages:
        raise typer.Exit(1)


def _mend(path: str, lost: Sequence[str]) -> str:
    from astrofm.data.manifest import MANIFEST
    from astrofm.data.store_files import is_url

    if is_url(path):
        return "copy the damaged files there again from where the store was made"
    if MANIFEST in lost:
        return "all hashes were in it, so that nothing can be mended: ingest again with --overwrite"
    return f"mend it with 'astrofm store repair {path} --source ARCHIVE'"


@app.command("repair")
def repair(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A store: a folder, or a survey.", callback=_kept)],
    source: Annotated[Path, typer.Option("--source", help="Folder or file of the archive.")],
    as_json: AsJson = False,
) -> None:
    """Rebuild what is damaged from the archive."""
    from astrofm import plugins
    from astrofm.data.repair import manifest_to_mend
    from astrofm.data.repair import repair as repair_store
    from astrofm.data.store_files import is_url
    from astrofm.errors import UsageError
    from astrofm.survey import Survey

    if is_url(store):
        raise UsageError(f"a store is mended in a folder and not at {store}: {_mend(store, [])}")
    path = Path(store)
    made_from = manifest_to_mend(path).made_from
    # The card of a survey without code may lie anywhere; the store has it.
    has_form = any(getattr(made_from.card, form) for form in ("folder", "mosaic", "arrays", "pictures"))
    is_card_alone = has_form and made_from.card.name not in plugins.surveys()
    survey = Survey(made_from.survey_card, made_from.votes) if is_card_alone else plugins.survey(made_from.card.name)
    mended = repair_store(path, survey, source)
    if as_json:
        emit(mended)
    else:
        note(f"repaired: {', '.join(mended['repaired']) or 'nothing was damaged'}")


@app.command("merge")
def merge(
    stores: Annotated[list[str], typer.Argument(metavar="STORE...", help="Stores of one survey: folders or URLs.")],
    out: Annotated[Path, typer.Option("--out", help="The new store.")],
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store made of other parts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make one store of several; the same command continues after an interruption."""
    from astrofm.data.merge import merge as merge_stores

    with progress() as listener:
        merged = merge_stores(stores, out, workers=workers, overwrite=overwrite, listener=listener)
    if merged["already_complete"]:
        note("already complete")
    if as_json:
        emit(merged)
    else:
        show_store(merged)


@app.command("overlap")
def overlap(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A store (a folder or a survey), or a table (CSV, ECSV, FITS, ...).", callback=_kept
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.", callback=_kept)],
    radius: Annotated[float, typer.Option("--radius", min=0, help="Greatest separation, arcsec.")] = 5.0,
    out: Annotated[Path | None, typer.Option("--out", help="Table of all pairs; format by its suffix.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count the sources of A near one of B, and of B near one of A, split by split."""
    from astrofm.data.overlap import measure_overlap
    from astrofm.data.tables import write_table

    found = measure_overlap(first, second, radius)
    if out is not None:
        write_table(found.table(), out)
        note(f"written: {out}")
    if as_json:
        emit(found.to_json())
    else:
        _show_overlap(found.to_json())


def _show_overlap(found: Mapping[str, Any]) -> None:
    """Print what :meth:`astrofm.data.overlap.OverlapReport.to_json` returns."""
    for side, other in (("a", "b"), ("b", "a")):
        one = found[side]
        unplaced = one["num_sources"] - one["num_with_position"]
        without = f" ({unplaced} have no position)" if unplaced else ""
        note(
            f"{one['num_near_the_other']} of {one['num_sources']} sources of {one['name']}{without} lie within "
            f"{found['radius_arcsec']:g} arcsec of one of {found[other]['name']}"
        )
    if not found["num_pairs"]:
        return
    rows = [
        [one["split_a"] or "-", one["split_b"] or "-", f"{one['num_a']}", f"{one['num_b']}"] for one in found["splits"]
    ]
    table("Sources that the splits share", ("split of A", "split of B", "sources of A", "sources of B"), rows)
    nearest = [[one["id_a"], one["id_b"], f"{one['separation_arcsec']:.3f}"] for one in found["nearest"]]
    table("Nearest pairs", ("A", "B", "arcsec"), nearest)


@app.command("report")
def report(
    path: StorePath,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file; default: STORE.report.html beside it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page on what is in a store: counts, what was rejected, distributions, pictures."""
    from astrofm.report.ingest_page import write_ingest_report

    written = write_ingest_report(path, out)
    if as_json:
        emit({"store": path, "report": str(written)})
    else:
        note(f"written: {written}")
