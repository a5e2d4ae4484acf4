"""Galaxy Zoo Evo: colour images of galaxies from several telescopes, with the volunteers' votes."""

from __future__ import annotations

__all__ = ["GalaxyZooEvo", "register_surveys"]

from collections.abc import Callable
from importlib.resources import files

from astrofm import Survey, hookimpl
from astrofm_galaxyzoo.survey import GalaxyZooEvo


@hookimpl
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Register ``gz-evo``."""
    register(GalaxyZooEvo.from_yaml(files(__name__) / "cards" / "gz-evo.yaml"))
