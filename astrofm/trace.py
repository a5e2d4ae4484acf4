"""Where in a step the first value appears that is not finite: pixels, stretch, views, modules, loss or gradients."""

from __future__ import annotations

__all__ = ["Trace"]

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from astrofm.data.batch import Batch
from astrofm.views.base import GeometryView, View, Views
from astrofm.views.pipeline import ViewPipeline


class Trace:
    """Looks at values in the order they are made, and keeps where the first that is not finite was.

    Attributes:
        first: Where it was; empty where there was none.
        row_ids: The rows that had it, as far as rows could be told apart by then.
    """

    def __init__(self) -> None:
        self.first = ""
        self.row_ids: list[int] = []

    def look(self, place: str, values: object, row_ids: Tensor | None = None) -> None:
        """Look at some values, unless something was found before; of what was found without rows, they tell the rows.

        Args:
            place: What they are, in words.
            values: A tensor, or a tuple whose tensors are looked at; anything else is passed over.
            row_ids: Row of each value along the first axis, where they have rows.
        """
        if self.first and (self.row_ids or row_ids is None):
            return
        for tensor in values if isinstance(values, tuple) else (values,):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                continue
            bad = ~torch.isfinite(tensor.detach())
            if bad.any():
                self.first = self.first or place
                if row_ids is not None:
                    rows = bad.reshape(len(bad), -1).any(dim=1).cpu()
                    self.row_ids = row_ids.cpu()[rows].tolist()
                return

    def look_at_batch(self, batch: Batch) -> None:
        """Look at the pixels and labels, where NaN means not observed."""
        for share in batch.shares:
            images = torch.as_tensor(share.images)
            if images.is_floating_point():
                ids = torch.from_numpy(batch.row_ids[share.places])
                self.look(
                    f"the pixels of {share.survey!r}, as stored", images.nan_to_num(0.0, torch.inf, -torch.inf), ids
                )
        for name, column in batch.labels.items():
            values = torch.as_tensor(column)
            if values.is_floating_point():
                values = values.nan_to_num(0.0, torch.inf, -torch.inf)
            self.look(f"the labels {name!r}", values, torch.from_numpy(batch.row_ids))

    def watched(self, pipeline: ViewPipeline) -> Callable[[Batch, int, torch.device], Views]:
        """Return the pipeline as a function that looks after each step of a stretch, each view and at the end."""
        own = copy.copy(pipeline)
        own.views = tuple(self._watched_view(view) for view in pipeline.views)
        for plan in own.inputs.values():
            # Of the plan's own stretch, which nothing else has: a plan that was read belongs to one replay.
            plan.steps.steps = tuple(self._watched_step(step, plan.survey) for step in plan.steps.steps)

        def make_views(batch: Batch, step: int, device: torch.device) -> Views:
            views = own(batch, step, device)
            for number, images in enumerate(views.images):
                self.look(f"view {number} after resampling and normalisation", images, views.row_ids)
            return views

        return make_views

    def _watched_view(self, view: View) -> View:
        """Return a copy of a view whose result is looked at; one that moves pixels has none of its own."""
        if isinstance(view, GeometryView):
            return view
        own: Any = copy.copy(view)
        place = f"the result of view {type(view).__name__}"
        object.__setattr__(own, "apply", self._watched_call(own.apply, place))
        watched: View = own
        return watched

    def _watched_step(self, step: Any, survey: str) -> Any:
        return self._watched_call(step, f"the result of stretch step {type(step).__name__} of {survey!r}")

    def _watched_call(self, function: Callable[..., Any], place: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            self.look(place, result)
            return result

        return call

    @contextmanager
    def watching(self, objective: nn.Module) -> Iterator[None]:
        """Look at weights, at what each module takes and gives, and at what flows back, while a step is taken."""
        hooks = []
        for name, parameter in objective.named_parameters():
            self.look(f"the weights {name!r}", parameter)
            if parameter.requires_grad:
                look = partial(self.look, f"the gradient of the weights {name!r}")
                hooks.append(parameter.register_hook(look))  # type: ignore[no-untyped-call]  # torch leaves it so
        for name, module in objective.named_modules():
            if name:
                words = f"module {name!r} ({type(module).__name__})"
                hooks.append(module.register_forward_pre_hook(partial(self._taken, words)))
                hooks.append(module.register_forward_hook(partial(self._given, words)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _taken(self, words: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.look(f"the input of {words}", inputs)

    def _given(self, words: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.look(f"the output of {words}", output)
        if isinstance(output, Tensor) and output.requires_grad:
            look = partial(self.look, f"the gradient that reaches {words}")
            output.register_hook(look)  # type: ignore[no-untyped-call]  # torch leaves it so
