"""The exceptions astrofm raises for what a user can mend.

Each message is one sentence that says what was asked, what was found and what would work. The command line
prints it without a traceback and exits with the class's ``exit_code``.
"""

from __future__ import annotations

__all__ = [
    "AstrofmError",
    "ContractError",
    "DataError",
    "FetchError",
    "OfflineError",
    "PluginError",
    "RecipeError",
    "RunError",
    "StoreError",
    "TrainingError",
    "UnknownNameError",
    "UsageError",
    "brief",
    "in_one_line",
    "not_yaml",
    "one_of",
]

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from yaml import YAMLError


class AstrofmError(Exception):
    """Base of all errors a user can mend; the command line exits with ``exit_code``."""

    exit_code = 1


class UsageError(AstrofmError):
    """Astrofm was called wrongly: nothing was read or written."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that no installed part carries."""


class RecipeError(UsageError):
    """A recipe or survey card that cannot be read: missing, misspelt or contradictory."""


class PluginError(AstrofmError):
    """A plugin that cannot be loaded or breaks the rules of the hooks."""


class DataError(AstrofmError):
    """An archive, table or image that is not what the survey card promises."""


class FetchError(AstrofmError):
    """An archive that cannot be fetched, or is not the file that was promised."""


class OfflineError(FetchError):
    """A host that cannot be reached at all, as on a machine without network."""


class StoreError(AstrofmError):
    """A store that is missing, half-written, damaged or made with other parameters."""


class ContractError(AstrofmError):
    """Data that a network may not be fed, by the input contract saved with its weights."""


class RunError(AstrofmError):
    """A run folder that cannot be started, resumed or used."""


class TrainingError(AstrofmError):
    """Training that cannot go on: a non-finite loss, a collapsed representation."""


def one_of(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown name, with the known ones and the nearest spelling.

    Args:
        kind: What was looked for, for example ``"survey"``.
        name: The name that was asked for.
        known: The names that exist.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UnknownNameError(f"no {kind} named {name!r}; known: {', '.join(names) or 'none'}{hint}")


def brief(error: BaseException) -> str:
    """Return the kind of an exception and what it says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def in_one_line(error: ValidationError) -> str:
    """Return what pydantic found wrong as one sentence, each fault with its place."""
    faults = []
    places = [fault["loc"] for fault in error.errors()]
    for fault in error.errors():
        of_this = fault["loc"]
        if fault["type"] == "too_short" and any(other[: len(of_this)] == of_this != other for other in places):
            continue  # too few are left only because those that were given are at fault
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        plain = {"extra_forbidden": "no such key", "missing": "is missing and must be given"}
        said = plain.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        faults.append(f"{place}: {' '.join(said.split())}")
    return "; ".join(faults)


def not_yaml(error: YAMLError) -> str:
    """Return where a file stops being YAML, and the usual remedy."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return " ".join(str(error).split())
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    return f"{place}: {problem}; text that holds any of : # ? , [ ] {{ }} goes in quotes"
