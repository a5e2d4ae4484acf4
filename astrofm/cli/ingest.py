"""``astrofm ingest``: from an archive to a store."""

from __future__ import annotations

__all__ = ["ingest"]

from pathlib import Path
from typing import Annotated

import typer

from astrofm.cli.show import AsJson, emit, note, progress
from astrofm.cli.store import show_store
from astrofm.errors import UsageError


def ingest(
    survey: Annotated[str, typer.Option("--survey", help="Name of a survey, or path of its card.")],
    source: Annotated[Path | None, typer.Option("--source", help="Folder or file of the archive.")] = None,
    mock: Annotated[int | None, typer.Option("--mock", min=1, help="Make an archive of N made-up objects.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Store; default: $ASTROFM_HOME/stores/NAME.zarr.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="Form of the archive, if several.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the mock archive.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store made with other parameters.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read an archive into a store; the same command continues after an interruption."""
    import tempfile

    from astrofm import plugins
    from astrofm.data.ingest import ingest as ingest_archive
    from astrofm.home import store_path

    found = plugins.survey(survey)
    if (source is None) == (mock is None):
        raise UsageError("ingest takes either --source FOLDER_OR_FILE or --mock N")
    target = store_path(found.name) if out is None else out
    with tempfile.TemporaryDirectory(prefix="astrofm-mock-") as scratch, progress() as listener:
        archive = found.mock(mock, seed, Path(scratch)) if mock is not None else source
        assert archive is not None
        info = ingest_archive(
            found, archive, target, product=product, workers=workers, overwrite=overwrite, listener=listener
        )
    if info.get("already_complete"):
        note("already complete")
    if as_json:
        emit(info)
    else:
        show_store(info)
