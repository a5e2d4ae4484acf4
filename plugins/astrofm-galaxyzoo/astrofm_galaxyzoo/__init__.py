"""Galaxy Zoo: colour images of galaxies from several telescopes, with the volunteers' votes or classes."""

from __future__ import annotations

__all__ = ["GalaxyZoo1", "GalaxyZooEvo", "register_surveys"]

from collections.abc import Callable
from importlib.resources import files

from astrofm import Survey, hookimpl
from astrofm_galaxyzoo.gz1 import GalaxyZoo1
from astrofm_galaxyzoo.survey import GalaxyZooEvo


@hookimpl
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Register ``gz-evo`` and ``gz1``."""
    cards = files(__name__) / "cards"
    register(GalaxyZooEvo.from_yaml(cards / "gz-evo.yaml"))
    register(GalaxyZoo1.from_yaml(cards / "gz1.yaml"))
