"""The NT-Xent loss: by hand and by the paper's equation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from astrofm.objectives.simclr import SimCLR, SimCLRConfig, nt_xent_loss
from astrofm.views.base import Views


def slow_loss(first, second, temperature):
    """Chen et al. 2020, eq. 1: one view after the other, in float64."""
    rows = [row / row.norm() for row in torch.cat([first, second]).double()]
    total = 0.0
    for i, row in enumerate(rows):
        partner = (i + len(first)) % len(rows)
        others = sum(math.exp(float(row @ other) / temperature) for k, other in enumerate(rows) if k != i)
        total -= math.log(math.exp(float(row @ rows[partner]) / temperature) / others)
    return total / len(rows)


def test_the_loss_of_vectors_known_by_hand():
    orthogonal = torch.eye(2)
    expected = math.log((math.e + 2.0) / math.e)  # a partner at cosine 1, two others at 0
    assert nt_xent_loss(orthogonal, orthogonal, 1.0).item() == pytest.approx(expected)
    same = torch.ones(4, 3)
    assert nt_xent_loss(same, same, 0.1).item() == pytest.approx(math.log(7.0))


@given(seed=st.integers(0, 1000), temperature=st.floats(0.05, 5), scale=st.floats(1e-2, 1e2))
@settings(deadline=None)
def test_the_loss_is_the_papers_and_does_not_see_lengths(seed, temperature, scale):
    first, second = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(seed))
    expected = slow_loss(first, second, temperature)
    assert nt_xent_loss(scale * first, second, temperature).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 3\), \(2, 3\)"):
        nt_xent_loss(torch.ones(4, 3), torch.ones(2, 3), 0.5)


def test_the_step_trains_encoder_and_projector_in_float32_also_under_autocast():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    simclr = SimCLR(SimCLRConfig(hidden_dim=12, out_dim=6), encoder, 8)
    images = torch.randn(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    result = simclr(Views(tuple(images), torch.arange(5)), 0)
    projections = [simclr.projector(encoder(view)).detach() for view in images]
    assert result.loss.item() == pytest.approx(slow_loss(*projections, 0.5), rel=1e-4)
    result.loss.backward()
    assert all(parameter.grad is not None for parameter in simclr.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert simclr(Views(tuple(images), torch.arange(5)), 0).loss.dtype == torch.float32
