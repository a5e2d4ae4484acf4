"""Networks compiled by ``torch.compile`` while they train, and as they are where that fails."""

from __future__ import annotations

__all__ = ["compile_networks"]

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

FORCED = "force_non_lazy_backward_lowering"
"""Setting of torch by which the backward pass is compiled with the forward pass, in versions that have it."""


def compile_networks(objective: nn.Module) -> None:
    """Let each network of an objective be compiled when it is first called; names and values of weights stay.

    Compiled kernels add up in another order than torch's own, so results differ by rounding. Where compiling fails, as
    on a machine without a C++ compiler, one warning says so and the networks are computed as they are.

    Args:
        objective: Its children are the networks: encoder, projector, predictor, target.
    """
    compiler = _InductorOrNone()
    for network in objective.children():
        network.compile(backend=compiler, dynamic=False)


class _InductorOrNone:
    """Compiles graphs with inductor until that fails, and leaves them to torch's own kernels from there on."""

    def __init__(self) -> None:
        self._has_failed = False

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """Return what computes the graph."""
        from torch._dynamo import lookup_backend  # takes seconds, which only who compiles shall wait
        from torch._functorch import config

        if self._has_failed:
            return graph.forward
        # The backward pass is compiled now too: once it runs, what fails there ends the run.
        at_once: dict[str, Any] = {FORCED: True} if hasattr(config, FORCED) else {}
        try:
            with config.patch(at_once):
                compiled: Callable[..., Any] = lookup_backend("inductor")(graph, inputs)
        except Exception as error:
            self._has_failed = True
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(
                f"training.compile: the networks cannot be compiled here ({reason}), and are trained as they are",
                stacklevel=2,
            )
            return graph.forward
        return compiled
