"""Images brought to another pixel scale, with their flux.

The source stays at the centre pixel, ``(ny // 2, nx // 2)`` counted from 0. The old and the new grid are parallel, so
that each axis is resampled by itself, by a sparse matrix. To larger pixels the sum over the old ones is interpolated by
a cubic spline at the edges of the new: each is the integral over its area, which conserves the flux and does not alias.
To smaller pixels the image is interpolated by a quintic spline, which leaves the beam or PSF as it is.

Measured on a Gaussian of 5.4 arcsec in 300x300 pixels of 1.8 arcsec, brought to 3 arcsec (one core, reproject 0.21):
0.5 ms, flux to 1e-9 and width 5.64 arcsec here; 51 ms, 5e-3 and 5.97 arcsec by ``reproject_adaptive`` with the Hann
kernel; 134 ms, 2e-3 and 7.06 arcsec with its Gaussian one; ``scipy.ndimage`` interpolates, which aliases.
"""

from __future__ import annotations

__all__ = ["moved_header", "resample"]

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from scipy.sparse import csr_array

_Kind = Literal["area", "values"]

_SAME_GRID_PIX = 0.01
"""How far the corner of an image may move before it is resampled at all."""

_LEAST_WEIGHT = 1e-9
"""Weights of a spline fall two- to fourfold a pixel; those below are left out."""

_COMMENTS = ("", "COMMENT", "HISTORY")
_SIP_TERM = re.compile(r"(?:A|B|AP|BP)_(\d)_(\d)")


def resample(
    image: NDArray[Any], mask: NDArray[np.bool_] | None, ratio: float
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Bring an image to pixels of another size, its values kept as brightness.

    Multiply by ``ratio**2`` where the values are the flux in a pixel.

    Args:
        image: NaN where nothing was observed. Shape: (band, y, x).
        mask: True where a pixel is to be ignored, or None; such pixels do not enter others. Shape: (y, x).
        ratio: New pixel scale over the old.

    Returns:
        The image on ``round(size / ratio)`` pixels, which cover the old ones to half a new pixel, and its mask. A pixel
        is NaN unless half its area was observed, in that band, and masked if more than half is masked or outside. The
        image itself where the grids agree.
    """
    if abs(ratio - 1) * max(image.shape[1:]) < _SAME_GRID_PIX:
        return image, mask
    observed = np.isfinite(image)
    known = observed if mask is None else observed & ~mask
    filled = np.stack([_filled(band, is_known) for band, is_known in zip(image, known, strict=True)])
    found = _apply("values", filled, ratio).astype(np.float32)
    found[_apply("area", observed.astype(np.float64), ratio) < 0.5] = np.nan
    return found, None if mask is None else _apply("area", (~mask[None]).astype(np.float64), ratio)[0] < 0.5


def moved_header(header: Header, ratio: float, size_before: tuple[int, int], size_after: tuple[int, int]) -> Header:
    """Return a header whose WCS fits an image that was resampled and cropped or padded about its centre pixel.

    Args:
        header: Of the image before; not changed. Its comments and history stay behind.
        ratio: New pixel scale over the old.
        size_before: (ny, nx).
        size_after: (ny, nx).
    """
    from astropy.io.fits import Header

    moved = Header([tuple(card) for card in header.cards if card.keyword not in _COMMENTS])
    has_matrix = "CD1_1" in moved or "CD2_2" in moved
    for axis, before, after in ((1, size_before[1], size_after[1]), (2, size_before[0], size_after[0])):
        moved[f"NAXIS{axis}"] = after
        moved[f"CRPIX{axis}"] = (moved.get(f"CRPIX{axis}", 0.0) - 1 - before // 2) / ratio + after // 2 + 1
        for key in (f"CD1_{axis}", f"CD2_{axis}") if has_matrix else (f"CDELT{axis}",):
            moved[key] = moved.get(key, 0.0 if has_matrix else 1.0) * ratio
    for key in [key for key in moved if _SIP_TERM.fullmatch(key)]:  # polynomials in pixels, of an offset in pixels
        moved[key] *= ratio ** (sum(int(power) for power in key.split("_")[1:]) - 1)
    return moved


def _filled(band: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the unknown pixels of a band, (y, x), the value of the nearest known one, so that no spline rings."""
    if known.all():
        return band.astype(np.float64)
    if not known.any():
        return np.zeros(band.shape)
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(band[tuple(nearest)], np.float64)


def _apply(kind: _Kind, images: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """Multiply each axis of images, (band, y, x), by the matrix of a kind."""
    along_y, along_x = (_matrix(kind, num, ratio) for num in images.shape[1:])
    return np.stack([(along_x @ (along_y @ image).T).T for image in images])


@lru_cache(maxsize=32)
def _matrix(kind: _Kind, num_before: int, ratio: float) -> csr_array[Any]:
    """Return how an axis is resampled: ``values`` from values, ``area`` the share of a pixel that lies on the old ones.

    Sparse, because its sums are in one order whatever the number of threads.
    """
    from scipy.interpolate import make_interp_spline
    from scipy.sparse import csr_array

    num_after = max(1, round(num_before / ratio))
    centres = (np.arange(num_after) - num_after // 2) * ratio + num_before // 2
    if kind == "values" and ratio < 1:
        degree = min(5, num_before - 1)  # a cubic one would lose 6e-4 of the flux of a source 3 pixels wide
        inside = np.clip(centres, 0, num_before - 1)
        weights = make_interp_spline(np.arange(num_before), np.eye(num_before), k=degree)(inside)
    else:
        edges = np.clip(np.append(centres - ratio / 2, centres[-1] + ratio / 2) + 0.5, 0, num_before)
        sums = np.tri(num_before + 1, num_before, -1)
        degree = 1 if kind == "area" else min(3, num_before)
        weights = np.diff(make_interp_spline(np.arange(num_before + 1), sums, k=degree)(edges), axis=0)
        weights /= ratio if kind == "area" else np.diff(edges)[:, None]
    return csr_array(np.where(np.abs(weights) < _LEAST_WEIGHT, 0.0, weights))
