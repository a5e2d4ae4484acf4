"""The surveys with volunteers' votes: archives of Parquet shards with JPEG images and vote counts.

The core reads them by the ``pictures`` section of their cards; what is left is a mock with the columns of the archive,
and the form in which some campaigns were released before: pictures as files, and a table.
"""

from __future__ import annotations

__all__ = ["GalaxyZooVotes"]

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from astrofm.card import SurveyCard
from astrofm.errors import RecipeError
from astrofm.schema import VoteSchema
from astrofm.survey import Source, Survey

if TYPE_CHECKING:
    from astropy.table import Table

    from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected


class GalaxyZooVotes(Survey):
    """One campaign of Galaxy Zoo, or several together as in Galaxy Zoo Evo."""

    votes: VoteSchema

    def __init__(self, card: SurveyCard, votes: VoteSchema | None = None) -> None:
        if votes is None:
            raise RecipeError(f"the card of {card.name!r} names no vote schema; set 'votes', for example gz-evo-v0.1")
        super().__init__(card, votes)

    def catalog(self, source: Source) -> Table:
        """Return the galaxies with their votes; see :class:`astrofm.survey.Survey`."""
        if _is_released(source):
            from astrofm_galaxyzoo.released import released_catalog

            return released_catalog(self.card, source)
        return super().catalog(source)

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Decode pictures; see :class:`astrofm.survey.Survey`."""
        if _is_released(source):
            from astrofm_galaxyzoo.released import released_cutouts

            yield from released_cutouts(source, rows)
        else:
            yield from super().cutouts(source, rows)

    def files(self, source: Source, rows: Table) -> Iterable[Path]:
        """Return what a store depends on; see :class:`astrofm.survey.Survey`."""
        if _is_released(source):
            from astrofm_galaxyzoo.released import released_files

            return released_files(self.card, source, rows)
        return super().files(source, rows)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up galaxies and votes as Parquet shards; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.mock import write_mock

        return write_mock(self.name, self.votes, n, seed, out)


def _is_released(source: Source) -> bool:
    """Whether the folder has the pictures and tables as their authors released them, by the product of the card."""
    return source.product_name.startswith("released")
