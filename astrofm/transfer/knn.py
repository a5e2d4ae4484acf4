"""kNN probe: each object takes the class its nearest labelled neighbours vote for.

Votes are weighted by exp(cosine / temperature), as in Wu et al. 2018 (https://arxiv.org/abs/1805.01978), whose
temperature of 0.07 is the default.
"""

from __future__ import annotations

__all__ = ["knn_error_leave_one_out", "knn_predict"]

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrofm.errors import DataError
from astrofm.retrieval.similar import Neighbours, similar


def knn_predict(
    bank: ArrayLike,
    bank_labels: ArrayLike,
    queries: ArrayLike,
    *,
    k: int = 20,
    num_classes: int,
    temperature: float = 0.07,
) -> NDArray[np.int64]:
    """Return the class that the k nearest labelled objects vote for.

    Args:
        bank: Features of the labelled objects. Shape: (n, d).
        bank_labels: Their classes, 0 to ``num_classes - 1``. Shape: (n,).
        queries: Features of the objects to classify. Shape: (q, d).
        k: Number of neighbours that vote, at most n.
        num_classes: Number of classes.
        temperature: Smaller lets the nearest count for more.

    Returns:
        Shape: (q,). Of equal votes the lowest class wins.

    Raises:
        DataError: If there are fewer than k labelled objects, or labels and features do not fit together.
    """
    labels = _checked(bank_labels, len(np.asarray(bank)), num_classes)
    if not temperature > 0:
        raise DataError(f"the temperature of the votes is positive, got {temperature:g}")
    return _vote(similar(bank, queries, k), labels, num_classes, temperature)


def knn_error_leave_one_out(
    embeddings: ArrayLike, labels: ArrayLike, *, num_neighbours: int = 20, temperature: float = 0.07
) -> float:
    """Return the fraction of objects whose class the others do not vote for: a probe that needs no second split.

    Args:
        embeddings: Shape: (n, d).
        labels: Classes, from 0. Shape: (n,).
        num_neighbours: Number of neighbours that vote; all others where there are fewer.
        temperature: As in :func:`knn_predict`.

    Raises:
        DataError: If there are fewer than two objects, or labels and embeddings do not fit together.
    """
    given = np.asarray(labels, dtype=np.int64)
    num_classes = int(given.max(initial=0)) + 1
    classes = _checked(given, len(np.asarray(embeddings)), num_classes)
    k = min(num_neighbours, len(classes) - 1)
    neighbours = similar(embeddings, np.arange(len(classes)), k)
    return float((_vote(neighbours, classes, num_classes, temperature) != classes).mean())


def _checked(labels: ArrayLike, num: int, num_classes: int) -> NDArray[np.int64]:
    classes = np.asarray(labels, dtype=np.int64)
    if classes.shape != (num,):
        raise DataError(f"{num} labelled objects need as many labels, got the shape {classes.shape}")
    if classes.min(initial=0) < 0 or classes.max(initial=0) >= num_classes:
        raise DataError(f"labels run from {classes.min()} to {classes.max()}, outside 0 to {num_classes - 1}")
    return classes


def _vote(neighbours: Neighbours, labels: NDArray[np.int64], num_classes: int, temperature: float) -> NDArray[np.int64]:
    scores = neighbours.scores.astype(np.float64)
    # Relative to the nearest, so that no weight overflows.
    weights = np.exp((scores - scores[:, :1]) / temperature)
    votes = np.zeros((len(weights), num_classes))
    np.add.at(votes, (np.arange(len(weights))[:, None], labels[neighbours.rows]), weights)
    classes: NDArray[np.int64] = votes.argmax(axis=1)
    return classes
