"""The redshift head: bins, cross-entropy and point estimate of Hayat et al. 2021, and rows without a redshift."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.heads.redshift import RedshiftHead, RedshiftHeadConfig, expected_redshift, redshift_bins, redshift_edges
from astrofm.views.base import Views


def views_of(z_spec):
    return Views((torch.zeros(len(z_spec), 1),), torch.arange(len(z_spec)), labels={"z_spec": torch.tensor(z_spec)})


def embedding(num, dim=8):
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_the_defaults_are_those_of_the_paper():
    config = RedshiftHeadConfig(kind="redshift")
    assert (config.num_bins, config.z_max) == (180, 0.4)
    edges = redshift_edges(180, 0.4)
    assert edges[1].item() == pytest.approx(0.0022222, rel=1e-4)
    assert edges.diff().std().item() < 1e-7


def test_bins_are_half_open_and_what_lies_beyond_is_in_the_nearest():
    z_spec = torch.tensor([0.0, 0.0999, 0.1, 0.3999, 0.4, 2.0, -0.001, math.nan])
    assert redshift_bins(z_spec, redshift_edges(4, 0.4)).tolist() == [0, 0, 1, 3, 3, 3, 0, -1]


@given(z=st.floats(0, 0.3984375, width=32), num_bins=st.integers(2, 300))
@settings(deadline=None)
def test_a_redshift_lies_between_the_edges_of_its_bin(z, num_bins):
    edges = redshift_edges(num_bins, 0.4)
    place = redshift_bins(torch.tensor([z]), edges).item()
    assert edges[place] <= torch.tensor(z) < edges[place + 1]
    assert place == pytest.approx(math.floor(z / 0.4 * num_bins), abs=1)


def test_an_untrained_head_has_the_logarithm_of_the_number_of_bins_as_loss():
    loss, _ = RedshiftHead(8).measure(embedding(64), views_of([0.1] * 64), 0)
    assert loss.item() == pytest.approx(math.log(180), abs=0.05)


def test_the_loss_is_the_mean_cross_entropy_of_the_rows_with_a_redshift():
    head, inputs = RedshiftHead(8, num_bins=5), embedding(4)
    head.linear.weight.data.mul_(100.0)
    z_spec = [0.05, math.nan, 0.17, 0.9]
    loss, _ = head.measure(inputs, views_of(z_spec), 0)
    slow = 0.0
    for row, place in ((0, 0), (2, 2), (3, 4)):
        logits = head(inputs)[row].double().tolist()
        slow -= (logits[place] - math.log(sum(map(math.exp, logits)))) / 3
    assert loss.item() == pytest.approx(slow, rel=1e-6)
    loss.backward()
    assert (inputs.grad[1] == 0).all()
    assert (inputs.grad[[0, 2, 3]] != 0).any(dim=1).all()


def test_a_confident_mistake_keeps_its_gradient():
    head, inputs = RedshiftHead(2, num_bins=2), torch.ones(1, 2, requires_grad=True)
    head.linear.weight.data.copy_(torch.tensor([[15.0, 15.0], [0.0, 0.0]]))
    loss, _ = head.measure(inputs, views_of([0.3]), 0)
    loss.backward()
    assert loss.item() == pytest.approx(30.0)
    assert inputs.grad.tolist() == [[pytest.approx(15.0), pytest.approx(15.0)]]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_batch_without_redshifts_has_no_loss_and_no_gradient(precision):
    head, inputs = RedshiftHead(8), embedding(3)
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        loss, metrics = head.measure(inputs, views_of([math.nan] * 3), 0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == 0.0
    assert all((weight.grad == 0).all() for weight in (*head.parameters(), inputs))
    assert all(value.item() == 0.0 for value in metrics.values())


def test_the_estimate_is_the_mean_of_the_centres_under_the_probabilities():
    edges = redshift_edges(4, 0.4)
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 200.0, 0.0, 0.0], [math.log(3.0), 0.0, -200.0, -200.0]])
    assert expected_redshift(logits, edges).tolist() == pytest.approx([0.2, 0.15, 0.075])
    assert expected_redshift(logits.bfloat16(), edges).dtype == torch.float32


def test_the_metrics_are_of_the_estimate():
    head = RedshiftHead(2, num_bins=4)
    head.linear.weight.data.zero_()  # every estimate is 0.2
    _, metrics = head.measure(torch.ones(2, 2), views_of([0.0, 0.2]), 0)
    found = {name: value.item() for name, value in metrics.items()}
    assert found["photoz_bias"] == pytest.approx(0.1)
    assert found["photoz_sigma_mad"] == pytest.approx(0.14826, rel=1e-4)
    assert found["photoz_outliers"] == pytest.approx(0.5)
