"""VICReg as a stranger's package of one file: the loss of the paper, that of lightly, and a run."""

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.loss import VICRegLoss

from astrofm import plugins
from astrofm.model import Model
from astrofm.pretrain import pretrain
from astrofm.recipe import NamedPart
from astrofm.views.base import Views

FOLDER = Path(__file__).parents[1] / "plugins" / "astrofm-vicreg"


@pytest.fixture
def part(monkeypatch, fresh_plugins):
    """The objective, as an installed package would bring it."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    points = [EntryPoint(name, module, "astrofm") for name, module in project["entry-points"]["astrofm"].items()]
    installed = list(plugins.entry_points(group="astrofm"))
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*installed, *points] if group == "astrofm" else [])
    plugins.forget()
    yield plugins.objective_part("vicreg")
    sys.modules.pop("astrofm_vicreg", None)


def built(part, **settings):
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))
    return part.build(part.config(hidden_dim=12, out_dim=6, **settings), encoder, 8)


def views_of(num=5):
    images = torch.randn(2, num, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return Views(tuple(images), torch.arange(num))


def slow_loss(z, w, invariance, variance, covariance):
    """Bardes et al. 2022, eq. 1 to 6, one number after the other, with the means of the authors' code."""
    num, dim = z.shape
    loss = invariance * sum((z[i, j] - w[i, j]) ** 2 for i in range(num) for j in range(dim)) / (num * dim)
    for of_view in (z, w):
        centred = [[of_view[i, j] - sum(of_view[:, j]) / num for j in range(dim)] for i in range(num)]
        for j in range(dim):
            own = sum(row[j] ** 2 for row in centred) / (num - 1)
            loss += 0.5 * variance * max(0.0, 1.0 - np.sqrt(own + 1e-4)) / dim
            others = [sum(row[j] * row[k] for row in centred) / (num - 1) for k in range(dim) if k != j]
            loss += covariance * sum(other**2 for other in others) / dim
    return loss


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_the_loss_is_that_of_the_paper_and_of_lightly(part, weights):
    names = ("invariance", "variance", "covariance")
    objective, views = built(part, **dict(zip(names, weights, strict=True))), views_of()
    z, w = (objective.projector(objective.encoder(images)) for images in views.images)
    result = objective(views, 0)
    slow = slow_loss(z.detach().double().numpy(), w.detach().double().numpy(), *weights)
    assert result.loss.item() == pytest.approx(slow, rel=1e-5)
    theirs = VICRegLoss(*weights)(z, w)
    torch.testing.assert_close(result.loss, theirs)
    weight = objective.encoder[1].weight
    torch.testing.assert_close(*(torch.autograd.grad(loss, weight)[0] for loss in (result.loss, theirs)))


def test_its_loss_is_float32_where_the_networks_are_bfloat16(part):
    objective, views = built(part), views_of()
    with torch.autocast("cpu", torch.bfloat16):
        z, w = (objective.projector(objective.encoder(images)) for images in views.images)
        result = objective(views, 0)
    slow = slow_loss(z.detach().double().numpy(), w.detach().double().numpy(), 25.0, 25.0, 1.0)
    assert z.dtype == torch.bfloat16
    assert result.loss.item() == pytest.approx(slow, rel=1e-5)


def test_it_runs_by_name_in_a_recipe(part, tiny_recipe, mock_stores, tmp_path):
    settings = {"name": "vicreg", "settings": {"hidden_dim": 32, "out_dim": 16}}
    recipe = tiny_recipe(max_steps=4).model_copy(update={"objective": NamedPart.model_validate(settings)})
    result = pretrain(recipe, mock_stores, tmp_path / "run")
    assert result.step == 4
    assert {"invariance", "variance", "covariance"} <= result.metrics.keys()
    assert np.isfinite(list(result.metrics.values())).all()
    assert Model.load(tmp_path / "run" / "model").card.objective == "vicreg"
