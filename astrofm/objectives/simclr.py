"""SimCLR: each view is told its partner among all other views of the batch.

Chen et al. 2020, arXiv 2002.05709.
"""

from __future__ import annotations

__all__ = ["SimCLR", "SimCLRConfig", "nt_xent_loss"]

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from astrofm.distributed import gather
from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views


class SimCLRConfig(BaseModel):
    """Settings of SimCLR; the defaults are those of the paper, the temperature that of its runs on small images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_dim: int = Field(default=2048, gt=0)
    """Width of the projector's hidden layer."""
    out_dim: int = Field(default=128, gt=0)
    """Width of the projection."""
    temperature: float = Field(default=0.5, gt=0)
    """Divides the cosines; the smaller, the more the nearest negatives count."""


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy (Chen et al. 2020, eq. 1), averaged over all 2n views.

    Args:
        first: Projection of one view. Shape: (batch, dim).
        second: Projection of the other one. Shape: (batch, dim).
        temperature: Divides the cosines.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the projections differ in shape: {tuple(first.shape)}, {tuple(second.shape)}")
    with torch.autocast(first.device.type, enabled=False):
        directions = functional.normalize(torch.cat([first.float(), second.float()]), dim=1)
        logits = directions @ directions.T / temperature
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        partners = torch.arange(len(logits), device=logits.device).roll(len(first))
        return functional.cross_entropy(logits.masked_fill(itself, -torch.inf), partners)


class SimCLR(Objective):
    """Encoder and projector, trained by the cross-entropy of telling partners.

    Args:
        config: Settings.
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
    """

    num_views: ClassVar[int] = 2
    is_capturable: ClassVar[bool] = True

    def __init__(self, config: SimCLRConfig, encoder: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.projector = nn.Sequential(
            nn.Linear(embed_dim, config.hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden_dim, config.out_dim, bias=False),
        )

    def forward(self, views: Views, step: int) -> StepResult:
        """Return the loss of the two views' projections."""
        first, second = views.images
        embedding = self.encoder(first)
        projections = self.projector(embedding), self.projector(self.encoder(second))
        loss = nt_xent_loss(gather(projections[0]), gather(projections[1]), self.config.temperature)
        return StepResult(loss, {}, embedding.detach(), projections[0].detach())
