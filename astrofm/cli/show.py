"""The one place that knows rich: tables for people, JSON for scripts, messages on stderr."""

from __future__ import annotations

__all__ = ["AsJson", "emit", "note", "percent", "progress", "table", "warn"]

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def _messages() -> Console:
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def note(sentence: str) -> None:
    """Tell the user something, on stderr."""
    _messages().print(sentence, markup=False)


def warn(sentence: str) -> None:
    """Tell the user of something that may surprise, on stderr."""
    _messages().print(f"note: {sentence}", markup=False, style="yellow")


def emit(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 else "default", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    Console().print(drawn)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction as percent; a dash where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f}%"


@contextmanager
def progress() -> Iterator[Any]:
    """Yield a listener (done, total, what) drawn as a bar on stderr, where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = _messages()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def listener(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield listener
