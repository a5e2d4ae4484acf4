"""Galaxy surveys with redshifts: the SDSS Main Galaxy Sample and the DESI Legacy Imaging Surveys."""

from __future__ import annotations

__all__ = ["LegacyRedshifts", "SDSSMainGalaxies", "register_surveys"]

from collections.abc import Callable
from importlib.resources import files

from astrofm import Survey, hookimpl
from astrofm_redshift.legacy_z import LegacyRedshifts
from astrofm_redshift.sdss_mgs import SDSSMainGalaxies


@hookimpl
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Register ``sdss-mgs`` and ``legacy-z``; only their cards are read."""
    register(SDSSMainGalaxies.from_yaml(files(__name__) / "cards" / "sdss_mgs.yaml"))
    register(LegacyRedshifts.from_yaml(files(__name__) / "cards" / "legacy_z.yaml"))
