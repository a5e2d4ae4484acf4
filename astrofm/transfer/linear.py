"""Linear probe: multinomial logistic regression on frozen features.

The probe sees the training labels alone: features are standardised with the training mean and standard deviation, and
the strength of the L2 penalty is chosen by stratified cross-validation on the training labels.

With fewer labels than features the penalised solution lies in the span of the training features, so the fit happens in
that span (a rotation by the singular vectors, exact for L2) and is rotated back.
"""

from __future__ import annotations

__all__ = ["LinearProbe", "cross_entropy", "fit_linear_probe"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from astrofm.errors import DataError

STRENGTHS = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
"""Penalties tried, strongest first: each fit starts from the one before."""
NUM_FOLDS = 5

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        mean: Training mean of each feature. Shape: (d,).
        inverse_std: One over the training standard deviation; 0 where a feature does not vary. Shape: (d,).
        weights: Shape: (d, num_classes).
        bias: Minus infinity for a class without a training label. Shape: (num_classes,).
        strength: The penalty that cross-validation chose: lambda in mean cross-entropy + lambda/2 |weights|^2.
    """

    mean: Floats
    inverse_std: Floats
    weights: Floats
    bias: Floats
    strength: float

    def logits(self, features: ArrayLike) -> Floats:
        """Return log probabilities up to a constant per row. Shape: (n, num_classes).

        Args:
            features: Shape: (n, d).

        Raises:
            DataError: If the features have another width than in training, or are not finite.
        """
        x = _checked(features)
        if x.shape[1] != len(self.mean):
            raise DataError(f"the probe was fitted on {len(self.mean)} features and got {x.shape[1]}")
        logits: Floats = ((x - self.mean) * self.inverse_std) @ self.weights + self.bias
        return logits

    def probabilities(self, features: ArrayLike) -> Floats:
        """Return class probabilities; 0 for a class without a training label. Shape: (n, num_classes)."""
        probabilities: Floats = softmax(self.logits(features), axis=1)
        return probabilities

    def predict(self, features: ArrayLike) -> Labels:
        """Return the most probable class of each row. Shape: (n,)."""
        classes: Labels = self.logits(features).argmax(axis=1)
        return classes


def fit_linear_probe(features: ArrayLike, labels: ArrayLike, *, num_classes: int, seed: int) -> LinearProbe:
    """Fit a linear probe, choosing the penalty by cross-validation on these labels.

    Args:
        features: Features of the training objects. Shape: (n, d).
        labels: Their classes, 0 to ``num_classes - 1``. Shape: (n,).
        num_classes: Number of classes; some may have no training label.
        seed: Seed of the folds, the only randomness.

    Returns:
        The probe, refitted on all labels with the penalty of the least held-out cross-entropy.

    Raises:
        DataError: If features and labels do not fit together, are not finite, or name fewer than two classes.
    """
    x = _checked(features)
    classes, y = _checked_labels(labels, len(x), num_classes)
    mean, inverse_std = x.mean(axis=0), _inverse_std(x)
    rotated, basis = _rotate((x - mean) * inverse_std)
    strength = _choose_strength(rotated, y, len(classes), np.random.default_rng(seed))
    fitted = _fit(rotated, y, np.zeros((rotated.shape[1] + 1, len(classes))), strength, precision=1e-5)
    weights = np.zeros((x.shape[1], num_classes))
    bias = np.full(num_classes, -np.inf)
    weights[:, classes], bias[classes] = basis @ fitted[:-1], fitted[-1]
    return LinearProbe(mean, inverse_std, weights, bias, strength)


def cross_entropy(parameters: Floats, x: Floats, labels: Labels, strength: float) -> tuple[float, Floats]:
    """Return mean cross-entropy plus the L2 penalty, and its gradient.

    Args:
        parameters: Weights, then the bias as last row, which is not penalised. Shape: (d + 1, classes).
        x: Shape: (n, d).
        labels: Shape: (n,).
        strength: Penalty lambda in lambda/2 |weights|^2.

    Returns:
        The loss and its gradient, of the shape of the parameters.
    """
    weights, bias = parameters[:-1], parameters[-1]
    log_probabilities = log_softmax(x @ weights + bias, axis=1)
    rows = np.arange(len(labels))
    loss = -log_probabilities[rows, labels].mean() + 0.5 * strength * np.square(weights).sum()
    residual = np.exp(log_probabilities)
    residual[rows, labels] -= 1.0
    residual /= len(labels)
    gradient = np.vstack([x.T @ residual + strength * weights, residual.sum(axis=0)])
    return float(loss), gradient


def _checked(features: ArrayLike) -> Floats:
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or x.size == 0:
        raise DataError(f"features need the shape (objects, features), got {x.shape}")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(axis=1).sum())
        raise DataError(f"{bad} of {len(x)} objects have features that are not finite: look at their cutouts")
    return x


def _checked_labels(labels: ArrayLike, num: int, num_classes: int) -> tuple[Labels, Labels]:
    """Return the classes that occur, and each label as an index into them."""
    given = np.asarray(labels)
    if given.shape != (num,):
        raise DataError(f"{num} objects need as many labels, got the shape {given.shape}")
    classes, y = np.unique(given.astype(np.int64), return_inverse=True)
    if classes[0] < 0 or classes[-1] >= num_classes:
        raise DataError(f"labels run from {classes[0]} to {classes[-1]}, outside 0 to {num_classes - 1}")
    if len(classes) < 2:
        raise DataError(f"all {num} training labels are class {classes[0]}: a probe needs at least two classes")
    return classes, y.astype(np.int64)


def _inverse_std(x: Floats) -> Floats:
    """Return 1/std of each column, and 0 for one that varies by no more than float32 rounding."""
    std = x.std(axis=0)
    varies = std > 1e-6 * np.abs(x).max(axis=0)
    inverse: Floats = np.divide(1.0, std, out=np.zeros_like(std), where=varies)
    return inverse


def _rotate(x: Floats) -> tuple[Floats, Floats]:
    """Return x in an orthonormal basis of its rows' span, if smaller, and the basis: x = rotated @ basis.T."""
    if x.shape[0] >= x.shape[1]:
        return x, np.eye(x.shape[1])
    u, singular, vt = np.linalg.svd(x, full_matrices=False)
    return u * singular, vt.T


def _choose_strength(x: Floats, y: Labels, num_classes: int, rng: np.random.Generator) -> float:
    """Return the penalty of the least held-out cross-entropy; of equal ones the strongest."""
    held_out_loss = np.zeros(len(STRENGTHS))
    for held_out in _stratified_folds(y, rng):
        parameters = np.zeros((x.shape[1] + 1, num_classes))
        for i, strength in enumerate(STRENGTHS):
            parameters = _fit(x[~held_out], y[~held_out], parameters, strength, precision=1e-2)
            loss, _ = cross_entropy(parameters, x[held_out], y[held_out], strength=0.0)
            held_out_loss[i] += loss * held_out.sum()
    return STRENGTHS[int(held_out_loss.argmin())]


def _stratified_folds(y: Labels, rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    """Yield held-out masks; a class with a single label is never held out, so every fold trains on every class."""
    fold_of = np.full(len(y), -1)
    dealt = 0
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        if len(rows) > 1:
            fold_of[rows] = (dealt + np.arange(len(rows))) % NUM_FOLDS
            dealt += len(rows)
    for fold in range(NUM_FOLDS):
        if (fold_of == fold).any():
            yield fold_of == fold


def _fit(x: Floats, y: Labels, start: Floats, strength: float, precision: float) -> Floats:
    """Return the parameters of least loss; the penalty holds each weight to about ``precision``."""

    def loss(flat: Floats) -> tuple[float, Floats]:
        value, gradient = cross_entropy(flat.reshape(start.shape), x, y, strength)
        return value, gradient.ravel()

    found = minimize(
        loss,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10_000, "gtol": precision * min(strength, 1.0), "ftol": 0.0},
    )
    parameters: Floats = found.x.reshape(start.shape)
    return parameters
