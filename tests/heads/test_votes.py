"""The Dirichlet-multinomial likelihood of votes: by scipy, by hand, and exactly nothing where nobody voted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet_multinomial

from astrofm.heads.votes import MAX_CONCENTRATION, VoteHead, vote_error, vote_loss, vote_nll
from astrofm.views.base import Views

QUESTIONS = (slice(0, 3), slice(3, 5), slice(5, 9))


def drawn(seed, num=6, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    alpha = torch.from_numpy(rng.uniform(1, MAX_CONCENTRATION, (num, 9))).to(dtype)
    votes = torch.from_numpy(rng.integers(0, 40, (num, 9)))
    return alpha, votes


@given(seed=st.integers(0, 1000))
@settings(deadline=None)
def test_the_likelihood_is_that_of_scipy(seed):
    alpha, votes = drawn(seed)
    found = vote_nll(alpha, votes, QUESTIONS)
    for row in range(len(alpha)):
        for index, question in enumerate(QUESTIONS):
            k, a = votes[row, question].numpy(), alpha[row, question].numpy()
            assert found[row, index].item() == pytest.approx(-dirichlet_multinomial.logpmf(k, a, k.sum()), abs=1e-8)


def test_two_answers_of_concentration_one_are_a_uniform_distribution():
    nll = vote_nll(torch.ones(1, 2), torch.tensor([[3, 7]]), (slice(0, 2),))
    assert nll.item() == pytest.approx(math.log(11.0), rel=1e-6)  # any of 0 to 10 votes is as likely


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_no_votes_give_exactly_no_loss_and_no_gradient(dtype):
    alpha, votes = drawn(0, dtype=dtype)
    votes[2:4] = 0
    votes[:, QUESTIONS[1]] = 0
    alpha.requires_grad_()
    nll = vote_nll(alpha, votes, QUESTIONS)
    assert (nll[2:4] == 0).all()
    assert (nll[:, 1] == 0).all()
    nll.sum().backward()
    assert (alpha.grad[2:4] == 0).all()
    assert (alpha.grad[:, QUESTIONS[1]] == 0).all()
    assert (alpha.grad[0, QUESTIONS[0]] != 0).any()


def test_a_batch_without_any_label_has_loss_and_gradient_zero():
    alpha, votes = drawn(1)
    alpha.requires_grad_()
    loss = vote_loss(alpha, 0 * votes, QUESTIONS)
    assert loss.item() == 0.0
    loss.backward()
    assert (alpha.grad == 0).all()


def test_rows_without_votes_do_not_dilute_the_loss():
    alpha, votes = drawn(2)
    together = vote_loss(torch.cat([alpha, alpha]), torch.cat([votes, 0 * votes]), QUESTIONS)
    assert together.item() == pytest.approx(vote_loss(alpha, votes, QUESTIONS).item())


def test_questions_that_do_not_cover_the_answers_are_refused():
    alpha, votes = drawn(0)
    for questions in (QUESTIONS[:2], (slice(0, 3), slice(4, 9)), QUESTIONS[1:]):
        with pytest.raises(ValueError, match="do not cover 9 answers"):
            vote_nll(alpha, votes, questions)
    with pytest.raises(ValueError, match="differ in shape"):
        vote_nll(alpha, votes[:, :5], QUESTIONS)


@given(seed=st.integers(0, 100))
@settings(deadline=None)
def test_the_loss_is_least_where_the_expected_fractions_are_those_given(seed):
    votes = torch.from_numpy(np.random.default_rng(seed).integers(1, 30, (1, 3)))
    right = votes / votes.sum()
    concentrated = vote_nll(100.0 * right, votes, (slice(0, 3),)).item()
    wrong = vote_nll(100.0 * right.roll(1, dims=1), votes, (slice(0, 3),)).item()
    assert concentrated <= wrong + 1e-6


def test_the_head_gives_concentrations_between_1_and_101_and_float32_under_autocast():
    head = VoteHead(8, QUESTIONS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alpha = head(1e3 * torch.randn(64, 8))
    assert alpha.dtype == torch.float32
    assert alpha.min() >= 1.0
    assert alpha.max() <= MAX_CONCENTRATION
    assert alpha.max() > 100.0


@pytest.mark.parametrize(("always_drop", "is_repeatable"), [(False, True), (True, False)])
def test_dropout_in_evaluation_is_a_choice(always_drop, is_repeatable):
    head = VoteHead(64, QUESTIONS, dropout=0.5, always_drop=always_drop).eval()
    embedding = torch.ones(1, 64)
    assert torch.equal(head(embedding), head(embedding)) is is_repeatable


def test_the_error_is_the_mean_over_the_answers_to_asked_questions():
    alpha = torch.tensor([[1.0, 1.0, 1.0, 3.0], [50.0, 50.0, 7.0, 9.0]])
    votes = torch.tensor([[4, 0, 1, 1], [0, 0, 0, 0]])
    error = vote_error(alpha, votes, (slice(0, 2), slice(2, 4)))
    assert error.item() == pytest.approx((0.5 + 0.5 + 0.25 + 0.25) / 4)
    assert vote_error(alpha, 0 * votes, (slice(0, 2), slice(2, 4))).item() == 0.0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_labelled", [0, 3])
def test_unlabelled_rows_give_no_gradient_through_head_and_encoder(precision, num_labelled):
    _, votes = drawn(3)
    votes[num_labelled:] = 0
    head, encoder = VoteHead(8, QUESTIONS), torch.nn.Linear(5, 8)
    inputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    views = Views((inputs,), torch.arange(6), labels={"votes": votes})
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        loss, metrics = head.measure(encoder(inputs), views, 0)
    assert loss.dtype == torch.float32
    assert (loss.item() == 0.0) is (num_labelled == 0)
    loss.backward()
    assert (inputs.grad[num_labelled:] == 0).all()
    assert (inputs.grad[:num_labelled] != 0).any(dim=1).all()
    weights = [*head.parameters(), *encoder.parameters()]
    assert all((weight.grad.abs().max() == 0) == (num_labelled == 0) for weight in weights)
    assert (metrics["vote_error"] == 0) == (num_labelled == 0)


def test_what_is_dropped_in_training_follows_from_the_step():
    head, (_, votes) = VoteHead(64, QUESTIONS, dropout=0.5), drawn(4)
    views = Views((torch.ones(6, 1),), torch.arange(6), labels={"votes": votes})
    losses = [head.measure(torch.ones(6, 64), views, step)[0].item() for step in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
