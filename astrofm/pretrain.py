"""Pretraining: a recipe and stores in, a run folder with a model out."""

from __future__ import annotations

__all__ = ["PretrainResult", "build_objective", "check_parts", "coarse_start", "needed_surveys", "pretrain"]

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from astrofm import plugins
from astrofm.callbacks import Checkpoints
from astrofm.citation import bibtex
from astrofm.contract import InputContract
from astrofm.data.labels import task_labels
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.data.supervision import Labels, is_labelled
from astrofm.encoders.build import embed_dim_of, initialised
from astrofm.errors import RecipeError, RunError
from astrofm.failure import PLAN_FILE, FailureFolder, describe_plan
from astrofm.guards import CollapseRule
from astrofm.listener import Listener, StepInfo
from astrofm.model import Model, ModelCard
from astrofm.objectives.base import Objective
from astrofm.parts import NamedEncoder, build_view, check_invariances, checked_settings, named_encoder
from astrofm.plan import Plan, check_views, input_plan, make_pipeline, plan_run, rows_of_splits
from astrofm.processes import ONE_PROCESS, Processes
from astrofm.processor import precision_on
from astrofm.recipe import NamedPart, ProbeSettings, Recipe
from astrofm.retrieval.embed import embed
from astrofm.run import VERSIONS_FILE, Run, versions
from astrofm.training import fit, layers_of, steps_of
from astrofm.transfer.knn import knn_error_leave_one_out
from astrofm.transfer.tasks import find_task
from astrofm.views.pipeline import CoarseStart, ViewPipeline

LOGGED_EVERY_STEPS = 10


@dataclass(frozen=True)
class PretrainResult:
    """What a finished pretraining returns.

    Attributes:
        run: Folder of the run.
        step: Optimiser steps taken.
        epoch: Epochs begun.
        metrics: Last value of everything logged.
        excluded: Cutouts left out by cross-match, by survey.
        num_cutouts: Number of training cutouts.
        seconds: Wall time of the training loop, of this process.
        is_mock: Whether any store was made of mock data.
        wait_share: Share of that time that the steps waited for their batch; None in the report of an older version.
    """

    run: str
    step: int
    epoch: int
    metrics: dict[str, float]
    excluded: dict[str, int]
    num_cutouts: int
    seconds: float
    is_mock: bool
    wait_share: float | None = None


def needed_surveys(recipe: Recipe) -> list[str]:
    """Return every survey whose store a recipe needs: to train on, to keep away from, to probe with."""
    trained = [choice.name for choice in recipe.data.surveys]
    excluded = [exclusion.survey for exclusion in recipe.data.exclude]
    return list(dict.fromkeys([*trained, *excluded, *(probe.survey for probe in recipe.probes)]))


def check_parts(recipe: Recipe) -> None:
    """Refuse a recipe whose views, encoder or objective do not exist, have a misspelt setting or do not go together.

    It takes no data, so that a slip is told before an archive is read.

    Raises:
        UnknownNameError: If a part does not exist.
        RecipeError: If a setting is misspelt, missing or out of range.
    """
    for part in recipe.views:
        checked_settings(plugins.view_part(part.name).config, part, "view")
    checked_settings(plugins.objective_part(recipe.objective.name).config, recipe.objective, "objective")
    check_invariances(recipe)
    named_encoder(recipe.encoder)


def pretrain(
    recipe: Recipe,
    stores: Mapping[str, CutoutStore],
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    processes: Processes = ONE_PROCESS,
    listeners: Sequence[Listener] = (),
) -> PretrainResult:
    """Train an encoder as a recipe says.

    Args:
        recipe: The run.
        stores: Store of each survey in :func:`needed_surveys`, by name.
        out: Folder of the run; must not exist unless ``resume``.
        resume: Continue the run in ``out``; where there is none, start it.
        device: ``cpu``, ``cuda`` or ``mps``.
        processes: Those that train together; each calls this, and the first one writes the run.
        listeners: Told of every step.

    Returns:
        Where the run ended; the same is in ``report.json``.

    Raises:
        AstrofmError: If the recipe, the data or the folder do not allow the run; nothing half-done is left.
        Interrupted: If a signal stopped it; ``resume`` continues.
    """
    processes.check()
    check_invariances(recipe)
    precision = precision_on(device, recipe.training.precision)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": precision})})
    plan = plan_run(recipe, stores)
    views = [build_view(part) for part in recipe.views]
    check_views(views, plan)
    architecture = named_encoder(recipe.encoder)
    encoder = architecture.build(plan.contract.num_channels, recipe.training.seed)
    objective = build_objective(recipe.objective, encoder, recipe.training.seed, plan.labels)
    loader = Loader(
        plan.feeds,
        recipe.training.batch_size,
        recipe.training.seed,
        labelled_fraction=recipe.data.labelled_fraction,
        rank=processes.rank,
        world_size=processes.world_size,
    )
    num_steps = steps_of(loader, recipe.training.max_epochs, recipe.training.max_steps)
    coarse = coarse_start(recipe, num_steps)
    _check_sizes(encoder, plan.contract, coarse)
    pipeline = plan.pipeline(views, objective.num_views, recipe.training.seed, coarse)
    probe = _probes(recipe.probes, objective, plan, stores, device)

    run = Run(out)
    writes = processes.rank == 0
    if writes:
        run.start(recipe, {name: stores[name].content_hash for name in stores}, resume=resume)
    if run.is_finished:
        return PretrainResult(**json.loads(run.report_file.read_text()))
    card = _model_card(recipe, plan, architecture, num_steps)
    if writes:
        run.cut_metrics(run.step())
    result = fit(
        objective,
        pipeline,
        loader,
        recipe.training.optimizer,
        num_steps=num_steps,
        layers=None if recipe.training.optimizer.layer_decay == 1 else partial(layers_of, objective),
        device=device,
        processes=processes,
        precision=precision,
        deterministic=recipe.training.deterministic,
        gradient_clip_norm=recipe.training.gradient_clip_norm,
        accumulate_batches=recipe.training.accumulate_batches,
        compiles=recipe.training.compile,
        captures=recipe.training.capture,
        collapse=CollapseRule(recipe.training.collapse_spread, recipe.training.collapse_steps),
        failures=FailureFolder(run.failure_folder, card, _files_of_failure(run, plan) if writes else {}),
        listeners=[_MetricsFile(run), *listeners],
        probe=probe,
        checkpoints=Checkpoints(run.checkpoint, recipe.training.checkpoint_every_steps, card),
    )
    finished = card(result.step).model_copy(update={"metrics": dict(result.metrics)})
    if writes:
        encoder = run.model().encoder if processes.is_sharded else encoder  # of the last state, which has it whole
        Model(encoder, finished).save(run.model_folder, bibtex(feed.store.card.citation for feed in plan.feeds))
    report = PretrainResult(
        run=str(out),
        step=result.step,
        epoch=result.epoch,
        metrics=dict(result.metrics),
        excluded=dict(plan.excluded),
        num_cutouts=plan.num_cutouts,
        seconds=round(result.seconds, 1),
        is_mock=plan.is_mock,
        wait_share=round(result.wait_share, 4),
    )
    if writes:
        run.write_report(asdict(report))
    return report


class _MetricsFile:
    """Appends a line to ``metrics.jsonl`` every few steps and wherever a probe reported."""

    def __init__(self, run: Run) -> None:
        self._file = run.metrics_file

    def on_step(self, info: StepInfo) -> None:
        probed = any(name.startswith("knn_error") for name in info.metrics)
        if probed or info.step % LOGGED_EVERY_STEPS == 0 or info.step in (1, info.num_steps):
            line = {"step": info.step, "epoch": info.epoch, **info.metrics}
            pace = {"images_per_second": round(info.images_per_second, 1), "wait_share": round(info.wait_share, 4)}
            try:
                with self._file.open("a") as lines:
                    lines.write(json.dumps(line | pace) + "\n")
            except OSError as error:
                raise RunError(
                    f"the metrics of step {info.step} cannot be written to {self._file} ({error.strerror or error}): "
                    "mend that and continue the run with --resume"
                ) from error


def build_objective(part: NamedPart, encoder: nn.Module, seed: int, labels: Labels | None) -> Objective:
    """Return an objective whose initial weights follow from the seed.

    Args:
        part: Name and settings, as the recipe has them.
        encoder: Trained in place.
        seed: Of the weights of its other parts.
        labels: What the labels of the run are; None for an objective that needs none.
    """
    registered = plugins.objective_part(part.name)
    settings = checked_settings(registered.config, part, "objective")
    known = () if labels is None else (labels,)
    return initialised(lambda: registered.build(settings, encoder, embed_dim_of(encoder), *known), seed)


def coarse_start(recipe: Recipe, num_steps: int) -> CoarseStart | None:
    """Return what the first steps of a run of some length see; None where it is what all of them do."""
    given = recipe.training.coarse
    return None if given is None else CoarseStart(given.size_pix, round(given.fraction * num_steps))


def _check_sizes(encoder: nn.Module, contract: InputContract, coarse: CoarseStart | None) -> None:
    """Refuse an encoder that does not take the input, or not the smaller one that a run begins with.

    Raises:
        RecipeError: If it does not.
    """
    own = f"build it for this one, where it can be, with --set encoder.settings.size_pix={contract.size_pix}"
    asked = [("data.size_pix", contract.size_pix, own)]
    if coarse is not None:
        asked.append(("training.coarse", coarse.size_pix, "leave training.coarse out"))
    for setting, size_pix, remedy in asked:
        try:
            with torch.no_grad():
                encoder.eval()(torch.zeros(2, contract.num_channels, size_pix, size_pix))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise RecipeError(
                f"the encoder takes no input of {size_pix} px ({' '.join(str(error).split())}), which {setting} asks "
                f"for: choose another size or encoder, or {remedy}"
            ) from error


def _files_of_failure(run: Run, plan: Plan) -> dict[str, str]:
    """Return what goes beside a step that failed, so that it can be taken again without stores."""
    return {
        run.recipe_file.name: run.recipe_file.read_text(),
        VERSIONS_FILE: json.dumps(versions(), indent=2) + "\n",  # those of now, a continued run may have older ones
        PLAN_FILE: describe_plan(plan),
    }


def _model_card(recipe: Recipe, plan: Plan, architecture: NamedEncoder, num_steps: int) -> Callable[[int], ModelCard]:
    """Return what makes the card of the model as it is at a step."""
    labels, splits = plan.labels, {plugins.survey(choice.name).name: choice.splits for choice in recipe.data.surveys}
    card = ModelCard(
        name=recipe.name,
        contract=plan.contract,
        encoder=architecture.facts(),
        objective=recipe.objective.name,
        step=0,
        num_steps=num_steps,
        surveys=tuple(feed.survey for feed in plan.feeds),
        stores={feed.survey: feed.store.content_hash for feed in plan.feeds},
        label_kind=None if labels is None else labels.kind,
        labelled_splits={
            feed.survey: splits[feed.survey]
            for feed in plan.feeds
            if labels is not None and is_labelled(feed.labels[labels.column]).any()
        },
        is_mock=plan.is_mock,
        seed=recipe.training.seed,
        astrofm_version=version("astrofm"),
    )
    return lambda step: card.model_copy(update={"step": step})


def _probes(
    probes: Sequence[ProbeSettings],
    objective: Objective,
    plan: Plan,
    stores: Mapping[str, CutoutStore],
    device: str,
) -> Callable[[int], Mapping[str, float]]:
    """Return the online probes as one function of the epoch: kNN, leave-one-out on the training split."""
    made = [(settings, _probe_data(settings, plan, stores)) for settings in probes]
    surveys = [data.survey for _, data in made]
    names = [f"{data.survey}_{data.task}" if surveys.count(data.survey) > 1 else data.survey for _, data in made]
    if len(set(names)) < len(names):
        raise RecipeError(f"two probes of the recipe measure the same ({', '.join(names)}): leave one of them out")

    def measure(epoch: int) -> dict[str, float]:
        errors = {}
        for name, (settings, data) in zip(names, made, strict=True):
            if epoch % settings.every_epochs == 0:
                embeddings = embed(objective.encoder, data.loader, data.pipeline, device)
                error = knn_error_leave_one_out(embeddings, data.labels, num_neighbours=settings.num_neighbours)
                errors[f"knn_error_{name}"] = error
        return errors

    return measure


class _ProbeData(NamedTuple):
    """What a probe looks at: the labelled cutouts of the training split of a survey."""

    survey: str
    task: str
    loader: Loader
    labels: NDArray[np.int64]
    pipeline: ViewPipeline


def _probe_data(settings: ProbeSettings, plan: Plan, stores: Mapping[str, CutoutStore]) -> _ProbeData:
    survey = plugins.survey(settings.survey)
    store = stores[survey.name]
    plan.contract.check_bands(survey.name, store.card.band_names)
    task = find_task(store.card, settings.task)
    labels = task_labels(store.catalog, task, store.votes)
    train = rows_of_splits(store, ("train",))
    rows = train[labels[train] >= 0]
    loader = Loader((Feed(survey.name, store, rows),), 256, 0, shuffle=False, drop_last=False)
    pipeline = make_pipeline(plan.contract, {survey.name: input_plan(store)}, (), 1, 0)
    return _ProbeData(survey.name, task.name, loader, labels[rows], pipeline)
