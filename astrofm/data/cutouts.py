"""Cutouts: an image around a sky position, with its mask, unit and celestial WCS."""

from __future__ import annotations

__all__ = ["Cutout", "CutoutBatch", "Rejected"]

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS


@dataclass(frozen=True)
class Cutout:
    """One cutout.

    Attributes:
        image: Pixel values; NaN where nothing was observed. Shape: (band, y, x).
        unit: Unit of the pixel values, as the product says.
        mask: True where a pixel is to be ignored, or None. Shape: (y, x).
        header: FITS header the WCS is built from on demand; building one costs milliseconds.
        meta: Values that go to the catalogue: ``rms`` (image unit), ``pixel_scale``, ``bmaj``, ``bmin`` (arcsec),
            ``bpa`` (deg).
    """

    image: NDArray[np.generic]
    unit: str
    mask: NDArray[np.bool_] | None = None
    header: Header | None = None
    meta: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def wcs(self) -> WCS | None:
        """Celestial WCS of the image, or None without a header."""
        if self.header is None:
            return None
        from astropy.io.fits.verify import VerifyWarning
        from astropy.wcs import WCS, FITSFixedWarning

        with warnings.catch_warnings():
            # They tell of keywords off the standard that astropy has understood, and of odd characters in comments.
            warnings.simplefilter("ignore", FITSFixedWarning)
            warnings.simplefilter("ignore", VerifyWarning)
            return WCS(self.header).celestial


@dataclass(frozen=True)
class CutoutBatch:
    """Cutouts of one size, of consecutive catalogue rows.

    Attributes:
        images: Shape: (n, band, y, x).
        unit: As of :class:`Cutout`.
        masks: Shape: (n, y, x), or None.
        meta: As of :class:`Cutout`, a column each. Shape: (n,).
    """

    images: NDArray[np.generic]
    unit: str
    masks: NDArray[np.bool_] | None = None
    meta: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A catalogue row without a usable cutout.

    Attributes:
        reason: Short class of reasons that are counted together, for example ``truncated file``.
        detail: The sentence, with the offending value.
        file: Name of the file, relative to the source.
    """

    reason: str
    detail: str = ""
    file: str = ""
