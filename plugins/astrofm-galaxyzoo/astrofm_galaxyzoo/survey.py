"""The surveys with volunteers' votes: archives of Parquet shards with JPEG images and vote counts.

The core reads them by the ``pictures`` section of their cards; what is left is a mock with the columns of the archive.
"""

from __future__ import annotations

__all__ = ["GalaxyZooVotes"]

from pathlib import Path

from astrofm.card import SurveyCard
from astrofm.errors import RecipeError
from astrofm.schema import VoteSchema
from astrofm.survey import Survey


class GalaxyZooVotes(Survey):
    """One campaign of Galaxy Zoo, or several together as in Galaxy Zoo Evo."""

    votes: VoteSchema

    def __init__(self, card: SurveyCard, votes: VoteSchema | None = None) -> None:
        if votes is None:
            raise RecipeError(f"the card of {card.name!r} names no vote schema; set 'votes', for example gz-evo-v0.1")
        super().__init__(card, votes)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up galaxies and votes as Parquet shards; see :class:`astrofm.survey.Survey`."""
        from astrofm_galaxyzoo.mock import write_mock

        return write_mock(self.name, self.votes, n, seed, out)
