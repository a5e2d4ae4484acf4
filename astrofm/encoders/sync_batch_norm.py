"""Batch norm over the global batch of several processes (Ioffe & Szegedy 2015, arXiv 1502.03167).

On a GPU it is torch's, which takes no tensors of the CPU. There it is the small one below.
"""

from __future__ import annotations

__all__ = ["CPUSyncBatchNorm", "synchronise_batch_norm"]

from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from astrofm.distributed import sum_over_ranks


class CPUSyncBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of the batches of all processes, of equal size, in double precision.

    Args:
        norm: The layer to replace; its weights and running statistics are shared with it.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        # A layer of timm drops and activates too.
        self.drop: Any = norm.drop if isinstance(norm, BatchNormAct2d) else nn.Identity()
        self.act: Any = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input. Shape: (batch, channel, ...)."""
        if not self.training and self.running_mean is not None:
            return self._activated(super().forward(input))
        others = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        values = input.double()
        count = sum_over_ranks(values.new_tensor(input.numel() // input.shape[1]))
        mean = sum_over_ranks(values.sum(dim=others)) / count
        centred = values - mean.view(shape)
        variance = sum_over_ranks(centred.square().sum(dim=others)) / count
        if self.training and self.track_running_stats:
            self._follow(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return self._activated(normalised.to(input.dtype))

    def _activated(self, values: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(values))
        return activated

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; ``variance`` is that of the population."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of dimensions."""


def synchronise_batch_norm(network: nn.Module, device: str) -> None:
    """Replace the batch norm in a network, in place, by one over all processes.

    Weights, buffers and their names stay as they are, so that an optimiser, or a checkpoint of one process, fits.

    Args:
        network: A network that is no batch norm itself.
        device: Where it is trained, ``cpu`` or ``cuda``.
    """
    if device == "cuda":
        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # timm's, without types
        return
    for name, child in list(network.named_children()):
        if isinstance(child, _BatchNorm):
            setattr(network, name, CPUSyncBatchNorm(child))
        else:
            synchronise_batch_norm(child, device)
