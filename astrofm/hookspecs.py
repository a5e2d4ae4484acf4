"""Every hook a plugin can implement, on one screen."""

from __future__ import annotations

__all__ = [
    "hookimpl",
    "hookspec",
    "register_encoders",
    "register_heads",
    "register_objectives",
    "register_surveys",
    "register_views",
]

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from astrofm.encoders.base import EncoderPart
    from astrofm.heads.base import HeadPart
    from astrofm.objectives.base import ObjectivePart
    from astrofm.survey import Survey
    from astrofm.views.base import ViewPart

hookspec = pluggy.HookspecMarker("astrofm")
hookimpl = pluggy.HookimplMarker("astrofm")


@hookspec
def register_surveys(register: Callable[[Survey], None]) -> None:
    """Call ``register(survey)`` once for each survey the package adds."""


@hookspec
def register_views(register: Callable[[ViewPart], None]) -> None:
    """Call ``register(part)`` once for each augmentation the package adds."""


@hookspec
def register_objectives(register: Callable[[ObjectivePart], None]) -> None:
    """Call ``register(part)`` once for each pretraining objective the package adds."""


@hookspec
def register_encoders(register: Callable[[EncoderPart], None]) -> None:
    """Call ``register(part)`` once for each network the package adds to those of timm."""


@hookspec
def register_heads(register: Callable[[HeadPart], None]) -> None:
    """Call ``register(part)`` once for each head the package adds, for the objectives that learn from labels."""
