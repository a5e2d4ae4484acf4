"""What a head is: it turns embeddings into predictions, and labels into a loss."""

from __future__ import annotations

__all__ = ["LabelHead"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from astrofm.errors import DataError
from astrofm.views.base import Views


class LabelHead(nn.Module, ABC):
    """A head with its loss, for any objective that has labels."""

    column: ClassVar[str]
    """Label column that it learns."""

    @abstractmethod
    def forward(self, embedding: Tensor) -> Tensor:
        """Return predictions. Shape: (batch, output)."""

    @abstractmethod
    def measure(self, embedding: Tensor, views: Views, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of the labelled rows, 0 with a gradient of 0 if there are none, and detached metrics.

        Args:
            embedding: Encoder output. Shape: (batch, embed_dim).
            views: With the label column.
            step: Optimiser steps taken so far; with the rows it decides all that is random.

        Raises:
            DataError: If the batch lacks the label column.
        """

    def labels_of(self, views: Views) -> Tensor:
        """Return the label column of a batch.

        Raises:
            DataError: If it is missing.
        """
        if self.column not in views.labels:
            raise DataError(
                f"training on labels needs the label column {self.column!r}; "
                f"the batch has {', '.join(sorted(views.labels)) or 'none'}"
            )
        return views.labels[self.column]
