"""The noise of a mosaic where a source lies: sigma-clipped in boxes of its own neighbourhood.

A mosaic has no single noise: it grows towards the edges and around bright sources. It is measured in boxes of about 256
pixels, on every 8th pixel of both axes (neighbours share a beam or PSF and tell little more), when a source first falls
into a box. A thousand pixels give the standard deviation of a box to 2 percent.
"""

from __future__ import annotations

__all__ = ["BoxNoise", "clipped_stds"]

import numpy as np
from numpy.typing import NDArray

from astrofm.data.files.noise import MAX_ITERATIONS, NUM_SIGMA
from astrofm.data.forms.mosaic_pixels import Pixels, Scaling

BOX_PIX = 256
SAMPLE_EVERY = 8
BOXES_AT_ONCE = 64


class BoxNoise:
    """The noise of a single-band image, box by box; what was measured is kept.

    Args:
        pixels: The image, or the standard deviation of each of its pixels.
        scaling: From what is stored to values.
        is_error: Whether the pixels are standard deviations, whose median is taken.
    """

    def __init__(self, pixels: Pixels, scaling: Scaling, *, is_error: bool = False) -> None:
        self.pixels, self._scaling, self._is_error = pixels, scaling, is_error
        self._num = tuple(max(1, length // BOX_PIX) for length in pixels.shape[1:])
        self._size = tuple(-(-length // num) for length, num in zip(pixels.shape[1:], self._num, strict=True))
        self._noise = np.full(self._num, np.nan)
        self._is_known = np.zeros(self._num, bool)

    def at(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the noise at pixels of the image, NaN where nothing was observed. Shape: (n,)."""
        box_y, box_x = y // self._size[0], x // self._size[1]
        wanted = np.zeros_like(self._is_known)
        wanted[box_y, box_x] = True
        new_y, new_x = np.nonzero(wanted & ~self._is_known)
        for first in range(0, len(new_y), BOXES_AT_ONCE):
            self._measure(new_y[first : first + BOXES_AT_ONCE], new_x[first : first + BOXES_AT_ONCE])
        noise: NDArray[np.float64] = self._noise[box_y, box_x]
        return noise

    def _measure(self, box_y: NDArray[np.int64], box_x: NDArray[np.int64]) -> None:
        size_y, size_x = self._size
        samples = np.full((len(box_y), -(-size_y // SAMPLE_EVERY), -(-size_x // SAMPLE_EVERY)), np.nan, np.float32)
        for strip in self.pixels.strips(box_y * size_y, box_x * size_x, (size_y, size_x)):
            for place in strip.places:
                y = int(box_y[place]) * size_y - strip.first_y
                x = int(box_x[place]) * size_x - strip.first_x
                found = strip.pixels[0, y : y + size_y : SAMPLE_EVERY, x : x + size_x : SAMPLE_EVERY]
                samples[place, : found.shape[0], : found.shape[1]] = self._scaling(found.copy())
        flat = samples.reshape(len(samples), -1)
        self._noise[box_y, box_x] = _medians(flat) if self._is_error else clipped_stds(flat)
        self._is_known[box_y, box_x] = True


def clipped_stds(fields: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the clipped standard deviation of several fields at once.

    What :func:`astrofm.data.files.noise.clipped_std` does to one field, to rounding: the pixels left are always
    a stretch of the sorted field, whose sums are differences of running sums.

    Args:
        fields: Pixels that are not finite are left out. Shape: (n, pixel).

    Returns:
        NaN where no pixel is finite. Shape: (n,).
    """
    values, start, stop = _sorted(fields)
    # About the median: the sums of squares stay precise.
    ordered = values.astype(np.float64) - _median(values, start, stop)[:, None]
    kept = np.where(np.isfinite(ordered), ordered, 0.0)
    zero = np.zeros((len(fields), 1))
    sums = np.concatenate([zero, np.cumsum(kept, axis=1)], axis=1)
    squares = np.concatenate([zero, np.cumsum(kept * kept, axis=1)], axis=1)
    for _ in range(MAX_ITERATIONS):
        reach, middle = NUM_SIGMA * _std(sums, squares, start, stop), _median(ordered, start, stop)
        low = np.count_nonzero(ordered < (middle - reach)[:, None], axis=1)
        high = np.count_nonzero(ordered <= (middle + reach)[:, None], axis=1)
        narrower = np.maximum(start, low), np.minimum(stop, high)
        if (narrower[0] == start).all() and (narrower[1] == stop).all():
            break
        start, stop = narrower
    return _std(sums, squares, start, stop)


def _sorted(fields: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted fields, NaN last, and from where to where each holds values."""
    ordered = np.sort(np.where(np.isfinite(fields), fields, np.float32(np.nan)), axis=1)
    stop = np.count_nonzero(~np.isnan(ordered), axis=1)
    return ordered, np.zeros_like(stop), stop


def _medians(fields: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the median of the positive values of each field."""
    ordered, start, stop = _sorted(np.where(fields > 0, fields, np.float32(np.nan)))
    return _median(ordered, start, stop)


def _median(ordered: NDArray[np.floating], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
    rows, last = np.arange(len(ordered)), ordered.shape[1] - 1
    low, high = (np.clip(place, 0, last) for place in ((start + stop - 1) // 2, (start + stop) // 2))
    return np.asarray((ordered[rows, low].astype(np.float64) + ordered[rows, high]) / 2)


def _std(
    sums: NDArray[np.float64], squares: NDArray[np.float64], start: NDArray[np.int64], stop: NDArray[np.int64]
) -> NDArray[np.float64]:
    rows = np.arange(len(sums))
    num = np.where(stop > start, stop - start, np.nan)
    mean = (sums[rows, stop] - sums[rows, start]) / num
    variance = (squares[rows, stop] - squares[rows, start]) / num - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
