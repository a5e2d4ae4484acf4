"""MoCo: each query is told its key among a queue of the keys of earlier batches.

He et al. 2020, arXiv 1911.05722; the projector of two layers is that of Chen et al. 2020, arXiv 2003.04297 (v2). For
redshifts of SDSS galaxies: Hayat et al. 2021, arXiv 2101.04293, who do not publish queue, temperature and tau.
"""

from __future__ import annotations

__all__ = ["MoCo", "MoCoConfig", "info_nce_loss"]

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from astrofm.distributed import gather
from astrofm.encoders.ema import EMATarget
from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views


class MoCoConfig(BaseModel):
    """Settings of MoCo; the defaults are those of version 2 on ImageNet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_dim: int = Field(default=2048, gt=0)
    """Width of the projector's hidden layer."""
    out_dim: int = Field(default=128, gt=0)
    """Width of queries and keys."""
    num_keys: int = Field(default=65536, gt=0)
    """Length of the queue. Keep it well below the number of sources, or a source meets its own older keys as
    negatives."""
    temperature: float = Field(default=0.2, gt=0)
    """Divides the cosines."""
    tau: float = Field(default=0.999, ge=0, le=1)
    """EMA coefficient of the target network, which makes the keys."""


def info_nce_loss(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of telling each query's key from the negatives (He et al. 2020, eq. 1).

    Args:
        queries: Shape: (batch, dim).
        keys: The key of each query; no gradient flows into them. Shape: (batch, dim).
        negatives: Keys of other sources, of length 1. Shape: (num, dim).
        temperature: Divides the cosines.

    Returns:
        Scalar, float32; 0 where there are no negatives.

    Raises:
        ValueError: If the shapes of queries and keys differ.
    """
    if queries.shape != keys.shape:
        raise ValueError(f"queries and keys differ in shape: {tuple(queries.shape)}, {tuple(keys.shape)}")
    with torch.autocast(queries.device.type, enabled=False):
        query = functional.normalize(queries.float(), dim=1)
        key = functional.normalize(keys.detach().float(), dim=1)
        positive = (query * key).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, query @ negatives.float().T], dim=1) / temperature
        return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


class MoCo(Objective):
    """Online encoder and projector, their target, and a queue of its keys.

    The queue begins empty and counts as far as it is filled: no random vectors stand in for keys. The keys of a batch
    join it after the optimiser step. On several processes each keeps the keys of all, and batch norm sees those of the
    global batch, so nothing need be shuffled between GPUs as in the paper.

    Args:
        config: Settings.
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
    """

    num_views: ClassVar[int] = 2
    keys: Tensor
    num_seen: Tensor

    def __init__(self, config: MoCoConfig, encoder: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.projector = nn.Sequential(
            nn.Linear(embed_dim, config.hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden_dim, config.out_dim),
        )
        self.target = EMATarget(nn.Sequential(encoder, self.projector))
        self.register_buffer("keys", torch.zeros(config.num_keys, config.out_dim))
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.long))
        self._new_keys: list[Tensor] = []
        self._num_known: int | None = None
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            lambda module, keys: module._forget()
        )

    def forward(self, views: Views, step: int) -> StepResult:
        """Return the loss of the first view's queries among the second view's keys and the queue."""
        first, second = views.images
        embedding = self.encoder(first)
        keys = gather(self.target(second))
        filled = self.keys[: min(self._num_seen(), self.config.num_keys)]
        projection = self.projector(embedding)
        loss = info_nce_loss(gather(projection), keys, filled, self.config.temperature)
        self._new_keys.append(functional.normalize(keys.detach().float(), dim=1))
        return StepResult(loss, {}, embedding.detach(), projection.detach())

    def after_step(self, step: int, num_steps: int) -> Mapping[str, float]:
        """Move the target towards the online network, and put the keys of the batch in place of the oldest."""
        self.target.update(nn.Sequential(self.encoder, self.projector), self.config.tau)
        if self._new_keys:
            keys = torch.cat(self._new_keys)
            new = keys[-self.config.num_keys :]
            self._num_known = self._num_seen() + len(keys)
            first = self._num_known - len(new)
            places = torch.arange(first, first + len(new), device=new.device) % self.config.num_keys
            self.keys[places] = new
            self.num_seen += len(keys)
            self._new_keys = []
        return {"tau": self.config.tau}

    def _num_seen(self) -> int:
        """Return ``num_seen`` as a number, for which a GPU is waited for once and not in every step."""
        if self._num_known is None:
            self._num_known = int(self.num_seen)
        return self._num_known

    def _forget(self) -> None:
        self._num_known = None
