"""Settings of any head, within those of an objective."""

from __future__ import annotations

__all__ = ["BUILT_IN", "HEADS_KEY", "AnyHeadConfig"]

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from astrofm.errors import one_of
from astrofm.heads.base import HeadConfig
from astrofm.heads.classes import ClassHeadConfig
from astrofm.heads.redshift import RedshiftHeadConfig
from astrofm.heads.votes import VoteHeadConfig

BUILT_IN: Mapping[str, type[HeadConfig]] = {
    "votes": VoteHeadConfig,
    "classes": ClassHeadConfig,
    "redshift": RedshiftHeadConfig,
}
"""The core's own heads by kind."""
HEADS_KEY = "heads"
"""Of pydantic's validation context: the settings classes of all heads by kind, those of plugins among them."""


def _settings_of_its_kind(given: Any, info: ValidationInfo) -> Any:
    """Return the settings of a head as the class that its ``kind`` names."""
    if not isinstance(given, Mapping):
        return given
    known: Mapping[str, type[HeadConfig]] = (info.context or {}).get(HEADS_KEY, BUILT_IN)
    kind = str(given.get("kind", ""))
    if kind not in known:
        raise ValueError(str(one_of("head", kind, known)) if kind else f"kind is one of {', '.join(known)}")
    return known[kind].model_validate(given)


AnyHeadConfig = Annotated[SerializeAsAny[HeadConfig], BeforeValidator(_settings_of_its_kind)]
"""Settings of any head; ``kind`` tells which."""
