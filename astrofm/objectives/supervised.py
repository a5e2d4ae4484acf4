"""Supervised training of encoder and head on votes or classes: the baseline of every pretraining.

With votes it is the training of Walmsley et al. 2022 (arXiv 2102.08414).
"""

from __future__ import annotations

__all__ = ["Supervised", "SupervisedConfig", "build_supervised"]

from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import nn

from astrofm.data.supervision import LabelRequest, Labels
from astrofm.heads.base import LabelHead
from astrofm.heads.build import AnyHeadConfig
from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views


class SupervisedConfig(BaseModel):
    """Settings of supervised training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: AnyHeadConfig

    @property
    def request(self) -> LabelRequest:
        """The labels that it learns from."""
        return self.head.request


class Supervised(Objective):
    """Encoder and head.

    Args:
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        head: With its loss.
    """

    num_views: ClassVar[int] = 1

    def __init__(self, encoder: nn.Module, head: LabelHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, views: Views, step: int) -> StepResult:
        """Return loss and metrics of the head, over the rows that have labels.

        Raises:
            DataError: If the batch lacks the label column.
        """
        embedding = self.encoder(views.images[0])
        loss, metrics = self.head.measure(embedding, views, step)
        return StepResult(loss, metrics, embedding.detach())


def build_supervised(config: SupervisedConfig, encoder: nn.Module, embed_dim: int, labels: Labels) -> Supervised:
    """Return the objective of a run whose labels are known."""
    return Supervised(encoder, config.head.build(embed_dim, labels))
