"""Networks and views compiled by ``torch.compile`` while a run trains, and as they are where that fails."""

from __future__ import annotations

__all__ = ["compile_networks", "compile_views"]

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, fx, nn

from astrofm.views.base import PixelView, View

FORCED = "force_non_lazy_backward_lowering"
"""Setting of torch by which the backward pass is compiled with the forward pass, in versions that have it."""


def compile_networks(objective: nn.Module) -> None:
    """Let each network of an objective be compiled when it is first called; names and values of weights stay.

    Compiled kernels add up in another order than torch's own, so results differ by rounding. Where compiling fails, as
    on a machine without a C++ compiler, one warning says so and the networks are computed as they are.

    Args:
        objective: Its children are the networks: encoder, projector, predictor, target.
    """
    compiler = _InductorOrNone("networks")
    for network in objective.children():
        network.compile(backend=compiler, dynamic=False)


def compile_views(views: Iterable[View]) -> None:
    """Let the views that change pixel values be compiled when they are first applied, for any number of images.

    On a GPU a view is many passes over memory, of which one or two are left. As with networks, results differ by
    rounding, and where compiling fails the views are computed as they are.

    Args:
        views: Of a pipeline.
    """
    compiler = _InductorOrNone("views")
    for view in views:
        if isinstance(view, PixelView):
            view.compile(compiler)


class _InductorOrNone:
    """Compiles graphs with inductor until that fails, and leaves them to torch's own kernels from there on.

    Args:
        what: The word for what they are of.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._has_failed = False

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """Return what computes the graph."""
        from torch._dynamo import lookup_backend  # takes seconds, which only who compiles shall wait
        from torch._dynamo.exc import RestartAnalysis
        from torch._functorch import config

        if self._has_failed:
            return graph.forward
        # The backward pass is compiled now too: once it runs, what fails there ends the run.
        at_once: dict[str, Any] = {FORCED: True} if hasattr(config, FORCED) else {}
        try:
            with config.patch(at_once):
                compiled: Callable[..., Any] = lookup_backend("inductor")(graph, inputs)
        except RestartAnalysis:  # no failure: torch tries again with numbers in place of symbols
            raise
        except Exception as error:
            self._has_failed = True
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(
                f"training.compile: the {self._what} cannot be compiled here ({reason}), and are computed as they are",
                stacklevel=2,
            )
            return graph.forward
        return compiled
