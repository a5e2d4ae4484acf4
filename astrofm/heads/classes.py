"""The head that tells classes apart, and its loss."""

from __future__ import annotations

__all__ = ["NO_LABEL", "class_head", "class_loss"]

import torch
from torch import Tensor, nn
from torch.nn import functional

NO_LABEL = -1
"""Label of a row that is not part of the task."""


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
