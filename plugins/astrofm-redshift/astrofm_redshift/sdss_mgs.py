"""The survey ``sdss-mgs``: its archive is an HDF5 file with images in five bands and spectroscopic redshifts.

The core reads it by the ``arrays`` section of the card; what is left is what the columns mean, and a mock with the keys
of the archive. Hayat et al. 2021, https://arxiv.org/abs/2101.04293.
"""

from __future__ import annotations

__all__ = ["SDSSMainGalaxies"]

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrofm import Cutout, CutoutBatch, Rejected, Source, Survey
from astrofm_redshift.dust import ebv_of

if TYPE_CHECKING:
    from astropy.table import Table

NOISE_FROM_EVERY = 2
"""Of the pixels of both axes: 2916 of an image, which give its rms to 1.3%."""


class SDSSMainGalaxies(Survey):
    """Galaxies of the SDSS Main Galaxy Sample as published with the paper."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each galaxy, with ``ebv``, ``z_spec`` and ``z_err``; ids are text, which keeps digits."""
        table = super().catalog(source)
        table["ebv"] = ebv_of(np.asarray(table["ebv"]))
        error = np.asarray(table["z_err"], dtype=np.float64)
        table["z_err"] = np.where(error < 0, np.nan, error)  # a negative error marks a fit that has none
        if table["specObjID"].dtype.kind in "iu":
            table["specObjID"] = np.asarray(table["specObjID"]).astype(np.str_)
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read images with the noise of each band, ``rms_SDSS-u`` to ``rms_SDSS-z``: they differ by a factor of ten."""
        for item in super().cutouts(source, rows):
            yield replace(item, meta=self._noise(item.images)) if isinstance(item, CutoutBatch) else item

    def _noise(self, images: NDArray[np.generic]) -> dict[str, NDArray[np.float64]]:
        """Return the clipped rms of each band of each image, by column."""
        from astrofm.data.forms.mosaic_noise import clipped_stds

        sample = images[:, :, ::NOISE_FROM_EVERY, ::NOISE_FROM_EVERY].astype(np.float32)
        rms = clipped_stds(sample.reshape(images.shape[0] * images.shape[1], -1)).reshape(images.shape[:2])
        return {f"rms_{band}": rms[:, place] for place, band in enumerate(self.card.band_names)}

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write an HDF5 file of made-up galaxies with the keys of the real one; see :class:`astrofm.survey.Survey`."""
        from astrofm_redshift.mock_sdss_mgs import write_mock

        return write_mock(self.card, n, seed, out)
