"""The survey ``gz-challenge``: one Parquet table of JPEG pictures without labels.

The core reads it by the ``pictures`` section of the card; what is left is a mock with the columns of the archive.
"""

from __future__ import annotations

__all__ = ["GalaxyZooChallenge"]

from pathlib import Path

from astrofm.survey import Survey


class GalaxyZooChallenge(Survey):
    """The pictures of the Galaxy Zoo challenge."""

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up galaxies as such a table; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.small_mocks import write_challenge_mock

        return write_challenge_mock(self.name, n, seed, out)
