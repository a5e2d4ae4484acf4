"""The ``astrofm`` command: its groups, and how errors and interruptions end."""

from __future__ import annotations

__all__ = ["app", "run"]

import signal
import sys
import warnings
from types import FrameType

import typer

from astrofm.cli import cite, curve, demo, ingest, pretrain, replay, store, survey, transfer, views
from astrofm.cli.added import Commands
from astrofm.errors import AstrofmError

app = typer.Typer(
    name="astrofm",
    cls=Commands,
    help="Astronomy foundation models: from survey images to a measured, shareable result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half of the time that --help takes would go into importing what draws its frames
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command()(demo.demo)
app.add_typer(survey.app, name="survey")
app.command()(ingest.ingest)
app.add_typer(store.app, name="store")
app.command()(views.views)
app.command()(pretrain.pretrain)
app.command()(transfer.transfer)
app.command()(curve.curve)
app.command()(replay.replay)
app.command()(cite.cite)
app.command()(survey.doctor)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"astrofm {installed('astrofm')}")
        raise typer.Exit


def _terminated(signum: int, frame: FrameType | None) -> None:
    """End like Ctrl-C does, so that temporary files go; training replaces this handler by one that saves first."""
    sys.exit(128 + signum)


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *where: object, **more: object
) -> None:
    """Say a warning that is meant for the user as a sentence, any other with the place it comes from."""
    place = "" if category is UserWarning else f"{filename}:{lineno}: {category.__name__}: "
    sys.stderr.write(f"note: {place}{message}\n")


def run() -> None:
    """Run the command line: an :class:`AstrofmError` is one line and an exit code, not a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    warnings.showwarning = _warned
    try:
        app()
    except AstrofmError as error:
        sys.stderr.write(f"astrofm: {error}\n")
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # Typer ends in silence after Ctrl-C.
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            sys.stderr.write("astrofm: interrupted\n")
        raise
    except KeyboardInterrupt:
        sys.stderr.write("astrofm: interrupted\n")
        sys.exit(128 + signal.SIGINT)
