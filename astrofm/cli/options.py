"""Options that several commands share."""

from __future__ import annotations

__all__ = ["Device", "Mock", "Seed", "Stores", "default_device"]

from pathlib import Path
from typing import Annotated

import typer

Stores = Annotated[
    list[Path], typer.Option("--store", help="A store; it serves the survey its manifest names. May be repeated.")
]
Mock = Annotated[int | None, typer.Option("--mock", min=8, help="Use N made-up objects of every survey touched.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the mock archives.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps; default: a GPU where there is one.")]


def default_device(given: str | None) -> str:
    """Return the device that was asked for, else the fastest there is."""
    import torch

    if given is not None:
        return given
    return "cuda" if torch.cuda.is_available() else "cpu"
