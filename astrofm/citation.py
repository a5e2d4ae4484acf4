"""Whom to cite: the BibTeX of surveys, each entry once."""

from __future__ import annotations

__all__ = ["bibtex", "entries"]

import re
from collections.abc import Iterable

_ENTRY = re.compile(r"(?m)^[ \t]*(?=@\w+[ \t]*\{)")
_KEY = re.compile(r"@\w+\s*\{\s*([^,\s]+)")


def entries(citation: str) -> dict[str, str]:
    """Return the entries of some BibTeX by their keys, in order; text outside of entries is left out."""
    found: dict[str, str] = {}
    for part in _ENTRY.split(citation):
        key = _KEY.match(part)
        if key is not None:
            found.setdefault(key[1], part.strip())
    return found


def bibtex(citations: Iterable[str]) -> str:
    """Return several pieces of BibTeX as one, each entry once; a piece without any is kept as it is."""
    together: dict[str, str] = {}
    for citation in citations:
        for key, entry in (entries(citation) or {citation: citation.strip()}).items():
            together.setdefault(key, entry)
    return "\n\n".join(together.values()) + "\n"
