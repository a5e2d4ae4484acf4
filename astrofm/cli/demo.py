"""``astrofm demo``: the main job offline, on mock data."""

from __future__ import annotations

__all__ = ["demo"]

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from astrofm.cli.options import Device, default_device
from astrofm.cli.show import AsJson, emit, note, progress, warn_of_mock


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for stores, runs and report.html.")] = Path("astrofm-demo"),
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Make mock archives, ingest, pretrain, transfer, search; write report.html. Needs no network."""
    import time

    from astrofm.cli.transfer import show_report
    from astrofm.demo import demo as run_demo
    from astrofm.interruption import Interrupted

    started = time.monotonic()
    warn_of_mock()
    try:
        with progress() as listener:
            result = run_demo(out, device=default_device(device), say=note, listener=listener)
    except Interrupted as stop:
        note(f"astrofm: {stop}; the same command goes on from there")
        raise typer.Exit(128 + stop.signum) from stop
    if as_json:
        emit(asdict(result))
        return
    for report in result.transfers:
        show_report(report)
    note(f"report: {result.report} ({time.monotonic() - started:.0f} s)")
