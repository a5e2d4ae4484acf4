"""A batch as the loader hands it on: cutouts in their product's units, grouped by survey."""

from __future__ import annotations

__all__ = ["Batch", "Share"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The part of a batch that comes from one store.

    Attributes:
        survey: Name of the survey, the key of its input plan.
        images: Cutouts in the product's unit and dtype; NaN where nothing was observed; a tensor once it was sent to
            a GPU. Shape: (n, band, y, x).
        mask: True where a pixel is to be ignored, or None. Shape: (n, y, x).
        places: Place of each cutout in the batch of this rank. Shape: (n,).
        meta: What a stretch or view needs to know of each cutout: ``rms`` (image unit; of each band, or one for all),
            ``pixel_scale`` (arcsec), ``ebv`` (mag, E(B-V) of the Galaxy), NaN where unknown; where the catalogue has
            them also ``bmaj`` and ``bmin`` (arcsec), ``bpa`` (deg, from north through east) and ``orientation_deg``
            (direction of +y, likewise). Shape of each: (n,); of ``rms`` also (n, band).
    """

    survey: str
    images: NDArray[np.generic] | Tensor
    mask: NDArray[np.bool_] | Tensor | None
    places: NDArray[np.int64]
    meta: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Batch:
    """Rows of one or several stores.

    Attributes:
        shares: One for each store that contributes.
        row_ids: Row of each cutout in the union of the stores. Shape: (size,).
        first: Place of this rank's first row in the global batch.
        global_size: Number of rows over all ranks.
        labels: Label columns, by name. Shape of each: (size, ...).
    """

    shares: tuple[Share, ...]
    row_ids: NDArray[np.int64]
    first: int
    global_size: int
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of rows on this rank."""
        return len(self.row_ids)
