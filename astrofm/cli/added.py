"""Commands that packages add: listed from their metadata, loaded when they are called."""

from __future__ import annotations

__all__ = ["Commands"]

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from astrofm.commands import command_points, load_command


class Commands(TyperGroup):
    """The commands of astrofm and, after them, those of the entry-point group ``astrofm.commands``.

    Its own cannot be replaced: a package's command of such a name is never called, and ``astrofm doctor`` says so.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*self.commands, *(name for name in command_points() if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one of astrofm's own commands, or what stands for one that a package adds; None if there is none."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        points = command_points().get(cmd_name)
        if points is None:
            return None
        package = points[0].dist
        return _Added(cmd_name, help=f"Of the package {package.name}." if package else "Of a package.")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is to be called, loaded, with its name and arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, _loaded(args[0]) if isinstance(command, _Added) else command, rest


class _Added(TyperCommand):
    """Stands for a command that was not loaded."""


def _loaded(name: str) -> Any:
    """Return the command of a package.

    Raises:
        PluginError: If two packages have one of that name, or it cannot be imported.
    """
    given: typer.Typer | Callable[..., Any] = load_command(name)
    if isinstance(given, typer.Typer):
        return typer.main.get_command(given)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(given)
    return typer.main.get_command(single)
