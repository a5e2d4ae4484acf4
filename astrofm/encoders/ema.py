"""The target network: an exponential moving average of the online one (Grill et al. 2020, arXiv 2006.07733)."""

from __future__ import annotations

__all__ = ["EMATarget", "tau_at"]

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn


class EMATarget(nn.Module):
    """A copy of a network that shares nothing with it and follows it slowly.

    Parameters follow by :meth:`update`. Buffers (the running statistics of batch norm) do not: the copy sees the same
    images as the online network and keeps statistics of its own, which fit its own weights.

    Args:
        online: The network to follow.
    """

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(online).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the copy's output; no gradient flows into it."""
        output: Tensor = self.network(images)
        return output

    @torch.no_grad()
    def update(self, online: nn.Module, tau: float) -> None:
        """Move to ``tau * target + (1 - tau) * online``.

        Args:
            online: The network that was copied, after its optimiser step.
            tau: EMA coefficient; 1 leaves the target where it is.
        """
        torch._foreach_lerp_(list(self.network.parameters()), list(online.parameters()), 1.0 - tau)


def tau_at(step: int, num_steps: int, tau_start: float, schedule: Literal["constant", "cosine"]) -> float:
    """Return the EMA coefficient.

    Args:
        step: Updates made so far, from 0.
        num_steps: Length of the run.
        tau_start: Coefficient of the first update.
        schedule: ``constant``, or ``cosine``: rises to 1 at ``num_steps`` (Grill et al. 2020, section 3.2).
    """
    if schedule == "constant":
        return tau_start
    progress = min(1.0, step / max(1, num_steps))
    return 1.0 - (1.0 - tau_start) * 0.5 * (1.0 + math.cos(math.pi * progress))
