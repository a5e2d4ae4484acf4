"""Dropout without generator state: the mask is a function of (seed, step, row), as all randomness of a run is.

So a run that was stopped continues with the masks it would have had, and a row has the same mask on whichever rank it
is.
"""

from __future__ import annotations

__all__ = ["dropout_mask"]

import torch
from torch import Tensor

LOW_32_BITS = 0xFFFFFFFF


def dropout_mask(row_ids: Tensor, dim: int, share: float, seed: Tensor, step: int) -> Tensor:
    """Return what to multiply embeddings with: 0 for a share of the values, ``1 / (1 - share)`` for the rest.

    Args:
        row_ids: Row of each cutout in the training data. Shape: (batch,).
        dim: Width of the embedding.
        share: Share that is dropped, in [0, 1).
        seed: Whole number of one element.
        step: Optimiser steps taken so far.

    Returns:
        float32. Shape: (batch, dim).
    """
    columns = torch.arange(dim, device=row_ids.device)
    rows = _mixed(_mixed(seed.long() ^ _mixed(torch.full_like(row_ids, step))) ^ row_ids)
    drawn = _mixed(rows[:, None] ^ _mixed(columns + dim))
    return (drawn >= int(share * 2**32)).float() / (1.0 - share)


def _mixed(values: Tensor) -> Tensor:
    """Return 32-bit hashes of 32-bit whole numbers, held in int64, which none of the products overflows."""
    for _ in range(2):
        values = ((values ^ (values >> 16)) * 0x045D9F3B) & LOW_32_BITS
    return values ^ (values >> 16)
