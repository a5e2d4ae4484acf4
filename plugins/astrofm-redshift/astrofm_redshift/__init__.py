"""Galaxy surveys with spectroscopic redshifts: the SDSS Main Galaxy Sample."""

from __future__ import annotations

__all__ = ["SDSSMainGalaxies", "register_surveys"]

from collections.abc import Callable
from importlib.resources import files

from astrofm import Survey, hookimpl
from astrofm_redshift.sdss_mgs import SDSSMainGalaxies


@hookimpl
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Register ``sdss-mgs``; only its card is read."""
    register(SDSSMainGalaxies.from_yaml(files(__name__) / "cards" / "sdss_mgs.yaml"))
