"""BYOL: the loss by hand and by the paper's equation, and a target that is a network of its own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from astrofm.objectives.byol import BYOL, BYOLConfig, byol_loss, projector
from astrofm.objectives.collapse import effective_rank, embedding_spread
from astrofm.views.base import Views

GOLDEN_LOSSES = {1: 2.382087, 5: 0.634468, 20: 0.397229}
"""Loss at some of 20 steps; ``python tests/objectives/test_byol.py`` makes them anew."""


def small_encoder():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )


def small_byol(seed=0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BYOLConfig(**{"hidden_dim": 16, "out_dim": 8, **settings})
        return BYOL(config, small_encoder(), 32)


def views_of(seed=0, num=16):
    images = torch.randn(2, num, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    base = torch.randn(num, 1, 12, 12, generator=torch.Generator().manual_seed(seed + 1000))
    return Views(tuple(base + 0.1 * images), torch.arange(num))


def slow_loss(prediction, target):
    """Grill et al. 2020, eq. 2: squared distance of the normalised vectors, one pair after the other."""
    total = 0.0
    for q, z in zip(prediction.tolist(), target.tolist(), strict=True):
        length_q, length_z = math.sqrt(sum(a * a for a in q)), math.sqrt(sum(b * b for b in z))
        total += sum((a / length_q - b / length_z) ** 2 for a, b in zip(q, z, strict=True))
    return total / len(prediction)


def test_the_loss_of_pairs_known_by_hand():
    east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert byol_loss(east, east).item() == pytest.approx(0.0)
    assert byol_loss(east, north).item() == pytest.approx(2.0)
    assert byol_loss(east, -east).item() == pytest.approx(4.0)


@given(seed=st.integers(0, 1000), scale=st.floats(1e-2, 1e3))
@settings(deadline=None)
def test_the_loss_is_the_papers_and_does_not_see_the_scale_of_the_prediction(seed, scale):
    prediction, target = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(seed))
    loss = byol_loss(prediction, target).item()
    assert loss == pytest.approx(slow_loss(prediction.double(), target.double()), abs=1e-5)
    assert byol_loss(scale * prediction, target).item() == pytest.approx(loss, abs=1e-5)


def test_no_gradient_flows_into_the_target():
    prediction, target = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    byol_loss(prediction, target).backward()
    assert prediction.grad is not None
    assert target.grad is None


def test_the_loss_is_float32_under_autocast():
    byol, views = small_byol(), views_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert byol(views, 0).loss.dtype == torch.float32
        low = torch.randn(4, 64).bfloat16()
        assert byol_loss(low, low).dtype == torch.float32


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 3\), \(2, 3\)"):
        byol_loss(torch.ones(4, 3), torch.ones(2, 3))


def test_online_and_target_share_no_storage_and_only_the_online_network_is_trained():
    byol = small_byol()
    online = nn.ModuleList([byol.encoder, byol.projector, byol.predictor])
    owned = {tensor.untyped_storage().data_ptr() for tensor in (*online.parameters(), *online.buffers())}
    copied = {tensor.untyped_storage().data_ptr() for tensor in (*byol.target.parameters(), *byol.target.buffers())}
    assert owned.isdisjoint(copied)
    byol(views_of(), 0).loss.backward()
    assert all(parameter.grad is not None for parameter in online.parameters())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in byol.target.parameters())
    trainable = sum(parameter.requires_grad for parameter in byol.parameters())
    assert trainable == len(list(online.parameters()))


def test_the_target_moves_after_the_step_by_its_share_of_the_difference_and_not_before():
    byol = small_byol(tau_start=0.9, tau_schedule="constant")
    optimizer = torch.optim.SGD([p for p in byol.parameters() if p.requires_grad], lr=0.5)
    online = [*byol.encoder.parameters(), *byol.projector.parameters()]
    before = [parameter.clone() for parameter in byol.target.parameters()]
    byol(views_of(), 0).loss.backward()
    optimizer.step()
    for target, start in zip(byol.target.parameters(), before, strict=True):
        assert torch.equal(target, start)
    assert byol.after_step(1, 100) == {"tau": 0.9}
    for target, start, followed in zip(byol.target.parameters(), before, online, strict=True):
        torch.testing.assert_close(target, start + 0.1 * (followed - start))
    assert any(not torch.equal(t, b) for t, b in zip(byol.target.parameters(), before, strict=True))


def test_the_first_update_has_the_first_tau_and_the_schedule_ends_at_one():
    byol = small_byol(tau_start=0.5)
    taus = [byol.after_step(step, 10)["tau"] for step in range(1, 12)]
    assert taus[0] == 0.5
    assert taus[-1] == 1.0
    assert taus == sorted(taus)


def test_the_step_is_the_symmetric_loss_of_both_views():
    byol, views = small_byol(), views_of()
    loss = byol(views, 0).loss.item()
    swapped = Views(views.images[::-1], views.row_ids)
    assert byol(swapped, 0).loss.item() == pytest.approx(loss, rel=1e-6)
    first, second = views.images
    predicted = [byol.predictor(byol.projector(byol.encoder(view))) for view in (first, second)]
    targets = [byol.target(view) for view in (second, first)]
    expected = sum(slow_loss(p.double(), t.double()) for p, t in zip(predicted, targets, strict=True)) / 2
    assert loss == pytest.approx(expected, abs=1e-5)


def test_batch_norm_sees_one_view_at_a_time():
    byol, views = small_byol(), views_of()
    far = Views((views.images[0], 100.0 + 0.0 * views.images[1]), views.row_ids)
    together = byol(views, 0).embedding
    torch.testing.assert_close(byol(far, 0).embedding, together)


def test_the_state_of_the_target_is_saved_and_restored():
    byol, other = small_byol(0, tau_start=0.9), small_byol(1)
    optimizer = torch.optim.SGD([p for p in byol.parameters() if p.requires_grad], lr=0.5)
    byol(views_of(), 0).loss.backward()
    optimizer.step()
    byol.after_step(1, 10)
    other.load_state_dict(byol.state_dict())
    for a, b in zip(byol.target.parameters(), other.target.parameters(), strict=True):
        assert torch.equal(a, b)


def losses_of_twenty_steps():
    byol = small_byol(tau_start=0.9)
    optimizer = torch.optim.SGD([p for p in byol.parameters() if p.requires_grad], lr=0.2, momentum=0.9)
    losses = {}
    for step in range(1, 21):
        loss = byol(views_of(step), step - 1).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        byol.after_step(step, 20)
        losses[step] = loss.item()
    return {step: losses[step] for step in GOLDEN_LOSSES}


def test_twenty_steps_give_the_golden_losses():
    assert losses_of_twenty_steps() == pytest.approx(GOLDEN_LOSSES, abs=1e-3)


def test_projector_is_linear_norm_relu_linear_with_the_papers_widths():
    config = BYOLConfig()
    layers = projector(512, config.hidden_dim, config.out_dim)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert layers(torch.randn(2, 512)).shape == (2, 256)
    assert (config.hidden_dim, config.tau_start) == (4096, 0.996)


def test_spread_is_one_for_isotropic_and_zero_for_collapsed_embeddings():
    isotropic = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert embedding_spread(isotropic).item() == pytest.approx(1.0, abs=0.01)
    assert embedding_spread(torch.ones(10, 64)).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_effective_rank_counts_equal_directions(rank):
    rng = np.random.default_rng(rank)
    basis = np.linalg.qr(rng.normal(size=(40, rank + 1)))[0]
    basis = np.linalg.qr(basis - basis.mean(axis=0))[0][:, :rank]
    directions = np.linalg.qr(rng.normal(size=(16, rank)))[0]
    embedding = torch.from_numpy(5.0 + basis @ directions.T)
    assert effective_rank(embedding).item() == pytest.approx(rank, rel=1e-3)


def test_effective_rank_of_identical_rows_is_zero():
    assert effective_rank(torch.ones(8, 4)).item() == 0.0


if __name__ == "__main__":
    print(losses_of_twenty_steps())
