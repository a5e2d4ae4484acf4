"""``astrofm replay``: take a step that failed again, and show where it went wrong."""

from __future__ import annotations

__all__ = ["replay"]

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from astrofm.cli.options import default_device
from astrofm.cli.show import AsJson, emit, table

NAMED_ROWS = 8


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of the run, or its failure folder.")],
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or mps, best that of the run.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Take the step whose loss was not finite again; exit 0 if it gives the same, 1 if not."""
    from astrofm.replay import replay as library

    result = library(run, default_device(device))
    if as_json:
        # JSON knows no number that is not finite.
        numbers = {name: str(value) if isinstance(value, float) else value for name, value in asdict(result).items()}
        emit(numbers)
    else:
        rows = ", ".join(result.rows[:NAMED_ROWS]) + (", ..." if len(result.rows) > NAMED_ROWS else "")
        why = "; ".join(result.may_differ_because) or "nothing that was recorded has changed"
        table(
            f"step {result.step} of {result.folder}",
            ["", "now", "recorded"],
            [
                ["loss", f"{result.loss:.9g}", f"{result.recorded_loss:.9g}"],
                ["norm of the gradient", f"{result.gradient_norm:.9g}", f"{result.recorded_gradient_norm:.9g}"],
                ["first value that is not finite", result.first_non_finite or "none", ""],
                ["in rows", rows or "not to be told apart", ""],
                ["same to the last bit", "yes" if result.is_reproduced else f"no: {why}", ""],
            ],
        )
    if not result.is_reproduced:
        raise typer.Exit(1)
