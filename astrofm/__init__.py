"""Astronomy foundation models: pretrain on survey images, transfer with few labels, search and map.

Importing the package costs next to nothing: each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astrofm.card import SurveyCard as SurveyCard
    from astrofm.contract import InputContract as InputContract
    from astrofm.data.cutouts import Cutout as Cutout
    from astrofm.data.cutouts import CutoutBatch as CutoutBatch
    from astrofm.data.cutouts import Rejected as Rejected
    from astrofm.data.store import CutoutStore as CutoutStore
    from astrofm.errors import AstrofmError as AstrofmError
    from astrofm.hookspecs import hookimpl as hookimpl
    from astrofm.recipe import Recipe as Recipe
    from astrofm.schema import VoteSchema as VoteSchema
    from astrofm.survey import Source as Source
    from astrofm.survey import Survey as Survey

_HOME = {
    "AstrofmError": "astrofm.errors",
    "Cutout": "astrofm.data.cutouts",
    "CutoutBatch": "astrofm.data.cutouts",
    "CutoutStore": "astrofm.data.store",
    "InputContract": "astrofm.contract",
    "Recipe": "astrofm.recipe",
    "Rejected": "astrofm.data.cutouts",
    "Source": "astrofm.survey",
    "Survey": "astrofm.survey",
    "SurveyCard": "astrofm.card",
    "VoteSchema": "astrofm.schema",
    "hookimpl": "astrofm.hookspecs",
}

__all__ = [
    "AstrofmError",
    "Cutout",
    "CutoutBatch",
    "CutoutStore",
    "InputContract",
    "Recipe",
    "Rejected",
    "Source",
    "Survey",
    "SurveyCard",
    "VoteSchema",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("astrofm")
    if name not in _HOME:
        raise AttributeError(f"module 'astrofm' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
