"""BYOL: an online network predicts what a slowly moving copy of itself makes of another view of the same source.

Grill et al. 2020, arXiv 2006.07733. Two directions are averaged here and added up there: the same gradient needs twice
their learning rate. For radio galaxies: Slijepcevic et al. 2024, arXiv 2305.16127, whose loss is half of the one here
less 1: the same gradient needs half their learning rate.
"""

from __future__ import annotations

__all__ = ["BYOL", "BYOLConfig", "byol_loss", "projector"]

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from astrofm.distributed import gather
from astrofm.encoders.ema import EMATarget, tau_at
from astrofm.objectives.base import Objective, StepResult
from astrofm.views.base import Views


class BYOLConfig(BaseModel):
    """Settings of BYOL; the defaults are those of the paper's 1000-epoch run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_dim: int = Field(default=4096, gt=0)
    """Width of the hidden layer of projector and predictor."""
    out_dim: int = Field(default=256, gt=0)
    """Width of projection and prediction."""
    tau_start: float = Field(default=0.996, ge=0, le=1)
    """EMA coefficient of the first update."""
    tau_schedule: Literal["constant", "cosine"] = "cosine"
    """``cosine`` rises to 1 at the end of the run."""


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Regress the online prediction on the target projection (Grill et al. 2020, eq. 2).

    Args:
        prediction: Predictor output for one view. Shape: (batch, dim).
        target: Target projection of the other view; no gradient flows into it.
            Shape: (batch, dim).

    Returns:
        Scalar in [0, 4], 0 where every pair points the same way. Always float32.

    Raises:
        ValueError: If the two shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction and target differ in shape: {tuple(prediction.shape)}, {tuple(target.shape)}")
    with torch.autocast(prediction.device.type, enabled=False):
        cosine = functional.cosine_similarity(prediction.float(), target.detach().float(), dim=1)
        return 2.0 - 2.0 * cosine.mean()


def projector(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """Return the network that BYOL uses as projector and as predictor: linear, batch norm, ReLU, linear.

    Args:
        in_dim: Width of its input.
        hidden_dim: Width of the hidden layer.
        out_dim: Width of its output.
    """
    return nn.Sequential(
        nn.Linear(in_dim, hidden_dim, bias=False),  # the batch norm after it has a bias of its own
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, out_dim),
    )


class BYOL(Objective):
    """Online encoder, projector and predictor, and the target of the first two.

    The two views go through the networks one after the other, so that the statistics of batch norm are those of one
    view, as in the paper. The target runs in the mode the objective is in: in training its batch norm uses the
    statistics of the batch, as the paper's code does.

    Args:
        config: Settings.
        encoder: From (batch, channel, y, x) to (batch, embed_dim).
        embed_dim: Width of the embedding.
    """

    num_views: ClassVar[int] = 2
    is_capturable: ClassVar[bool] = True

    def __init__(self, config: BYOLConfig, encoder: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.projector = projector(embed_dim, config.hidden_dim, config.out_dim)
        self.predictor = projector(config.out_dim, config.hidden_dim, config.out_dim)
        self.target = EMATarget(nn.Sequential(encoder, self.projector))

    def forward(self, views: Views, step: int) -> StepResult:
        """Return the loss, each view predicting the other's target, averaged over the two directions."""
        loss, embedding, projection = self.contrast(views)
        return StepResult(loss, {}, embedding.detach(), projection.detach())

    def contrast(self, views: Views) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, and embedding and projection of the first view, through which gradients flow."""
        first, second = views.images
        embedding = self.encoder(first)
        projection = self.projector(embedding)
        losses = (
            byol_loss(gather(self.predictor(projection)), gather(self.target(second))),
            byol_loss(gather(self.predictor(self.projector(self.encoder(second)))), gather(self.target(first))),
        )
        return (losses[0] + losses[1]) / 2.0, embedding, projection

    def after_step(self, step: int, num_steps: int) -> Mapping[str, float]:
        """Move the target towards the online network."""
        tau = tau_at(step - 1, num_steps, self.config.tau_start, self.config.tau_schedule)
        self.target.update(nn.Sequential(self.encoder, self.projector), tau)
        return {"tau": tau}
