"""The one place that knows rich: tables for people, JSON for scripts, messages on stderr."""

from __future__ import annotations

__all__ = ["AsJson", "emit", "hush", "note", "percent", "progress", "table", "warn", "warn_of_mock"]

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_SECONDS = 30.0
"""Pace of progress lines where stderr is no terminal."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@cache
def _messages() -> Console:
    """Return the one console of all messages, so that a sentence stands above a bar that is drawn, not under it."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def note(sentence: str) -> None:
    """Tell the user something, on stderr."""
    _messages().print(sentence, markup=False)


def hush() -> None:
    """Tell nothing from here on: of several processes one speaks."""
    _messages().quiet = True


def warn(sentence: str) -> None:
    """Tell the user of something that may surprise, on stderr."""
    _messages().print(f"note: {sentence}", markup=False, style="yellow")


def warn_of_mock() -> None:
    """Tell the user that what follows is of made-up sources."""
    warn("the data is mock: for trying out, not for science")


def emit(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(title), title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 else "default", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))  # as text: a name may hold what rich takes for markup
    Console().print(drawn)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction as percent; a dash where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f}%"


@contextmanager
def progress() -> Iterator[Any]:
    """Yield a listener (done, total, what): a bar on stderr, or now and then a line where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = _messages()
    if not console.is_terminal:
        yield _line_now_and_then()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def listener(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield listener


def _line_now_and_then() -> Callable[[int, int, str], None]:
    """Return a listener that says where a long job is, for the log of a batch system."""
    last = time.monotonic()

    def listener(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_SECONDS:
            last = time.monotonic()
            note(f"{what}: {done}/{total}")

    return listener
