"""What the labels of a run are, and their values: votes, the classes of a task, or redshifts."""

from __future__ import annotations

__all__ = ["LabelKind", "LabelRequest", "Labels", "is_labelled", "read_labels"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astrofm.data.labels import NOT_IN_TASK, task_labels
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError, one_of
from astrofm.schema import VoteSchema

LabelKind = Literal["votes", "classes", "redshift"]
REDSHIFT = "z_spec"
_COLUMNS: Mapping[LabelKind, str] = {"votes": "votes", "classes": "label", "redshift": REDSHIFT}


@dataclass(frozen=True)
class LabelRequest:
    """Which labels an objective learns from.

    Attributes:
        kind: ``votes``: all answers of the stores' vote schema. ``classes``: those of a task. ``redshift``: the
            spectroscopic redshifts of the stores' catalogues.
        task: Task of the cards that has the classes; empty for the others.
    """

    kind: LabelKind
    task: str = ""


@dataclass(frozen=True)
class Labels:
    """What the numbers of a label column mean; follows from the data of a run.

    Attributes:
        kind: ``votes``: a column ``votes`` of counts, 0 where nobody voted. Shape: (batch, answer). ``classes``: a
            column ``label`` of class numbers, -1 where a row has none. Shape: (batch,). ``redshift``: a column
            ``z_spec``, NaN where a row has none. Shape: (batch,).
        names: The answers or the classes, in order; ``z_spec``.
        questions: Of votes: the answers of each question, which follow each other and cover all.
    """

    kind: LabelKind
    names: tuple[str, ...]
    questions: tuple[slice, ...] = field(default=())

    @property
    def column(self) -> str:
        """Name of the label column in a batch."""
        return _COLUMNS[self.kind]


Columns = dict[str, NDArray[Any]]


def read_labels(request: LabelRequest, stores: Mapping[str, CutoutStore]) -> tuple[Labels, Columns]:
    """Return what the labels of some stores are, and those of each row of each store.

    A store without a vote schema, the task or the column of redshifts has no labels: zeros, -1 or NaN.

    Args:
        request: Which labels.
        stores: The stores to train on, by survey.

    Raises:
        DataError: If no store has such labels, or two stores mean different things by them.
    """
    if request.kind == "redshift":
        return _redshifts(stores)
    return _votes(stores) if request.kind == "votes" else _classes(request.task, stores)


def is_labelled(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows have labels, be they votes, classes or redshifts. Shape: (n,)."""
    found: NDArray[np.bool_]
    if labels.ndim == 2:
        found = np.any(labels > 0, axis=1)
    elif labels.dtype.kind == "f":
        found = ~np.isnan(labels)
    else:
        found = np.not_equal(labels, NOT_IN_TASK)
    return found


def _votes(stores: Mapping[str, CutoutStore]) -> tuple[Labels, Columns]:
    schemas = {name: store.votes for name, store in stores.items() if store.votes is not None}
    if not schemas:
        raise DataError(
            f"the objective learns from votes and no store of {', '.join(stores)} has a vote schema: train on a survey "
            "whose card names one, or choose the classes of a task"
        )
    first, *others = schemas
    for other in others:
        if schemas[other].questions != schemas[first].questions:
            raise DataError(
                f"the votes of {first!r} are those of {schemas[first].name!r} and the votes of {other!r} those of "
                f"{schemas[other].name!r}: one network learns one schema, so ingest both with a schema that has both"
            )
    schema = schemas[first]
    columns: Columns = {name: _vote_array(store, schema) for name, store in stores.items()}
    return Labels("votes", schema.columns, schema.slices), columns


def _vote_array(store: CutoutStore, schema: VoteSchema) -> NDArray[np.integer[Any]]:
    """Return the counts of all answers; int16, of which a large campaign has gigabytes, where it holds them."""
    votes: NDArray[np.integer[Any]] = np.zeros((len(store), len(schema.columns)), dtype=np.int16)
    if store.votes is None:
        return votes
    for place, name in enumerate(schema.columns):
        if name in store.catalog.columns:
            counts = np.nan_to_num(store.catalog.column(name))
            if counts.max(initial=0) > np.iinfo(votes.dtype).max:
                votes = votes.astype(np.int32)
            votes[:, place] = counts
    return votes


def _classes(task: str, stores: Mapping[str, CutoutStore]) -> tuple[Labels, Columns]:
    tasks = {name: {own.name: own for own in store.card.tasks} for name, store in stores.items()}
    having = [name for name, own in tasks.items() if task in own]
    if not having:
        raise one_of("task", task, sorted({own for of_store in tasks.values() for own in of_store}))
    first, *others = having
    classes = tuple(tasks[first][task].classes)
    for other in others:
        if tuple(tasks[other][task].classes) != classes:
            raise DataError(
                f"task {task!r} of {first!r} has the classes {', '.join(classes)} and that of {other!r} "
                f"{', '.join(tasks[other][task].classes)}: give both cards the same classes, in one order"
            )
    columns: Columns = {name: np.full(len(store), NOT_IN_TASK) for name, store in stores.items()}
    for name in having:
        columns[name] = task_labels(stores[name].catalog, tasks[name][task], stores[name].votes)
    return Labels("classes", classes), columns


def _redshifts(stores: Mapping[str, CutoutStore]) -> tuple[Labels, Columns]:
    columns: Columns = {name: np.full(len(store), np.nan, dtype=np.float32) for name, store in stores.items()}
    having = [name for name, store in stores.items() if REDSHIFT in store.catalog.columns]
    if not having:
        raise DataError(
            f"the objective learns redshifts and no store of {', '.join(stores)} has a column {REDSHIFT!r}: train on a "
            "survey whose catalogue has one, or choose another head"
        )
    for name in having:
        columns[name] = stores[name].catalog.column(REDSHIFT).astype(np.float32)
    return Labels("redshift", (REDSHIFT,)), columns
