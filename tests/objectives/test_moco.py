"""MoCo: the loss by the paper's equation, and a queue that forgets the oldest."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from astrofm.objectives.moco import MoCo, MoCoConfig, info_nce_loss
from astrofm.views.base import Views


def slow_loss(queries, keys, negatives, temperature):
    """He et al. 2020, eq. 1: one query after the other, in float64."""
    total = 0.0
    for query, key in zip(queries.double(), keys.double(), strict=True):
        query, key = query / query.norm(), key / key.norm()
        right = math.exp(float(query @ key) / temperature)
        wrong = sum(math.exp(float(query @ other.double()) / temperature) for other in negatives)
        total -= math.log(right / (right + wrong))
    return total / len(queries)


def small_moco(seed=0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
        return MoCo(MoCoConfig(**{"hidden_dim": 12, "out_dim": 6, "num_keys": 10, "tau": 0.9, **settings}), encoder, 8)


def views_of(seed, num=4):
    images = torch.randn(2, num, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Views(tuple(images), torch.arange(num))


def test_the_loss_of_vectors_known_by_hand():
    east, north = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert info_nce_loss(east, east, north, 1.0).item() == pytest.approx(math.log((math.e + 1.0) / math.e))
    assert info_nce_loss(east, east, torch.zeros(0, 2), 1.0).item() == 0.0


@given(seed=st.integers(0, 1000), temperature=st.floats(0.05, 5), num=st.integers(0, 7))
@settings(deadline=None)
def test_the_loss_is_the_papers(seed, temperature, num):
    generator = torch.Generator().manual_seed(seed)
    queries, keys = torch.randn(2, 3, 4, generator=generator)
    negatives = nn.functional.normalize(torch.randn(num, 4, generator=generator), dim=1)
    expected = slow_loss(queries, keys, negatives, temperature)
    assert info_nce_loss(queries, keys, negatives, temperature).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_queue_fills_in_order_and_forgets_the_oldest():
    moco = small_moco()
    made = []
    for step in range(1, 5):
        moco(views_of(step), step - 1)
        made.append(nn.functional.normalize(moco.target(views_of(step).images[1]), dim=1))
        held = moco.keys.clone()
        assert int(moco.num_seen) == 4 * (step - 1), "keys join after the step, not before"
        moco.after_step(step, 10)
        assert not torch.equal(held, moco.keys)
    newest = torch.cat(made)[-10:]
    torch.testing.assert_close(torch.sort(moco.keys[:, 0]).values, torch.sort(newest[:, 0]).values)
    assert int(moco.num_seen) == 16


def test_a_batch_longer_than_the_queue_leaves_its_last_keys():
    moco = small_moco(num_keys=3)
    moco(views_of(0, num=5), 0)
    keys = nn.functional.normalize(moco.target(views_of(0, num=5).images[1]), dim=1)
    moco.after_step(1, 10)
    torch.testing.assert_close(torch.sort(moco.keys[:, 0]).values, torch.sort(keys[-3:, 0]).values)


def test_only_keys_of_earlier_batches_are_negatives():
    moco = small_moco()
    assert moco(views_of(0), 0).loss.item() == 0.0
    moco.after_step(1, 10)
    result = moco(views_of(1), 1)
    queries = moco.projector(moco.encoder(views_of(1).images[0])).detach()
    expected = slow_loss(queries, moco.target(views_of(1).images[1]), moco.keys[:4], 0.2)
    assert result.loss.item() == pytest.approx(expected, rel=1e-4)


def test_gradients_reach_the_online_network_alone_and_the_target_follows_after_the_step():
    moco = small_moco()
    moco(views_of(0), 0)
    moco.after_step(1, 10)
    moco(views_of(1), 1).loss.backward()
    online = [*moco.encoder.parameters(), *moco.projector.parameters()]
    assert all(parameter.grad is not None for parameter in online)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in moco.target.parameters())
    before = [parameter.clone() for parameter in moco.target.parameters()]
    with torch.no_grad():
        for parameter in online:
            parameter.add_(1.0)
    assert moco.after_step(2, 10) == {"tau": 0.9}
    for target, start in zip(moco.target.parameters(), before, strict=True):
        torch.testing.assert_close(target, start + 0.1)


def test_a_resumed_queue_gives_the_same_loss():
    moco, other = small_moco(0), small_moco(1)
    for step in range(1, 4):
        moco(views_of(step), step - 1)
        moco.after_step(step, 10)
    other.load_state_dict(moco.state_dict())
    assert torch.equal(other(views_of(9), 3).loss, moco(views_of(9), 3).loss)
