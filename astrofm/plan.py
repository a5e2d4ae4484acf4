"""From a recipe and stores to what a run needs: the rows to train on, the input of each survey, the contract."""

from __future__ import annotations

__all__ = [
    "Plan",
    "check_normalisation",
    "check_views",
    "field_of_view_arcsec",
    "input_plan",
    "make_contract",
    "make_pipeline",
    "plan_run",
    "rows_of_splits",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm import plugins
from astrofm.card import Beam, SurveyCard
from astrofm.contract import Channel, InputContract, Range
from astrofm.data.batch import Batch, Share
from astrofm.data.crossmatch import near
from astrofm.data.labels import task_labels
from astrofm.data.loader import Feed, Loader, meta_of
from astrofm.data.store import CutoutStore
from astrofm.data.supervision import Labels, is_labelled, read_labels
from astrofm.errors import ContractError, DataError, RecipeError
from astrofm.parts import checked_settings
from astrofm.recipe import Exclusion, Recipe, SurveyChoice
from astrofm.views.base import PhysicalView, View
from astrofm.views.pipeline import CoarseStart, ViewPipeline
from astrofm.views.resample import SCALE_TOLERANCE
from astrofm.views.sky import sky_of
from astrofm.views.stretch import InputPlan

CHECKED_CUTOUTS = 512
"""Cutouts of each survey whose normalised pixels are checked before training."""
LARGEST_MEAN, SMALLEST_STD, LARGEST_STD = 3.0, 0.2, 5.0


@dataclass(frozen=True)
class Plan:
    """What a pretraining run will do.

    Attributes:
        contract: What the network may be fed.
        feeds: The rows of each store.
        inputs: From a product's pixels to network input, by survey.
        excluded: Cutouts left out by cross-match, by survey.
        is_mock: Whether any store is made of mock data.
        labels: What the labels are that the feeds bring; None for an objective that needs none.
    """

    contract: InputContract
    feeds: tuple[Feed, ...]
    inputs: Mapping[str, InputPlan]
    excluded: Mapping[str, int]
    is_mock: bool
    labels: Labels | None = None

    @property
    def num_cutouts(self) -> int:
        """Number of training cutouts."""
        return sum(len(feed.rows) for feed in self.feeds)

    def pipeline(
        self, views: Sequence[View], num_views: int, seed: int, coarse: CoarseStart | None = None
    ) -> ViewPipeline:
        """Return the view pipeline of this plan."""
        return make_pipeline(self.contract, self.inputs, views, num_views, seed, coarse)


def make_pipeline(
    contract: InputContract,
    inputs: Mapping[str, InputPlan],
    views: Sequence[View],
    num_views: int,
    seed: int,
    coarse: CoarseStart | None = None,
) -> ViewPipeline:
    """Return the pipeline that leads some surveys to the input of a contract."""
    return ViewPipeline(
        inputs,
        views,
        num_views=num_views,
        size_pix=contract.size_pix,
        field_of_view_arcsec=contract.window_arcsec,
        seed=seed,
        coarse=coarse,
    )


def plan_run(recipe: Recipe, stores: Mapping[str, CutoutStore], *, is_checked: bool = True) -> Plan:
    """Choose the rows and inputs of a run.

    Args:
        recipe: The run.
        stores: Store of each survey the recipe trains on or excludes, by name.
        is_checked: Refuse input that is far from zero mean and unit spread, see :func:`check_normalisation`.

    Raises:
        DataError: If nothing is left to train on.
        ContractError: If a survey's bands, scale or normalisation do not fit.
    """
    choices = {plugins.survey(choice.name).name: choice for choice in recipe.data.surveys}
    chosen = {name: choice.splits for name, choice in choices.items()}
    training = {name: stores[name] for name in chosen}
    contract = make_contract(recipe, list(training.values()))
    labels, columns = _labels(recipe, training)
    feeds, excluded = [], {}
    for name, store in training.items():
        contract.check_bands(name, store.card.band_names)
        contract.check_scale(name, field_of_view_arcsec(store))
        rows = _chosen_rows(store, choices[name])
        kept = rows[~_near_excluded(store, rows, recipe.data.exclude, stores)]
        excluded[name] = len(rows) - len(kept)
        own = {} if labels is None else {labels.column: columns[name][kept]}
        has_label = None
        if recipe.data.labelled_fraction is not None:
            has_label = _has_class(store)[kept] if labels is None else is_labelled(own[labels.column])
        feeds.append(Feed(name, store, kept, own, weight=choices[name].weight, is_labelled=has_label))
    if not any(len(feed.rows) for feed in feeds):
        raise DataError(
            f"no cutout is left to train on in {', '.join(chosen)} (excluded by cross-match: {excluded})"
            f"{_other_splits(chosen, training)}"
        )
    if labels is not None and not any(is_labelled(feed.labels[labels.column]).any() for feed in feeds):
        raise DataError(
            f"objective {recipe.objective.name!r} learns from {labels.kind}, and none of the training cutouts of "
            f"{', '.join(chosen)} has any: choose splits, a task or a survey with labels"
        )
    inputs = {name: input_plan(store) for name, store in training.items()}
    is_mock = any(store.is_mock for store in training.values())
    plan = Plan(contract, tuple(feed for feed in feeds if len(feed.rows)), inputs, excluded, is_mock, labels)
    if is_checked:
        check_normalisation(plan.contract, plan.inputs, plan.feeds)
    return plan


def make_contract(recipe: Recipe, stores: Sequence[CutoutStore]) -> InputContract:
    """Return the contract of a network trained by a recipe on some stores.

    A channel of the recipe that names no bands accepts those of the stores, in their order.
    """
    bands = [store.card.band_names for store in stores]
    channels = []
    for index, channel in enumerate(recipe.data.channels):
        own = tuple(dict.fromkeys(names[index] for names in bands if index < len(names)))
        channels.append(Channel(name=channel.name, accepts=channel.accepts or own or ("none",)))
    resolutions = [store.card.resolution_arcsec for store in stores]
    known = [value for value in resolutions if value is not None]
    return InputContract(
        channels=tuple(channels),
        size_pix=recipe.data.size_pix,
        field_of_view_arcsec=recipe.data.field_of_view_arcsec,
        resolution_arcsec=Range(low=min(known), high=max(known)) if len(known) == len(resolutions) else "unknown",
    )


def input_plan(store: CutoutStore) -> InputPlan:
    """Return how the pixels of a store become network input, as its card says."""
    given = store.product.input
    of_card = store.card.pixel_scale_of(store.product_name)
    scales = store.measured("pixel_scale")
    return InputPlan(
        survey=store.card.name,
        stretch=given.stretch,
        mean=given.mean,
        std=given.std,
        pixel_scale_arcsec=of_card,
        bands=store.card.bands,
        unit=store.product.unit,
        beam=_beam_of(store.card),
        has_one_scale=of_card is not None
        and np.allclose(scales[~np.isnan(scales)], of_card, rtol=SCALE_TOLERANCE, atol=0.0),
    )


def _beam_of(card: SurveyCard) -> Beam | None:
    """Return the beam of a survey, or its PSF as a round one; None where unknown."""
    if card.beam is not None:
        return card.beam.value
    fwhm_arcsec = None if card.psf_fwhm_arcsec is None else card.psf_fwhm_arcsec.value
    return None if fwhm_arcsec is None else Beam(bmaj_arcsec=fwhm_arcsec, bmin_arcsec=fwhm_arcsec)


def field_of_view_arcsec(store: CutoutStore) -> float | None:
    """Return the side of a store's cutouts on the sky: of half of them it is more; None where all are unknown.

    A cutout's own pixel scale comes before that of the card, as in the view pipeline.
    """
    scales = store.measured("pixel_scale")
    of_card = store.card.pixel_scale_of(store.product_name)
    known = scales[~np.isnan(scales)] if of_card is None else np.where(np.isnan(scales), of_card, scales)
    return float(np.median(known)) * min(store.shape[2:]) if len(known) else None


def rows_of_splits(store: CutoutStore, splits: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of a store that belong to some splits, in order."""
    return np.flatnonzero(np.isin(store.catalog.column("split"), list(splits))).astype(np.int64)


def _other_splits(chosen: Mapping[str, Sequence[str]], stores: Mapping[str, CutoutStore]) -> str:
    """Say which splits there are of surveys that have nothing in those that were asked for; empty where all have."""
    told = []
    for name, store in stores.items():
        names, counts = np.unique(store.catalog.column("split"), return_counts=True)
        if set(names.tolist()) & set(chosen[name]):
            continue
        there = ", ".join(f"{count} {split}" for split, count in zip(names.tolist(), counts.tolist(), strict=True))
        told.append(
            f"{name} has {there}, and {' and '.join(chosen[name])} is asked for; a recipe names others under "
            f"data.surveys, as {{name: {name}, splits: [train, val, test]}}"
        )
    return f": {'; '.join(told)}" if told else ""


def _chosen_rows(store: CutoutStore, choice: SurveyChoice) -> NDArray[np.int64]:
    """Return the rows of the splits of a choice, without those outside its limits."""
    rows = rows_of_splits(store, choice.splits)
    for name, (least, greatest) in choice.limits.items():
        if name not in store.catalog.columns or store.catalog.column(name).dtype.kind not in "fiu":
            raise DataError(
                f"the recipe limits {store.card.name!r} by the column {name!r}, and its store has no such column of "
                f"numbers; its columns: {', '.join(store.catalog.columns)}"
            )
        values = store.catalog.column(name)[rows].astype(np.float64)
        low, high = -np.inf if least is None else least, np.inf if greatest is None else greatest
        rows = rows[(values >= low) & (values <= high)]
    return rows


def _labels(
    recipe: Recipe, stores: Mapping[str, CutoutStore]
) -> tuple[Labels | None, Mapping[str, NDArray[np.integer[Any]]]]:
    """Return what the labels of the recipe's objective are, and those of each row, by survey."""
    part = plugins.objective_part(recipe.objective.name)
    if part.labels is None:
        return None, {}
    return read_labels(part.labels(checked_settings(part.config, recipe.objective, "objective")), stores)


def _has_class(store: CutoutStore) -> NDArray[np.bool_]:
    """Return which cutouts have a class in some task of their survey. Shape: (cutouts,)."""
    classes = [task_labels(store.catalog, task, store.votes) for task in store.card.tasks]
    return np.any([labels >= 0 for labels in classes], axis=0) if classes else np.zeros(len(store), dtype=bool)


def _near_excluded(
    store: CutoutStore, rows: NDArray[np.int64], exclusions: Sequence[Exclusion], stores: Mapping[str, CutoutStore]
) -> NDArray[np.bool_]:
    """Return which rows lie near a source that the recipe keeps out of training."""
    ra, dec = (store.catalog.column(axis)[rows] for axis in ("ra", "dec"))
    out = np.zeros(len(rows), dtype=bool)
    for exclusion in exclusions:
        other = stores[plugins.survey(exclusion.survey).name]
        others = rows_of_splits(other, (exclusion.split,))
        other_ra, other_dec = (other.catalog.column(axis)[others] for axis in ("ra", "dec"))
        unplaced = int(np.isnan(ra).sum() + np.isnan(other_ra).sum())
        if unplaced:
            raise DataError(
                f"{unplaced} sources of {store.card.name!r} and {other.card.name!r} have no position, so those near "
                f"the {exclusion.split} split of {other.card.name!r} cannot be left out: train on another survey, or "
                "take the exclusion out of the recipe's data.exclude"
            )
        out |= near(ra, dec, other_ra, other_dec, exclusion.radius_arcsec)
    return out


def check_normalisation(contract: InputContract, inputs: Mapping[str, InputPlan], feeds: Sequence[Feed]) -> None:
    """Refuse input whose pixels are far from zero mean and unit spread.

    Args:
        contract: Size and field of view of the input.
        inputs: Stretch and normalisation of each survey.
        feeds: Rows to look at; up to 512 evenly spaced ones of each.

    Raises:
        ContractError: If a survey's mean exceeds 3 in absolute value or its standard deviation lies outside 0.2-5; the
            message gives the constants that were measured.
    """
    pipeline = make_pipeline(contract, inputs, (), 1, 0)
    for feed in feeds:
        chosen = feed.rows[np.unique(np.linspace(0, len(feed.rows) - 1, CHECKED_CUTOUTS).astype(int))]
        sample = Loader((Feed(feed.survey, feed.store, chosen),), 64, 0, shuffle=False, drop_last=False)
        pixels = np.concatenate([_plain(pipeline, batch) for batch in sample])
        mean, std = float(pixels.mean()), float(pixels.std())
        if not abs(mean) <= LARGEST_MEAN or not SMALLEST_STD <= std <= LARGEST_STD:
            given = inputs[feed.survey]
            measured = _measured_constants(pixels, given)
            raise ContractError(
                f"after stretch and normalisation the cutouts of {feed.survey!r} have mean {mean:.3g} and standard "
                f"deviation {std:.3g}, far from 0 and 1: its card normalises with mean {_listed(given.mean)} and std "
                f"{_listed(given.std)}; measured on {len(chosen)} cutouts: mean {_listed(measured[0])}, std "
                f"{_listed(measured[1])}: put constants like these under products, {feed.store.product_name}, input of "
                "the card, and ingest again with --overwrite"
            )


def _measured_constants(pixels: NDArray[np.float32], given: InputPlan) -> tuple[list[float], list[float]]:
    """Return the mean and spread before normalisation: of each band where the card has several values, else of all.

    Args:
        pixels: Normalised. Shape: (n, band, y, x).
        given: The normalisation they went through.
    """
    num_bands = pixels.shape[1]
    old_mean, old_std = (np.broadcast_to(values, num_bands)[:, None] for values in (given.mean, given.std))
    bands = pixels.swapaxes(0, 1).reshape(num_bands, -1).astype(np.float64) * old_std + old_mean
    groups = bands if max(len(given.mean), len(given.std)) > 1 else bands.reshape(1, -1)
    return groups.mean(axis=1).tolist(), groups.std(axis=1).tolist()


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def check_views(views: Sequence[View], plan: Plan) -> None:
    """Refuse views that need what is unknown of any cutout of a run, before it begins.

    Raises:
        RecipeError: If a physical view does; the message names the survey.
    """
    physical = [view for view in views if isinstance(view, PhysicalView)]
    for feed in plan.feeds if physical else ():
        of_survey, meta = plan.inputs[feed.survey], meta_of(feed)
        no_pixels = np.empty((len(feed.rows), feed.store.shape[1], 0, 0), dtype=np.float32)
        share = Share(feed.survey, no_pixels, None, np.arange(len(feed.rows)), meta)
        sky = sky_of(share, of_survey, meta["pixel_scale"], "cpu")
        for view in physical:
            try:
                view.check(sky)
            except RecipeError as error:
                raise RecipeError(f"of survey {feed.survey!r}, {error}") from error


def _plain(pipeline: ViewPipeline, batch: Batch) -> NDArray[np.float32]:
    pixels: NDArray[np.float32] = pipeline.plain(batch, "cpu").numpy()
    return pixels
