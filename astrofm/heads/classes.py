"""The head that tells classes apart, and its loss."""

from __future__ import annotations

__all__ = ["NO_LABEL", "ClassHead", "ClassHeadConfig", "class_head", "class_loss"]

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astrofm.data.supervision import LabelRequest, Labels
from astrofm.distributed import gather
from astrofm.heads.base import HeadConfig, LabelHead
from astrofm.views.base import Views

NO_LABEL = -1
"""Label of a row that is not part of the task."""


class ClassHeadConfig(HeadConfig):
    """Learn the classes of a task."""

    kind: Literal["classes"] = "classes"
    task: str
    """Task of the surveys' cards; the rows of a survey without it have no label."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    @property
    def request(self) -> LabelRequest:
        """The labels that it learns."""
        return LabelRequest("classes", self.task)

    def build(self, embed_dim: int, labels: Labels) -> ClassHead:
        """Return an untrained head with an output for each class."""
        return ClassHead(embed_dim, len(labels.names), self.label_smoothing)


class ClassHead(LabelHead):
    """Batch norm, one linear layer, and the cross-entropy of its logits.

    Args:
        embed_dim: Width of the embedding.
        num_classes: Number of classes.
        label_smoothing: Share of the probability spread over all classes.
    """

    column: ClassVar[str] = "label"

    def __init__(self, embed_dim: int, num_classes: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.layers = class_head(embed_dim, num_classes)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits. Shape: (batch, class)."""
        logits: Tensor = self.layers(embedding)
        return logits

    def measure(self, embedding: Tensor, views: Views, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return cross-entropy and accuracy over the rows that have a label.

        The statistics of the head's batch norm are those of all rows, so that the others act through them.
        """
        labels, logits = gather(self.labels_of(views)), gather(self(embedding))
        is_labelled = labels != NO_LABEL
        num_right = ((logits.detach().argmax(dim=1) == labels) & is_labelled).sum()
        accuracy = num_right / is_labelled.sum().clamp(min=1)
        return class_loss(logits, labels, self.label_smoothing), {"accuracy": accuracy}


def class_head(embed_dim: int, num_classes: int) -> nn.Sequential:
    """Return batch norm and one linear layer, as Slijepcevic et al. 2024 (arXiv 2305.16127) fine-tune with.

    The linear layer starts close to 0, so that the first loss is the logarithm of the number of classes.

    Args:
        embed_dim: Width of the embedding.
        num_classes: Number of classes; the output is one logit for each.
    """
    linear = nn.Linear(embed_dim, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.BatchNorm1d(embed_dim), linear)


def class_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the rows that have a label.

    Args:
        logits: Output of the head itself: no softmax comes before. Shape: (batch, class).
        labels: Class of each row, -1 where it has none. Shape: (batch,).
        label_smoothing: Share of the probability spread over all classes.

    Returns:
        Scalar, float32; 0, with a gradient of 0, where no row has a label.
    """
    with torch.autocast(logits.device.type, enabled=False):
        total = functional.cross_entropy(
            logits.float(), labels.long(), ignore_index=NO_LABEL, reduction="sum", label_smoothing=label_smoothing
        )
    return total / (labels != NO_LABEL).sum().clamp(min=1)
