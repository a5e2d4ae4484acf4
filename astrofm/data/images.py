"""JPEG and PNG pictures as cutouts.

A picture is stored from its top row; FITS from the bottom. Cutouts follow FITS: the top row, which is North by the
convention of picture archives, becomes the last one.
"""

from __future__ import annotations

__all__ = ["PICTURE_SUFFIXES", "read_picture"]

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from astrofm.data.cutouts import Cutout, Rejected

PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png")

_AS_READ = {"1": "L", "L": "L", "LA": "LA", "P": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}


def read_picture(file: Path | BinaryIO, *, name: str = "") -> Cutout | Rejected:
    """Read an 8-bit picture.

    Args:
        file: A path, or an open file such as ``io.BytesIO`` of the bytes in a table.
        name: What to call it in a rejection; by default the name of the file.

    Returns:
        The cutout: uint8 of shape (band, y, x), bands in the order red, green, blue, y towards the North; pixels that
        are wholly transparent are masked. Or the reason why there is none: ``missing file``, ``not a picture``,
        ``truncated file``, ``not 8-bit``, ``too large``.
    """
    name = name or (file.name if isinstance(file, Path) else "picture")
    try:
        with Image.open(file) as opened:
            if opened.mode not in _AS_READ:
                return Rejected("not 8-bit", f"{name} has pixels of mode {opened.mode}; give 8-bit grey or RGB", name)
            picture = opened.convert(_AS_READ[opened.mode])
    except FileNotFoundError:
        return Rejected("missing file", f"there is no file {name}", name)
    except Image.DecompressionBombError as error:
        return Rejected("too large", f"{name}: {error}", name)
    except UnidentifiedImageError:
        return Rejected("not a picture", f"{name} is neither JPEG nor PNG", name)
    except (OSError, SyntaxError) as error:  # Pillow reports broken PNG chunks as SyntaxError
        return Rejected("truncated file", f"{name}: {error}", name)
    has_alpha = picture.mode in ("LA", "RGBA")
    pixels = np.atleast_3d(np.asarray(picture, dtype=np.uint8))[::-1]
    mask = pixels[..., -1] == 0 if has_alpha else None
    bands = pixels[..., :-1] if has_alpha else pixels
    image = np.ascontiguousarray(np.moveaxis(bands, -1, 0))
    return Cutout(image, "", mask=mask if mask is not None and mask.any() else None)
