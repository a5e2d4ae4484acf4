"""Runs that learn from labels: the rows bring the right ones, a stopped run continues, and training helps."""

import os
import signal

import numpy as np
import pytest
import torch

from astrofm.data.ingest import ingest
from astrofm.data.labels import task_labels
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.errors import DataError
from astrofm.interruption import Interrupted
from astrofm.plan import plan_run, rows_of_splits
from astrofm.plugins import survey
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart, Recipe
from astrofm.retrieval.embed import embed
from astrofm.run import Run, find_model
from astrofm.transfer.linear import fit_linear_probe

HYBRID = {"name": "hybrid", "settings": {"weight": 1.0, "hidden_dim": 32, "out_dim": 16, "tau_start": 0.9}}
VOTES = {"name": "supervised", "settings": {"head": {"kind": "votes"}}}
CLASSES = {"name": "supervised", "settings": {"head": {"kind": "classes", "task": "bar"}}}


def with_objective(recipe, objective, **data):
    changes = {"objective": NamedPart.model_validate(objective), "data": recipe.data.model_copy(update=data)}
    return recipe.model_copy(update=changes)


class SignalAt:
    """Sends this process a signal after a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, info):
        if info.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def state(run):
    return torch.load(run.checkpoint, map_location="cpu", weights_only=True)["state_dict"]


@pytest.mark.parametrize("objective", [HYBRID, VOTES])
def test_the_votes_of_a_batch_are_those_of_the_catalogue(objective, tiny_recipe, mock_stores):
    plan = plan_run(with_objective(tiny_recipe(), objective), mock_stores)
    (feed,) = plan.feeds
    assert plan.labels.names == feed.store.votes.columns
    catalog = feed.store.catalog
    expected = np.stack([catalog.column(name) for name in plan.labels.names], axis=1)
    pipeline = plan.pipeline((), 1, 0)
    for batch in Loader(plan.feeds, 8, 0):
        votes = pipeline(batch, 0, "cpu").labels["votes"].numpy()
        np.testing.assert_array_equal(votes, expected[feed.rows[batch.row_ids]])
        assert votes.any()


def test_rows_with_votes_are_the_labelled_ones_of_a_balanced_batch(tiny_recipe, mock_stores):
    recipe = with_objective(tiny_recipe(), HYBRID, labelled_fraction=0.5)
    store = CutoutStore(mock_stores["gz-evo"].path, mock_stores["gz-evo"].manifest)
    hidden = np.arange(len(store)) % 2 == 0
    counts = {name: np.where(hidden, 0, store.catalog.column(name)) for name in store.votes.columns}
    store.catalog = store.catalog.with_columns(counts)
    (feed,) = plan_run(recipe, {"gz-evo": store}).feeds
    np.testing.assert_array_equal(feed.is_labelled, feed.labels["votes"].any(axis=1))
    np.testing.assert_array_equal(feed.is_labelled, ~hidden[feed.rows])
    for batch in Loader((feed,), 8, 0, labelled_fraction=0.5):
        assert batch.labels["votes"].any(axis=1).sum() == 4


def test_classes_of_a_task_reach_the_batch(tiny_recipe, mock_stores):
    plan = plan_run(with_objective(tiny_recipe(), CLASSES), mock_stores)
    assert plan.labels.names == ("barred", "unbarred")
    assert set(np.unique(plan.feeds[0].labels["label"])) <= {-1, 0, 1}


def test_an_objective_without_labels_gets_none(tiny_recipe, mock_stores):
    plan = plan_run(tiny_recipe(), mock_stores)
    assert plan.labels is None
    assert plan.feeds[0].labels == {}


def test_a_run_without_a_single_label_is_refused(tiny_recipe, mock_stores):
    store = CutoutStore(mock_stores["gz-evo"].path, mock_stores["gz-evo"].manifest)
    store.catalog = store.catalog.with_columns(
        {name: np.zeros(len(store), dtype=np.int32) for name in store.votes.columns}
    )
    with pytest.raises(DataError, match="'supervised' learns from votes, and none of the training cutouts of gz-evo"):
        plan_run(with_objective(tiny_recipe(), VOTES), {"gz-evo": store})


@pytest.mark.parametrize("objective", [HYBRID, VOTES])
def test_four_steps_and_four_more_are_eight_bit_for_bit(objective, tiny_recipe, mock_stores, tmp_path):
    recipe = with_objective(tiny_recipe(max_steps=8), objective)
    whole, halves = Run(tmp_path / "whole"), Run(tmp_path / "halves")
    result = pretrain(recipe, mock_stores, whole.path)
    with pytest.raises(Interrupted):
        pretrain(recipe, mock_stores, halves.path, listeners=[SignalAt(4)])
    assert halves.step() == 4
    torch.rand(7)  # another process has another generator
    assert pretrain(recipe, mock_stores, halves.path, resume=True).metrics == result.metrics
    expected, found = state(whole), state(halves)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any("head.linear" in name for name in found)


@pytest.mark.parametrize("name", ["hybrid-gz-evo", "supervised-votes"])
def test_two_steps_of_the_shipped_recipe_have_a_finite_loss(name, mock_stores, tmp_path):
    smaller = ("training.batch_size=8", "training.max_steps=2", "data.size_pix=64")
    result = pretrain(Recipe.load(name, smaller), mock_stores, tmp_path / "run")
    assert result.step == 2
    assert np.isfinite(list(result.metrics.values())).all()
    assert 0 < result.metrics["vote_error"] < 1


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory):
    """A store of 1600 mock galaxies."""
    folder, source = tmp_path_factory.mktemp("galaxies"), survey("gz-evo")
    ingest(source, source.mock(1600, 5, folder / "archive"), folder / "galaxies.zarr")
    return CutoutStore.open(folder / "galaxies.zarr")


def probe_error(encoder, recipe, store):
    """Share of the test galaxies that a linear probe, fitted on the training split, calls by the wrong name."""
    task = store.card.tasks[0]
    labels = task_labels(store.catalog, task, store.votes)
    pipeline = plan_run(recipe, {"gz-evo": store}).pipeline((), 1, 0)
    features, classes = {}, {}
    for split in ("train", "test"):
        rows = rows_of_splits(store, (split,))
        rows = rows[labels[rows] >= 0]
        batches = Loader((Feed("gz-evo", store, rows),), 256, 0, shuffle=False, drop_last=False)
        features[split], classes[split] = embed(encoder, batches, pipeline, "cpu"), labels[rows]
    probe = fit_linear_probe(features["train"], classes["train"], num_classes=len(task.classes), seed=0)
    return float((probe.predict(features["test"]) != classes["test"]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("objective", [HYBRID, VOTES])
def test_300_steps_on_mock_data_beat_random_weights(objective, galaxies, tmp_path):
    quick = Recipe.load("byol-quick-optical", ["training.max_steps=300"])
    recipe = with_objective(quick, objective)
    run = Run(tmp_path / "run")
    pretrain(recipe, {"gz-evo": galaxies}, run.path)
    model = find_model(run.path)
    untrained = build_encoder(EncoderConfig(name=recipe.encoder.name), 3, seed=recipe.training.seed)
    trained, random = (probe_error(encoder, recipe, galaxies) for encoder in (model.encoder, untrained))
    print(f"{objective['name']}: {trained:.3f}, random weights {random:.3f}")
    assert trained < random - 0.03
