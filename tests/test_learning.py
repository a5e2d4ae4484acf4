"""300 steps of every objective on mock data make an encoder that beats random weights under a linear probe.

The probe has few labels, as with all of them random weights tell the mock galaxies apart as well; their draw is worth
several points, so that its error is the mean over many. Redshifts are probed, with all labels, by whether a galaxy is
farther away than half of those of the training split. One seed of each runs always, three more where slow tests do. The
same seed gives the same numbers on a machine.
"""

import numpy as np
import pytest

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.labels import draw_labels, task_labels
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.plan import plan_run, rows_of_splits
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart
from astrofm.retrieval.embed import embed
from astrofm.run import Run, find_model
from astrofm.transfer.linear import fit_linear_probe

SEEDS = [(0,), pytest.param((1, 2, 3), marks=pytest.mark.slow)]
NUM_LABELS, NUM_DRAWS = 20, 20
WIDTHS = {"hidden_dim": 128, "out_dim": 32}
OBJECTIVES = {
    "byol": ("byol", WIDTHS | {"tau_start": 0.98}),
    "simclr": ("simclr", WIDTHS),
    "moco": ("moco", WIDTHS | {"num_keys": 128, "tau": 0.98}),
    "spectral": ("spectral", WIDTHS),
    "hybrid": ("hybrid", WIDTHS | {"tau_start": 0.98, "weight": 1.0}),
    "votes": ("supervised", {"head": {"kind": "votes"}}),
    "classes": ("supervised", {"head": {"kind": "classes", "task": "smooth-or-featured"}}),
    "redshift": ("supervised", {"head": {"kind": "redshift", "num_bins": 20}}),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of mock galaxies with votes and with redshifts."""
    folder, found = tmp_path_factory.mktemp("learning"), {}
    for name, num in (("gz-evo", 600), ("sdss-mgs", 600)):
        source = plugins.survey(name)
        ingest(source, source.mock(num, 5, folder / name), folder / f"{name}.zarr")
        found[name] = CutoutStore.open(folder / f"{name}.zarr")
    return found


def recipe_of(tiny_recipe, survey, objective, seed):
    name, settings = objective
    optimizer = {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup_fraction": 0.1}
    recipe = tiny_recipe(survey, batch_size=32, max_steps=300, seed=seed, optimizer=optimizer)
    views = (
        recipe.views if survey != "sdss-mgs" else recipe.views[:2]
    )  # jitter takes away the colours that tell redshifts
    return recipe.model_copy(update={"objective": NamedPart(name=name, settings=settings), "views": views})


def features_of(encoder, recipe, survey, store, rows):
    pipeline = plan_run(recipe, {survey: store}).pipeline((), 1, 0)
    return embed(encoder, Loader((Feed(survey, store, rows),), 64, 0, shuffle=False, drop_last=False), pipeline, "cpu")


def classes_of(store):
    """The classes of the rows that have one, and how many classes there are."""
    if store.card.tasks:
        task = store.card.tasks[0]
        return task_labels(store.catalog, task, store.votes), len(task.classes)
    redshift = store.catalog.column("z_spec")
    middle = np.nanmedian(redshift[rows_of_splits(store, ("train",))])
    return np.where(np.isnan(redshift), -1, redshift > middle), 2


def error(encoder, recipe, survey, store):
    """The error on the test split of a linear probe with labels of the training split, mean over draws of them."""
    labels, num_classes = classes_of(store)
    rows = {split: rows_of_splits(store, (split,)) for split in ("train", "test")}
    rows = {split: own[labels[own] >= 0] for split, own in rows.items()}
    train, test = (features_of(encoder, recipe, survey, store, rows[split]) for split in ("train", "test"))
    of_train, wrong = labels[rows["train"]], []
    few = [draw_labels(of_train, NUM_LABELS, seed) for seed in range(NUM_DRAWS)]
    for draw in few if store.card.tasks else [np.arange(len(of_train))]:
        probe = fit_linear_probe(train[draw], of_train[draw], num_classes=num_classes, seed=0)
        wrong.append(probe.predict(test) != labels[rows["test"]])
    return np.mean(wrong)


def encoders(recipe, stores, folder):
    """The encoder after training, and as it was before."""
    pretrain(recipe, stores, folder)
    num_channels = len(recipe.data.channels)
    untrained = build_encoder(EncoderConfig(name=recipe.encoder.name), num_channels, seed=recipe.training.seed)
    return find_model(Run(folder).path).encoder, untrained.eval()


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_300_steps_beat_random_weights(objective, seeds, tiny_recipe, stores, tmp_path):
    survey = "sdss-mgs" if objective == "redshift" else "gz-evo"
    own = {survey: stores[survey]}
    trained, random = [], []
    for seed in seeds:
        recipe = recipe_of(tiny_recipe, survey, OBJECTIVES[objective], seed)
        after, before = encoders(recipe, own, tmp_path / f"{seed}")
        trained.append(error(after, recipe, survey, own[survey]))
        random.append(error(before, recipe, survey, own[survey]))
    print(objective, "trained", np.round(trained, 3), "random", np.round(random, 3))
    assert np.mean(trained) < np.mean(random) - 0.03
