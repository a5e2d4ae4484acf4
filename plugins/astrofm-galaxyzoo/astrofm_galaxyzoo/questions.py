"""``astrofm questions``: what volunteers were asked, and after which answer."""

from __future__ import annotations

__all__ = ["questions"]

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Annotated

import typer

from astrofm import VoteSchema
from astrofm.errors import one_of

SCHEMAS = files("astrofm_galaxyzoo") / "cards" / "schemas"


def questions(
    schema: Annotated[str, typer.Argument(help="Name of a vote schema: gz2, gz-decals-dr5, gz-evo-v1, ...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Draw the questions of a Galaxy Zoo campaign as a tree: each stands below the answer that leads to it."""
    known = sorted(file.name.removesuffix(".yaml") for file in SCHEMAS.iterdir() if file.name.endswith(".yaml"))
    if schema not in known:
        raise one_of("vote schema", schema, known)
    asked = VoteSchema.from_yaml(SCHEMAS / f"{schema}.yaml")
    if as_json:
        typer.echo(json.dumps(asked.model_dump(mode="json"), indent=2))
        return
    typer.echo(f"{asked.name}: {len(asked.questions)} questions, {len(asked.columns)} answers")
    typer.echo(f"source: {asked.source}")
    for line in tree(asked):
        typer.echo(line)


def tree(schema: VoteSchema, after: str | None = None, depth: int = 0) -> Iterator[str]:
    """Yield a line for each question and answer, indented below what it follows.

    Args:
        schema: The questions.
        after: Column of the answer whose questions are wanted; None: those that everybody is asked.
        depth: Levels of indentation.
    """
    for question in schema.questions:
        if question.asked_after == after:
            yield f"{'    ' * depth}{question.name}"
            for answer, column in zip(question.answers, question.columns, strict=True):
                yield f"{'    ' * depth}  - {answer}"
                yield from tree(schema, column, depth + 1)
