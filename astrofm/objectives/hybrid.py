"""Hybrid pretraining: BYOL for every source, and a head on the online encoder for those with labels.

Walmsley et al. 2022, arXiv 2206.11927, as in their code: ``L = L_con + w stopgrad(|L_con| / L_sup) L_sup``, where
``L_con`` is the mean negative cosine, from -1 to 1, and the head sees the embedding of the first view, before the
projector. Our BYOL loss is ``2 + 2 L_con``, so the loss here is twice theirs and 2 more: the same gradient needs half
their learning rate, as with BYOL, and ``w`` means what it means there.

Of this balance one should know: it is about the size of the losses alone, so any constant factor of ``L_sup`` drops
out; ``|L_con|`` passes through 0 early in training, when the cosine does, and there the labels count for nothing; and
the value of the sum tells nothing: with ``w`` = 1 it stays at 2 while ``L_con`` is negative. Watch its parts, which are
logged. Two things differ from their code: the target moves after the optimiser step, not before the forward pass; and
a batch without labels, or with a loss of almost 0, divides by no zero.
"""

from __future__ import annotations

__all__ = ["SMALLEST_LOSS", "Hybrid", "HybridConfig", "build_hybrid", "hybrid_loss"]

import math
from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor, nn

from astrofm.data.supervision import LabelRequest, Labels
from astrofm.heads.build import AnyHeadConfig
from astrofm.heads.votes import VoteHeadConfig
from astrofm.objectives.base import Objective, StepResult
from astrofm.objectives.byol import BYOL, BYOLConfig
from astrofm.objectives.supervised import Supervised
from astrofm.views.base import Views

SMALLEST_LOSS = 1e-6
"""A supervised loss below this is not scaled up further."""
LARGEST_WEIGHT = 1e5
"""Weight above which the authors' code trains on the labels alone."""


class HybridConfig(BYOLConfig):
    """Settings of hybrid pretraining; those of BYOL, the head, and the balance of the two losses."""

    weight: float = Field(ge=0)
    """Size of the supervised loss over that of the contrastive one; 0 is BYOL, ``.inf`` is supervised training."""
    head: AnyHeadConfig = VoteHeadConfig()

    @field_validator("weight")
    @classmethod
    def _is_a_balance_or_infinite(cls, weight: float) -> float:
        if LARGEST_WEIGHT < weight < math.inf:
            raise ValueError(f"weight is at most {LARGEST_WEIGHT:g}, or .inf for supervised training: got {weight:g}")
        return weight

    @property
    def request(self) -> LabelRequest:
        """The labels that it learns from."""
        return self.head.request


def hybrid_loss(byol: Tensor, supervised: Tensor, weight: float) -> Tensor:
    """Return the two losses together, the supervised one scaled to ``weight`` times the size of the other.

    Args:
        byol: ``2 + 2 L_con``, as :func:`astrofm.objectives.byol.byol_loss` gives it.
        supervised: Not negative; 0 where no row has a label, and then it adds nothing.
        weight: 0 gives the first loss, infinity the second.

    Returns:
        ``2 + 2 (L_con + w stopgrad(|L_con| / L_sup) L_sup)``; scalar.
    """
    if math.isinf(weight):
        return supervised
    # |byol - 2| is 2 |L_con|.
    scale = weight * (byol.detach() - 2.0).abs() / supervised.detach().clamp(min=SMALLEST_LOSS)
    return byol + scale * supervised


class Hybrid(BYOL):
    """BYOL with a head on the embedding of the first view.

    On several processes the two losses that are balanced are those of the global batch.

    Args:
        config: Settings.
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
        labels: What the head learns.
    """

    num_views: ClassVar[int] = 2
    is_capturable: ClassVar[bool] = False

    def __init__(self, config: HybridConfig, encoder: nn.Module, embed_dim: int, labels: Labels) -> None:
        super().__init__(config, encoder, embed_dim)
        self.weight = config.weight
        # After the rest, whose initial weights so are those of BYOL.
        self.head = config.head.build(embed_dim, labels)

    def forward(self, views: Views, step: int) -> StepResult:
        """Return the loss and both parts of it."""
        contrastive, embedding, projection = self.contrast(views)
        supervised, metrics = self.head.measure(embedding, views, step)
        parts = {"loss_contrastive": contrastive.detach(), "loss_supervised": supervised.detach()}
        loss = hybrid_loss(contrastive, supervised, self.weight)
        return StepResult(loss, {**parts, **metrics}, embedding.detach(), projection.detach())


def build_hybrid(config: HybridConfig, encoder: nn.Module, embed_dim: int, labels: Labels) -> Objective:
    """Return the objective of a run whose labels are known; with a weight of 0 or infinity, only what that needs."""
    if config.weight == 0:
        return BYOL(config, encoder, embed_dim)
    if math.isinf(config.weight):
        return Supervised(encoder, config.head.build(embed_dim, labels))
    return Hybrid(config, encoder, embed_dim, labels)
