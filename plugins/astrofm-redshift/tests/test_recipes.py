"""The recipes of the survey start on its mock: finite loss, views that differ, dust that is what the recipe draws."""

import numpy as np
import pytest
import torch

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.loader import Loader
from astrofm.data.store import CutoutStore
from astrofm.plan import plan_run
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart, Recipe

RECIPES = ["moco-sdss-redshift", "moco-quick-redshift"]
SMALLER = ("training.batch_size=8", "training.max_steps=2", "data.size_pix=32", "objective.settings.num_keys=64")


@pytest.fixture(scope="module")
def store(sdss_mgs, archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "mgs.zarr"
    ingest(sdss_mgs, archive, path)
    return CutoutStore.open(path)


@pytest.mark.parametrize("name", RECIPES)
def test_two_steps_have_a_finite_loss(name, store, tmp_path):
    result = pretrain(Recipe.load(name, SMALLER), {"sdss-mgs": store}, tmp_path / "run")
    assert result.step == 2
    assert result.is_mock
    assert np.isfinite(list(result.metrics.values())).all()


@pytest.mark.parametrize("name", RECIPES)
def test_the_two_views_of_a_galaxy_differ_and_are_near_zero_and_one(name, store):
    recipe = Recipe.load(name)
    plan = plan_run(recipe, {"sdss-mgs": store})
    registered = [(plugins.view_part(part.name), part.settings) for part in recipe.views]
    views = [part.build(part.config.model_validate(settings)) for part, settings in registered]
    batch = next(iter(Loader(plan.feeds, 32, 0)))
    first, second = plan.pipeline(views, 2, 0)(batch, 0, "cpu").images
    assert first.shape == (32, 5, recipe.data.size_pix, recipe.data.size_pix)
    assert ((first - second).abs().amax(dim=(1, 2, 3)) > 0.1).all()
    for view in (first, second):
        assert torch.isfinite(view).all()
        assert view.mean().abs() < 1
        assert 0.2 < view.std() < 5
    again, _ = plan.pipeline(views, 2, 0)(batch, 0, "cpu").images
    assert torch.equal(first, again)


def test_redshifts_are_labels_to_learn_from(store, tmp_path):
    supervised = {"name": "supervised", "settings": {"head": {"kind": "redshift"}}}
    recipe = Recipe.load("moco-quick-redshift", ("training.batch_size=8", "training.max_steps=2"))
    recipe = recipe.model_copy(update={"objective": NamedPart.model_validate(supervised)})
    result = pretrain(recipe, {"sdss-mgs": store}, tmp_path / "run")
    assert result.metrics["loss"] == pytest.approx(np.log(180), rel=0.2)


def test_the_paper_s_settings_are_in_the_recipe():
    """64 px of 0.396 arcsec, jittered by up to 7 px; E(B-V) from U(0, 0.5); a ResNet-50 that keeps every pixel."""
    recipe = Recipe.load("moco-sdss-redshift")
    views = {part.name: part.settings for part in recipe.views}
    assert recipe.data.field_of_view_arcsec / recipe.data.size_pix == pytest.approx(0.396)
    assert views["shift"]["max_fraction"] * recipe.data.size_pix == 7
    dust = plugins.view_part("dust").config.model_validate(views["dust"])
    assert (dust.ebv.law, dust.ebv.low, dust.ebv.high, dust.p) == ("uniform", 0.0, 0.5, 1.0)
    assert (recipe.encoder.name, recipe.encoder.settings) == ("resnet50", {"stem": "7x7-s1"})
