"""Options that several commands share."""

from __future__ import annotations

__all__ = [
    "AdaptBands",
    "Classified",
    "Device",
    "FinetuneChanges",
    "LabelSeeds",
    "Mock",
    "Modes",
    "Orientations",
    "Resample",
    "Seed",
    "Stores",
    "Task",
    "TestSurvey",
    "TrainSurvey",
    "default_device",
    "mock_seed",
]

from typing import Annotated

import typer

from astrofm.errors import UsageError

Stores = Annotated[
    list[str],
    typer.Option("--store", help="A store (folder or URL); it serves the survey its manifest names. May be repeated."),
]
Mock = Annotated[int | None, typer.Option("--mock", min=8, help="Use N made-up objects of every survey touched.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the mock archives; default: 0.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps; default: cuda if it is there.")]

# How a model is measured with labels.
Classified = Annotated[str, typer.Option("--survey", help="Survey to classify: a name, or the path of its card.")]
Task = Annotated[str | None, typer.Option("--task", help="Task of the survey's card; default: its first.")]
Modes = Annotated[str, typer.Option("--mode", help="linear, knn, finetune, all; default: linear and finetune.")]
LabelSeeds = Annotated[int, typer.Option("--seeds", min=1, help="Draws of the labels.")]
Orientations = Annotated[
    int, typer.Option("--orientations", help="Average over 1, 4 or 8 orientations of each object.")
]
TrainSurvey = Annotated[str | None, typer.Option("--train-survey", help="Survey the labels come from.")]
TestSurvey = Annotated[str | None, typer.Option("--test-survey", help="Survey to test on.")]
FinetuneChanges = Annotated[list[str], typer.Option("--set", help="Change fine-tuning: epochs=100.")]
AdaptBands = Annotated[bool, typer.Option("--adapt-bands", help="Accept bands new to the model.")]
Resample = Annotated[
    bool, typer.Option("--resample", help="Accept too small cutouts (empty borders) and other resolutions.")
]


def mock_seed(given: int | None, mock: int | None, other: str) -> int:
    """Return the seed of the mock archives.

    Args:
        given: What ``--seed`` gave.
        mock: What ``--mock`` gave.
        other: What seeds the rest of the command, for the message.

    Raises:
        UsageError: If a seed was given and there is no mock archive.
    """
    if given is not None and mock is None:
        raise UsageError(f"--seed {given} is the seed of mock archives, and there is no --mock; {other}")
    return given or 0


def default_device(given: str | None) -> str:
    """Return the device that was asked for, else a CUDA GPU where there is one, else the CPU.

    Raises:
        UsageError: If there is no such device here.
    """
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if given is None:
        return "cuda" if present["cuda"] else "cpu"
    if not present.get(given, False):
        raise UsageError(f"no device {given!r} here; there is {', '.join(name for name in present if present[name])}")
    return given
