"""What a head is: it turns embeddings into predictions, and labels into a loss."""

from __future__ import annotations

__all__ = ["HeadConfig", "HeadPart", "LabelHead"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from astrofm.data.supervision import LabelRequest, Labels
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


class HeadConfig(BaseModel, ABC):
    """Settings of a head; ``kind`` in a recipe tells which head's they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    """Name under which the head is registered."""

    @property
    @abstractmethod
    def request(self) -> LabelRequest:
        """The labels that it learns."""

    @abstractmethod
    def build(self, embed_dim: int, labels: Labels) -> LabelHead:
        """Return an untrained head.

        Args:
            embed_dim: Width of the embedding.
            labels: What the request asked for, of the data of the run.
        """


@dataclass(frozen=True)
class HeadPart:
    """What a plugin registers: a head's name and its settings, which build it.

    Attributes:
        name: Its ``kind`` in recipes.
        config: Settings class.
    """

    name: str
    config: type[HeadConfig]
