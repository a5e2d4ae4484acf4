"""One optimiser step from one batch, which may go through the networks in several small batches, one after the other.

The small batches are equal parts of the batch of the recipe, as the parts of several processes are: the order of the
data, the views, the count of steps and the position in the epoch are those of the whole batch, and a run can only stop
where the whole of it was used. The gradient is the mean of theirs. What an objective does with the rows of a batch
together, it does with those of a small batch: statistics of batch norm, negatives, the balance of two losses, the mean
over the labelled rows. So the step is that of the whole batch only for what looks at each row by itself.
"""

from __future__ import annotations

__all__ = ["parts_of", "rows_of", "take_step"]

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrofm.data.batch import Batch, Share
from astrofm.objectives.base import StepResult
from astrofm.views.base import Views
from astrofm.views.device import MakeViews

Pixels = NDArray[np.generic] | Tensor
ComputeLoss = Callable[[Views, int], StepResult]
"""From (views, step) to the result, as an :class:`astrofm.objectives.base.Objective` gives it."""


def take_step(
    objective: ComputeLoss,
    make_views: MakeViews,
    batch: Batch,
    step: int,
    device: torch.device,
    num_parts: int = 1,
    *,
    seed: int = 0,
) -> StepResult:
    """Return the loss of a batch; the gradient of all of its parts but the last is left in the parameters.

    Args:
        objective: Its gradients are zero or None before.
        make_views: From a batch to views.
        batch: The rows of this process.
        step: Optimiser steps taken so far.
        device: Where the work is done.
        num_parts: Small batches; each has its own backward pass, so that only one is in memory.
        seed: Of what the layers of the networks draw, as dropout and stochastic depth do.

    Returns:
        The mean loss and metrics and the embedding of all rows. The gradient of the loss is that of the last part.
    """
    *first_parts, last_part = parts_of(batch, num_parts)
    results = []
    for part in first_parts:
        _seed_layers(seed, step, part)
        result = objective(make_views(part, step, device), step)
        with torch.autocast(device.type, enabled=False):  # the backward pass follows the dtypes of the forward pass
            torch.autograd.backward(result.loss / num_parts)
        results.append(replace(result, loss=result.loss.detach()))
    _seed_layers(seed, step, last_part)
    last = objective(make_views(last_part, step, device), step)
    return _together([*results, last])


def _seed_layers(seed: int, step: int, batch: Batch) -> None:
    """Seed torch's global generators from the run, the step and the place of the rows: no state needs to be saved."""
    drawn = np.random.SeedSequence([seed, step, batch.first]).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn[0]))


def _together(results: Sequence[StepResult]) -> StepResult:
    """Return the mean of some results, and their embeddings one after the other."""
    if len(results) == 1:
        return results[0]
    loss = torch.stack([result.loss for result in results]).mean()
    metrics = {name: torch.stack([result.metrics[name] for result in results]).mean() for name in results[0].metrics}
    embeddings = [result.embedding for result in results if result.embedding is not None]
    projections = [result.projection for result in results if result.projection is not None]
    return StepResult(
        loss,
        metrics,
        torch.cat(embeddings) if embeddings else None,
        torch.cat(projections) if projections else None,
    )


def parts_of(batch: Batch, num_parts: int) -> list[Batch]:
    """Return equal parts of a batch, in its order; each knows its place in the global batch, which sets its views.

    Raises:
        ValueError: If the rows cannot be shared equally.
    """
    if num_parts == 1:
        return [batch]
    if batch.size % num_parts:
        raise ValueError(f"{batch.size} rows cannot be shared equally by {num_parts} small batches")
    size = batch.size // num_parts
    return [rows_of(batch, start, start + size) for start in range(0, batch.size, size)]


def rows_of(batch: Batch, start: int, stop: int) -> Batch:
    """Return some rows of a batch that follow each other; they know their place in it, and have the same views."""
    shares = [_share_rows(share, start, stop) for share in batch.shares]
    return replace(
        batch,
        shares=tuple(share for share in shares if len(share.places)),
        row_ids=batch.row_ids[start:stop],
        first=batch.first + start,
        labels={name: column[start:stop] for name, column in batch.labels.items()},
    )


def _share_rows(share: Share, start: int, stop: int) -> Share:
    chosen = np.flatnonzero((share.places >= start) & (share.places < stop))
    return replace(
        share,
        images=_taken(share.images, chosen),
        mask=None if share.mask is None else _taken(share.mask, chosen),  # type: ignore[arg-type]  # still a mask
        places=share.places[chosen] - start,
        meta={name: values[chosen] for name, values in share.meta.items()},
    )


def _taken(pixels: Pixels, chosen: NDArray[np.intp]) -> Pixels:
    """Return some of the rows; they may lie on a GPU already."""
    return pixels[torch.from_numpy(chosen).to(pixels.device)] if isinstance(pixels, Tensor) else pixels[chosen]
