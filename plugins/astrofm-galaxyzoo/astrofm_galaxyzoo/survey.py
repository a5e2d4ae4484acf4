"""The survey ``gz-evo``: its archive is a folder of Parquet shards with JPEG images and vote counts."""

from __future__ import annotations

__all__ = ["GalaxyZooEvo"]

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from astrofm.card import SurveyCard
from astrofm.errors import RecipeError
from astrofm.schema import VoteSchema
from astrofm.survey import Source, Survey

if TYPE_CHECKING:
    from astropy.table import Table

    from astrofm.data.cutouts import Cutout, Rejected


class GalaxyZooEvo(Survey):
    """Galaxy Zoo Evo as published on the Hugging Face Hub."""

    votes: VoteSchema

    def __init__(self, card: SurveyCard, votes: VoteSchema | None = None) -> None:
        if votes is None:
            raise RecipeError(f"the card of {card.name!r} names no vote schema; set 'votes', for example gz-evo-v0.1")
        super().__init__(card, votes)

    def catalog(self, source: Source) -> Table:
        """Return id, position, campaign, split and vote counts of every image; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.parquet import read_catalog

        return read_catalog(source, self.votes)

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
        """Decode the images of some rows, resized to the product's size; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.parquet import read_cutouts

        yield from read_cutouts(source, rows)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up galaxies and votes as Parquet shards; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.mock import write_mock

        return write_mock(self.name, self.votes, n, seed, out)
