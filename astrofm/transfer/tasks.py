"""Tasks: which classes of which survey a transfer tells apart."""

from __future__ import annotations

__all__ = ["find_task"]

from astrofm.card import ClassTask, SurveyCard, VoteTask
from astrofm.errors import UsageError, one_of


def find_task(card: SurveyCard, name: str | None = None) -> ClassTask | VoteTask:
    """Return a task of a card, by default its first.

    Raises:
        UsageError: If the card has no labelled task.
        UnknownNameError: If it has none of that name.
    """
    if not card.tasks:
        raise UsageError(
            f"{card.name!r} has no labelled task, and so nothing to test on: choose a survey with tasks in its card "
            "('astrofm survey info NAME' shows them)"
        )
    if name is None:
        return card.tasks[0]
    for task in card.tasks:
        if task.name == name:
            return task
    raise one_of(f"task of {card.name!r}", name, (task.name for task in card.tasks))
