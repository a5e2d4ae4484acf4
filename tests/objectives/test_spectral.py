"""The spectral contrastive loss: by hand, by a slow loop, and the eigenvectors it is made to find."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from astrofm.objectives.spectral import Spectral, SpectralConfig, spectral_loss
from astrofm.views.base import Views

DTYPES = torch.float32, torch.float64


def slow_loss(first, second, mu):
    """HaoChen et al. 2021: one pair after the other, in float64."""
    a, b = (
        [row * min(1.0, np.sqrt(mu) / max(np.linalg.norm(row), 1e-300)) for row in z.double().numpy()]
        for z in (first, second)
    )
    num = len(a)
    positive = sum(a[i] @ b[i] for i in range(num)) / num
    negative = sum((a[i] @ b[j]) ** 2 for i in range(num) for j in range(num) if i != j) / (num * (num - 1))
    return (-2 * positive + negative) / mu


def test_the_loss_of_vectors_known_by_hand():
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    orthogonal = torch.stack([east, north])
    assert spectral_loss(orthogonal, orthogonal, 1.0).item() == pytest.approx(-2.0)
    collapsed = torch.stack([east, east])
    assert spectral_loss(collapsed, collapsed, 1.0).item() == pytest.approx(-1.0)
    assert spectral_loss(0 * orthogonal, orthogonal, 1.0).item() == 0.0


@given(seed=st.integers(0, 1000), mu=st.floats(0.1, 20), scale=st.floats(1e-2, 10))
@settings(deadline=None)
def test_the_loss_is_the_papers(seed, mu, scale):
    first, second = scale * torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(seed))
    assert spectral_loss(first, second, mu).item() == pytest.approx(slow_loss(first, second, mu), rel=1e-4, abs=1e-5)


def loop_loss(first, second, mu):
    """The same with gradients: one pair of rows after the other, each pulled back to the ball by itself."""
    a, b = ([row if row.norm() < mu**0.5 else row * mu**0.5 / row.norm() for row in z] for z in (first, second))
    num = len(a)
    positive = sum(a[i] @ b[i] for i in range(num)) / num
    negative = sum((a[i] @ b[j]) ** 2 for i in range(num) for j in range(num) if i != j) / (num * (num - 1))
    return (-2 * positive + negative) / mu


@pytest.mark.parametrize("mu", [0.25, 1.0, 10.0])
def test_the_gradient_flows_through_the_cap_of_the_norm(mu):
    generator = torch.Generator().manual_seed(3)
    lengths = mu**0.5 * torch.tensor([0.2, 0.9, 1.1, 3.0, 0.5])
    first, second = nn.functional.normalize(torch.randn(2, 5, 4, generator=generator), dim=2) * lengths[:, None]
    own, slow = ([z.detach().to(dtype).requires_grad_() for z in (first, second)] for dtype in DTYPES)
    found = torch.autograd.grad(spectral_loss(*own, mu), own)
    for gradient, expected in zip(found, torch.autograd.grad(loop_loss(*slow, mu), slow), strict=True):
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_vector_of_length_zero_has_a_gradient():
    first = torch.zeros(3, 4, requires_grad=True)
    spectral_loss(first, torch.eye(3, 4), 1.0).backward()
    torch.testing.assert_close(first.grad, -2.0 / 3.0 * torch.eye(3, 4))


def test_a_batch_of_one_and_other_shapes_are_refused():
    for first, second in ((torch.ones(1, 4), torch.ones(1, 4)), (torch.ones(3, 4), torch.ones(2, 4))):
        with pytest.raises(ValueError, match="at least 2 rows"):
            spectral_loss(first, second, 1.0)


def test_it_finds_the_leading_eigenspace_of_an_augmentation_graph():
    """Twelve images in three unequal communities; an embedding of three free numbers for each image."""
    communities = np.repeat([0, 1, 2], [3, 4, 5])
    rng = np.random.default_rng(0)
    weights = np.where(communities[:, None] == communities, 1.0, 0.02) * rng.uniform(0.5, 1.5, (12, 12))
    weights = (weights + weights.T) / (weights + weights.T).sum()
    marginal = weights.sum(axis=1)
    eigenvectors = np.linalg.eigh(weights / np.sqrt(np.outer(marginal, marginal)))[1][:, -3:]

    table = nn.Parameter(0.3 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.Adam([table], lr=0.02)
    for _ in range(500):
        pairs = torch.from_numpy(rng.choice(144, 400, p=weights.ravel()))
        optimizer.zero_grad()
        # A large mu caps nothing, and only scales the loss.
        loss = 1e4 * spectral_loss(table[pairs // 12], table[pairs % 12], 1e4)
        loss.backward()
        optimizer.step()
    found = np.linalg.qr(np.sqrt(marginal)[:, None] * table.detach().double().numpy())[0]
    overlap = np.linalg.svd(eigenvectors.T @ found)[1]
    assert overlap.min() > 0.97


def test_the_step_is_the_loss_of_the_projections_of_both_views():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    spectral = Spectral(SpectralConfig(hidden_dim=12, out_dim=6, mu=2.0), encoder, 8)
    images = torch.randn(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    views = Views(tuple(images), torch.arange(5))
    first, second = (spectral.projector(encoder(view)).detach() for view in images)
    result = spectral(views, 0)
    assert result.loss.item() == pytest.approx(slow_loss(first, second, 2.0), rel=1e-4)
    result.loss.backward()
    assert all(parameter.grad is not None for parameter in spectral.parameters())
    assert torch.equal(result.embedding, encoder(images[0]))
    assert torch.equal(result.projection, first)


def test_the_loss_is_float32_under_autocast():
    low = torch.randn(4, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert spectral_loss(low, low, 1.0).dtype == torch.float32
