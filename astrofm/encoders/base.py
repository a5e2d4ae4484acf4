"""What a plugin registers to add a network."""

from __future__ import annotations

__all__ = ["EncoderPart"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import nn


@dataclass(frozen=True)
class EncoderPart:
    """A network's name, its settings and how it is built.

    Attributes:
        name: Name in recipes; not one of timm's.
        config: Settings class; ``name`` is no setting of it.
        build: Called with (settings, number of channels); returns an untrained network from (batch, channel, y, x) to
            (batch, embed_dim), with the attribute ``embed_dim``. Random weights are drawn from torch's global
            generator, which is seeded before.
    """

    name: str
    config: type[BaseModel]
    build: Callable[[Any, int], nn.Module]
