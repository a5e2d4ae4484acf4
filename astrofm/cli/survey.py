"""``astrofm survey``: what is installed, and what its cards say; ``astrofm doctor``."""

from __future__ import annotations

__all__ = ["app", "doctor"]

from typing import Annotated, Any

import typer

from astrofm.cli.show import AsJson, emit, note, table, warn

app = typer.Typer(help="List the surveys and show their cards.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_surveys(as_json: AsJson = False) -> None:
    """List the surveys that the installed plugins and the cards in reach add."""
    from astrofm import plugins

    owners = plugins.survey_owners()
    found = [
        {"name": name, "title": survey.card.title, "domain": survey.card.domain, "plugin": owners[name]}
        for name, survey in plugins.surveys().items()
    ]
    for problem in plugins.problems():
        warn(problem.sentence)
    if as_json:
        emit({"surveys": found})
    else:
        columns = ("name", "title", "domain", "plugin")
        table("Surveys", columns, [[survey[column] for column in columns] for survey in found])


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(help="Name of a survey, or path of its card.")], as_json: AsJson = False
) -> None:
    """Show the card of a survey: its facts, and where each is published."""
    from astrofm import plugins

    card = plugins.survey(name).card
    if as_json:
        emit(card.model_dump(mode="json"))
        return
    rows = [[key, _in_words(value)] for key, value in card.model_dump(mode="json", exclude_defaults=True).items()]
    table(card.title, ("fact", "value"), rows)


def _in_words(value: Any) -> str:
    if isinstance(value, dict) and {"value", "source", "unknown"} & value.keys():
        if "unknown" in value:
            return f"unknown; {value['unknown']}"
        return f"{value['value']}" + (f" ({value['source']})" if value.get("source") else "")
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_in_words(inner) for inner in value)
    return str(value).strip()


def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with the installed plugins and the cards in reach; exit 1 if anything is."""
    from astrofm import plugins

    problems = plugins.problems()
    if as_json:
        emit({"problems": [{"owner": problem.owner, "sentence": problem.sentence} for problem in problems]})
    elif not problems:
        note(f"all well: {len(plugins.surveys())} surveys")
    else:
        for problem in problems:
            note(problem.sentence)
    if problems:
        raise typer.Exit(1)
