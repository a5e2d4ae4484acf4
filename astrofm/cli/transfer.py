"""``astrofm transfer``: what a few labels reach on top of a model, beside random weights."""

from __future__ import annotations

__all__ = [
    "chosen_modes",
    "error_cells",
    "of_orientations",
    "show_report",
    "stores_of",
    "surveys_of",
    "transfer",
    "warn_of_pairing",
]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    mock_seed,
)
from astrofm.cli.show import AsJson, emit, note, percent, progress, table, warn, warn_of_mock
from astrofm.errors import UsageError

if TYPE_CHECKING:
    from astrofm.card import SurveyCard
    from astrofm.data.store import CutoutStore

DEFAULT_MODES = ("linear", "finetune")


def transfer(
    survey: Classified,
    labels: Annotated[int, typer.Option("--labels", min=2, help="Number of training labels.")],
    task: Task = None,
    store: Stores = [],  # noqa: B006 - typer's way
    mock: Mock = None,
    model: Annotated[Path | None, typer.Option("--model", help="Run or model; default: the newest run.")] = None,
    mode: Modes = "",
    seeds: LabelSeeds = 5,
    orientations: Orientations = 1,
    train_survey: TrainSurvey = None,
    test_survey: TestSurvey = None,
    changes: FinetuneChanges = [],  # noqa: B006
    adapt_bands: AdaptBands = False,
    resample: Resample = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for transfer.json.")] = None,
    device: Device = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Train on N labels of the training split and measure the error on the test split."""
    from astrofm import plugins
    from astrofm.interruption import Interrupted
    from astrofm.recipe import Recipe
    from astrofm.run import find_model
    from astrofm.transfer.evaluate import transfer as measure
    from astrofm.transfer.finetune import FinetuneConfig
    from astrofm.transfer.pairing import num_test_sources
    from astrofm.transfer.report import write_report

    card = plugins.survey(survey).card
    modes = chosen_modes(mode, changes)
    settings = FinetuneConfig.with_changes(changes)
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out names a folder for transfer.json, and {out} is a file")
    train, test = stores_of(surveys_of(card, survey, train_survey, test_survey), store, mock, seed)
    if model is None:
        model = _newest_model(train, test)
    recipe = Recipe.load(card.quick_recipe if train.is_mock else card.recipe) if model is None else None
    _announce(model, train, test, labels, num_test_sources(train, test, task), mock)
    try:
        with progress() as listener:
            report = measure(
                train,
                test,
                labels,
                model=None if model is None else find_model(model),
                model_name=None if model is None else str(model),
                recipe=recipe,
                task=task,
                modes=modes,
                seeds=seeds,
                finetune_config=settings,
                adapt_bands=adapt_bands,
                resample=resample,
                device=default_device(device),
                orientations=orientations,
                listener=listener,
            )
    except Interrupted as stop:
        note(f"astrofm: fine-tuning was {stop}; nothing was written")
        raise typer.Exit(128 + stop.signum) from stop
    if out is not None:
        note(f"written: {write_report(report, out)}")
    warn_of_pairing(report.overrides, report.left_out)
    if as_json:
        emit(report.to_json())
    else:
        show_report(report.to_json())


def chosen_modes(mode: str, changes: Sequence[str]) -> tuple[str, ...]:
    """Return the modes that ``--mode`` asks for; refuse changes to fine-tuning where none of them fine-tunes."""
    from astrofm.transfer.bench import MODES, check_modes

    modes = MODES if mode == "all" else (mode,) if mode else DEFAULT_MODES
    check_modes(modes)
    if changes and "finetune" not in modes:
        raise UsageError(f"--set {changes[0]} changes fine-tuning, and --mode {mode} does none: leave one of them out")
    return modes


def stores_of(
    names: tuple[str, str], given: Sequence[str | Path], mock: int | None, seed: int | None
) -> tuple[CutoutStore, CutoutStore]:
    """Return the store that the labels come from and the one to test on."""
    from astrofm import plugins
    from astrofm.stores import find_stores

    seed_of_mock = mock_seed(seed, mock, "labels are drawn with the seeds 0, 1 and so on, as many as --seeds says")
    with progress() as listener:
        stores = find_stores(dict.fromkeys(names), given, mock=mock, seed=seed_of_mock, listener=listener, say=note)
    train, test = (stores[plugins.survey(name).name] for name in names)
    return train, test


def warn_of_pairing(overrides: Sequence[str], left_out: int) -> None:
    """Warn of what was accepted against a contract, and of training sources that were left out."""
    for override in overrides:
        warn(override)
    if left_out:
        warn(f"{left_out} training sources were left out: the test has the same ones")


def surveys_of(card: SurveyCard, survey: str, train: str | None, test: str | None) -> tuple[str, str]:
    """Return the survey the labels come from and the one to test on: as asked, else as the card says."""
    planned = card.transfer
    default_train = planned.train if planned is not None else survey
    default_test = planned.test if planned is not None and planned.test != card.name else survey
    return train or default_train, test or default_test


def _newest_model(train: CutoutStore, test: CutoutStore) -> Path | None:
    """Return the newest finished run whose model may be fed the training survey and has not seen the labels tested on.

    Mock serves mock only.
    """
    from astrofm.errors import ContractError
    from astrofm.model import ModelCard
    from astrofm.run import newest_finished_run
    from astrofm.transfer.pairing import check_labels_unseen, check_store

    def accepts(card: ModelCard) -> bool:
        try:
            check_store(card.contract, train)
            check_labels_unseen(card, train.card.name, test.card.name)
        except (ContractError, UsageError):
            return False
        return card.is_mock == (train.is_mock or test.is_mock)

    return newest_finished_run(accepts)


def _announce(
    model: Path | None, train: CutoutStore, test: CutoutStore, labels: int, num_tested: int, mock: int | None
) -> None:
    if model is None:
        option = "" if mock is None else f" --mock {mock}"
        note(
            "no finished run takes this survey, so only the rows from random weights are measured; "
            f"to pretrain: astrofm pretrain --survey {train.card.name}{option}"
        )
    else:
        note(f"model: {model}")
    if train.card.name != test.card.name:
        note(f"trained on {labels} {train.card.name} labels, tested on {num_tested} {test.card.name} sources")
    if train.is_mock or test.is_mock:
        warn_of_mock()


def show_report(report: Mapping[str, Any]) -> None:
    """Print a report, as :meth:`TransferReport.to_json` gives it, as a table."""
    rows = [[row["mode"], row["init"], *error_cells(row)] for row in report["rows"]]
    mock = " (mock data)" if report["mock"] else ""
    title = (
        f"{report['survey']}{mock}, {report['task']} ({' / '.join(report['classes'])}): test error with "
        f"{report['labels']} labels, {report['seeds']} seeds, {report['rows'][0]['n_test']} test objects"
        f"{of_orientations(report)}"
    )
    rows.append([f"always {report['commonest_class']}", "-", percent(report["commonest_class_error"]), *["-"] * 3])
    table(title, ("mode", "weights", "error", "95% interval", "difference to random", "95% interval"), rows)


def of_orientations(report: Mapping[str, Any]) -> str:
    """Return what a title says of the orientations that a report averages over: nothing where there is one."""
    return f", mean of {report['orientations']} orientations" if report["orientations"] > 1 else ""


def error_cells(row: Mapping[str, Any]) -> list[str]:
    """Return error, interval, difference to random weights and its interval as the cells of a table."""
    error = percent(row["error_mean"]) + ("" if row["error_sem"] is None else f" ± {percent(row['error_sem'])}")
    difference = percent(row["difference_to_random"])
    return [error, _interval(row["error_ci95"]), difference, _interval(row["difference_ci95"])]


def _interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{percent(interval[0], 1)} to {percent(interval[1], 1)}"
