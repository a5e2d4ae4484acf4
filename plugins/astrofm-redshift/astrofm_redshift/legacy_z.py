"""The survey ``legacy-z``: grz images of the DESI Legacy Imaging Surveys with redshifts, from the camera DECam.

Its archive is that of Stein et al. 2021, HDF5 files of a million galaxies each: https://arxiv.org/abs/2110.13151,
https://github.com/georgestein/ssl-legacysurvey. FITS cubes of the cutout service of the surveys, with a table of one's
own, are a second form of it: https://www.legacysurvey.org/viewer.
"""

from __future__ import annotations

__all__ = ["LegacyRedshifts"]

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astrofm import Cutout, CutoutBatch, Rejected, Source, Survey, SurveyCard
from astrofm.data.files.noise import noise_column
from astrofm.forms import FolderLayout
from astrofm_redshift.band_noise import noise_of_bands

if TYPE_CHECKING:
    from astropy.table import Table

CUBES = "cutout-service"
"""Product of the card that comes as FITS cubes."""
TABLE = "sources.csv"
"""Table beside the cubes."""

DECAM_RELEASES = (9010, 9012)
"""Of DR9, from https://www.legacysurvey.org/release/; 9011 is BASS and MzLS, whose filters are others."""

UNKNOWN = -99.0
"""What the archive has where a redshift is not known."""

OTHER_SCALE = 0.01
"""How much the pixel scale of a cube may differ from that of the survey, and its noise still be that of its pixels."""


class LegacyRedshifts(Survey):
    """Galaxies of DECaLS as published with the paper, or as cut out by the service of the surveys."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each galaxy.

        Of the archive: ids that tell release, brick and object, NaN for an unknown redshift, a column for each band in
        place of one with three values (``flux_g``). A repeated row and a galaxy of another camera are rejected.
        """
        if source.product_name == CUBES:
            return Survey(self._folder_card).catalog(source)
        table = super().catalog(source)
        for name in table.colnames:
            values = np.asarray(table[name])
            if values.ndim == 2:
                table.remove_column(name)
                for place, of_band in enumerate(values.T):
                    table[f"{name}_{'grz'[place] if len(values.T) == 3 else place}"] = of_band
            elif values.dtype.kind == "S":
                table[name] = values.astype(np.str_)
            elif name.startswith("z_") and values.dtype.kind == "f":
                table[name] = np.where(values == UNKNOWN, np.nan, values)
        _add_ids(table)
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read images with the noise of each band, ``rms_DECam-g`` to ``rms_DECam-z``.

        The cutout service keeps the brightness when it resamples: a pixel of any size has the nanomaggies of a pixel of
        0.262 arcsec. They are brought to nanomaggies in a pixel. Cubes of another scale come without noise, since it
        would not be that of the pixels after another resampling.
        """
        if source.product_name != CUBES:
            for item in super().cutouts(source, rows):
                if isinstance(item, CutoutBatch):
                    yield replace(item, meta=noise_of_bands(item.images, self.card.band_names))
                else:
                    yield item
            return
        for item in Survey(self._folder_card).cutouts(source, rows):
            yield self._in_pixels(item) if isinstance(item, Cutout) else item

    def files(self, source: Source, rows: Table) -> Iterable[Path]:
        """Return the files of the archive, or the cubes and their table."""
        if source.product_name == CUBES:
            return Survey(self._folder_card).files(source, rows)
        return super().files(source, rows)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write an HDF5 file of made-up galaxies with the keys of the real ones; see :class:`astrofm.survey.Survey`."""
        from astrofm_redshift.mock_legacy_z import write_mock

        return write_mock(self.card, n, seed, out)

    @property
    def _folder_card(self) -> SurveyCard:
        """The card of the cubes: a card has one form, and these are in another than the archive."""
        return self.card.model_copy(update={"arrays": None, "folder": FolderLayout(table=TABLE)})

    def _in_pixels(self, cutout: Cutout) -> Cutout:
        """Return a cube in nanomaggies in a pixel of its own size."""
        native_arcsec = self.card.pixel_scale_arcsec.value
        ratio = cutout.meta.get("pixel_scale", np.nan) / native_arcsec if native_arcsec else np.nan
        if not np.isfinite(ratio):
            return cutout
        image = cutout.image.astype(np.float32) * np.float32(ratio**2)
        columns = [noise_column(band) for band in self.card.band_names]
        meta = {name: value for name, value in cutout.meta.items() if name not in columns}
        if abs(ratio - 1.0) <= OTHER_SCALE:
            meta |= {name: cutout.meta[name] * ratio**2 for name in columns if name in cutout.meta}
        return replace(cutout, image=image, meta=meta)


def _add_ids(table: Table) -> None:
    """Name each row by release, brick and object, which is unique in the surveys, and say which rows are not taken."""
    parts = [np.asarray(table[name]).tolist() for name in ("release", "brickid", "objid")]
    ids = [f"{release}-{brick}-{number}" for release, brick, number in zip(*parts, strict=True)]
    reasons = ["" if release in DECAM_RELEASES else f"release {release}: not of DECam in DR9" for release in parts[0]]
    seen: set[str] = set()
    for place, name in enumerate(ids):
        if name in seen:
            ids[place] = f"{name}:{table['file_loc'][place]}:{table['file_row'][place]}"
            reasons[place] = reasons[place] or "repeated row"
        seen.add(name)
    table["id_str"], table["rejected"] = ids, reasons
