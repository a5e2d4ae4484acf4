"""What an objective is and what one step of it returns."""

from __future__ import annotations

__all__ = ["Objective", "ObjectivePart", "StepResult"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel
from torch import Tensor, nn

from astrofm.data.supervision import LabelRequest
from astrofm.views.base import Views


@dataclass(frozen=True)
class StepResult:
    """Outcome of one step.

    Attributes:
        loss: Scalar, float32.
        metrics: Detached scalars, by name.
        embedding: Detached encoder output of the first view, for the collapse watch. Shape: (batch, embed_dim).
        projection: Detached projector output of the same view, likewise; None where there is no projector. Shape:
            (batch, out_dim).
    """

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None
    projection: Tensor | None = None


class Objective(nn.Module, ABC):
    """A loss with its networks; knows nothing of trainers, loggers or recipes."""

    num_views: ClassVar[int]
    """Number of views of each cutout that one step needs."""
    is_capturable: ClassVar[bool] = False
    """Whether :meth:`forward` does the same work for every batch, from the images and the weights alone: it neither
    looks at the step or at labels, nor keeps anything, nor waits for a number. Only then may it be recorded as a CUDA
    graph."""
    encoder: nn.Module
    """The online encoder, which the run hands on."""

    @abstractmethod
    def forward(self, views: Views, step: int) -> StepResult:
        """Return loss and metrics of one batch.

        What it keeps for :meth:`after_step` it adds up: with small batches it is called for each of them before.

        Args:
            views: The batch, or one of the small batches that make it.
            step: Optimiser steps taken so far.
        """

    def after_step(self, step: int, num_steps: int) -> Mapping[str, float]:
        """Update what moves without gradients (target network, queue), after the optimiser step.

        Args:
            step: Optimiser steps taken, this one included.
            num_steps: Length of the whole run, which sets the schedules.

        Returns:
            Values worth logging, for example ``tau``.
        """
        return {}


@dataclass(frozen=True)
class ObjectivePart:
    """What a plugin registers: an objective's name, its settings and how it is built.

    Attributes:
        name: Name in recipes.
        config: Settings class.
        build: Called with (settings, encoder, embed_dim); of a part with ``labels`` also with what the labels of the
            run are, an :class:`astrofm.data.supervision.Labels`.
        labels: Called with the settings; returns the labels that the objective learns from. None: it needs none.
    """

    name: str
    config: type[BaseModel]
    build: Callable[..., Objective]
    labels: Callable[[Any], LabelRequest] | None = None
