"""``astrofm survey``: what is installed, and what its cards say; ``astrofm doctor``."""

from __future__ import annotations

__all__ = ["app", "doctor"]

from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from astrofm.cli.options import Mock, Stores
from astrofm.cli.show import AsJson, emit, note, progress, table, warn
from astrofm.errors import UsageError

Domain = Literal["radio", "optical"]
INDEX = "README.md"

app = typer.Typer(
    help="List the surveys, show their cards, fetch their archives, begin a new one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the survey, for example my-survey.")],
    domain: Annotated[Domain, typer.Option("--domain", help="Which card to begin with.")] = "radio",
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the package; default: astrofm-NAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a package with a survey that works on made-up sources, for you to change."""
    from astrofm.scaffold import new_survey

    folder = out or Path(f"astrofm-{name}")
    written = new_survey(name, folder, domain)
    if as_json:
        emit({"survey": name, "folder": str(folder), "files": [str(path) for path in written]})
        return
    for path in written:
        note(f"written: {path}")
    note(f"next: pip install -e {folder} && astrofm survey info {name}; then change {written[0]}")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Name of a survey, or path of its card.")],
    source: Annotated[Path | None, typer.Option("--source", help="The real archive, or a part of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look whether a survey keeps the contract on mock data, and can read given ones; exit 1 if it does not."""
    from astrofm import plugins
    from astrofm.errors import DataError

    plugins.survey(name)  # a name that is none is one sentence
    if source is not None and not source.exists():
        raise DataError(f"no folder or file at {source}, where the archive of {name!r} was looked for")
    try:
        from astrofm.testing.check import check_survey
    except ModuleNotFoundError as error:
        raise UsageError(f"'astrofm survey check' needs {error.name}: pip install {error.name}") from error
    checks = check_survey(name, source)
    failed = [found for found in checks if found.outcome == "failed"]
    if as_json:
        emit({"survey": name, "is_kept": not failed, "checks": [asdict(found) for found in checks]})
    else:
        first = {found.reason: number for number, found in reversed(list(enumerate(checks))) if found.reason}
        rows = [
            [found.sentence, found.outcome, found.reason if first.get(found.reason, number) == number else "as above"]
            for number, found in enumerate(checks)
        ]
        table(f"the contract of {name}", ("what must be true", "is it", "what was found"), rows)
        note(f"{len(failed)} of {len(checks)} are not true" if failed else "the contract is kept")
    if failed:
        raise typer.Exit(1)


@app.command("page")
def page(
    names: Annotated[list[str], typer.Argument(help="Surveys, or the paths of their cards.")],
    store: Stores = [],  # noqa: B006 - typer's way
    mock: Mock = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the pages.")] = Path(),
    index: Annotated[bool, typer.Option("--index", help=f"Write {INDEX} too, which leads to them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a page about each survey: a sheet of cutouts, and what its card says."""
    from astrofm import plugins
    from astrofm.report.survey_page import index_page, survey_page, survey_sheet
    from astrofm.stores import find_stores

    with progress() as listener:
        stores = find_stores(names, store, mock=mock, listener=listener, say=note)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for survey in map(plugins.survey, names):
        found = stores[survey.name]
        jpeg, how = survey_sheet(found)
        caption = f"Made-up cutouts, from the survey's mock archive: {how}" if found.is_mock else how
        text, picture = out / f"{survey.name}.md", out / f"{survey.name}.jpg"
        picture.write_bytes(jpeg)
        text.write_text(survey_page(survey, picture.name, caption), encoding="utf-8")
        written += [text, picture]
    if index:
        (out / INDEX).write_text(index_page(map(plugins.survey, names)), encoding="utf-8")
        written.append(out / INDEX)
    if as_json:
        emit({"files": [str(path) for path in written]})
    for path in written:
        note(f"written: {path}")


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a survey, or path of its card.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: $ASTROFM_HOME/archives/NAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the archive of a survey, or what is missing of it; the same command goes on after an interruption."""
    from astrofm import plugins
    from astrofm.data.fetch import fetch as fetch_archive

    survey = plugins.survey(name)
    with progress() as listener:
        fetched = fetch_archive(survey, out=out, listener=listener, say=note)
    for archive in fetched.by_hand:
        warn(" ".join(filter(None, (f"{archive.name} is to be fetched by hand:", archive.page, archive.note))))
    if as_json:
        emit({"survey": survey.name, **fetched.as_json()})
        return
    rows = [[file.name, f"{file.size_bytes / 1e6:.1f}", file.sha256] for file in fetched.files]
    table(str(fetched.source), ("file", "MB", "sha256"), rows)
    if not fetched.by_hand:
        note(f"next: astrofm ingest --survey {name} --source {fetched.source}")


def _in_words(value: Any) -> str:
    if isinstance(value, dict) and "unknown" in value:
        return f"unknown; {value['unknown']}"
    if isinstance(value, dict) and "value" in value:  # a fact; what else has a source (a band) is told key by key
        return _in_words(value["value"]) + (f" ({value['source']})" if value.get("source") else "")
    if isinstance(value, dict):
        return "\n".join(f"{key}:{_beside(_in_words(inner))}" for key, inner in value.items())
    if isinstance(value, list):
        return ("\n" if any(isinstance(inner, dict) for inner in value) else ", ").join(map(_in_words, value))
    return str(value).strip()


def _beside(words: str) -> str:
    """Return what follows a key: one line beside it, several below it."""
    return "\n" + indent(words, "  ") if "\n" in words else f" {words}"


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Say what is wrong with the installed plugins and the cards in reach; exit 1 if anything is."""
    from astrofm import plugins

    root = context.find_root().command
    own = root.commands if isinstance(root, TyperGroup) else ()
    problems = [*plugins.problems(), *plugins.part_problems(taken_commands=own)]
    if as_json:
        emit({"problems": [{"owner": problem.owner, "sentence": problem.sentence} for problem in problems]})
    elif not problems:
        note(f"all well: {len(plugins.surveys())} surveys")
    else:
        for problem in problems:
            note(problem.sentence)
    if problems:
        raise typer.Exit(1)
