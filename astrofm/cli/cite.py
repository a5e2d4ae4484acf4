"""``astrofm cite``: the BibTeX of surveys, or of those a model was trained on."""

from __future__ import annotations

__all__ = ["cite"]

import sys
from pathlib import Path
from typing import Annotated

import typer

from astrofm.cli.show import AsJson, emit, note, warn
from astrofm.errors import UsageError


def cite(
    survey: Annotated[list[str], typer.Option("--survey", help="Survey, or the path of its card; repeatable.")] = [],  # noqa: B006 - typer's way
    model: Annotated[Path | None, typer.Option("--model", help="Run or model, for the surveys it learnt from.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print whom to cite for the data, as BibTeX; licences go to stderr."""
    from astrofm import plugins
    from astrofm.citation import bibtex, entries
    from astrofm.model import CITATION
    from astrofm.run import Run, find_model

    if not survey and model is None:
        raise UsageError("give --survey NAME, --model RUN, or both")
    cards = {found.name: found.card for found in map(plugins.survey, survey)}
    of_model: list[str] = []
    if model is not None:
        learnt = find_model(model).card.surveys
        # A survey of a card that is elsewhere, or of a plugin that is not here: the model has its BibTeX.
        absent = [name for name in learnt if name not in plugins.surveys()]
        cards |= {name: plugins.survey(name).card for name in learnt if name not in absent}
        for name in absent:
            warn(f"survey {name!r} is not installed here, so its licence is not known")
        files = [folder / CITATION for folder in (model, Run(model).model_folder)] if absent else []
        of_model = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    text = bibtex([*(card.citation for card in cards.values()), *of_model])
    if as_json:
        licences = {name: {archive.name: archive.licence for archive in card.archive} for name, card in cards.items()}
        emit({"surveys": list(cards), "keys": list(entries(text)), "bibtex": text, "licences": licences})
        return
    for name, card in cards.items():
        for archive in card.archive:
            note(f"{name}, {archive.name}: {archive.licence}")
    sys.stdout.write(text)
