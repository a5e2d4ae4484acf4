"""Spectral contrastive learning: views of one source agree, views of different sources are orthogonal.

HaoChen et al. 2021, arXiv 2106.04156. The population loss factorises the adjacency matrix of the augmentation graph,
so that the embedding spans its leading eigenvectors.
"""

from __future__ import annotations

__all__ = ["Spectral", "SpectralConfig", "spectral_loss"]

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from astrofm.distributed import gather
from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views


class SpectralConfig(BaseModel):
    """Settings of spectral contrastive learning; the defaults are those of the paper's run on CIFAR-10."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_dim: int = Field(default=2048, gt=0)
    """Width of the projector's hidden layer."""
    out_dim: int = Field(default=1000, gt=0)
    """Width of the projection."""
    mu: float = Field(default=1.0, gt=0)
    """Square of the norm at which projections are capped."""


def spectral_loss(first: Tensor, second: Tensor, mu: float) -> Tensor:
    """Return the spectral contrastive loss of a batch (HaoChen et al. 2021, section 4.1, and the authors' code).

    It is ``(-2 E[f.f+] + E[(f.f')^2]) / mu`` of the projections, each pulled back to the ball of radius ``sqrt(mu)``.
    Negative pairs are the two views of different sources.

    Args:
        first: Projection of one view. Shape: (batch, dim).
        second: Projection of the other one. Shape: (batch, dim).
        mu: Square of the largest norm.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: If the shapes differ or there is only one row, which leaves no negative pair.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(f"two projections of at least 2 rows are due, got {tuple(first.shape)}, {tuple(second.shape)}")
    with torch.autocast(first.device.type, enabled=False):
        capped, other = _in_ball(first.float(), mu), _in_ball(second.float(), mu)
        products = capped @ other.T
        positive = products.diagonal()
        num_negative = len(first) * (len(first) - 1)
        negative = (products.square().sum() - positive.square().sum()) / num_negative
        return (negative - 2.0 * positive.mean()) / mu


def _in_ball(projection: Tensor, mu: float) -> Tensor:
    """Return vectors of the same direction, none longer than ``sqrt(mu)``."""
    squared = projection.square().sum(dim=1, keepdim=True)
    # The square root of what is at least mu has a gradient everywhere, that of a zero vector included.
    return projection * (mu / squared.clamp(min=mu)).sqrt()


class Spectral(Objective):
    """Encoder and projector, trained by the spectral contrastive loss of two views.

    Args:
        config: Settings.
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
    """

    num_views: ClassVar[int] = 2
    is_capturable: ClassVar[bool] = True

    def __init__(self, config: SpectralConfig, encoder: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.projector = nn.Sequential(
            nn.Linear(embed_dim, config.hidden_dim),
            nn.BatchNorm1d(config.hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden_dim, config.out_dim),
            nn.BatchNorm1d(config.out_dim),
        )

    def forward(self, views: Views, step: int) -> StepResult:
        """Return the loss of the two views' projections."""
        first, second = views.images
        embedding = self.encoder(first)
        projection = self.projector(embedding)
        other = self.projector(self.encoder(second))
        loss = spectral_loss(gather(projection), gather(other), self.config.mu)
        return StepResult(loss, {}, embedding.detach(), projection.detach())
