"""Hybrid pretraining: the paper's balance of the two losses, BYOL at one end and supervised training at the other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from astrofm.data.supervision import Labels
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.objectives.hybrid import SMALLEST_LOSS, Hybrid, HybridConfig, build_hybrid, hybrid_loss
from astrofm.objectives.supervised import Supervised, SupervisedConfig, build_supervised
from astrofm.views.base import Views

VOTES = Labels("votes", tuple("abcde"), (slice(0, 2), slice(2, 5)))
CLASSES = Labels("classes", ("fri", "frii"))
SMALL = {"hidden_dim": 16, "out_dim": 8}
HEADS = {"votes": ({"kind": "votes"}, VOTES), "classes": ({"kind": "classes", "task": "fr"}, CLASSES)}


def encoder():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )


def seeded(build, config, *labels):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(config, encoder(), 32, *labels)


def hybrid(weight, kind="votes", build=build_hybrid):
    head, labels = HEADS[kind]
    return seeded(build, HybridConfig(**SMALL, weight=weight, head=head), labels)


def views_of(num_labelled=12, num=16):
    generator = torch.Generator().manual_seed(1)
    base, *noise = torch.randn(3, num, 1, 12, 12, generator=generator)
    votes = torch.randint(0, 20, (num, 5), generator=generator)
    label = torch.randint(0, 2, (num,), generator=generator)
    votes[num_labelled:], label[num_labelled:] = 0, -1
    images = tuple(base + 0.1 * of_view for of_view in noise)
    return Views(images, torch.arange(num), labels={"votes": votes, "label": label})


def gradients(objective, views):
    result = objective(views, 0)
    result.loss.backward()
    return result, {name: parameter.grad for name, parameter in objective.named_parameters()}


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_nll(alpha, votes):
    """The Dirichlet-multinomial of one question, by the product of its definition."""
    likelihood = math.factorial(sum(votes)) * math.gamma(sum(alpha)) / math.gamma(sum(alpha) + sum(votes))
    for a, k in zip(alpha, votes, strict=True):
        likelihood *= math.exp(math.lgamma(a + k) - math.lgamma(a)) / math.factorial(k)
    return -math.log(likelihood)


def slow_parts(objective, views):
    """L_con and L_sup of the paper, one row after the other."""
    x0, x1 = views.images
    y0 = objective.encoder(x0)
    p0, p1 = (objective.predictor(objective.projector(y)) for y in (y0, objective.encoder(x1)))
    z0, z1 = objective.target(x0), objective.target(x1)
    num = len(x0)
    contrastive = 0.0
    for row in range(num):
        contrastive -= 0.5 * cosine(p0[row].tolist(), z1[row].tolist()) / num
        contrastive -= 0.5 * cosine(p1[row].tolist(), z0[row].tolist()) / num
    alpha, votes = objective.head(y0).tolist(), views.labels["votes"].tolist()
    labelled = [row for row in range(num) if sum(votes[row])]
    supervised = sum(
        slow_nll(alpha[row][question], votes[row][question]) for row in labelled for question in VOTES.questions
    )
    return contrastive, supervised / len(labelled), y0


def test_loss_and_gradient_are_twice_those_of_the_papers_equation():
    objective = hybrid(0.7)
    objective.head.dropout = 0.0
    objective.head.linear.weight.data *= 0.1
    objective.head.linear.bias.data.fill_(-4.0)  # concentrations of a few, which the factorials can hold
    objective.double()
    objective.head._concentrations = lambda y: 1.0 + 100.0 * torch.sigmoid(objective.head.linear(y))
    views = views_of()
    views = Views(tuple(image.double() for image in views.images), views.row_ids, labels=views.labels)
    result, _ = gradients(objective, views)
    l_con, l_sup, y0 = slow_parts(objective, views)
    paper = l_con + 0.7 * abs(l_con) / l_sup * l_sup
    assert result.loss.item() == pytest.approx(2.0 + 2.0 * paper, rel=1e-5)
    assert result.metrics["loss_supervised"].item() == pytest.approx(l_sup, rel=1e-8)
    assert result.metrics["loss_contrastive"].item() == pytest.approx(2.0 + 2.0 * l_con, rel=1e-5)
    found = objective.head.linear.weight.grad
    supervised, _ = objective.head.measure(y0, views, 0)
    (own,) = torch.autograd.grad(supervised, objective.head.linear.weight)
    torch.testing.assert_close(found, 2.0 * 0.7 * abs(l_con) / l_sup * own, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("contrastive", [-0.7, 0.4])
@pytest.mark.parametrize("weight", [0.3, 1.0, 5.0])
def test_the_balance_is_a_constant_through_which_no_gradient_flows(contrastive, weight):
    byol, supervised = (torch.tensor(value, requires_grad=True) for value in (2.0 + 2.0 * contrastive, 3.0))
    hybrid_loss(byol, supervised, weight).backward()
    assert byol.grad.item() == 1.0
    assert supervised.grad.item() == pytest.approx(weight * 2.0 * abs(contrastive) / 3.0)


def test_a_weight_that_the_authors_take_for_supervised_training_is_asked_to_say_so():
    with pytest.raises(ValidationError, match=r"at most 100000, or \.inf"):
        HybridConfig(weight=1e6)
    assert HybridConfig(weight=math.inf).weight == math.inf


@given(contrastive=st.floats(-1, 1), supervised=st.floats(1e-5, 1e4), weight=st.floats(0, 100))
@settings(deadline=None)
def test_the_scaled_supervised_loss_is_weight_times_the_contrastive_one(contrastive, supervised, weight):
    byol = torch.tensor(2.0 + 2.0 * contrastive, dtype=torch.float64)
    loss = hybrid_loss(byol, torch.tensor(supervised, dtype=torch.float64), weight).item()
    assert (loss - 2.0) / 2.0 == pytest.approx(contrastive + weight * abs(contrastive), abs=1e-9)


def test_a_vanishing_supervised_loss_is_not_divided_by():
    byol, none = torch.tensor(1.0, requires_grad=True), torch.zeros((), requires_grad=True)
    loss = hybrid_loss(byol, none, 3.0)
    loss.backward()
    assert loss.item() == 1.0
    assert none.grad.item() == pytest.approx(3.0 / SMALLEST_LOSS)
    assert byol.grad.item() == 1.0


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("build", [build_hybrid, Hybrid])
def test_with_weight_0_it_is_byol_bit_for_bit(kind, build):
    byol, objective = seeded(BYOL, BYOLConfig(**SMALL)), hybrid(0.0, kind, build)
    expected, wanted = gradients(byol, views_of())
    before = torch.get_rng_state()
    result, found = gradients(objective, views_of())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(result.loss, expected.loss)
    for name, gradient in wanted.items():
        same = torch.equal(found[name], gradient) if gradient is not None else found[name] is None
        assert same, name
    assert isinstance(objective, BYOL)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("build", [build_hybrid, Hybrid])
def test_with_infinite_weight_it_is_supervised_training_bit_for_bit(kind, build):
    head, labels = HEADS[kind]
    supervised, objective = seeded(build_supervised, SupervisedConfig(head=head), labels), hybrid(math.inf, kind, build)
    if build is Hybrid:  # its head is drawn after the projector
        objective.head.load_state_dict(supervised.head.state_dict())
    expected, wanted = gradients(supervised, views_of())
    result, found = gradients(objective, views_of())
    assert torch.equal(result.loss, expected.loss)
    for name, gradient in wanted.items():
        assert torch.equal(found[name], gradient), name
    assert all(found[name] is None for name in found.keys() - wanted.keys())


def test_infinite_weight_needs_one_view_and_no_target():
    objective = hybrid(math.inf)
    assert type(objective) is Supervised
    assert objective.num_views == 1


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_batch_without_any_label_has_the_loss_and_gradients_of_byol(kind, precision):
    byol, objective = seeded(BYOL, BYOLConfig(**SMALL)), hybrid(2.0, kind)
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        expected, wanted = gradients(byol, views_of(num_labelled=0))
        result, found = gradients(objective, views_of(num_labelled=0))
    assert result.metrics["loss_supervised"].item() == 0.0
    assert torch.equal(result.loss, expected.loss)
    assert all(torch.equal(found[name], gradient) for name, gradient in wanted.items() if gradient is not None)
    assert all((gradient == 0).all() for name, gradient in found.items() if name.startswith("head."))


def test_the_head_sees_the_first_view_alone():
    objective, views = hybrid(1.0), views_of()
    loss = objective(views, 0).metrics["loss_supervised"]
    other = Views((views.images[0], views.images[1].flip(0)), views.row_ids, labels=views.labels)
    assert torch.equal(objective(other, 0).metrics["loss_supervised"], loss)


def test_the_head_is_trained_and_has_no_target():
    objective = hybrid(1.0)
    _, found = gradients(objective, views_of())
    assert (found["head.linear.weight"] != 0).any()
    copied = {name for name, _ in objective.target.named_parameters()}
    online = nn.Sequential(objective.encoder, objective.projector)
    assert copied == {f"network.{name}" for name, _ in online.named_parameters()}


def test_a_weight_must_be_given_and_settings_of_the_other_head_are_refused():
    for given_settings in ({}, {"weight": -1.0}, {"weight": 1.0, "head": {"kind": "votes", "task": "fr"}}):
        with pytest.raises(ValidationError):
            HybridConfig(**given_settings)
