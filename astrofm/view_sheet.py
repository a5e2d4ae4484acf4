"""What a recipe will show its network, as a contact sheet to look at before training.

The cutouts are the first of the run's first batches, and their views are those that the run computes from them: the
plan, the loader and the view pipeline are the ones that pretraining builds.
"""

from __future__ import annotations

__all__ = ["ViewSheet", "view_sheet", "wanted_surveys"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrofm.accumulation import rows_of
from astrofm.data.feeding.order import Position
from astrofm.data.loader import Loader
from astrofm.data.store import CutoutStore
from astrofm.errors import ContractError, UsageError
from astrofm.guards import row_names
from astrofm.parts import build_view, named_encoder
from astrofm.plan import Plan, check_normalisation, check_views, plan_run
from astrofm.pretrain import build_objective
from astrofm.recipe import Recipe
from astrofm.report.contact_sheet import shown_channels
from astrofm.report.pictures import Colormap
from astrofm.report.view_picture import Block, Facts, SheetRow, draw_sheet
from astrofm.report.view_statistics import SurveyStatistics, before_normalisation, facts_of, measure_views
from astrofm.views.pipeline import ViewPipeline

# B = batch, V = views, C = channels, S = side of the input in pixels.

NUM_STEPS = 2
"""Batches whose first cutouts are shown."""
NUM_DRAWS = 3
"""Times the views of each cutout are drawn: as the run feeds them, then with the parameters of the next steps."""
MEASURED_CUTOUTS = 64
"""Cutouts of each batch that the numbers are of."""


@dataclass(frozen=True)
class ViewSheet:
    """A contact sheet of views.

    Attributes:
        png: The picture.
        surveys: Surveys that are trained on.
        views: Augmentations of the recipe, in order.
        ids: Of the cutouts shown, top to bottom.
        statistics: By survey.
        problem: Why a run would refuse this input; empty where it would not.
    """

    png: bytes
    surveys: tuple[str, ...]
    views: tuple[str, ...]
    ids: tuple[str, ...]
    statistics: Mapping[str, SurveyStatistics]
    problem: str


@dataclass(frozen=True, eq=False)
class _Sample:
    """The first cutouts of one batch and what the pipeline makes of them.

    Attributes:
        surveys: Survey of each cutout. Shape: (B,).
        ids: Of each cutout.
        plain: Without augmentation, normalised. Shape: (B, C, S, S).
        views: One for each draw and view, normalised. Shape: (draws, V, B, C, S, S).
    """

    surveys: NDArray[np.str_]
    ids: Sequence[str]
    plain: Tensor
    views: Tensor


def wanted_surveys(recipe: Recipe) -> list[str]:
    """Return every survey whose store decides what is fed: those to train on, and those to keep away from."""
    trained = [choice.name for choice in recipe.data.surveys]
    return list(dict.fromkeys([*trained, *(exclusion.survey for exclusion in recipe.data.exclude)]))


def view_sheet(recipe: Recipe, stores: Mapping[str, CutoutStore], *, num: int = 8) -> ViewSheet:
    """Draw what a run of a recipe would feed its network in its first steps.

    Args:
        recipe: The run.
        stores: Store of each survey in :func:`wanted_surveys`, by name.
        num: Cutouts to show.

    Raises:
        UsageError: If no cutout is asked for, or the data are fewer than a batch.
        AstrofmError: If the recipe or the data do not allow the run. Only a normalisation that does not fit is drawn
            and named, since to see it is what the sheet is for.
    """
    if num < 1:
        raise UsageError(f"a sheet shows at least one cutout, and {num} were asked for")
    most = NUM_STEPS * min(recipe.training.batch_size, MEASURED_CUTOUTS)
    if num > most:
        raise UsageError(
            f"a sheet shows the first cutouts of {NUM_STEPS} batches, {most} at most with this recipe, and {num} were "
            "asked for: ask for fewer"
        )
    plan = plan_run(recipe, stores, is_checked=False)
    views = [build_view(part) for part in recipe.views]
    check_views(views, plan)
    pipeline = plan.pipeline(views, _num_views(recipe, plan), recipe.training.seed)
    loader = Loader(
        plan.feeds,
        recipe.training.batch_size,
        recipe.training.seed,
        labelled_fraction=recipe.data.labelled_fraction,
    )
    counts = [count for count in np.bincount(np.arange(num) % NUM_STEPS).tolist() if count]
    samples = [_sample(loader, pipeline, plan, step) for step in range(len(counts))]
    surveys = tuple(feed.survey for feed in plan.feeds)
    statistics, facts = _measure(surveys, samples, stores, pipeline)
    problem = _problem(plan)
    blocks = [
        _block(sample, step, count, statistics, stores, pipeline)
        for step, (sample, count) in enumerate(zip(samples, counts, strict=True))
    ]
    png = draw_sheet(
        f"{recipe.name}: what the network sees",
        _introduction(recipe, pipeline, plan, [survey for survey in surveys if survey not in statistics], problem),
        blocks,
        facts,
    )
    names = tuple(part.name for part in recipe.views)
    ids = tuple(row.title for block in blocks for row in block.rows)
    return ViewSheet(png, surveys, names, ids, statistics, problem)


def _num_views(recipe: Recipe, plan: Plan) -> int:
    """Return how many views the objective takes, which it says once it is built."""
    encoder = named_encoder(recipe.encoder).build(plan.contract.num_channels, recipe.training.seed)
    return build_objective(recipe.objective, encoder, recipe.training.seed, plan.labels).num_views


def _sample(loader: Loader, pipeline: ViewPipeline, plan: Plan, step: int) -> _Sample:
    """Return the first cutouts of the batch of a step, and their views."""
    batch = loader.batch_at(Position(*divmod(step, len(loader))))
    batch = rows_of(batch, 0, min(MEASURED_CUTOUTS, batch.size))  # as the first of several ranks has them
    surveys = np.empty(batch.size, dtype=object)
    for share in batch.shares:
        surveys[share.places] = share.survey
    views = [torch.stack(pipeline(batch, step + draw, "cpu").images) for draw in range(NUM_DRAWS)]
    ids = row_names(plan.feeds, batch.row_ids)
    return _Sample(surveys.astype(str), ids, pipeline.plain(batch, "cpu"), torch.stack(views))


def _constants(survey: str, pipeline: ViewPipeline, num_channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the normalisation. Shape of both: (C, 1, 1)."""
    mean, std = pipeline.inputs[survey].constants(num_channels)[..., None, None].unbind(0)
    return mean, std


def _measure(
    surveys: Sequence[str], samples: Sequence[_Sample], stores: Mapping[str, CutoutStore], pipeline: ViewPipeline
) -> tuple[dict[str, SurveyStatistics], list[Facts]]:
    """Return the numbers of each survey that the samples hold, as numbers and in words."""
    statistics, facts = {}, []
    for survey in surveys:
        rows = [torch.from_numpy(sample.surveys == survey) for sample in samples]
        plain = torch.cat([sample.plain[chosen] for sample, chosen in zip(samples, rows, strict=True)])
        views = torch.cat([sample.views[:, :, chosen] for sample, chosen in zip(samples, rows, strict=True)], dim=2)
        if not len(plain):
            continue
        mean, std = _constants(survey, pipeline, plain.shape[1])
        statistics[survey] = measure_views(plain, views, mean, std)
        _, bands = shown_channels(stores[survey], plain.shape[1])
        facts.append(facts_of(survey, bands, statistics[survey], before_normalisation(plain, mean, std)))
    return statistics, facts


def _problem(plan: Plan) -> str:
    try:
        check_normalisation(plan.contract, plan.inputs, plan.feeds)
    except ContractError as error:
        return str(error)
    return ""


def _block(
    sample: _Sample,
    step: int,
    num: int,
    statistics: Mapping[str, SurveyStatistics],
    stores: Mapping[str, CutoutStore],
    pipeline: ViewPipeline,
) -> Block:
    """Return the pictures of the first cutouts of a batch, every survey in turn."""
    num_views = sample.views.shape[1]
    columns = ["as it is", *(f"step {step}, view {view + 1}" for view in range(num_views))]
    columns += [f"draw {draw}, view {view + 1}" for draw in range(1, NUM_DRAWS) for view in range(num_views)]
    rows = []
    for place in _in_turn(sample.surveys)[:num]:
        survey = str(sample.surveys[place])
        images = torch.cat([sample.plain[place][None], sample.views[:, :, place].flatten(0, 1)])
        mean, std = _constants(survey, pipeline, images.shape[1])
        channels, _ = shown_channels(stores[survey], images.shape[1])
        limits = (statistics[survey].black, statistics[survey].white)
        colormap: Colormap = "ember" if stores[survey].card.domain == "radio" else "gray"
        shown = before_normalisation(images, mean, std)[:, channels]
        rows.append(SheetRow(sample.ids[place], survey, shown, limits, colormap))
    title = (
        f"Step {step}: the first cutouts of its batch, the views that the run makes of them, and what other draws of "
        "the same views look like"
    )
    return Block(title, columns, rows)


def _in_turn(surveys: NDArray[np.str_]) -> list[int]:
    """Return the places of a batch, the first of each survey before the second of any."""
    seen: dict[str, int] = {}
    turns = []
    for survey in surveys.tolist():
        turns.append(seen.get(survey, 0))
        seen[survey] = turns[-1] + 1
    return sorted(range(len(turns)), key=turns.__getitem__)


def _introduction(recipe: Recipe, pipeline: ViewPipeline, plan: Plan, absent: Sequence[str], problem: str) -> list[str]:
    views = [f"{part.name} ({view.invariance})" for part, view in zip(recipe.views, pipeline.views, strict=True)]
    field = pipeline.field_of_view_arcsec
    window = "the whole cutout" if field is None else f"{field:g} arcsec"
    lines = [
        f"Views, and what the network learns to ignore by them: {', '.join(views) or 'none'}.",
        f"Input: {pipeline.size_pix} x {pipeline.size_pix} pixels, {window}; objective {recipe.objective.name}, batch "
        f"{recipe.training.batch_size}, seed {recipe.training.seed}. The last row of an image is on top.",
    ]
    coarse = recipe.training.coarse
    if coarse is not None:
        lines.append(
            f"The first {100 * coarse.fraction:g}% of the steps see the same field in {coarse.size_pix} x "
            f"{coarse.size_pix} pixels, which is not shown."
        )
    if plan.is_mock:
        lines.append("The data is mock: for trying out, not for science.")
    if absent:
        lines.append(f"Trained on, but not among the first cutouts of these batches: {', '.join(absent)}.")
    if problem:
        lines.append(f"A run would refuse this input: {problem}")
    return lines
