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

from astrofm import Cutout, CutoutBatch, Rejected, Source, Survey
from astrofm_redshift.band_noise import noise_of_bands
from astrofm_redshift.dust import ebv_of

if TYPE_CHECKING:
    from astropy.table import Table


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
            if isinstance(item, CutoutBatch):
                yield replace(item, meta=noise_of_bands(item.images, self.card.band_names))
            else:
                yield item

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write an HDF5 file of made-up galaxies with the keys of the real one; see :class:`astrofm.survey.Survey`."""
        from astrofm_redshift.mock_sdss_mgs import write_mock

        return write_mock(self.card, n, seed, out)
