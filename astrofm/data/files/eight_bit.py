"""Pixels of other types as 8-bit numbers, where they are such numbers."""

from __future__ import annotations

__all__ = ["as_uint8"]

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_uint8(images: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whole numbers in 0-255 as such, and NaN as 0 and masked.

    Args:
        images: Shape: (n, band, y, x).

    Returns:
        The pixels, same shape; where a band has NaN, shape (n, y, x); and which images have no other value than NaN
        and whole numbers in 0-255, shape (n,): the pixels of the others are not to be used.
    """
    missing: NDArray[np.bool_] = np.isnan(images) if images.dtype.kind == "f" else np.zeros(images.shape, bool)
    values = np.where(missing, 0, images)
    converted = np.clip(values, 0, 255).astype(np.uint8)
    masks: NDArray[np.bool_] = np.logical_or.reduce(missing, axis=1)
    is_whole: NDArray[np.bool_] = np.logical_and.reduce(converted == values, axis=(1, 2, 3))
    return converted, masks, is_whole
