"""Target networks of all objectives that have one: their own storage, their own batch norm, the exact step."""

import pytest
import torch
from torch import nn

from astrofm.data.supervision import Labels
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.objectives.hybrid import Hybrid, HybridConfig
from astrofm.objectives.moco import MoCo, MoCoConfig
from astrofm.views.base import Views

SMALL = {"hidden_dim": 12, "out_dim": 6}
TAU = 0.75


def built(name):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    if name == "moco":
        return MoCo(MoCoConfig(**SMALL, num_keys=8, tau=TAU), encoder, 16)
    schedule = {"tau_start": TAU, "tau_schedule": "constant"}
    if name == "byol":
        return BYOL(BYOLConfig(**SMALL, **schedule), encoder, 16)
    labels = Labels("votes", tuple("abc"), (slice(0, 3),))
    return Hybrid(HybridConfig(**SMALL, **schedule, weight=1.0), encoder, 16, labels)


def views_of(seed=0):
    images = torch.randn(2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Views(tuple(images), torch.arange(6), labels={"votes": torch.tensor([[3, 1, 0]] * 6)})


def storages(module):
    return {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}


def train_once(objective):
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.5)
    objective(views_of(1), 0)
    objective.after_step(1, 10)
    loss = objective(views_of(2), 1).loss
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["byol", "hybrid", "moco"])
def test_online_and_target_share_no_storage_before_and_after_a_step(name):
    objective = built(name)
    for _ in range(2):
        online = nn.ModuleList([objective.encoder, objective.projector])
        assert storages(online).isdisjoint(storages(objective.target))
        train_once(objective)


@pytest.mark.parametrize("name", ["byol", "hybrid", "moco"])
def test_the_target_moves_by_its_share_of_the_difference(name):
    objective = built(name)
    train_once(objective)
    online = [*objective.encoder.parameters(), *objective.projector.parameters()]
    before = [parameter.clone() for parameter in objective.target.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, online, strict=True))
    objective.after_step(2, 10)
    for target, start, followed in zip(objective.target.parameters(), before, online, strict=True):
        torch.testing.assert_close(target, TAU * start + (1.0 - TAU) * followed)


@pytest.mark.parametrize("name", ["byol", "hybrid", "moco"])
def test_batch_norm_of_the_target_keeps_statistics_of_its_own_which_the_step_leaves_alone(name):
    objective = built(name)
    norms = [module for module in objective.target.modules() if isinstance(module, nn.BatchNorm2d)]
    started = norms[0].running_mean.clone()
    objective(views_of(), 0)
    kept = {key: value.clone() for key, value in objective.target.named_buffers()}
    assert not torch.equal(norms[0].running_mean, started)
    objective.encoder[1].running_mean += 5.0
    objective.after_step(1, 10)
    assert all(torch.equal(value, kept[key]) for key, value in objective.target.named_buffers())
