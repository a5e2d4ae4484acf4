"""The head that predicts volunteers' votes, and the Dirichlet-multinomial likelihood of the votes that were given.

Walmsley et al. 2022, arXiv 2102.08414. A question that nobody was asked has no votes, probability 1, and thus neither
loss nor gradient: campaigns with different questions train one network, and a galaxy without labels is a row of zeros.
"""

from __future__ import annotations

__all__ = ["MAX_CONCENTRATION", "VoteHead", "VoteHeadConfig", "vote_error", "vote_loss", "vote_nll"]

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from astrofm.data.supervision import LabelRequest, Labels
from astrofm.distributed import gather
from astrofm.heads.base import HeadConfig, LabelHead
from astrofm.heads.dropout import dropout_mask
from astrofm.views.base import Views

MAX_CONCENTRATION = 101.0
"""Concentrations lie between 1 and this (Walmsley et al. 2022, section 4.2): a larger one would claim more than 100
votes' worth of certainty."""


class VoteHeadConfig(HeadConfig):
    """Learn the votes for every answer; the defaults are those of Walmsley et al. 2022."""

    kind: Literal["votes"] = "votes"
    dropout: float = Field(default=0.2, ge=0, lt=1)
    always_drop: bool = False
    """Drop also when predicting, so that repeated predictions spread."""

    @property
    def request(self) -> LabelRequest:
        """The labels that it learns."""
        return LabelRequest("votes")

    def build(self, embed_dim: int, labels: Labels) -> VoteHead:
        """Return an untrained head with an output for each answer."""
        return VoteHead(embed_dim, labels.questions, self.dropout, always_drop=self.always_drop)


class VoteHead(LabelHead):
    """Dropout, one linear layer, and concentrations ``1 + 100 sigmoid(x)``, one for each answer.

    Args:
        embed_dim: Width of the embedding.
        questions: Columns of each question's answers, which follow each other.
        dropout: Share of the embedding that is dropped.
        always_drop: Drop also in evaluation, so that repeated predictions spread as the authors' ensembles do.
    """

    column: ClassVar[str] = "votes"
    seed: Tensor

    def __init__(
        self, embed_dim: int, questions: Sequence[slice], dropout: float = 0.2, *, always_drop: bool = False
    ) -> None:
        super().__init__()
        self.questions = tuple(questions)
        self.dropout = dropout
        self.always_drop = always_drop
        self.linear = nn.Linear(embed_dim, self.questions[-1].stop)
        self.register_buffer("seed", torch.randint(2**31, ()))

    def forward(self, embedding: Tensor) -> Tensor:
        """Return concentrations, float32. Shape: (batch, answer)."""
        dropped = nn.functional.dropout(embedding, self.dropout, training=self.training or self.always_drop)
        return self._concentrations(dropped)

    def measure(self, embedding: Tensor, views: Views, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return :func:`vote_loss` and :func:`vote_error`; what is dropped follows from the step and the rows."""
        votes = self.labels_of(views)
        if self.training and self.dropout > 0:
            mask = dropout_mask(views.row_ids, embedding.shape[1], self.dropout, self.seed, step)
            embedding = embedding * mask.to(embedding.dtype)
        concentrations, votes = gather(self._concentrations(embedding)), gather(votes)
        error = vote_error(concentrations.detach(), votes, self.questions)
        return vote_loss(concentrations, votes, self.questions), {"vote_error": error}

    def _concentrations(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.linear(embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            return 1.0 + (MAX_CONCENTRATION - 1.0) * torch.sigmoid(logits.float())


def vote_nll(concentrations: Tensor, votes: Tensor, questions: Sequence[slice]) -> Tensor:
    """Return the negative log-likelihood of the votes for each question, Dirichlet-multinomial.

    For one question with votes ``k`` of sum ``N`` and concentrations ``a`` of sum ``A`` it is
    ``-ln[ N! G(A) / G(N + A) prod G(k + a) / (k! G(a)) ]`` with the gamma function ``G``.

    Args:
        concentrations: Positive. Shape: (batch, answer).
        votes: Number of votes for each answer, whole and not negative. Shape: (batch, answer).
        questions: Columns of each question's answers, which follow each other and cover all columns.

    Returns:
        float32 for anything up to float32, else float64; exactly 0 for a question without votes. Shape:
        (batch, question).

    Raises:
        ValueError: If the shapes differ or the questions do not cover the columns.
    """
    if concentrations.shape != votes.shape:
        raise ValueError(
            f"concentrations and votes differ in shape: {tuple(concentrations.shape)}, {tuple(votes.shape)}"
        )
    with torch.autocast(concentrations.device.type, enabled=False):
        alpha = concentrations if concentrations.dtype == torch.float64 else concentrations.float()
        count = votes.to(alpha.dtype)
        question_of = _question_of(questions, alpha.shape[1], alpha.device)
        total = _sum_by_question(count, question_of, len(questions))
        total_alpha = _sum_by_question(alpha, question_of, len(questions))
        of_asked, row, question = _log_weight(total_alpha, total)
        asked = row * len(questions) + question
        of_given, row, answer = _log_weight(alpha, count)
        given = row * len(questions) + question_of[answer]
        # 0, but where a concentration is not finite: that stays visible, also in a question without votes.
        nothing = (0.0 * total_alpha).flatten()
        return nothing.index_add(0, asked, of_asked).index_add(0, given, -of_given).view_as(total)


def _log_weight(alpha: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``ln[ G(k + a) / (k! G(a)) ]`` where the count is not 0, and the rows and columns where that is.

    Most counts are 0: a galaxy was in one campaign of several, and its tree of questions has many branches. There the
    logarithm is exactly 0, and neither it nor its gradient is worth three gamma functions.
    """
    row, column = count.nonzero(as_tuple=True)
    places = row * count.shape[1] + column
    a, k = alpha.flatten().index_select(0, places), count.flatten().index_select(0, places)
    return torch.lgamma(k + a) - torch.lgamma(a) - torch.lgamma(k + 1.0), row, column


def vote_loss(concentrations: Tensor, votes: Tensor, questions: Sequence[slice]) -> Tensor:
    """Return the negative log-likelihood summed over questions, averaged over the rows that have votes.

    Args:
        concentrations: As of :func:`vote_nll`.
        votes: As of :func:`vote_nll`; rows without any vote are not counted.
        questions: As of :func:`vote_nll`.

    Returns:
        Scalar; 0, with a gradient of 0, where no row has votes.
    """
    num_labelled = (votes > 0).any(dim=1).sum()
    return vote_nll(concentrations, votes, questions).sum() / num_labelled.clamp(min=1)


def vote_error(concentrations: Tensor, votes: Tensor, questions: Sequence[slice]) -> Tensor:
    """Return the mean absolute difference of expected and given vote fractions, over the answers to asked questions.

    Args:
        concentrations: As of :func:`vote_nll`.
        votes: As of :func:`vote_nll`; a question without votes is not counted.
        questions: As of :func:`vote_nll`.

    Returns:
        Scalar in [0, 1]; 0 where nobody voted.
    """
    question_of = _question_of(questions, votes.shape[1], votes.device)
    count = votes.to(concentrations.dtype)
    total = _sum_by_question(count, question_of, len(questions))[:, question_of]
    total_alpha = _sum_by_question(concentrations, question_of, len(questions))[:, question_of]
    is_asked = total > 0
    error = (concentrations / total_alpha - count / total.clamp(min=1)).abs() * is_asked
    return error.sum() / is_asked.sum().clamp(min=1)


def _question_of(questions: Sequence[slice], num_answers: int, device: torch.device) -> Tensor:
    """Return the number of the question that each column belongs to. Shape: (answer,)."""
    edges = [0, *(question.stop for question in questions)]
    if [question.start for question in questions] != edges[:-1] or edges[-1] != num_answers:
        raise ValueError(f"questions that end at {edges[1:]} do not cover {num_answers} answers one after the other")
    lengths = torch.tensor([question.stop - question.start for question in questions])
    return torch.repeat_interleave(torch.arange(len(questions)), lengths).to(device)


def _sum_by_question(values: Tensor, question_of: Tensor, num_questions: int) -> Tensor:
    sums = torch.zeros(len(values), num_questions, dtype=values.dtype, device=values.device)
    return sums.index_add(1, question_of, values)
