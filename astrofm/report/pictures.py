"""Cutouts as pictures."""

from __future__ import annotations

__all__ = ["Colormap", "cutout_png"]

from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from astrofm.errors import DataError

Colormap = Literal["gray", "ember"]

_ANCHORS: dict[str, list[tuple[int, int, int]]] = {
    "gray": [(0, 0, 0), (255, 255, 255)],
    # From black by violet, crimson and orange to a pale yellow, lighter at every step: for radio brightness.
    "ember": [(2, 2, 8), (44, 16, 92), (124, 28, 108), (204, 62, 72), (246, 136, 38), (252, 206, 84), (255, 252, 222)],
}


def cutout_png(
    image: ArrayLike,
    *,
    size_pix: int = 160,
    colormap: Colormap = "gray",
    limits: tuple[float, float] | None = None,
) -> bytes:
    """Return a cutout as a PNG with the last row of the array on top, so that North is up.

    Args:
        image: One channel, shown in the colormap, or three, shown as red, green and blue. Where NaN, the picture is
            transparent. Shape: (channel, y, x), y increasing upwards.
        size_pix: Longer side of the picture.
        colormap: ``gray`` or ``ember`` (black by crimson to pale yellow).
        limits: Values shown as the darkest and the brightest; those beyond are clipped. Without them 0 and 255 of
            8-bit images, and the least and the greatest value of others.

    Raises:
        DataError: If the image does not have one or three channels of at least one pixel.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.size == 0:
        raise DataError(f"a picture is made of 1 or 3 channels, shape (channel, y, x), got {array.shape}")
    is_observed = np.isfinite(array).all(axis=0)
    level = _levels(array, limits)
    colours = _coloured(level[0], colormap) if len(array) == 1 else np.moveaxis(level, 0, -1)
    pixels = np.dstack([np.rint(255 * colours), 255 * is_observed]).astype(np.uint8)
    picture = Image.fromarray(pixels[::-1])
    if is_observed.all():
        picture = picture.convert("RGB")
    ny, nx = array.shape[1:]
    scale = size_pix / max(ny, nx)
    picture = picture.resize((max(1, round(nx * scale)), max(1, round(ny * scale))), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _levels(array: NDArray[np.generic], limits: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return brightness from 0 to 1, and 0 where not observed."""
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    if limits is not None:
        low, high = limits
    elif array.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    # A picture of one value is dark, not noise.
    span = high - low if high > low else 1.0
    return np.where(np.isfinite(values), np.clip((values - low) / span, 0.0, 1.0), 0.0)


def _coloured(level: NDArray[np.float64], colormap: Colormap) -> NDArray[np.float64]:
    """Return red, green and blue from 0 to 1. Shape: (y, x, 3)."""
    anchors = np.array(_ANCHORS[colormap]) / 255
    places = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(level, places, channel) for channel in anchors.T], axis=-1)
