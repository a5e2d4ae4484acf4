"""What the processes of a run do together: gather rows, decide, wait.

**Gradients.** ``W`` processes hold equal parts of the global batch. Each gathers what the loss looks at and computes
the loss ``L`` of the *global* batch, so that negatives, the balance of two losses and the number of labelled rows need
no further thought and all metrics are global. With ``z_r`` the rows of process ``r`` the gradient that one process
would have is ``sum_r dL/dz_r dz_r/dw``. Process ``r`` can compute its own term; what comes after the gathering (all
that stands in ``L`` besides ``z``) is the same on all. DDP averages over processes, so :func:`gather` sends back
``W dL/dz_r``: the average is ``1/W sum_r W dL/dz_r dz_r/dw``, as it should be. No weights may stand between
:func:`gather` and the loss whose gradient would need a factor: their gradient is the whole one on each process, which
the average leaves as it is. Sums over processes inside the networks (batch norm) send back the sum of what arrives.
"""

from __future__ import annotations

__all__ = ["any_rank", "gather", "largest", "rank", "sum_over_ranks", "world_size"]

from typing import Any

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """Return the number of processes that train together; 1 where none was started."""
    return distributed.get_world_size() if _is_started() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return distributed.get_rank() if _is_started() else 0


def any_rank(flag: bool) -> bool:
    """Return whether the flag is set on any process; each must ask, and with one process it is the flag."""
    return bool(largest(int(flag)))


def largest(number: int) -> int:
    """Return the largest of the numbers that the processes give; each must ask."""
    if world_size() == 1:
        return number
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    numbers = torch.tensor(number, device=device)
    distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
    return int(numbers)


def gather(local: Tensor) -> Tensor:
    """Return the rows of all processes in the order of the global batch; the gradient is that of the module docstring.

    Args:
        local: As many rows on each process; with one process it is returned itself. Shape: (batch, ...).

    Returns:
        Shape: (batch of all processes, ...).
    """
    if world_size() == 1:
        return local
    if local.dtype is torch.int16:  # which neither gloo nor NCCL sends
        return gather(local.int()).to(local.dtype)
    gathered: Tensor = _Gather.apply(local)
    return gathered


def sum_over_ranks(local: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes; its gradient is the sum of theirs."""
    if world_size() == 1:
        return local
    total: Tensor = _Sum.apply(local)
    return total


def _is_started() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _Gather(torch.autograd.Function):
    """Rows of all processes; back goes ``W`` times the gradient of the own rows."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.num_rows = len(local)
        parts = [torch.empty_like(local, memory_format=torch.contiguous_format) for _ in range(world_size())]
        distributed.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        own = slice(rank() * ctx.num_rows, (rank() + 1) * ctx.num_rows)
        return gradients[0][own] * world_size()


class _Sum(torch.autograd.Function):
    """A sum over the processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
