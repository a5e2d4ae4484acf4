"""Supervised training of encoder and head on class labels: the baseline of every pretraining."""

from __future__ import annotations

__all__ = ["Supervised", "SupervisedConfig"]

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from astrofm.errors import DataError
from astrofm.heads.classes import NO_LABEL, class_head, class_loss
from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views


class SupervisedConfig(BaseModel):
    """Settings of supervised training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_classes: int = Field(ge=2)
    label: str = "label"
    """Label column; -1 marks rows without a label, which give no loss."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class Supervised(Objective):
    """Encoder, head, and the cross-entropy of its logits.

    Args:
        config: Settings.
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
    """

    num_views: ClassVar[int] = 1

    def __init__(self, config: SupervisedConfig, encoder: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.head = class_head(embed_dim, config.num_classes)

    def forward(self, views: Views, step: int) -> StepResult:
        """Return cross-entropy and accuracy over the rows that have a label.

        Raises:
            DataError: If the batch has no column of that name.
        """
        if self.config.label not in views.labels:
            raise DataError(
                f"supervised training needs the label column {self.config.label!r}; "
                f"the batch has {', '.join(sorted(views.labels)) or 'none'}"
            )
        (images,) = views.images
        labels = views.labels[self.config.label]
        embedding = self.encoder(images)
        logits = self.head(embedding)
        is_labelled = labels != NO_LABEL
        num_right = ((logits.detach().argmax(dim=1) == labels) & is_labelled).sum()
        accuracy = num_right / is_labelled.sum().clamp(min=1)
        loss = class_loss(logits, labels, self.config.label_smoothing)
        return StepResult(loss, {"accuracy": accuracy}, embedding.detach())
