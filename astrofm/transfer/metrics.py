"""Errors with their uncertainty over training seeds and over test objects.

A few-label result varies twice: with the seed (which labels were drawn, how training went) and with the objects that
happen to be in the test set. Both are resampled, each by itself (the pigeonhole bootstrap of Owen 2007, Annals of
Applied Statistics 1, 386, https://doi.org/10.1214/07-AOAS122, which is mildly conservative), and two rows of a table
are compared on the same resamples, because they share seeds and objects.
"""

from __future__ import annotations

__all__ = ["Compared", "Difference", "Summary", "check_distinct", "compared", "paired_difference", "summarise"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrofm.errors import DataError

_TAIL = 0.025
"""Probability left on each side of a 95% interval."""
_BLOCK = 4_000_000
"""Most object counts held at once: 32 MB."""


class Compared(TypedDict):
    """What each row of a table has: a :class:`Summary`, and the difference to random weights, None for these."""

    error_mean: float
    error_sem: float | None
    error_ci95: tuple[float, float]
    n_test: int
    difference_to_random: float | None
    difference_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Summary:
    """The error of one row of a results table; errors are fractions.

    Attributes:
        error_mean: Mean over seeds and test objects.
        error_sem: Standard error of the mean over seeds alone; None with one seed, which tells nothing about it.
        error_ci95: 95% interval over seeds and test objects; with one seed, over test objects only.
        n_test: Number of test objects.
    """

    error_mean: float
    error_sem: float | None
    error_ci95: tuple[float, float]
    n_test: int


class Difference(NamedTuple):
    """A difference of two errors and its 95% interval, as fractions."""

    value: float
    ci95: tuple[float, float]


def summarise(errors: ArrayLike, *, num_resamples: int = 10_000, seed: int = 0) -> Summary:
    """Return the mean error of a row with its standard error and 95% interval.

    Args:
        errors: 1 where a test object was classified wrongly, else 0. Shape: (seeds, test objects).
        num_resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        The summary. Where no outcome differs from another the bootstrap sees nothing, and the interval is the exact
        binomial one (Clopper-Pearson) for the number of test objects: 0 errors in 104 is [0, 3.5%], not [0, 0].

    Raises:
        DataError: If the errors are not 0 or 1, or their shape is not (seeds, test objects).
    """
    wrong = _indicators("errors", errors)
    num_seeds, num_objects = wrong.shape
    of_seed = wrong.mean(axis=1)
    return Summary(
        error_mean=float(wrong.mean()),
        error_sem=float(of_seed.std(ddof=1) / np.sqrt(num_seeds)) if num_seeds > 1 else None,
        error_ci95=_interval(wrong, bounds=(0.0, 1.0), num_resamples=num_resamples, seed=seed),
        n_test=num_objects,
    )


def paired_difference(
    errors_a: ArrayLike, errors_b: ArrayLike, *, num_resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Return error a minus error b with its 95% interval, both on the same seeds and test objects.

    Args:
        errors_a: 1 where row a is wrong, else 0. Shape: (seeds, test objects).
        errors_b: The same for row b, seed by seed and object by object.
        num_resamples: Number of bootstrap resamples; each takes the same seeds and objects of both rows.
        seed: Seed of the resampling.

    Returns:
        The difference, negative where a is the better. Where no outcome differs, its interval is the widest that as
        many test objects leave open, as in :func:`summarise`.

    Raises:
        DataError: If the shapes differ, the errors are not 0 or 1, or both rows are one and the same array.
    """
    if np.shares_memory(np.asarray(errors_a), np.asarray(errors_b)):
        raise DataError("a row was compared with itself: both errors are the same array, pass those of two rows")
    a, b = _indicators("errors_a", errors_a), _indicators("errors_b", errors_b)
    if a.shape != b.shape:
        raise DataError(
            f"paired rows need the same seeds and test objects, got {a.shape} and {b.shape}: "
            "evaluate both rows on the same ones"
        )
    difference = a - b
    interval = _interval(difference, bounds=(-1.0, 1.0), num_resamples=num_resamples, seed=seed)
    return Difference(float(difference.mean()), interval)


def compared(errors: ArrayLike, baseline: ArrayLike | None) -> Compared:
    """Return the error of a row, and its difference to a baseline where it has one; see the two functions above."""
    summary = summarise(errors)
    difference = None if baseline is None else paired_difference(errors, baseline)
    return Compared(
        error_mean=summary.error_mean,
        error_sem=summary.error_sem,
        error_ci95=summary.error_ci95,
        n_test=summary.n_test,
        difference_to_random=None if difference is None else difference.value,
        difference_ci95=None if difference is None else difference.ci95,
    )


def check_distinct(inputs: Mapping[str, ArrayLike]) -> None:
    """Refuse a results table in which two rows were computed from the same numbers.

    Equal errors do not show it: two models that both fail on one hard object, or both name one class throughout,
    have equal errors. Equal features or probabilities do.

    Args:
        inputs: What each row was computed from, features or probabilities, by the row's name.

    Raises:
        DataError: If two rows have equal arrays, naming both.
    """
    arrays = {name: np.asarray(values) for name, values in inputs.items()}
    for first, second in combinations(arrays, 2):
        if np.array_equal(arrays[first], arrays[second]):
            raise DataError(
                f"rows {first!r} and {second!r} were computed from identical numbers: "
                "one of them was given the other's model or predictions"
            )


def _indicators(name: str, errors: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(errors, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"{name} need the shape (seeds, test objects), got {array.shape}")
    if not np.isin(array, (0.0, 1.0)).all():
        strange = array[~np.isin(array, (0.0, 1.0))][0]
        raise DataError(f"{name} are 1 for wrong and 0 for right, found {strange:g}: pass predictions != labels")
    return array


def _interval(
    outcomes: NDArray[np.float64], *, bounds: tuple[float, float], num_resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95% interval of the mean outcome, which lies within the bounds."""
    mean = float(outcomes.mean())
    if np.ptp(outcomes) == 0:
        unseen = 1.0 - _TAIL ** (1.0 / outcomes.shape[1])
        return mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean)
    means = np.concatenate(list(_resampled_means(outcomes, num_resamples, np.random.default_rng(seed))))
    low, high = np.quantile(means, [_TAIL, 1.0 - _TAIL])
    return min(float(low), mean), max(float(high), mean)


def _resampled_means(
    outcomes: NDArray[np.float64], num_resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield w_s^T outcomes w_o / (S N), block by block, for multinomial counts w_s of seeds and w_o of objects.

    Objects with the same outcome in every seed are interchangeable and are counted together, which changes nothing
    but the time: ten thousand resamples of a large test set cost as many as there are different outcomes.
    """
    num_seeds, num_objects = outcomes.shape
    patterns, chances = _patterns(outcomes)
    block = max(1, _BLOCK // len(chances))
    for start in range(0, num_resamples, block):
        num = min(block, num_resamples - start)
        of_seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1.0 / num_seeds), size=num)
        of_objects = rng.multinomial(num_objects, chances, size=num)
        yield np.einsum("rn,rn->r", of_seeds @ patterns, of_objects) / outcomes.size


def _patterns(outcomes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the different columns in order of first appearance, and the fraction of objects that has each."""
    _, first, counts = np.unique(outcomes, axis=1, return_index=True, return_counts=True)
    order = np.argsort(first)
    return outcomes[:, first[order]], counts[order] / outcomes.shape[1]
