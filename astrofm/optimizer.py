"""Optimiser, learning-rate schedule and layer-wise decay."""

from __future__ import annotations

__all__ = ["OptimizerConfig", "Precision", "build_optimizer", "learning_rate_factor"]

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer


Precision = Literal["32-true", "bf16-mixed"]
"""Of the forward and backward pass; losses and optimiser state are always float32."""


class OptimizerConfig(BaseModel):
    """Settings of the optimiser; the learning rate is that of the recipe's own batch size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    """Applied to weights of two or more dimensions: not to biases and norm layers."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the run in which the learning rate rises linearly."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate from one layer group to the one before it; 1: the same for all."""

    @field_validator("learning_rate", "weight_decay", mode="before")
    @classmethod
    def _yaml_reads_exponents_as_text(cls, given: Any) -> Any:
        return float(given) if isinstance(given, str) else given


def learning_rate_factor(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate at a step, over its peak.

    Args:
        step: Optimiser steps taken so far, from 0.
        num_steps: Length of the run.
        config: Schedule and warm-up.

    Returns:
        In [0, 1]; with the cosine schedule it falls to 0 at ``num_steps``.
    """
    warmup = round(config.warmup_fraction * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, num_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def build_optimizer(config: OptimizerConfig, layers: Sequence[Iterable[Parameter]]) -> Optimizer:
    """Return the optimiser of some layer groups.

    Args:
        config: Settings.
        layers: Parameters from the input to the output; the last group has the full learning rate.

    Returns:
        A torch optimiser with two parameter groups (with and without weight decay) for each layer group.
    """
    import torch

    groups: list[dict[str, Any]] = []
    for depth, layer in enumerate(reversed(list(layers))):
        rate = config.learning_rate * config.layer_decay**depth
        trainable = [parameter for parameter in layer if parameter.requires_grad]
        for decays in (True, False):
            chosen = [parameter for parameter in trainable if (parameter.ndim >= 2) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": config.weight_decay if decays else 0.0})
    # One kernel in place of some for each weight; on a CPU it was measured and gives nothing.
    trained = [parameter for group in groups for parameter in group["params"]]
    fused = all(parameter.is_cuda and type(parameter.data) is torch.Tensor for parameter in trained) or None
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=fused)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)
