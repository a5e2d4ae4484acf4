"""``astrofm ingest``: from an archive to a store."""

from __future__ import annotations

__all__ = ["ingest"]

from pathlib import Path
from typing import Annotated

import typer

from astrofm.cli.options import Seed, mock_seed
from astrofm.cli.show import AsJson, emit, note, progress
from astrofm.cli.store import show_store
from astrofm.errors import UsageError


def ingest(
    survey: Annotated[str, typer.Option("--survey", help="Name of a survey, or path of its card.")],
    source: Annotated[
        str | None, typer.Option("--source", help="Folder, file or address; default: the card's.")
    ] = None,
    mock: Annotated[int | None, typer.Option("--mock", min=1, help="Make an archive of N made-up objects.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Store; default: $ASTROFM_HOME/stores/NAME.zarr.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="Form of the archive, if several.")] = None,
    unit: Annotated[str, typer.Option("--unit", help="Store the pixels in this unit.")] = "",
    pixel_scale: Annotated[float | None, typer.Option("--pixel-scale", help="Resample to it, arcsec.")] = None,
    field_of_view: Annotated[float | None, typer.Option("--field-of-view", help="Side of a cutout, arcsec.")] = None,
    beam: Annotated[float | None, typer.Option("--beam", help="Convolve to this round beam, arcsec FWHM.")] = None,
    keep_bits: Annotated[int | None, typer.Option("--keep-bits", help="Round float32 to so many bits, 1-23.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    dask: Annotated[str, typer.Option("--dask", help="Address of a Dask scheduler to work on instead.")] = "",
    seed: Seed = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store made with other parameters.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read an archive into a store; the same command continues after an interruption."""
    import tempfile

    from astrofm import plugins
    from astrofm.data.fetching.local_source import local_source
    from astrofm.data.ingest import ingest as ingest_archive
    from astrofm.data.options import IngestOptions
    from astrofm.home import store_path

    found = plugins.survey(survey)
    if source is not None and mock is not None:
        raise UsageError("ingest takes either --source FOLDER_OR_FILE or --mock N")
    seed_of_mock = mock_seed(seed, mock, "a real archive needs none")
    options = IngestOptions.of(
        unit=unit,
        pixel_scale_arcsec=pixel_scale,
        field_of_view_arcsec=field_of_view,
        beam_arcsec=beam,
        keep_bits=keep_bits,
    )
    target = store_path(found.name) if out is None else out
    with tempfile.TemporaryDirectory(prefix="astrofm-mock-") as scratch, progress() as listener:
        if mock is not None:
            archive = found.mock(mock, seed_of_mock, Path(scratch))
        else:
            archive = local_source(source, found, listener=listener, say=note)
        info = ingest_archive(
            found,
            archive,
            target,
            product=product,
            options=options,
            workers=workers,
            dask=dask,
            overwrite=overwrite,
            listener=listener,
        )
    if info.get("already_complete"):
        note("already complete")
    if as_json:
        emit(info)
    else:
        show_store(info)
