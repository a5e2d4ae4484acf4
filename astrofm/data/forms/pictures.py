"""Encoded pictures at the size of a store: decoded, resized without aliasing, North up.

JPEG pictures are decoded by libjpeg-turbo straight into an array, with its accurate transform and smooth chroma, which
gives the pixels that Pillow gives, bit for bit, in a third of the time. Whatever that decoder does not take (PNG,
CMYK, a file with a fault) is left to Pillow, which also has the last word on what is broken.
"""

from __future__ import annotations

__all__ = ["decode_picture"]

from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.images import read_picture

_SPACES = {1: ("Gray",), 3: ("YCbCr", "RGB", "Gray")}
"""For each number of bands the colour spaces of JPEG files that need no other conversion than the decoder's own."""

_MAX_PIXELS = 2**26
"""A picture with more is a mosaic or a forgery; this many, 8192 x 8192, take 200 MB to decode."""


def decode_picture(content: bytes | None, shape: tuple[int, int, int], name: str = "") -> Cutout | Rejected:
    """Decode a picture and make it as small as the store's.

    Args:
        content: Content of a JPEG or PNG file, or None where the archive has none.
        shape: Stored shape, (band, y, x): one band for grey pictures, three for colour. A larger picture of the same
            aspect is resized (bicubic, antialiased), never enlarged or cropped; a grey one serves for three bands.
        name: What to call it in a rejection.

    Returns:
        The cutout: uint8, red, green, blue, y increasing to the North, wholly transparent pixels masked. Or the reason
        why there is none: ``no image``, ``not a picture``, ``truncated file``, ``not 8-bit``, ``other bands``,
        ``wrong aspect``, ``too small``, ``too large``.
    """
    if not content:
        return Rejected("no image", "the column of the pictures is empty", name)
    return _decode_jpeg(content, shape, name) or _decode_any(content, shape, name)


def _decode_jpeg(content: bytes, shape: tuple[int, int, int], name: str) -> Cutout | Rejected | None:
    """Decode a JPEG file without fault whose colours are those of the store; None for all else."""
    num_bands, ny, nx = shape
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space not in _SPACES.get(num_bands, ()):
            return None
        misfit = _misfit(height, width, (ny, nx), name)
        if misfit is not None:
            return misfit
        pixels = simplejpeg.decode_jpeg(content, "RGB" if num_bands == 3 else "GRAY", fastdct=False, fastupsample=False)
    except ValueError:  # any fault, also one that can be read past
        return None
    if (height, width) != (ny, nx):
        pixels = _resized(pixels, (ny, nx))
    return Cutout(_north_up(pixels), "")


def _decode_any(content: bytes, shape: tuple[int, int, int], name: str) -> Cutout | Rejected:
    num_bands, ny, nx = shape
    try:
        found = read_picture(BytesIO(content), name=name)
    except Image.DecompressionBombError as error:
        return Rejected("too large", f"{name}: {error}", name)
    if isinstance(found, Rejected):
        return found
    image, mask = found.image.astype(np.uint8, copy=False), found.mask
    if len(image) != num_bands:
        if len(image) != 1:
            return Rejected("other bands", f"{name} has {len(image)} bands, and the product {num_bands}", name)
        image = np.repeat(image, num_bands, axis=0)
    misfit = _misfit(image.shape[1], image.shape[2], (ny, nx), name)
    if misfit is not None or image.shape[1:] == (ny, nx):
        return misfit or Cutout(image, "", mask=mask)
    resized = np.stack([_resized(band, (ny, nx)) for band in image])
    return Cutout(resized, "", mask=None if mask is None else _resized(mask * np.uint8(255), (ny, nx)) > 0)


def _misfit(height: int, width: int, size_pix: tuple[int, int], name: str) -> Rejected | None:
    """Say why a picture cannot be resized, before it is decoded."""
    (ny, nx), found = size_pix, f"{width} x {height} px"
    if width * ny != height * nx:
        return Rejected("wrong aspect", f"{found} cannot be resized to {nx} x {ny}", name)
    if height < ny:
        return Rejected("too small", f"{found}, less than the stored {nx} x {ny}", name)
    if height * width > _MAX_PIXELS:
        return Rejected("too large", f"{found}, more than {_MAX_PIXELS:,} pixels", name)
    return None


def _resized(pixels: NDArray[np.uint8], size_pix: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize pixels of shape (y, x), (y, x, 1) or (y, x, 3)."""
    is_grey = pixels.shape[2:] == (1,)
    picture = Image.fromarray(pixels[..., 0] if is_grey else pixels)
    return np.asarray(picture.resize(size_pix[::-1], Image.Resampling.BICUBIC), dtype=np.uint8)


def _north_up(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (y, x, band) pixels with the top row first as (band, y, x) with the bottom row first.

    Copying one band after the other along one flat axis takes less than half the time of a transposed copy.
    """
    ny, nx = pixels.shape[:2]
    flat = pixels.reshape(ny * nx, -1)
    bands = np.empty((flat.shape[1], ny, nx), dtype=np.uint8)
    for band, plane in enumerate(bands):
        plane.reshape(-1)[:] = flat[:, band]
    return bands[:, ::-1]
