"""The noise of a field: the standard deviation that is left when sources have been clipped away.

The published 8-bit images of radio galaxies were made with a threshold of three times the value that
``astropy.stats.sigma_clipped_stats`` gives for float32 pixels; a value one bit off moves pixels across it. So each
standard deviation is added up as there, in float32 over the pixels in their order in the image. What is saved is the
search for the median: pixels are clipped from both ends of the sorted field, so that every median is read off one
sorted stretch in its middle.
"""

from __future__ import annotations

__all__ = ["clipped_std", "noise_column"]

import numpy as np
from numpy.typing import NDArray

NUM_SIGMA = 3.0
MAX_ITERATIONS = 5

_NUM_SAMPLED = 1024
"""Pixels that are looked at to find where the middle of a field lies; smaller fields are sorted whole."""
_MIDDLE = 0.05
"""Part of the pixels on either side of the median that is sorted."""


def clipped_std(image: NDArray[np.float32]) -> float:
    """Return the standard deviation after clipping at 3 standard deviations about the median, at most 5 times.

    Args:
        image: Of any shape; pixels that are not finite are left out.

    Returns:
        To the bit what ``sigma_clipped_stats(image, sigma=3, maxiters=5)`` of astropy gives for its float32 pixels;
        NaN where no pixel is finite.
    """
    pixels = np.ravel(image)
    known = np.isfinite(pixels)
    if not known.all():
        pixels = pixels[known]
    if pixels.size == 0:
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        return float(_std(_clipped(pixels)))


def _clipped(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pixels that are left, in their order."""
    middle = _Middle(pixels)
    first, end = 0, pixels.size  # ranks, in the sorted field, of the pixels that are left
    for _ in range(MAX_ITERATIONS):
        center, reach = middle.median(first, end), _std(pixels) * NUM_SIGMA
        is_high_enough = pixels >= center - reach
        kept = is_high_enough & (pixels <= center + reach)
        num_low = pixels.size - int(np.count_nonzero(is_high_enough))
        num_kept = int(np.count_nonzero(kept))
        if num_kept == pixels.size:
            break
        first += num_low
        end = first + num_kept
        pixels = pixels[kept]
        if num_kept == 0:  # sums beyond float32: no bound could be found
            break
    return pixels


def _std(pixels: NDArray[np.float32]) -> np.float32:
    """Return what ``np.nanstd`` does for pixels that are all finite, without its checks."""
    num = np.float64(pixels.size)
    mean = np.float32(np.add.reduce(pixels) / num)
    squares = pixels - mean
    np.multiply(squares, squares, out=squares)
    variance = np.float32(np.add.reduce(squares) / num)
    return np.float32(np.sqrt(variance))


class _Middle:
    """Reads medians of ranges of the sorted field off a sorted stretch of it."""

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self._pixels = pixels
        self._first = 0
        if pixels.size < 2 * _NUM_SAMPLED:
            self._sorted = np.sort(pixels)
            return
        sample = np.sort(pixels[:: pixels.size // _NUM_SAMPLED])
        low, high = (sample[int(sample.size * part)] for part in (0.5 - _MIDDLE, 0.5 + _MIDDLE))
        is_high_enough = pixels >= low
        self._first = pixels.size - int(np.count_nonzero(is_high_enough))
        self._sorted = np.sort(pixels[is_high_enough & (pixels <= high)])

    def median(self, first: int, end: int) -> np.float32:
        """Return the median of the pixels of the ranks first to end, end excluded."""
        ranks = ((first + end - 1) // 2, (first + end) // 2)
        if ranks[0] < self._first or ranks[1] >= self._first + self._sorted.size:
            self._first, self._sorted = 0, np.sort(self._pixels)
        low, high = (self._sorted[rank - self._first] for rank in ranks)
        return low if ranks[0] == ranks[1] else np.float32((low + high) / np.float32(2))


def noise_column(band: str) -> str:
    """Return the name of the column, and of the meta, with the noise of a band."""
    return f"rms_{band}"
