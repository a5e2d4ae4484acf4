"""The survey ``sdss-mgs``: its archive is an HDF5 file with images in five bands and spectroscopic redshifts.

The core reads it by the ``arrays`` section of the card; what is left is what the columns mean, and a mock with the keys
of the archive. Hayat et al. 2021, https://arxiv.org/abs/2101.04293. Cutouts of one's own of SDSS frames, a FITS file
for each band, with a table, are a second form of it.
"""

from __future__ import annotations

__all__ = ["SDSSMainGalaxies"]

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astrofm import Cutout, CutoutBatch, Rejected, Source, Survey, SurveyCard
from astrofm.forms import FolderLayout
from astrofm_redshift.band_noise import noise_of_bands
from astrofm_redshift.dust import ebv_of

if TYPE_CHECKING:
    from astropy.table import Table


FRAMES = "frames"
"""Product of the card that comes as a FITS file for each band."""
TABLE = "sources.csv"
"""Table beside the files."""


class SDSSMainGalaxies(Survey):
    """Galaxies of the SDSS Main Galaxy Sample as published with the paper, or cut out of frames of SDSS."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each galaxy, with ``ebv``, ``z_spec`` and ``z_err``; ids are text, which keeps digits."""
        if source.product_name == FRAMES:
            return Survey(self._folder_card).catalog(source)
        table = super().catalog(source)
        table["ebv"] = ebv_of(np.asarray(table["ebv"]))
        error = np.asarray(table["z_err"], dtype=np.float64)
        table["z_err"] = np.where(error < 0, np.nan, error)  # a negative error marks a fit that has none
        if table["specObjID"].dtype.kind in "iu":
            table["specObjID"] = np.asarray(table["specObjID"]).astype(np.str_)
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read images with the noise of each band, ``rms_SDSS-u`` to ``rms_SDSS-z``: they differ by a factor of ten."""
        if source.product_name == FRAMES:
            yield from Survey(self._folder_card).cutouts(source, rows)
            return
        for item in super().cutouts(source, rows):
            if isinstance(item, CutoutBatch):
                yield replace(item, meta=noise_of_bands(item.images, self.card.band_names))
            else:
                yield item

    def files(self, source: Source, rows: Table) -> Iterable[Path]:
        """Return the files of the archive, or the images of each band and their table."""
        if source.product_name == FRAMES:
            return Survey(self._folder_card).files(source, rows)
        return super().files(source, rows)

    @property
    def _folder_card(self) -> SurveyCard:
        """The card of the frames: a card has one form, and these are in another than the archive."""
        bands = {name: f"{{id_str}}-{name.removeprefix('SDSS-')}.fits" for name in self.card.band_names}
        return self.card.model_copy(update={"arrays": None, "folder": FolderLayout(table=TABLE, bands=bands)})

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write an HDF5 file of made-up galaxies with the keys of the real one; see :class:`astrofm.survey.Survey`."""
        from astrofm_redshift.mock_sdss_mgs import write_mock

        return write_mock(self.card, n, seed, out)
