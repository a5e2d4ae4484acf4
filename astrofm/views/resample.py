"""One bilinear resampling of a batch: every geometry view, the field of view and the size of the input at once.

Pixel centres lie at whole numbers and the window is centred on the array's centre, ``(n - 1) / 2``. Outside the cutout
the stretched sky is 0. Where the field of view has at least twice the pixels of the input, the cutout is averaged over
blocks of the whole part of that factor first.
"""

from __future__ import annotations

__all__ = ["SCALE_TOLERANCE", "resample"]

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# n = cutouts of one share, V = views, C = channels.

SCALE_TOLERANCE = 1e-3
"""Relative difference up to which a cutout's pixel scale is its survey's; headers round it."""


def resample(images: Tensor, windows: NDArray[np.float64], matrices: NDArray[np.float64], size_pix: int) -> Tensor:
    """Return views of the central window of each image, all by one bilinear interpolation.

    Args:
        images: Shape: (n, C, y, x).
        windows: Side of the window in pixels. Shape: (n,).
        matrices: Where each position of a view lies in the window, whose edges are at -1 and 1. Shape: (n, V, 3, 3).
        size_pix: Side of the result.

    Returns:
        Shape: (V, n, C, size_pix, size_pix).
    """
    factors = np.maximum(1, (windows / size_pix * (1.0 + SCALE_TOLERANCE)).astype(int))
    if len(np.unique(factors)) == 1:
        return _sample(images, windows, matrices, size_pix, int(factors[0]))
    views = images.new_empty(matrices.shape[1], *images.shape[:2], size_pix, size_pix)
    for factor in np.unique(factors):
        rows = np.flatnonzero(factors == factor)
        chosen = torch.from_numpy(rows).to(images.device)
        views[:, chosen] = _sample(images[chosen], windows[rows], matrices[rows], size_pix, int(factor))
    return views


def _sample(
    images: Tensor, windows: NDArray[np.float64], matrices: NDArray[np.float64], size_pix: int, factor: int
) -> Tensor:
    """Average over blocks of ``factor`` pixels, then interpolate; as :func:`resample`."""
    num_views = matrices.shape[1]
    pooled, (offset_y, offset_x) = _pool(images, factor)
    ny, nx = pooled.shape[-2:]
    affine = matrices[:, :, :2] * (windows / factor)[:, None, None, None] / np.array([[nx], [ny]])
    affine[..., 2] += 2.0 * np.array([offset_x / nx, offset_y / ny])
    theta = torch.from_numpy(affine).float().to(images.device)[:, :, None, None]
    u = (2.0 * torch.arange(size_pix, device=images.device) + 1.0) / size_pix - 1.0
    position = theta[..., 0] * u[:, None] + theta[..., 1] * u[:, None, None] + theta[..., 2]
    # The views of an image lie one above the other, so that the image is read from one place.
    grid = position.reshape(len(images), num_views * size_pix, size_pix, 2)
    views = functional.grid_sample(pooled, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return views.reshape(*images.shape[:2], num_views, size_pix, size_pix).permute(2, 0, 1, 3, 4)


def _pool(images: Tensor, factor: int) -> tuple[Tensor, tuple[float, float]]:
    """Average over blocks, symmetric about the image's centre where the sizes allow it.

    Returns:
        The averages, and where the image's centre lies from theirs, in their pixels along (y, x).
    """
    if factor == 1:
        return images, (0.0, 0.0)
    before, after, offsets = [0, 0], [0, 0], [0.0, 0.0]
    for axis, size in enumerate(images.shape[-2:]):
        added = -size % factor
        added += factor if added % 2 and factor % 2 else 0
        before[axis], after[axis] = added // 2, added - added // 2
        offsets[axis] = (before[axis] - added / 2) / factor
    if any(after):
        images = functional.pad(images, (before[1], after[1], before[0], after[0]))
    return functional.avg_pool2d(images, factor), (offsets[0], offsets[1])
