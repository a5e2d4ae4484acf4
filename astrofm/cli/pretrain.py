"""``astrofm pretrain``: train an encoder on the images of one or several surveys."""

from __future__ import annotations

__all__ = ["chosen_recipe", "pretrain"]

import shlex
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astrofm.cli.options import Device, Mock, Seed, Stores, default_device, mock_seed
from astrofm.cli.show import AsJson, emit, hush, note, progress, warn, warn_of_mock
from astrofm.cli.training_progress import TrainingProgress
from astrofm.errors import AstrofmError, TrainingError, UsageError

if TYPE_CHECKING:
    from astrofm.card import SurveyCard
    from astrofm.data.store import CutoutStore
    from astrofm.recipe import Recipe

USUAL_LABELS = 145
"""Number of labels that the command for what comes next names, where there are as many (arXiv 2305.16127)."""


def pretrain(
    survey: Annotated[list[str], typer.Option("--survey", help="Survey to train on; may be repeated.")] = [],  # noqa: B006 - typer's way
    store: Stores = [],  # noqa: B006
    mock: Mock = None,
    config: Annotated[str | None, typer.Option("--config", help="Recipe: a shipped name or a YAML file.")] = None,
    changes: Annotated[list[str], typer.Option("--set", help="Change a setting: training.max_epochs=3.")] = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out; start it if absent.")] = False,
    device: Device = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="Processes on each machine, one a device.")] = 1,
    num_nodes: Annotated[int, typer.Option("--num-nodes", min=1, help="Machines, under srun or torchrun.")] = 1,
    sharded: Annotated[
        bool, typer.Option("--sharded", help="Divide weights and optimiser among the processes (FSDP).")
    ] = False,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Pretrain without labels; leaves a run whose model 'astrofm transfer' takes."""
    from astrofm import plugins
    from astrofm import pretrain as library
    from astrofm.home import home
    from astrofm.interruption import Interrupted
    from astrofm.processes import Processes
    from astrofm.processor import has_bfloat16
    from astrofm.stores import find_stores

    processes = Processes(devices, num_nodes, sharded)
    processes.end_with_the_first()
    if processes.rank > 0:
        hush()
    seed_of_mock = mock_seed(seed, mock, f"a run has its own: --set training.seed={seed}")
    recipe = chosen_recipe(config, changes, survey, is_mock=mock is not None)
    library.check_parts(recipe)
    with progress() as listener:
        needed = library.needed_surveys(recipe)
        stores = find_stores(needed, store, mock=mock, seed=seed_of_mock, listener=listener, say=note)
    is_mock = any(found.is_mock for found in stores.values())
    trained = [plugins.survey(choice.name).name for choice in recipe.data.surveys]
    folder = out or home() / "runs" / "-".join([recipe.name, *trained, *(["mock"] if is_mock else [])])
    if is_mock:
        warn_of_mock()
    chosen_device = default_device(device)
    if chosen_device == "cpu" and recipe.training.precision == "bf16-mixed" and has_bfloat16() is False:
        warn(
            "this processor does not compute in bfloat16, which the recipe asks for: it may take ten times as long as "
            "with --set training.precision=32-true"
        )
    note(f"recipe {recipe.name!r}, run {folder}")
    try:
        with TrainingProgress() if processes.rank == 0 else nullcontext() as shown:
            result = library.pretrain(
                recipe,
                stores,
                folder,
                resume=resume,
                device=chosen_device,
                processes=processes,
                listeners=[] if shown is None else [shown],
            )
    except (Interrupted, TrainingError) as stop:
        # All processes stop together: the first one tells of it, and must not be killed because another has failed.
        if processes.rank > 0:
            raise typer.Exit from stop
        if isinstance(stop, TrainingError):
            raise
        note(f"astrofm: {stop}; continue with --resume --out {folder}")
        raise typer.Exit(128 + stop.signum) from stop
    if processes.rank > 0:
        return
    if as_json:
        emit(asdict(result))
        return
    counts = ", ".join(f"{count} of {name}" for name, count in result.excluded.items() if count)
    left_out = counts or ("none" if recipe.data.exclude else "none, as the recipe asks for none (data.exclude)")
    note(f"{result.num_cutouts} cutouts, {result.step} steps in {result.seconds:.0f} s")
    note(f"left out by cross-match: {left_out}")
    note(f"model in {folder}{_next(survey, stores.values(), store, mock, seed_of_mock, folder)}")


def _next(
    surveys: list[str], opened: Iterable[CutoutStore], given: list[str], mock: int | None, seed: int, folder: Path
) -> str:
    """Return the command that comes next, for the first survey that has labels; empty where none has."""
    from astrofm import plugins
    from astrofm.data.store import CutoutStore
    from astrofm.model import read_card
    from astrofm.run import Run
    from astrofm.transfer.pairing import check_labels_unseen

    labelled = [name for name in surveys if plugins.survey(name).card.tasks]
    if not labelled:
        return ""
    card = plugins.survey(labelled[0]).card
    train, test = (card.name, card.name) if card.transfer is None else (card.transfer.train, card.transfer.test)
    words = ["--survey", labelled[0]]
    for path in given:
        words += ["--store", str(path)] if CutoutStore.open(path).card.name in (train, test) else []
    words += [] if mock is None else ["--mock", str(mock)]
    words += [] if mock is None or seed == 0 else ["--seed", str(seed)]
    try:
        check_labels_unseen(read_card(Run(folder).model_folder), train, test)
        num_labels = min([USUAL_LABELS, *(_num_labels(card, store) for store in opened)])
    except AstrofmError:
        return ""  # the run is whole; labels that are missing, or were trained on, are another matter
    if num_labels < 2:
        return ""
    words += ["--labels", str(num_labels), "--model", str(folder)]
    return f"; next: {shlex.join(['astrofm', 'transfer', *words])}"


def _num_labels(card: SurveyCard, store: CutoutStore) -> int:
    """Return how many labels a transfer to a survey could take from a store; the usual number of any other store."""
    from astrofm.transfer.pairing import matching_tasks, training_data

    if store.card.name != (card.name if card.transfer is None else card.transfer.train):
        return USUAL_LABELS
    return len(training_data(store, matching_tasks(card, store.card, None)[1]).rows)


def chosen_recipe(config: str | None, changes: list[str], surveys: list[str], *, is_mock: bool) -> Recipe:
    """Return the recipe asked for, else the one of the first survey's card (its quick one for mock data)."""
    from astrofm import plugins
    from astrofm.recipe import Recipe

    if config is None and not surveys:
        raise UsageError("give --survey NAME, --config RECIPE, or both")
    if config is None:
        card = plugins.survey(surveys[0]).card
        config = card.quick_recipe if is_mock else card.recipe
    for name in surveys:
        plugins.survey(name)  # a name that is none is told before anything is read
    return Recipe.load(config, changes, surveys)
