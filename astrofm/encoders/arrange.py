"""How networks lie in memory and which kernels they use while they train: what is quickest on a device."""

from __future__ import annotations

__all__ = ["arrange"]

import torch
from torch import nn

from astrofm.encoders.small_maps import multiply_small_maps


def arrange(network: nn.Module, device: str) -> None:
    """Arrange a network in place for training; names, values and devices of its weights stay as they are.

    Each of the two was measured, see docs/performance.md.

    Args:
        network: A network that is no convolution itself.
        device: Where it will be trained: ``cpu``, ``cuda`` or ``mps``.
    """
    network.to(memory_format=torch.channels_last)
    if device == "cpu":
        multiply_small_maps(network)
