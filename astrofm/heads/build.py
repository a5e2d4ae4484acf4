"""From the settings of a head and what the labels are to the head."""

from __future__ import annotations

__all__ = ["HeadConfig", "build_head"]

from typing import Annotated

from pydantic import Field

from astrofm.data.supervision import Labels
from astrofm.heads.base import LabelHead
from astrofm.heads.classes import ClassHead, ClassHeadConfig
from astrofm.heads.redshift import RedshiftHead, RedshiftHeadConfig
from astrofm.heads.votes import VoteHead, VoteHeadConfig

HeadConfig = Annotated[VoteHeadConfig | ClassHeadConfig | RedshiftHeadConfig, Field(discriminator="kind")]
"""Settings of any head; ``kind`` tells which."""


def build_head(
    config: VoteHeadConfig | ClassHeadConfig | RedshiftHeadConfig, embed_dim: int, labels: Labels
) -> LabelHead:
    """Return an untrained head with one output for each answer, class or bin.

    Args:
        config: Settings.
        embed_dim: Width of the embedding.
        labels: What the settings asked for, of the data of the run.
    """
    if isinstance(config, VoteHeadConfig):
        return VoteHead(embed_dim, labels.questions, config.dropout, always_drop=config.always_drop)
    if isinstance(config, RedshiftHeadConfig):
        return RedshiftHead(embed_dim, config.num_bins, config.z_max)
    return ClassHead(embed_dim, len(labels.names), config.label_smoothing)
