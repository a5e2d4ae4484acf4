"""The vote loss in numbers: pyro's distribution, large counts, the ends of the concentrations, gradients, NaN."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from astrofm.heads.votes import MAX_CONCENTRATION, VoteHead, vote_loss, vote_nll
from astrofm.views.base import Views

QUESTIONS = (slice(0, 3), slice(3, 5), slice(5, 9))


def drawn(most_votes, seed=0, num=32, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    alpha = torch.from_numpy(rng.choice([1.0, MAX_CONCENTRATION, *rng.uniform(1, MAX_CONCENTRATION, 4)], (num, 9)))
    votes = torch.from_numpy(rng.integers(0, most_votes, (num, 9)) * (rng.random((num, 9)) < 0.7))
    return alpha.to(dtype).requires_grad_(), votes


def pyro_nll(alpha, votes):
    """The loop of zoobot, but for its whole numbers, of which pyro takes ln G in float32."""
    losses = []
    for question in QUESTIONS:
        given = votes[:, question]
        of_question = dist.DirichletMultinomial(total_count=given.sum(dim=1), concentration=alpha[:, question])
        losses.append(-of_question.log_prob(given.double()))
    return torch.stack(losses, dim=1)


@pytest.mark.parametrize("most_votes", [2, 40, 5000])
def test_value_and_gradient_are_those_of_pyro(most_votes):
    alpha, votes = drawn(most_votes)
    own, theirs = vote_nll(alpha, votes, QUESTIONS), pyro_nll(alpha, votes)
    torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-8)
    wanted = torch.autograd.grad(theirs.sum(), alpha)
    torch.testing.assert_close(torch.autograd.grad(own.sum(), alpha), wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("most_votes", "bound"), [(40, 1e-3), (1000, 2e-2), (5000, 2e-1)])
def test_float32_is_as_good_as_its_logarithms_of_the_gamma_function(most_votes, bound):
    """ln G(x) of some thousands to a hundred thousand has steps of 1e-4 to 1e-2 in float32; the gradient has not."""
    alpha, votes = drawn(most_votes)
    low = alpha.detach().float().requires_grad_()
    wanted, found = vote_nll(alpha, votes, QUESTIONS), vote_nll(low, votes, QUESTIONS)
    assert (found - wanted).abs().max().item() < bound
    (of_low,), (of_high,) = torch.autograd.grad(found.sum(), low), torch.autograd.grad(wanted.sum(), alpha)
    assert (of_low - of_high).abs().max().item() < 1e-5
    assert of_low.isfinite().all()


def test_the_gradient_is_that_of_the_value():
    alpha, votes = drawn(40, num=4)
    votes[1] = 0
    inside = alpha.detach().clamp(1.5, 90.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: vote_nll(a, votes, QUESTIONS), (inside,))


def test_saturated_concentrations_of_the_head_have_a_finite_loss_and_gradient():
    head, (_, votes) = VoteHead(4, QUESTIONS, dropout=0.0), drawn(3000, num=8)
    for size in (-1e4, -50.0, 0.0, 50.0, 1e4):
        embedding = torch.full((8, 4), size, requires_grad=True)
        views = Views((embedding,), torch.arange(8), labels={"votes": votes})
        loss, _ = head.measure(embedding, views, 0)
        loss.backward()
        assert loss.isfinite()
        assert embedding.grad.isfinite().all()


@pytest.mark.parametrize("answer", [0, 4])
def test_a_concentration_that_is_no_number_is_seen_even_where_nobody_voted(answer):
    alpha, votes = drawn(40)
    votes[:, QUESTIONS[1]] = 0
    with torch.no_grad():
        alpha[3, answer] = torch.nan
    assert vote_loss(alpha, votes, QUESTIONS).isnan()
