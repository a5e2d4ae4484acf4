"""Embed cutouts: what a network makes of each, without augmentation."""

from __future__ import annotations

__all__ = ["embed"]

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from astrofm.data.batch import Batch
from astrofm.errors import DataError

if TYPE_CHECKING:
    from astrofm.views.pipeline import ViewPipeline


def embed(
    encoder: nn.Module, batches: Iterable[Batch], pipeline: ViewPipeline, device: torch.device | str
) -> NDArray[np.float32]:
    """Return the embedding of every cutout, in the order of the batches.

    The encoder runs in evaluation mode, so that normalisation layers use their stored statistics and do not change
    them; each module is back in its own mode afterwards.

    Args:
        encoder: Maps images (batch, channel, y, x) to embeddings (batch, d); already on the device.
        batches: Pass over the cutouts, for example a loader that does not shuffle.
        pipeline: Gives each batch's plain view.
        device: Where the encoder is, for example ``cpu``.

    Returns:
        Shape: (n, d).

    Raises:
        DataError: If there is no cutout, or an embedding is not finite.
    """
    parts = []
    with _evaluating(encoder), torch.no_grad():
        for batch in batches:
            part = encoder(pipeline.plain(batch, torch.device(device))).float().cpu().numpy()
            _check_finite(part, batch)
            parts.append(part)
    if not parts:
        raise DataError("there is nothing to embed: no batch holds a cutout")
    return np.concatenate(parts)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Hold the network in evaluation mode, then give every module back the mode it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _check_finite(embeddings: NDArray[np.float32], batch: Batch) -> None:
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(embeddings)} embeddings are not finite, the first of row {batch.row_ids[bad[0]]}: "
            "look at its cutout and at the weights"
        )
