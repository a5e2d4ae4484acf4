"""Forward and backward pass of a step as one CUDA graph, which a GPU runs without waiting for Python.

A step of a small network is a thousand kernels, and to start them takes the CPU longer than it takes a quick GPU to run
them. The graph is recorded once for each shape of the views and played for every batch: same kernels, same results.
"""

from __future__ import annotations

__all__ = ["CapturedObjective"]

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views

NUM_WARM_UP = 3
"""Passes before the recording, in which libraries choose their kernels and take their memory."""


class CapturedObjective:
    """An objective whose step is recorded when it is first taken; called as the objective is.

    Weights and buffers stay where they are, so optimiser, target network, checkpoints and probes see no difference. An
    objective that cannot be recorded, or where recording fails, is computed as it is, and one warning says so.

    Args:
        objective: On its GPU, in training mode.
        lock: Held while recording: what another thread did on the GPU meanwhile would spoil it.
    """

    def __init__(self, objective: Objective, lock: AbstractContextManager[Any] | None = None) -> None:
        self._objective = objective
        self._lock = nullcontext() if lock is None else lock
        self._recorded: dict[tuple[torch.Size, ...], _Recorded] = {}
        self._can_record = objective.is_capturable
        if not self._can_record:
            _warn(f"a step of {type(objective).__name__} is not the same work for every batch")

    def __call__(self, views: Views, step: int) -> StepResult:
        """Return the result of a batch, whose loss hands the gradient to the parameters when asked for it."""
        if not self._can_record:
            return self._compute(views, step)
        shape = tuple(image.shape for image in views.images)
        if shape not in self._recorded:
            try:
                with self._lock:
                    self._recorded[shape] = _record(self._objective, views, step)
            except RuntimeError as error:
                self._can_record = False
                _warn(str(error).strip().partition("\n")[0])
                return self._compute(views, step)
        return self._recorded[shape].play(views)

    def _compute(self, views: Views, step: int) -> StepResult:
        result: StepResult = self._objective(views, step)
        return result


def _warn(reason: str) -> None:
    warnings.warn(f"training.capture: the step cannot be captured ({reason}), and is taken as it is", stacklevel=3)


@dataclass(frozen=True)
class _Recorded:
    """A recorded step; all tensors are the memory that it reads and writes.

    Attributes:
        graph: Of both passes.
        images: Its views.
        result: What the forward pass returned.
        parameters: Those that are trained.
        gradients: Of the loss; None for parameters that it does not depend on.
    """

    graph: torch.cuda.CUDAGraph
    images: Sequence[Tensor]
    result: StepResult
    parameters: Sequence[nn.Parameter]
    gradients: Sequence[Tensor | None]

    def play(self, views: Views) -> StepResult:
        """Return the result of other views; the next batch does not change it."""
        torch._foreach_copy_(list(self.images), list(views.images))
        self.graph.replay()
        kept = replace(
            self.result,
            metrics={name: value.clone() for name, value in self.result.metrics.items()},
            embedding=None if self.result.embedding is None else self.result.embedding.clone(),
            projection=None if self.result.projection is None else self.result.projection.clone(),
        )
        loss: Tensor = _Loss.apply(self.result.loss, self.gradients, *self.parameters)
        return replace(kept, loss=loss)


class _Loss(torch.autograd.Function):
    """A loss whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor | None, ...]:
        known = [gradient for gradient in ctx.gradients if gradient is not None]
        scaled = iter(torch._foreach_mul(known, factors[0]))
        return (None, None, *(None if gradient is None else next(scaled) for gradient in ctx.gradients))


def _record(objective: Objective, views: Views, step: int) -> _Recorded:
    """Record a step; what its passes change in the buffers is undone.

    Raises:
        RuntimeError: If it does what a graph cannot hold, as to wait for a number.
    """
    own = replace(views, images=tuple(image.clone() for image in views.images))
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    buffers = list(objective.buffers())
    before = [buffer.clone() for buffer in buffers]

    def both_passes() -> tuple[StepResult, Sequence[Tensor | None]]:
        result: StepResult = objective(own, step)
        with torch.autocast("cuda", enabled=False):  # the backward pass follows the dtypes of the forward pass
            return result, torch.autograd.grad(result.loss, parameters, allow_unused=True)

    try:
        _warm_up(both_passes)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result, gradients = both_passes()
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
    return _Recorded(graph, own.images, replace(result, loss=result.loss.detach()), parameters, gradients)


def _warm_up(both_passes: Callable[[], object]) -> None:
    """Take the step a few times on a stream of its own, as a recording does."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves its constructor untyped
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(NUM_WARM_UP):
            both_passes()
    torch.cuda.current_stream().wait_stream(stream)
