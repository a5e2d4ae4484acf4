"""``astrofm views``: draw what a recipe shows its network, to look at before training."""

from __future__ import annotations

__all__ = ["views"]

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astrofm.cli.options import Mock, Seed, Stores, mock_seed
from astrofm.cli.pretrain import chosen_recipe
from astrofm.cli.show import AsJson, emit, note, percent, progress, table, warn, warn_of_mock
from astrofm.errors import UsageError

if TYPE_CHECKING:
    from astrofm.report.view_statistics import PixelStatistics
    from astrofm.view_sheet import ViewSheet


def views(
    survey: Annotated[list[str], typer.Option("--survey", help="Survey to train on; may be repeated.")] = [],  # noqa: B006 - typer's way
    store: Stores = [],  # noqa: B006
    mock: Mock = None,
    config: Annotated[str | None, typer.Option("--config", help="Recipe: a shipped name or a YAML file.")] = None,
    changes: Annotated[list[str], typer.Option("--set", help="Change a setting: training.batch_size=32.")] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option("--out", help="PNG file; default: views-RECIPE.png where you are.")
    ] = None,
    num: Annotated[int, typer.Option("--num", min=1, help="Cutouts to show.")] = 8,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Draw cutouts and their views as 'astrofm pretrain' would feed them; look before training."""
    from astrofm import view_sheet as library
    from astrofm.pretrain import check_parts
    from astrofm.stores import find_stores

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"the sheet is a PNG, and --out is {str(out)!r}: choose a name that ends in .png")
    seed_of_mock = mock_seed(seed, mock, f"a run has its own: --set training.seed={seed}")
    recipe = chosen_recipe(config, changes, survey, is_mock=mock is not None)
    check_parts(recipe)
    with progress() as listener:
        wanted = library.wanted_surveys(recipe)
        stores = find_stores(wanted, store, mock=mock, seed=seed_of_mock, listener=listener, say=note)
    if any(found.is_mock for found in stores.values()):
        warn_of_mock()
    sheet = library.view_sheet(recipe, stores, num=num)
    target = out or Path(f"views-{recipe.name}.png")
    _write(sheet, target)
    if sheet.problem:
        warn(f"a run would refuse this input: {sheet.problem}")
    if as_json:
        emit(_document(sheet, target))
        return
    _show(sheet)
    note(f"sheet: {target}")


def _write(sheet: ViewSheet, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(sheet.png)
    except OSError as error:
        raise UsageError(
            f"the sheet {target} cannot be written ({error.strerror or error}): choose another file with --out"
        ) from error


def _document(sheet: ViewSheet, target: Path) -> dict[str, object]:
    return {
        "sheet": str(target),
        "surveys": list(sheet.surveys),
        "views": list(sheet.views),
        "cutouts": list(sheet.ids),
        "statistics": {survey: asdict(found) for survey, found in sheet.statistics.items()},
        "problem": sheet.problem,
    }


def _show(sheet: ViewSheet) -> None:
    rows = []
    for survey, found in sheet.statistics.items():
        rows += [[survey, "as it is", *_cells(found.plain)], [survey, "views", *_cells(found.views)]]
    columns = ["survey", "pixels", "min, max", "mean, std", "zero", "missing", "input mean, std"]
    table("What the network sees", columns, rows)


def _cells(found: PixelStatistics) -> list[str]:
    return [
        f"{found.min:.3g}, {found.max:.3g}",
        f"{found.mean:.3g}, {found.std:.3g}",
        percent(found.zero_share, 1),
        percent(found.missing_share, 1),
        f"{found.input_mean:.2f}, {found.input_std:.2f}",
    ]
