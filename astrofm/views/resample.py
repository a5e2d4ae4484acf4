"""One bilinear resampling of a batch: every geometry view, the field of view and the size of the input at once.

Pixel centres lie at whole numbers and the window is centred on the array's centre, ``(n - 1) / 2``. Where the field of
view has at least twice the pixels of the input, the cutout is averaged over blocks of the whole part of that factor
first. Where the factor is a whole number, pixels of the input are pixels or blocks of the cutout: blocks begin where
the window does, and the window lies half a pixel before the centre if only that makes it begin with a pixel. The outer
half of a border pixel has its value; blocks that reach over the edge take the border's pixels for what lies there;
beyond the edge the result is 0, whatever the stretch makes of empty sky.
"""

from __future__ import annotations

__all__ = ["SCALE_TOLERANCE", "block_factors", "resample"]

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# n = cutouts of one share, V = views, C = channels.

SCALE_TOLERANCE = 1e-3
"""Relative difference up to which a cutout's pixel scale is its survey's; headers round it."""

EDGE_TOLERANCE = 1e-5
"""By how much a position may lie beyond the edge, of half a side, and count as on it: float32 rounds."""


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
    factors = block_factors(windows, size_pix)
    if len(np.unique(factors)) == 1:
        return _sample(images, windows, matrices, size_pix, int(factors[0]))
    views = images.new_empty(matrices.shape[1], *images.shape[:2], size_pix, size_pix)
    for factor in np.unique(factors):
        rows = np.flatnonzero(factors == factor)
        chosen = torch.from_numpy(rows).to(images.device)
        views[:, chosen] = _sample(images[chosen], windows[rows], matrices[rows], size_pix, int(factor))
    return views


def block_factors(windows: NDArray[np.float64], size_pix: int) -> NDArray[np.int64]:
    """Return the side of the blocks that are averaged before the resampling, in pixels; at least 1.

    Args:
        windows: Side of the window in pixels. Shape: (n,).
        size_pix: Side of the result.
    """
    return np.maximum(1, (windows / size_pix * (1.0 + SCALE_TOLERANCE)).astype(np.int64))


def _sample(
    images: Tensor, windows: NDArray[np.float64], matrices: NDArray[np.float64], size_pix: int, factor: int
) -> Tensor:
    """Average over blocks of ``factor`` pixels, then interpolate; as :func:`resample`."""
    num_views = matrices.shape[1]
    pooled, (offset_y, offset_x) = _pool(images, factor, size_pix)
    ny, nx = pooled.shape[-2:]
    affine = matrices[:, :, :2] * (windows / factor)[:, None, None, None] / np.array([[nx], [ny]])
    affine[..., 2] += 2.0 * np.array([offset_x / nx, offset_y / ny])
    moved = _to_pixels(windows / factor, size_pix, factor, images.shape[-2:])
    affine[..., 2] -= moved[:, None] / (factor * np.array([nx, ny]))
    grid = _grid(torch.from_numpy(affine).float().to(images.device), size_pix)
    views = functional.grid_sample(pooled, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if np.abs(affine).sum(axis=-1).max() > 1.0:
        x, y = grid.unbind(dim=-1)
        views *= (torch.maximum(x.abs(), y.abs()) <= 1.0 + EDGE_TOLERANCE)[:, None]
    return views.reshape(*images.shape[:2], num_views, size_pix, size_pix).permute(2, 0, 1, 3, 4)


def _to_pixels(windows: NDArray[np.float64], size_pix: int, factor: int, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return a pixel or none along (x, y): twice how far the window moves to begin where a pixel of the image does.

    Its centre lies between two of them where one of the sizes is odd and the other even. With pixels or blocks of one
    size that would smooth the noise of every image that is not turned.

    Args:
        windows: Side of the window in blocks. Shape: (n,).
        size_pix: Side of the result.
        factor: Side of a block.
        shape: (ny, nx) of the image.

    Returns:
        Shape: (n, 2).
    """
    has_same_scale = np.abs(windows - size_pix) <= SCALE_TOLERANCE * size_pix
    is_between = np.array([(size - factor * size_pix) % 2 for size in reversed(shape)], dtype=np.float64)
    return np.where(has_same_scale[:, None], is_between, 0.0)


def _grid(affine: Tensor, size_pix: int) -> Tensor:
    """Return where each pixel of the views lies, the views of an image one above the other: it is read from one place.

    Args:
        affine: Shape: (n, V, 2, 3).
        size_pix: Side of a view.

    Returns:
        (x, y) in units of half a side, each of the two contiguous in memory. Shape: (n, V * size_pix, size_pix, 2).
    """
    u = (2.0 * torch.arange(size_pix, device=affine.device) + 1.0) / size_pix - 1.0
    of_axis = affine.transpose(1, 2).contiguous()  # what is computed from it takes over its order in memory
    along_x, along_y, offset = of_axis[..., None, None, :].unbind(dim=-1)  # (n, 2, V, 1, 1)
    position = (along_x * u + along_y * u[:, None]).add_(offset)
    return position.flatten(2, 3).permute(0, 2, 3, 1)


def _pool(images: Tensor, factor: int, size_pix: int) -> tuple[Tensor, tuple[float, float]]:
    """Average over blocks; one of them begins where a window of ``size_pix`` blocks does that is centred on the image.

    Returns:
        The averages, and where the image's centre lies from theirs, in their pixels along (y, x).
    """
    if factor == 1:
        return images, (0.0, 0.0)
    before, after, offsets = [0, 0], [0, 0], [0.0, 0.0]
    for axis, size in enumerate(images.shape[-2:]):
        before[axis] = -((size - factor * size_pix) // 2) % factor
        after[axis] = -(size + before[axis]) % factor
        offsets[axis] = (before[axis] - after[axis]) / (2 * factor)
    if any(before) or any(after):
        images = functional.pad(images, (before[1], after[1], before[0], after[0]), mode="replicate")
    # Adding slices is several times faster on a CPU than torch's pooling.
    rows = _sum([images[..., first::factor, :] for first in range(factor)])
    blocks = _sum([rows[..., first::factor] for first in range(factor)])
    return blocks.mul_(1.0 / factor**2), (offsets[0], offsets[1])


def _sum(slices: Sequence[Tensor]) -> Tensor:
    """Add two slices or more, one after the other."""
    total = slices[0] + slices[1]
    for further in slices[2:]:
        total += further
    return total
