"""What makes an image unfit for a store, and how one is brought to the store's size.

The source is at the centre pixel, ``(ny // 2, nx // 2)`` counted from 0, for even and odd sizes alike; cropping and
padding keep it there. Cropping 300 to 150 pixels takes ``[75:225]``.
"""

from __future__ import annotations

__all__ = ["MAX_MISSING", "fit_to", "judge"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.data.cutouts import Rejected

MAX_MISSING = 0.25
"""Largest part of the pixels that may be missing."""


def judge(
    image: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, max_missing: float = MAX_MISSING
) -> Rejected | None:
    """Say why an image cannot be used.

    A pixel is missing if it is not finite or masked.

    Args:
        image: Shape: (band, y, x).
        mask: True where a pixel is to be ignored, or None. Shape: (y, x).
        max_missing: Largest part of the pixels that may be missing.

    Returns:
        The first rule that is broken (``not numeric``, ``wrong shape``, ``no data``, ``missing pixels``,
        ``empty band``, ``constant image``), or None.
    """
    if image.dtype.kind not in "fiu":
        return Rejected("not numeric", f"the pixels are of type {image.dtype}; they must be real numbers")
    if image.ndim != 3 or image.size == 0 or (mask is not None and mask.shape != image.shape[1:]):
        masked = "" if mask is None else f" with a mask of shape {mask.shape}"
        return Rejected("wrong shape", f"the image has shape {image.shape}{masked}; it must be (band, y, x) and (y, x)")
    missing = ~np.isfinite(image)
    if mask is not None:
        missing |= mask
    return _judge_missing(missing, max_missing) or _judge_constant(image, missing)


def _judge_missing(missing: NDArray[np.bool_], max_missing: float) -> Rejected | None:
    share = float(missing.mean())
    if share == 1.0:
        return Rejected("no data", "all pixels are missing")
    if share > max_missing:
        return Rejected("missing pixels", f"{share:.1%} of the pixels are missing; {max_missing:.0%} may be")
    empty = missing.all(axis=(1, 2))
    if empty.any():
        return Rejected("empty band", f"all pixels of band {int(empty.argmax())} (counted from 0) are missing")
    return None


def _judge_constant(image: NDArray[Any], missing: NDArray[np.bool_]) -> Rejected | None:
    for band, (pixels, ignored) in enumerate(zip(image, missing, strict=True)):
        known = pixels[~ignored]
        if known[0] == known[-1] and (known == known[0]).all():
            return Rejected("constant image", f"all pixels of band {band} (counted from 0) are {known[0]:g}")
    return None


def fit_to(
    image: NDArray[Any], mask: NDArray[np.bool_] | None, size: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Crop or pad an image so that the centre pixel stays the centre pixel.

    Args:
        image: Shape: (band, y, x).
        mask: True where a pixel is to be ignored, or None. Shape: (y, x).
        size: Size wanted, (ny, nx).

    Returns:
        The image and mask of that size. Added pixels are NaN in a floating-point image, and 0 and masked in one of
        integers, which has a mask after that. A mask that came in is padded with True.
    """
    if image.shape[1:] == tuple(size):
        return image, mask
    is_float = image.dtype.kind == "f"
    rows, new_rows = _overlap(image.shape[1], size[0])
    columns, new_columns = _overlap(image.shape[2], size[1])
    fitted = np.full((image.shape[0], *size), np.nan if is_float else 0, dtype=image.dtype)
    fitted[:, new_rows, new_columns] = image[:, rows, columns]
    grows = any(want > have for have, want in zip(image.shape[1:], size, strict=True))
    if mask is None and (is_float or not grows):
        return fitted, None
    fitted_mask = np.ones(size, dtype=bool)
    fitted_mask[new_rows, new_columns] = False if mask is None else mask[rows, columns]
    return fitted, fitted_mask


def _overlap(have: int, want: int) -> tuple[slice, slice]:
    """Return the part of the old axis that is kept and where it comes to lie in the new one."""
    shift = want // 2 - have // 2
    start, stop = max(0, -shift), min(have, want - shift)
    return slice(start, stop), slice(start + shift, stop + shift)
