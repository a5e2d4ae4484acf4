"""Labels: what a catalogue may hold as one, the classes of a task, and the draw of a few of them."""

from __future__ import annotations

__all__ = ["check_labels", "draw_labels", "task_labels", "unanswered"]

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from astrofm.card import ClassTask, SurveyCard, VoteTask
from astrofm.data.catalog import Catalog
from astrofm.data.votes import NumericColumns, vote_counts
from astrofm.errors import DataError
from astrofm.schema import VoteSchema

NOT_IN_TASK = -1
MOST_TOLD = 6
"""Values of a label column that a message names."""

_LEAST = {"z_spec": -1.0, "z_phot": -1.0, "z_err": 0.0, "las_arcsec": 0.0, "size_arcsec": 0.0}
"""No redshift, error or size is less; what stands below is a mark for a missing entry."""


def check_labels(catalog: Catalog, votes: VoteSchema | None = None) -> Catalog:
    """Check the labels of a catalogue before a pixel is read, and complete its votes.

    Args:
        catalog: Of an archive.
        votes: The questions that volunteers were asked, where the survey has them.

    Returns:
        The catalogue; with a schema it has the count of every answer (int32), from counts or from fractions with
        totals, zero where nobody voted: see :func:`astrofm.data.votes.vote_counts`.

    Raises:
        DataError: If a redshift, its error or a size cannot be one, or the votes do not match the schema.
    """
    for name, least in _LEAST.items():
        values = catalog.column(name) if name in catalog.columns else np.empty(0)
        if values.dtype.kind not in "iuf":
            raise DataError(
                f"column {name!r} of the catalogue holds no numbers but values such as {values[:1].tolist()}"
            )
        bad = np.isinf(values) | ((values <= least) if name in ("z_spec", "z_phot") else (values < least))
        if bad.any():
            row = int(bad.argmax())
            source = catalog.table["id_str"][row].as_py()
            raise DataError(
                f"column {name!r} holds {values[row]:g} for {source!r}, which it cannot be: "
                "leave the entry empty where it is not known"
            )
    if votes is None:
        return catalog
    ids = catalog.column("id_str").tolist()
    numeric = [field.name for field in catalog.table.schema if _is_number(field.type)]
    return catalog.with_columns(vote_counts(NumericColumns(numeric, catalog.column), votes, ids, "the catalogue"))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def task_labels(catalog: Catalog, task: ClassTask | VoteTask, votes: VoteSchema | None = None) -> NDArray[np.int64]:
    """Return the class of each row, in the order of the task's classes.

    Args:
        catalog: With the column of the task, or the vote counts ``{question}_{answer}``.
        task: The task.
        votes: The schema that says which answers a question has; without it they are taken from the columns.

    Returns:
        Class index, -1 where the row is not part of the task. Shape: (len(catalog),).

    Raises:
        DataError: If a column is missing, or one value stands for two classes.
    """
    if isinstance(task, ClassTask):
        return _class_labels(catalog, task)
    return _vote_labels(catalog, task, votes)


def unanswered(catalog: Catalog, card: SurveyCard, *, may_lack_labels: bool = False) -> list[str]:
    """Say what the classes of a card look for and the labels of its catalogue do not have, or spell otherwise.

    Args:
        catalog: Labels under the names of the contract.
        card: With its tasks.
        may_lack_labels: Say nothing of a column that is not there under any name, nor of classes without a row where
            the card knows every label that there is: an archive may be without labels, or a sample.
    """
    told = []
    for task in card.tasks:
        if not isinstance(task, ClassTask):
            continue
        if task.column not in catalog.columns:
            mapped = {own: name for layout in _layouts(card) for name, own in layout.items()}
            if may_lack_labels and task.column not in mapped:
                continue
            there = f"the card maps it to {mapped[task.column]!r}" if task.column in mapped else "there is none"
            told.append(f"task {task.name!r} takes its labels from column {task.column!r}, and {there}: name another")
            continue
        column = catalog.column(task.column)
        is_text = column.dtype.kind in "SU"
        found = Counter(value for value in column.tolist() if value == value)
        missing = {
            name: own
            for name, own in task.classes.items()
            if not any((str(value) if is_text else value) in found for value in own)
        }
        is_sample = may_lack_labels and {str(value) for value in found} <= _known_labels(card, task.column)
        if missing and not is_sample:
            counts = ", ".join(f"{value!r} ({num})" for value, num in found.most_common(MOST_TOLD))
            looked_for = "; ".join(f"{name}: {', '.join(map(repr, own))}" for name, own in missing.items())
            told.append(
                f"task {task.name!r} has classes without any row ({looked_for}): column {task.column!r} has {counts}"
            )
        elif is_text:
            told += _other_spellings(task, found)
    return told


def _other_spellings(task: ClassTask, counts: Mapping[str, int]) -> Iterator[str]:
    """Say which labels are in no class and differ from one that is in capitals, blanks or signs alone."""
    taken = {str(value) for own in task.classes.values() for value in own}
    likes: dict[str, list[str]] = {}
    for like in sorted(taken):
        if _spelt(like):
            likes.setdefault(_spelt(like), []).append(like)
    for value in sorted(counts.keys() - taken):
        for like in likes.get(_spelt(value), []):
            yield (
                f"task {task.name!r} leaves out the {counts[value]} rows whose {task.column!r} is {value!r}, and "
                f"takes {like!r}: if they are the same, write both under 'classes' of the card"
            )


def _spelt(label: str) -> str:
    """Return the letters and numbers of a label, without capitals."""
    return "".join(filter(str.isalnum, label.casefold()))


def _known_labels(card: SurveyCard, column: str) -> set[str]:
    """Return what the card says may stand in a column of labels, as text."""
    tasks = [task for task in card.tasks if isinstance(task, ClassTask) and task.column == column]
    of_classes = {str(value) for task in tasks for own in task.classes.values() for value in own}
    return of_classes | ({str(value) for value in card.label_names} if column == "label" else set())


def _layouts(card: SurveyCard) -> list[dict[str, str]]:
    """Return the columns that the card maps, of the form that it has."""
    return [form.columns for form in (card.folder, card.mosaic, card.arrays, card.pictures) if form is not None]


def draw_labels(labels: NDArray[np.integer[Any]], num: int, seed: int, *, of: str = "the task") -> NDArray[np.int64]:
    """Draw a few labelled rows so that each class has its share and smaller draws are part of larger ones.

    Within a class the order is a seeded permutation; which class comes next follows the quota method of Balinski &
    Young (1975, https://doi.org/10.1080/00029890.1975.11993911), under which the count of every class is its exact
    share rounded down or up after every single draw.

    Args:
        labels: Class of each row, negative where the row may not be drawn. Shape: (n,).
        num: Number of rows to draw.
        seed: Seed of the permutations, not negative.
        of: What the labels belong to, for the message.

    Returns:
        Rows in drawing order: the draw of 50 is the first 50 of the draw of 145. Shape: (num,).

    Raises:
        DataError: If there are fewer labels than asked for, or none is asked for.
    """
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    available = int(counts.sum())
    if not 0 < num <= available:
        raise DataError(f"asked for {num} labels; {of} has {available}, so ask for 1 to {available}")
    permuted = [
        np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label)) for label in classes
    ]
    drawn = [0] * len(classes)
    rows = np.empty(num, dtype=np.int64)
    for place in range(num):
        turn = _next_class(drawn, counts.tolist(), place + 1, available)
        rows[place] = permuted[turn][drawn[turn]]
        drawn[turn] += 1
    return rows


def _next_class(drawn: Sequence[int], counts: Sequence[int], num: int, total: int) -> int:
    """Return the class of draw ``num``: of those below their share, the one that must come soonest."""
    below_share = [c for c in range(len(counts)) if drawn[c] * total < num * counts[c]]
    return min(below_share, key=lambda c: (drawn[c] + 1) / counts[c])


def _class_labels(catalog: Catalog, task: ClassTask) -> NDArray[np.int64]:
    values = catalog.column(task.column)
    is_text = values.dtype.kind in "SU"
    labels = np.full(len(catalog), NOT_IN_TASK, dtype=np.int64)
    taken: dict[int | str, str] = {}
    for index, (name, own) in enumerate(task.classes.items()):
        for value in own:
            if value in taken:
                raise DataError(f"task {task.name!r} gives {value!r} to both {taken[value]!r} and {name!r}")
            if isinstance(value, str) and not is_text:
                raise DataError(
                    f"task {task.name!r} looks for the text {value!r} in column {task.column!r}, which holds numbers"
                )
            taken[value] = name
            labels[values == (str(value) if is_text else value)] = index
    return labels


def _vote_labels(catalog: Catalog, task: VoteTask, votes: VoteSchema | None) -> NDArray[np.int64]:
    """Give a row the class with the most votes, if it has enough of them and no other class has as many."""
    counts = {column: np.nan_to_num(catalog.column(column)) for column in _answer_columns(catalog, task, votes)}
    for_class = np.stack([sum(counts[f"{task.question}_{answer}"] for answer in own) for own in task.classes.values()])
    total = np.sum(list(counts.values()), axis=0)
    most = for_class.max(axis=0)
    is_clear = (for_class == most).sum(axis=0) == 1
    is_labelled = is_clear & (total >= task.min_votes) & (most >= task.min_fraction * total)
    return np.where(is_labelled, for_class.argmax(axis=0), NOT_IN_TASK).astype(np.int64)


def _answer_columns(catalog: Catalog, task: VoteTask, votes: VoteSchema | None) -> list[str]:
    """Return the vote count columns of all answers to the question, which the task's classes need not exhaust."""
    prefix = f"{task.question}_"
    if votes is None:
        answers = [name.removeprefix(prefix) for name in catalog.columns if name.startswith(prefix)]
        found = [prefix + answer for answer in answers if "_" not in answer and answer != "total-votes"]
    elif task.question in {question.name for question in votes.questions}:
        found = list(votes.question(task.question).columns)
    else:
        raise DataError(f"task {task.name!r} asks {task.question!r}, which is no question of {votes.name!r}")
    wanted = [prefix + answer for own in task.classes.values() for answer in own]
    absent = [column for column in (*wanted, *found) if column not in catalog.columns or column not in found]
    if absent:
        raise DataError(f"task {task.name!r} needs the vote counts {absent[0]!r}, which the catalogue does not have")
    for column in found if votes is None else ():
        values = catalog.column(column)
        if values.dtype.kind not in "iuf" or (np.nan_to_num(values) % 1).any():
            raise DataError(
                f"task {task.name!r} would count column {column!r} among the answers to {task.question!r}, and it "
                "holds no numbers of votes: rename it, or name the answers in a vote schema"
            )
    return found
