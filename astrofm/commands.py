"""Commands that packages add, by the entry-point group ``astrofm.commands``: metadata names them, calls load them."""

from __future__ import annotations

__all__ = ["COMMANDS_GROUP", "command_points", "load_command"]

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from astrofm.errors import PluginError, brief

COMMANDS_GROUP = "astrofm.commands"


def command_points() -> dict[str, tuple[EntryPoint, ...]]:
    """Return the commands that packages add, by name: usually one for each name. None of them is loaded."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in sorted(entry_points(group=COMMANDS_GROUP), key=lambda point: (point.name, point.value)):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def load_command(name: str) -> Any:
    """Return what a package gives for a command: a function, or a :class:`typer.Typer` with several.

    Raises:
        PluginError: If two packages have a command of that name, or it cannot be imported.
    """
    first, *others = command_points()[name]
    if others:
        places = " and ".join(point.value for point in (first, *others))
        raise PluginError(f"two commands are named {name!r}: {places}; uninstall one of the packages")
    try:
        return first.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        raise PluginError(f"the command {name!r} ({first.value}) cannot be imported: {brief(error)}") from error
