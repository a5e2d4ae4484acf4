"""``astrofm store``: look at a store, check it, mend it."""

from __future__ import annotations

__all__ = ["app", "show_store"]

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from astrofm.cli.show import AsJson, emit, note, table

app = typer.Typer(help="Look at a store, check it, mend it.", no_args_is_help=True, rich_markup_mode=None)

StorePath = Annotated[Path, typer.Argument(help="A store.")]


def show_store(info: Mapping[str, Any]) -> None:
    """Print what :func:`astrofm.data.store.store_info` returns."""
    rejected = [f"{count} {reason}" for reason, count in info["rejected"].items()]
    rows = [
        ["cutouts", str(info["num_cutouts"])],
        ["shape", " x ".join(str(side) for side in info["shape"])],
        ["product", str(info["product"])],
        ["rejected", "; ".join(rejected) or "none"],
        ["size", f"{info['bytes'] / 1e6:.1f} MB"],
    ]
    table(str(info["store"]), ("", ""), rows)


@app.command("info")
def info(path: StorePath, as_json: AsJson = False) -> None:
    """Say what a store holds and what was rejected."""
    from astrofm.data.store import store_info

    found = store_info(path)
    if as_json:
        emit(found)
    else:
        show_store(found)


@app.command("verify")
def verify(path: StorePath, as_json: AsJson = False) -> None:
    """Recompute every hash; exit 1 if anything is damaged."""
    from astrofm.data.store import verify as verify_store

    damages = [str(damage) for damage in verify_store(path)]
    if as_json:
        emit({"store": str(path), "damages": damages})
    else:
        for damage in damages:
            note(damage)
        note("every hash is right" if not damages else f"mend it with 'astrofm store repair {path} --source ARCHIVE'")
    if damages:
        raise typer.Exit(1)


@app.command("repair")
def repair(
    path: StorePath,
    source: Annotated[Path, typer.Option("--source", help="Folder or file of the archive.")],
    as_json: AsJson = False,
) -> None:
    """Rebuild what is damaged from the archive."""
    from astrofm import plugins
    from astrofm.data.repair import repair as repair_store
    from astrofm.data.store import read_manifest
    from astrofm.survey import Survey

    made_from = read_manifest(path).made_from
    # The card of a survey without code may lie anywhere; the store has it.
    is_card_alone = made_from.card.folder is not None and made_from.card.name not in plugins.surveys()
    survey = Survey(made_from.card, made_from.votes) if is_card_alone else plugins.survey(made_from.card.name)
    mended = repair_store(path, survey, source)
    if as_json:
        emit(mended)
    else:
        note(f"repaired: {', '.join(mended['repaired']) or 'nothing was damaged'}")
