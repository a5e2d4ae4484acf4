"""What trains on a CPU trains on a GPU, and sees the same views there."""

import math
import os
import signal

import pytest
import torch

from astrofm.capture import CapturedObjective
from astrofm.data.loader import Loader
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.home import shipped
from astrofm.interruption import Interrupted
from astrofm.objectives.simclr import SimCLR, SimCLRConfig
from astrofm.parts import build_view
from astrofm.plan import plan_run
from astrofm.pretrain import needed_surveys, pretrain
from astrofm.recipe import Recipe
from astrofm.run import Run
from astrofm.stores import find_stores
from astrofm.views.base import Views

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


CAPTURABLE = [
    "objective={name: byol, settings: {hidden_dim: 64, out_dim: 16}}",
    "objective={name: simclr, settings: {hidden_dim: 64, out_dim: 16}}",
    "objective={name: spectral, settings: {hidden_dim: 64, out_dim: 16}}",
]


@pytest.mark.parametrize("objective", CAPTURABLE)
@pytest.mark.parametrize(
    "change",
    ["training.max_steps=6", "training.accumulate_batches=2", "training.coarse={size_pix: 32, fraction: 0.5}"],
    ids=["whole", "small batches", "two sizes"],
)
def test_a_captured_step_is_the_step(objective, change, load, tmp_path, recwarn):
    """The kernels are the same, and so is every bit of weights and of the statistics of batch norm."""
    states = []
    for capture in ("false", "true"):
        asked = [
            objective,
            "training.max_steps=6",
            "training.deterministic=true",
            change,
            f"training.capture={capture}",
        ]
        recipe, stores = load("byol-quick-radio", *asked)
        run = Run(tmp_path / capture)
        pretrain(recipe, stores, run.path, device="cuda")
        states.append(torch.load(run.checkpoint, weights_only=True, map_location="cpu")["state_dict"])
    assert not [warning for warning in recwarn if "training.capture" in str(warning.message)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


class Waits(SimCLR):
    """Does what no graph can hold."""

    def forward(self, views, step):
        result = super().forward(views, step)
        assert result.loss.item() > 0
        return result


def test_a_step_that_cannot_be_captured_is_taken_as_it_is():
    encoder = build_encoder(EncoderConfig(name="resnet18"), 1)
    objective = Waits(SimCLRConfig(hidden_dim=8, out_dim=4), encoder, 512).cuda().train()
    before = {name: value.clone() for name, value in objective.named_buffers()}
    images = tuple(torch.rand(4, 1, 32, 32, device="cuda") for _ in range(2))
    views = Views(images, torch.arange(4))
    captured = CapturedObjective(objective)
    with pytest.warns(
        UserWarning, match=r"training.capture: the step cannot be captured \(.*\), and is taken as it is$"
    ):
        result = captured(views, 0)
    result.loss.backward()
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in objective.parameters())
    objective.load_state_dict(before, strict=False)
    torch.testing.assert_close(objective(views, 0).loss, result.loss)


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
