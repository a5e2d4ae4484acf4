"""Two numbers that tell whether an encoder has stopped telling cutouts apart."""

from __future__ import annotations

__all__ = ["effective_rank", "embedding_spread"]

import math

import torch
from torch import Tensor
from torch.nn import functional

MOST_ROWS = 128
"""Rows of a batch that :func:`effective_rank` looks at; its cost grows with their cube."""


@torch.no_grad()
def embedding_spread(embedding: Tensor) -> Tensor:
    """Return the spread of directions: 1 where they are isotropic, 0 where all are the same.

    It is the standard deviation of each component of the L2-normalised embedding, averaged and multiplied by the square
    root of the dimension (Chen & He 2021, arXiv 2011.10566, section 4.1).

    Args:
        embedding: Shape: (batch, dim).

    Returns:
        Scalar, float32.
    """
    directions = functional.normalize(embedding.float(), dim=1)
    return directions.std(dim=0, correction=0).mean() * math.sqrt(embedding.shape[1])


@torch.no_grad()
def effective_rank(embedding: Tensor) -> Tensor:
    """Return the number of directions the centred embedding fills (Roy & Vetterli 2007, EUSIPCO).

    It is the exponential of the entropy of the singular values, taken as probabilities, and at most the number of rows
    less one. Only the first 128 rows are looked at.

    Args:
        embedding: Shape: (batch, dim).

    Returns:
        Scalar, float32, on the CPU: 1 for a line, 0 where all rows are the same.
    """
    rows = embedding[:MOST_ROWS].cpu().double()  # on the CPU this small problem is quicker than on a GPU
    centred = rows - rows.mean(dim=0)
    gram = centred @ centred.T if centred.shape[0] <= centred.shape[1] else centred.T @ centred
    singular = torch.linalg.eigvalsh(gram).clamp(min=0.0).sqrt()
    total = singular.sum()
    shares = singular / torch.where(total == 0, 1.0, total)
    return torch.where(total == 0, 0.0, torch.special.entr(shares).sum().exp()).float()
