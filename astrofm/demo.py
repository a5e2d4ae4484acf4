"""The main job, end to end and offline: mock archives, stores, pretraining, transfer, a similarity query, a report."""

from __future__ import annotations

__all__ = ["DemoResult", "demo"]

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.labels import task_labels
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import UsageError
from astrofm.home import shipped
from astrofm.listener import Listener, Progress
from astrofm.model import Model
from astrofm.plan import input_plan, make_pipeline
from astrofm.pretrain import PretrainResult, pretrain
from astrofm.recipe import Recipe
from astrofm.report import demo_page
from astrofm.retrieval.embed import embed
from astrofm.retrieval.similar import similar
from astrofm.run import Run
from astrofm.survey import Survey
from astrofm.transfer.evaluate import transfer
from astrofm.transfer.finetune import FinetuneConfig
from astrofm.transfer.report import TransferReport
from astrofm.transfer.tasks import find_task
from astrofm.views.stretch import Stretch

NUM_SHOWN = 10
"""Cutouts at the head of a survey's part of the report."""

Say = Callable[[str], None]


class SurveyDemo(BaseModel):
    """What the demo does with one survey."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    survey: str
    num_objects: int = Field(gt=0)
    recipe: str
    labels: int = Field(gt=1)
    seeds: int = Field(gt=0)


class DemoSettings(BaseModel):
    """What the demo runs; shipped as ``demo/demo.yaml`` among the recipes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    surveys: tuple[SurveyDemo, ...]
    finetune_epochs: int = Field(gt=0)
    finetune_batch_size: int = Field(default=8, gt=1)
    """Small, so that a network from random weights gets enough steps from few labels."""
    num_similar: int = Field(gt=0)
    seed: int = 0

    @classmethod
    def shipped(cls) -> DemoSettings:
        """Return the settings that come with astrofm."""
        text = (shipped("configs") / "demo" / "demo.yaml").read_text(encoding="utf-8")
        return cls.model_validate(yaml.safe_load(text))


@dataclass(frozen=True)
class SurveyOutcome:
    """What the demo found for one survey."""

    settings: SurveyDemo
    survey: Survey
    store: CutoutStore
    run: Run
    pretrained: PretrainResult
    transferred: TransferReport
    class_names: tuple[str, ...]
    """What each row is called in a caption."""
    query: int
    similar_rows: tuple[int, ...]
    similar_scores: tuple[float, ...]


@dataclass(frozen=True)
class DemoResult:
    """Where the report is, and its numbers."""

    report: str
    mock: bool
    transfers: tuple[dict[str, Any], ...]


def demo(
    out: Path,
    *,
    device: str = "cpu",
    say: Say = lambda sentence: None,
    listener: Progress | None = None,
    training_listeners: Sequence[Listener] = (),
    settings: DemoSettings | None = None,
) -> DemoResult:
    """Run the main job on mock data and write ``report.html``.

    Args:
        out: Folder; what an earlier demo left there is replaced if it was finished, else continued.
        device: ``cpu``, ``cuda`` or ``mps``.
        say: Told in words what happens.
        listener: Progress of ingest and transfer.
        training_listeners: Told of every training step.
        settings: What to run; None: what is shipped.

    Raises:
        UsageError: If there is a store of real data where the demo would put one of its own.
    """
    chosen = settings or DemoSettings.shipped()
    for one in chosen.surveys:
        store = _parts(one, out)[1]
        if store.exists() and not CutoutStore.open(store).is_mock:
            raise UsageError(f"{store} is no store of mock data: choose another --out")
    if (out / "report.html").exists():
        for one in chosen.surveys:
            for part in _parts(one, out):
                shutil.rmtree(part, ignore_errors=True)
        (out / "report.html").unlink()
    outcomes = [_run_one(one, chosen, out, device, say, listener, training_listeners) for one in chosen.surveys]
    page = demo_page.demo_page([_pictured(outcome) for outcome in outcomes], version("astrofm"), chosen.seed)
    report = out / "report.html"
    report.write_text(page, encoding="utf-8")
    return DemoResult(str(report), True, tuple(outcome.transferred.to_json() for outcome in outcomes))


def _parts(one: SurveyDemo, out: Path) -> tuple[Path, Path, Path]:
    """Return where archive, store and run of a survey lie."""
    return out / "archives" / one.survey, out / "stores" / f"{one.survey}.zarr", out / "runs" / f"demo-{one.survey}"


def _run_one(
    one: SurveyDemo,
    settings: DemoSettings,
    out: Path,
    device: str,
    say: Say,
    listener: Progress | None,
    training_listeners: Sequence[Listener],
) -> SurveyOutcome:
    survey = plugins.survey(one.survey)
    say(f"{survey.name}: {one.num_objects} mock objects in the survey's own archive format")
    archive_path, store_path, run_path = _parts(one, out)
    if not store_path.exists():
        archive = survey.mock(one.num_objects, settings.seed, archive_path)
        ingest(survey, archive, store_path, listener=listener)
    store = CutoutStore.open(store_path)
    stores = {survey.name: store}

    recipe = Recipe.load(one.recipe, surveys=[survey.name])
    run = Run(run_path)
    say(f"{survey.name}: pretraining without labels ({recipe.name}, {recipe.training.max_steps} steps)")
    pretrained = pretrain(recipe, stores, run.path, resume=True, device=device, listeners=training_listeners)
    model = run.model()

    say(f"{survey.name}: transfer with {one.labels} labels, {one.seeds} seeds, beside random weights")
    transferred = transfer(
        store,
        store,
        one.labels,
        model=model,
        model_name=str(run.path),
        seeds=one.seeds,
        finetune_config=FinetuneConfig(epochs=settings.finetune_epochs, batch_size=settings.finetune_batch_size),
        device=device,
        listener=listener,
    )
    labels = task_labels(store.catalog, find_task(store.card), store.votes)
    class_names = _class_names(store, labels)
    query = int(np.flatnonzero(labels >= 0)[-1]) if (labels >= 0).any() else len(store) - 1
    rows, scores = _similar(model, store, query, settings.num_similar, device)
    return SurveyOutcome(one, survey, store, run, pretrained, transferred, class_names, query, rows, scores)


def _class_names(store: CutoutStore, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Return what each row is called: by the card's label names, else by its class of the default task."""
    if store.card.label_names and "label" in store.catalog.columns:
        return tuple(store.card.label_names.get(int(value), "") for value in store.catalog.column("label"))
    names = list(find_task(store.card).classes)
    return tuple(names[label] if label >= 0 else "no majority" for label in labels)


def _some_of_each(names: Sequence[str], num: int) -> list[int]:
    """Return rows in turn from each name, the first of each before the second of any."""
    seen: dict[str, int] = {}
    turns = []
    for row, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        turns.append((seen[name], row))
    return [row for _, row in sorted(turns)[:num]]


def _similar(
    model: Model, store: CutoutStore, query: int, num: int, device: str
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the rows most similar to one, by the cosine of their embeddings."""
    name = store.card.name
    rows = np.arange(len(store), dtype=np.int64)
    batches = Loader((Feed(name, store, rows),), min(256, len(rows)), 0, shuffle=False, drop_last=False)
    pipeline = make_pipeline(model.card.contract, {name: input_plan(store)}, (), 1, 0)
    found = similar(embed(model.encoder.to(device), batches, pipeline, device), np.array([query]), num)
    return tuple(int(row) for row in found.rows[0]), tuple(float(score) for score in found.scores[0])


def _pictured(outcome: SurveyOutcome) -> demo_page.SurveyPart:
    """Return what the page shows of one survey."""
    store, card, names = outcome.store, outcome.store.card, outcome.class_names
    shown = _some_of_each(names, NUM_SHOWN)
    return demo_page.SurveyPart(
        title=card.title,
        survey=card.name,
        domain=card.domain,
        num_cutouts=len(store),
        num_rejected=sum(store.manifest.rejected.values()),
        labels=outcome.settings.labels,
        seeds=outcome.settings.seeds,
        seconds=outcome.pretrained.seconds,
        metrics=tuple(outcome.run.metrics()),
        transferred=outcome.transferred.to_json(),
        cutouts=tuple((_look(store, row), names[row]) for row in shown),
        query=(_look(store, outcome.query), names[outcome.query]),
        similar=tuple(
            (_look(store, row), f"{names[row]}, {score:.3f}")
            for row, score in zip(outcome.similar_rows, outcome.similar_scores, strict=True)
        ),
        recipe=outcome.settings.recipe,
        num_objects=outcome.settings.num_objects,
    )


def _look(store: CutoutStore, row: int) -> NDArray[np.generic]:
    """Return a cutout as a person should see it: after the stretch of the network's input, radio sources enlarged."""
    whole: NDArray[np.generic] = store.read([row])[0]
    if store.product.dtype != "uint8":
        stretch = Stretch(store.product.input.stretch)
        rms, ebv = (torch.from_numpy(store.measured(name)[[row]]) for name in ("rms", "ebv"))
        whole = stretch(torch.from_numpy(whole[None]), rms, ebv=ebv).numpy()[0]
    if store.card.domain == "optical":
        return whole
    ny, nx = whole.shape[1:]
    return whole[:, ny // 5 : ny - ny // 5, nx // 5 : nx - nx // 5]
