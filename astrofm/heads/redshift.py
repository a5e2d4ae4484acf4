"""The head that tells redshifts by their bin, and its loss.

Hayat et al. 2021, arXiv 2101.04293, as in their code: one linear layer, a softmax over 180 bins of equal width from 0
to 0.4, and the cross-entropy of the bin of the spectroscopic redshift. A redshift of 0.4 or more is taken for one of
the last bin, and a negative one for one of the first; so the head can tell no redshift beyond ``z_max``. Two things
differ from their code: the linear layer starts close to 0, so that the first loss is the logarithm of the number of
bins; and a row without a redshift has no loss.
"""

from __future__ import annotations

__all__ = ["RedshiftHead", "RedshiftHeadConfig", "expected_redshift", "redshift_bins", "redshift_edges"]

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from astrofm.data.supervision import LabelRequest, Labels
from astrofm.distributed import gather
from astrofm.heads.base import HeadConfig, LabelHead
from astrofm.heads.classes import NO_LABEL, class_loss
from astrofm.heads.photoz import photoz_metrics
from astrofm.views.base import Views


class RedshiftHeadConfig(HeadConfig):
    """Learn spectroscopic redshifts; the defaults are those of Hayat et al. 2021 for the SDSS Main Galaxy Sample."""

    kind: Literal["redshift"] = "redshift"
    num_bins: int = Field(default=180, gt=1)
    z_max: float = Field(default=0.4, gt=0)
    """Upper end of the last bin; what lies beyond counts as in it."""

    @property
    def request(self) -> LabelRequest:
        """The labels that it learns."""
        return LabelRequest("redshift")

    def build(self, embed_dim: int, labels: Labels) -> RedshiftHead:
        """Return an untrained head with an output for each bin."""
        return RedshiftHead(embed_dim, self.num_bins, self.z_max)


class RedshiftHead(LabelHead):
    """One linear layer, and the cross-entropy of the bins' probabilities.

    Args:
        embed_dim: Width of the embedding.
        num_bins: Number of bins.
        z_max: Upper end of the last bin.
    """

    column: ClassVar[str] = "z_spec"
    edges: Tensor

    def __init__(self, embed_dim: int, num_bins: int = 180, z_max: float = 0.4) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, num_bins)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("edges", redshift_edges(num_bins, z_max), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits. Shape: (batch, bin)."""
        logits: Tensor = self.linear(embedding)
        return logits

    def measure(self, embedding: Tensor, views: Views, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return cross-entropy, and bias, scatter and outliers of the redshifts, over the rows that have one."""
        z_spec, logits = gather(self.labels_of(views)), gather(self(embedding))
        metrics = photoz_metrics(expected_redshift(logits.detach(), self.edges), z_spec)
        return class_loss(logits, redshift_bins(z_spec, self.edges)), metrics


def redshift_edges(num_bins: int, z_max: float) -> Tensor:
    """Return the edges of bins of equal width from 0 to ``z_max``. Shape: (num_bins + 1,)."""
    return torch.linspace(0.0, z_max, num_bins + 1, dtype=torch.float64).float()


def redshift_bins(z_spec: Tensor, edges: Tensor) -> Tensor:
    """Return the bin of each redshift, -1 where it is not known.

    Args:
        z_spec: NaN where it is not known; what lies beyond the bins counts as in the nearest. Shape: (batch,).
        edges: Of the bins; a redshift on an edge is in the bin above it. Shape: (bin + 1,).

    Returns:
        int64. Shape: (batch,).
    """
    bins = torch.bucketize(z_spec.to(edges.dtype), edges[1:-1], right=True)
    return torch.where(z_spec.isnan(), NO_LABEL, bins)


def expected_redshift(logits: Tensor, edges: Tensor) -> Tensor:
    """Return the mean of the bins' centres under their probabilities.

    Args:
        logits: Output of the head. Shape: (batch, bin).
        edges: Of the bins. Shape: (bin + 1,).

    Returns:
        float32. Shape: (batch,).
    """
    with torch.autocast(logits.device.type, enabled=False):
        centres = (edges[1:] + edges[:-1]) / 2.0
        return (logits.float().softmax(dim=1) * centres).sum(dim=1)
