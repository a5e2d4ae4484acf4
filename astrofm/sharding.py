"""Weights, gradients and optimiser state divided among the processes: FSDP (Zhao et al. 2023, arXiv 2304.11277)."""

from __future__ import annotations

__all__ = ["shard", "whole"]

from collections.abc import Iterator

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from astrofm.errors import UsageError
from astrofm.heads.base import LabelHead


def shard(objective: nn.Module, mesh: DeviceMesh) -> None:
    """Divide the parameters of each network of an objective, in place; their names stay as they are.

    A block of a network is put together when its turn comes, forward and backward, and forgotten after it. Gradients
    are averaged as by DDP. Buffers, as running statistics and queues, stay whole on each process.

    Args:
        objective: Its children are the networks, the target network among them.
        mesh: The processes, in one dimension.

    Raises:
        UsageError: If the objective has parameters outside its networks, which nothing would average.
    """
    for module in _from_the_inside(objective):
        # Put together again for the backward pass, or a target network, which has none, would stay whole.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        if isinstance(module, LabelHead):
            register_fsdp_forward_method(module, "measure")
    left = [key for key, parameter in objective.named_parameters() if not isinstance(parameter, DTensor)]
    if left:
        raise UsageError(
            f"--sharded divides the networks of an objective, and {type(objective).__name__} has parameters that "
            f"belong to none ({', '.join(left)}): train without --sharded, or move them into a module with a forward "
            "method"
        )


def _from_the_inside(objective: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of the networks, and the networks, each after what is within it."""
    blocks = [
        child
        for container in objective.modules()
        if isinstance(container, nn.Sequential | nn.ModuleList)
        for child in container
        if any(child.children())
    ]
    chosen = {*blocks, *objective.children()}
    for module in reversed(list(objective.modules())):
        has_forward = not isinstance(module, nn.ModuleList | nn.ModuleDict)
        if module in chosen and has_forward and any(True for _ in module.parameters()):
            yield module


def whole(values: Tensor) -> Tensor:
    """Return a tensor that is whole on each process; each must ask for one that is divided."""
    return values.full_tensor() if isinstance(values, DTensor) else values
