"""The survey ``gz1``: one Parquet table of JPEG pictures with their Galaxy Zoo 1 class.

The core reads it by the ``pictures`` section of the card; what is left is a mock with the columns of the archive.
"""

from __future__ import annotations

__all__ = ["GalaxyZoo1"]

from pathlib import Path

from astrofm.survey import Survey


class GalaxyZoo1(Survey):
    """Galaxy Zoo 1: SDSS colour pictures in six classes."""

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up galaxies as such a table; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.gz1_mock import write_gz1_mock

        return write_gz1_mock(self.card, n, seed, out)
