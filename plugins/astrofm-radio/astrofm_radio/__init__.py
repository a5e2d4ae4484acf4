"""Radio galaxy surveys: MiraBest, Radio Galaxy Zoo, the FIRST radio galaxy dataset, MGCLS, MIGHTEE, FIRST and LoTSS."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from astrofm import Survey, hookimpl
from astrofm_radio.first_rgd import FirstRGD
from astrofm_radio.lotss import Lotss
from astrofm_radio.mgcls import MGCLS
from astrofm_radio.mightee import Mightee
from astrofm_radio.mirabest import MiraBest
from astrofm_radio.rgz import RGZ


@hookimpl
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Register the seven surveys; only their cards are read."""
    cards = files(__name__) / "cards"
    register(MiraBest.from_yaml(cards / "mirabest.yaml"))
    register(RGZ.from_yaml(cards / "rgz.yaml"))
    register(FirstRGD.from_yaml(cards / "first_rgd.yaml"))
    register(MGCLS.from_yaml(cards / "mgcls.yaml"))
    register(Mightee.from_yaml(cards / "mightee.yaml"))
    register(Survey.from_yaml(cards / "first.yaml"))
    register(Lotss.from_yaml(cards / "lotss.yaml"))
