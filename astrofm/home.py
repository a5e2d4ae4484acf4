"""Where astrofm keeps stores and runs, and where the files it ships lie."""

from __future__ import annotations

__all__ = ["home", "shipped", "store_path"]

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).parent


def home() -> Path:
    """Return ``$ASTROFM_HOME``, by default a folder in the user's cache."""
    given = os.environ.get("ASTROFM_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("astrofm"))


def store_path(survey: str) -> Path:
    """Return where the store of a survey is looked for when none is named."""
    return home() / "stores" / f"{survey}.zarr"


def shipped(kind: str) -> Path:
    """Return the folder of shipped ``surveys`` or ``configs``.

    An installed wheel has them inside the package, a checkout beside it.
    """
    inside = _PACKAGE / "_share" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind
