"""Galaxy Zoo: colour images of galaxies from several telescopes, with the volunteers' votes or classes."""

from __future__ import annotations

__all__ = ["GalaxyZoo1", "GalaxyZooChallenge", "GalaxyZooRings", "GalaxyZooVotes", "register_surveys"]

from collections.abc import Callable
from importlib.resources import files

from astrofm import Survey, hookimpl
from astrofm_galaxyzoo.gz1 import GalaxyZoo1
from astrofm_galaxyzoo.gz_challenge import GalaxyZooChallenge
from astrofm_galaxyzoo.gz_rings import GalaxyZooRings
from astrofm_galaxyzoo.survey import GalaxyZooVotes

CAMPAIGNS = (
    "gz2",
    "gz-decals-dr12",
    "gz-decals-dr5",
    "gz-decals-dr8",
    "gz-desi",
    "gz-hubble",
    "gz-candels",
    "gz-ukidss",
    "gz-cosmic-dawn",
)
"""Those whose archives are Parquet shards of pictures and votes, as that of Galaxy Zoo Evo."""

KINDS: dict[str, type[Survey]] = {
    "gz-evo": GalaxyZooVotes,
    **dict.fromkeys(CAMPAIGNS, GalaxyZooVotes),
    "gz1": GalaxyZoo1,
    "gz-rings": GalaxyZooRings,
    "gz-challenge": GalaxyZooChallenge,
}
"""The surveys, and what reads each; a card lies under its survey's name."""


@hookimpl
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Register the surveys of Galaxy Zoo."""
    cards = files(__name__) / "cards"
    for name, kind in KINDS.items():
        register(kind.from_yaml(cards / f"{name}.yaml"))
