"""What makes an image unfit for a store, and how one is brought to the store's size.

The source is at the centre pixel, ``(ny // 2, nx // 2)`` counted from 0, for even and odd sizes alike; cropping and
padding keep it there. Cropping 300 to 150 pixels takes ``[75:225]``.

An image is judged as the archive gives it, before it is cropped or padded: what padding adds does not count as missing.
But an image that would fill less than a quarter of the stored area is ``too small``.
"""

from __future__ import annotations

__all__ = ["fit_to", "judge", "judge_all", "too_small"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.card import QualityRules
from astrofm.data.cutouts import Rejected

MIN_FILLED = 0.25
"""Smallest part of the stored area that an image may fill."""

SATURATED = 255
"""Top of the range of an 8-bit picture."""

_DEFAULTS = QualityRules()


def judge(
    image: NDArray[Any], mask: NDArray[np.bool_] | None = None, rules: QualityRules = _DEFAULTS
) -> Rejected | None:
    """Say why an image cannot be used.

    A pixel is missing if it is not finite or masked.

    Args:
        image: Shape: (band, y, x).
        mask: True where a pixel is to be ignored, or None. Shape: (y, x).
        rules: Of the survey.

    Returns:
        The first rule that is broken (``not numeric``, ``wrong shape``, ``no data``, ``missing pixels``,
        ``empty band``, ``constant image``, ``saturated``), or None.
    """
    if image.dtype.kind not in "fiu":
        return Rejected("not numeric", f"the pixels are of type {image.dtype}; they must be real numbers")
    if image.ndim != 3 or image.size == 0 or (mask is not None and mask.shape != image.shape[1:]):
        masked = "" if mask is None else f" with a mask of shape {mask.shape}"
        return Rejected("wrong shape", f"the image has shape {image.shape}{masked}; it must be (band, y, x) and (y, x)")
    missing = ~np.isfinite(image)
    if mask is not None:
        missing |= mask
    return (
        _judge_missing(missing, rules.max_missing)
        or _judge_constant(image, missing)
        or _judge_saturated(image, rules.max_saturated)
    )


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


def _judge_saturated(image: NDArray[Any], max_saturated: float) -> Rejected | None:
    share = float((image == SATURATED).mean()) if image.dtype == np.uint8 else 0.0
    if share > max_saturated:
        return Rejected("saturated", f"{share:.1%} of the pixels are {SATURATED}; {max_saturated:.0%} may be")
    return None


def judge_all(
    images: NDArray[Any], masks: NDArray[np.bool_] | None = None, rules: QualityRules = _DEFAULTS
) -> dict[int, Rejected]:
    """Judge many images of one size at once, exactly as :func:`judge` does one by one.

    Args:
        images: Shape: (n, band, y, x).
        masks: Shape: (n, y, x), or None.
        rules: Of the survey.

    Returns:
        Why they cannot be used, by their place in the batch.
    """
    is_odd = images.dtype.kind not in "fiu" or images.ndim != 4 or images.size == 0
    if is_odd or (masks is not None and masks.shape[1:] != images.shape[2:]):
        suspects = np.arange(len(images))
    else:
        suspects = np.flatnonzero(_suspects(images, masks, rules))
    judged = {int(place): judge(images[place], None if masks is None else masks[place], rules) for place in suspects}
    return {place: rejected for place, rejected in judged.items() if rejected is not None}


def _suspects(images: NDArray[Any], masks: NDArray[np.bool_] | None, rules: QualityRules) -> NDArray[np.bool_]:
    """Say which images are worth judging one by one: all that are rejected and few others. Shape: (n,)."""
    num, bands, ny, nx = images.shape
    flat = images.reshape(num, bands, ny * nx)
    # Where all is known, an image with a constant band has it in these three pixels; a source stands out in the centre.
    centre = images[:, :, ny // 2, nx // 2]
    suspect: NDArray[np.bool_] = ((flat[..., 0] == flat[..., -1]) & (flat[..., 0] == centre)).any(axis=1)
    if images.dtype.kind == "f":
        suspect |= ~np.isfinite(flat).all(axis=(1, 2))
    if masks is not None:
        suspect |= masks.any(axis=(1, 2))
    if images.dtype == np.uint8:
        num_saturated = np.count_nonzero(flat == SATURATED, axis=(1, 2))
        suspect |= num_saturated / (bands * ny * nx) > rules.max_saturated
    return suspect


def too_small(size: tuple[int, int], stored: tuple[int, int]) -> Rejected | None:
    """Say whether images would fill too little of the stored area.

    Args:
        size: Of the images, (ny, nx).
        stored: Of the store, (ny, nx).
    """
    filled = min(size[0], stored[0]) * min(size[1], stored[1]) / (stored[0] * stored[1])
    if filled >= MIN_FILLED:
        return None
    return Rejected(
        "too small",
        f"{size[0]} x {size[1]} pixels fill {filled:.1%} of the stored {stored[0]} x {stored[1]}; "
        f"at least {MIN_FILLED:.0%} is needed",
    )


def fit_to(
    image: NDArray[Any], mask: NDArray[np.bool_] | None, size: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Crop or pad images so that the centre pixel stays the centre pixel.

    Args:
        image: One or many. Shape: (..., band, y, x).
        mask: True where a pixel is to be ignored, or None. Shape: (..., y, x).
        size: Size wanted, (ny, nx).

    Returns:
        The images and masks of that size. Added pixels are NaN in floating-point images, and 0 and masked in those of
        integers, which have a mask after that. A mask that came in is padded with True.
    """
    have = image.shape[-2:]
    if have == tuple(size):
        return image, mask
    is_float = image.dtype.kind == "f"
    rows, new_rows = _overlap(have[0], size[0])
    columns, new_columns = _overlap(have[1], size[1])
    fitted = np.full((*image.shape[:-2], *size), np.nan if is_float else 0, dtype=image.dtype)
    fitted[..., new_rows, new_columns] = image[..., rows, columns]
    grows = any(wanted > side for side, wanted in zip(have, size, strict=True))
    if mask is None and (is_float or not grows):
        return fitted, None
    fitted_mask = np.ones((*image.shape[:-3], *size), dtype=bool)
    fitted_mask[..., new_rows, new_columns] = False if mask is None else mask[..., rows, columns]
    return fitted, fitted_mask


def _overlap(have: int, want: int) -> tuple[slice, slice]:
    """Return the part of the old axis that is kept and where it comes to lie in the new one."""
    shift = want // 2 - have // 2
    start, stop = max(0, -shift), min(have, want - shift)
    return slice(start, stop), slice(start + shift, stop + shift)
