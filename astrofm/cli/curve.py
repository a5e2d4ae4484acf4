"""``astrofm curve``: error against labels for several models."""

from __future__ import annotations

__all__ = ["curve"]

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from astrofm.cli.options import (
    AdaptBands,
    Classified,
    Device,
    FinetuneChanges,
    LabelSeeds,
    Mock,
    Modes,
    Orientations,
    Resample,
    Seed,
    Stores,
    Task,
    TestSurvey,
    TrainSurvey,
    default_device,
)
from astrofm.cli.show import AsJson, emit, note, progress, table, warn_of_mock
from astrofm.cli.transfer import chosen_modes, error_cells, of_orientations, stores_of, surveys_of, warn_of_pairing
from astrofm.errors import UsageError


def curve(
    survey: Classified,
    labels: Annotated[str, typer.Option("--labels", help="Numbers of training labels: 20,50,145.")],
    models: Annotated[str, typer.Option("--models", help="Runs or models, with commas between them.")],
    task: Task = None,
    store: Stores = [],  # noqa: B006 - typer's way
    mock: Mock = None,
    mode: Modes = "",
    seeds: LabelSeeds = 5,
    folds: Annotated[int, typer.Option("--folds", help="Test on folds of the training split, for choosing.")] = 0,
    orientations: Orientations = 1,
    train_survey: TrainSurvey = None,
    test_survey: TestSurvey = None,
    changes: FinetuneChanges = [],  # noqa: B006
    adapt_bands: AdaptBands = False,
    resample: Resample = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: curve-SURVEY where you are.")] = None,
    device: Device = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Measure error against labels for several models; the same command goes on after a stop."""
    from astrofm import plugins
    from astrofm.interruption import Interrupted
    from astrofm.report.curve_files import write_curve
    from astrofm.transfer.curve import Entrant, measure_curve
    from astrofm.transfer.finetune import FinetuneConfig

    card = plugins.survey(survey).card
    modes = chosen_modes(mode, changes)
    settings, numbers = FinetuneConfig.with_changes(changes), _numbers(labels)
    entrants = {name: Entrant(*_model_and_cost(path)) for name, path in _paths(models).items()}
    target = out or Path(f"curve-{card.name}")
    if target.exists() and not target.is_dir():
        raise UsageError(f"--out names a folder for the curve, and {target} is a file")
    train, test = stores_of(surveys_of(card, survey, train_survey, test_survey), store, mock, seed)
    if train.is_mock or test.is_mock:
        warn_of_mock()
    try:
        with progress() as listener:
            report = measure_curve(
                train,
                test,
                numbers,
                entrants,
                cells=target / "cells",
                task=task,
                modes=modes,
                seeds=seeds,
                folds=folds,
                finetune_config=settings,
                adapt_bands=adapt_bands,
                resample=resample,
                device=default_device(device),
                orientations=orientations,
                listener=listener,
            )
    except Interrupted as stop:
        note(f"astrofm: fine-tuning was {stop}; what was measured is kept in {target}, and the same command goes on")
        raise typer.Exit(128 + stop.signum) from stop
    warn_of_pairing(report.overrides, report.left_out)
    files = write_curve(report, target)
    if as_json:
        emit(report.to_json())
    else:
        _show(report.to_json())
    for path in files:
        note(f"written: {path}")


def _numbers(labels: str) -> list[int]:
    try:
        return [int(word) for word in labels.split(",")]
    except ValueError as error:
        raise UsageError(f"--labels takes numbers with commas between, as 20,50,145, and was {labels!r}") from error


def _paths(models: str) -> dict[str, Path]:
    """Return the path of each model by its name: that of its folder, or all of the path where two have the same."""
    paths = [Path(word) for word in models.split(",") if word]
    names = [path.resolve().name for path in paths]
    named = {str(path) if names.count(name) > 1 else name: path for path, name in zip(paths, names, strict=True)}
    if not paths or len({path.resolve() for path in paths}) != len(paths):
        raise UsageError(f"--models takes runs or models, each once, with commas between them, and was {models!r}")
    return named


def _model_and_cost(path: Path) -> tuple[Any, int | None]:
    """Return a model, and how many cutouts its run saw; None where there is a model alone."""
    from astrofm.recipe import Recipe
    from astrofm.run import Run, find_model

    model, run = find_model(path), Run(path)
    if not run.recipe_file.is_file():
        return model, None
    return model, model.card.step * Recipe.load(str(run.recipe_file)).training.batch_size


def _show(report: Mapping[str, Any]) -> None:
    rows = []
    for row in report["rows"]:
        error, interval, difference, its_interval = error_cells(row)
        beside = "" if row["init"] == "random" else f"{difference} ({its_interval})"
        rows.append([row["model"], row["mode"], row["init"], str(row["labels"]), f"{error} ({interval})", beside])
    tested = f"{report['folds']} folds of the training split" if report["folds"] else "test split"
    title = f"{report['survey']}{' (mock data)' if report['mock'] else ''}, {report['task']}: error on the {tested}"
    title += of_orientations(report)
    columns = ("model", "mode", "weights", "labels", "error (95% interval)", "to random (95% interval)")
    table(title, columns, rows)
