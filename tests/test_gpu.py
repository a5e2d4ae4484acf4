"""What trains on a CPU trains on a GPU, and sees the same views there."""

import math
import os
import signal

import pytest
import torch

from astrofm.data.loader import Loader
from astrofm.home import shipped
from astrofm.interruption import Interrupted
from astrofm.parts import build_view
from astrofm.plan import plan_run
from astrofm.pretrain import needed_surveys, pretrain
from astrofm.recipe import Recipe
from astrofm.run import Run
from astrofm.stores import find_stores

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]

RECIPES = sorted(file.stem for file in shipped("configs").glob("*.yaml"))


@pytest.fixture
def load():
    """Return ``load(name, *changes)``: a shipped recipe, shortened, and mock stores for it."""

    def load(name, *changes):
        recipe = Recipe.load(name, ["training.batch_size=8", "training.max_steps=4", *changes])
        return recipe, find_stores(needed_surveys(recipe), mock=40)

    return load


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_in_bfloat16(name, load, tmp_path):
    recipe, stores = load(name, "training.precision=bf16-mixed")
    result = pretrain(recipe, stores, tmp_path / "run", device="cuda")
    assert result.step == 4
    assert math.isfinite(result.metrics["loss"])


@pytest.mark.parametrize("name", RECIPES)
def test_its_views_are_those_of_the_cpu(name, load):
    recipe, stores = load(name)
    plan = plan_run(recipe, stores)
    pipeline = plan.pipeline([build_view(part) for part in recipe.views], 2, recipe.training.seed)
    batch = next(iter(Loader(plan.feeds, 8, recipe.training.seed)))
    for found, expected in zip(pipeline(batch, 1, "cuda").images, pipeline(batch, 1, "cpu").images, strict=True):
        spread = float(expected.std())
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3 * spread)


class StopAt:
    """Sends this process SIGTERM after a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, info):
        if info.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_continued_run_ends_as_one_that_was_not_interrupted(load, tmp_path):
    recipe, stores = load("byol-quick-radio", "training.max_steps=8", "training.deterministic=true")
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    pretrain(recipe, stores, whole.path, device="cuda")
    with pytest.raises(Interrupted):
        pretrain(recipe, stores, run.path, device="cuda", listeners=[StopAt(4)])
    pretrain(recipe, stores, run.path, device="cuda", resume=True)
    states = [torch.load(each.checkpoint, weights_only=True, map_location="cpu") for each in (whole, run)]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name


def test_networks_are_compiled(load, tmp_path, recwarn):
    recipe, stores = load("byol-quick-radio", "training.compile=true")
    result = pretrain(recipe, stores, tmp_path / "run", device="cuda")
    assert math.isfinite(result.metrics["loss"])
    assert not [warning for warning in recwarn if "cannot be compiled" in str(warning.message)]
