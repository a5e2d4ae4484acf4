"""Rounding away the last bits of float32 pixels, which are noise and do not compress.

With ``k`` bits kept of the 23 of the mantissa no value moves by more than ``2 ** -(k + 1)`` of itself.
"""

from __future__ import annotations

__all__ = ["round_mantissa"]

import numpy as np
from numpy.typing import NDArray

MANTISSA_BITS = 23


def round_mantissa(values: NDArray[np.float32], keep_bits: int) -> NDArray[np.float32]:
    """Round to the nearest value with so many bits in its mantissa, halves to the even one.

    NaN and infinity stay as they are, bit for bit. What would be rounded up to infinity is rounded down.

    Args:
        values: Any shape.
        keep_bits: 1 to 23.

    Returns:
        A new array of the same shape.
    """
    drop = MANTISSA_BITS - keep_bits
    if drop == 0:
        return values.copy()
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    kept = np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    to_even = (bits >> np.uint32(drop)) & np.uint32(1)
    # A carry out of the mantissa raises the exponent, which is the value wanted.
    rounded = ((bits + (np.uint32((1 << drop - 1) - 1) + to_even)) & kept).view(np.float32)
    special = ~np.isfinite(rounded) | ~np.isfinite(values)
    if special.any():
        cut = np.where(np.isfinite(values), (bits & kept).view(np.float32), values)
        rounded = np.where(special, cut, rounded)
    return rounded
