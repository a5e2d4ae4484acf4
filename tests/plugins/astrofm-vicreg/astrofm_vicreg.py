"""An objective: variance, invariance and covariance (VICReg, Bardes et al. 2022, arXiv 2105.04906)."""

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from astrofm import hookimpl
from astrofm.distributed import gather
from astrofm.objectives.base import Objective, ObjectivePart, StepResult
from astrofm.objectives.byol import projector
from astrofm.views.base import Views


class VICRegConfig(BaseModel):
    """Settings of VICReg; the weights are those of the paper, the widths a quarter of its 8192."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_dim: int = Field(default=2048, gt=0)
    out_dim: int = Field(default=2048, gt=0)
    invariance: float = Field(default=25.0, ge=0)
    variance: float = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)


class VICReg(Objective):
    """Views of one source attract; each component keeps its spread, and no two say the same."""

    num_views = 2

    def __init__(self, config: VICRegConfig, encoder: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.projector = projector(embed_dim, config.hidden_dim, config.out_dim)

    def forward(self, views: Views, step: int) -> StepResult:
        embeddings = [self.encoder(images) for images in views.images]
        projections = [self.projector(embedding) for embedding in embeddings]
        first, second = (gather(projection).float() for projection in projections)
        with torch.autocast(first.device.type, enabled=False):  # losses are float32 also where networks are not
            parts = {
                "invariance": (first - second).square().mean(),
                "variance": (missing_spread(first) + missing_spread(second)) / 2,
                "covariance": shared_variance(first) + shared_variance(second),
            }
        loss = sum((getattr(self.config, name) * part for name, part in parts.items()), torch.zeros(()).to(first))
        metrics = {name: part.detach() for name, part in parts.items()}
        return StepResult(loss, metrics, embeddings[0].detach(), projections[0].detach())


def missing_spread(z: Tensor) -> Tensor:
    """Return by how much the standard deviation of a component is below 1, on average (eq. 1)."""
    return (1.0 - (z.var(dim=0) + 1e-4).sqrt()).relu().mean()


def shared_variance(z: Tensor) -> Tensor:
    """Return the squared covariances of different components, over their number (eq. 3 and 4)."""
    covariance = torch.cov(z.T)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]


@hookimpl
def register_objectives(register: Callable[[ObjectivePart], None]) -> None:
    """Register ``vicreg``."""
    register(ObjectivePart("vicreg", VICRegConfig, VICReg))
