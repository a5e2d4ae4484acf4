"""Volunteers' votes in a catalogue, held against the schema of the campaign that asked.

A table may give the count of every answer, in a column ``{question}_{answer}``, or the fraction
(``{question}_{answer}_fraction``, ``..._frac``) beside the number of votes of the question
(``{question}_total-votes``, ``..._total``). The table of a single campaign may leave out the ending that tells its
questions from those of others. What does not match the schema is named: nothing is guessed.
"""

from __future__ import annotations

__all__ = ["NumericColumns", "vote_counts"]

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.errors import DataError
from astrofm.schema import Question, VoteSchema

FRACTIONS, TOTALS = ("_fraction", "_frac"), ("_total-votes", "_total")
"""Endings of the columns that give the share of the votes of a question, and their number."""

LEAST_TOLERANCE, SHARE_TOLERANCE = 0.25, 0.02
"""A fraction times its total may lie this far from a whole number: by this share of the total, and no more than a
quarter of a vote. Fractions with two digits are off by a quarter with 50 votes, those with three with 500."""

Columns = Mapping[str, NDArray[Any]]


class NumericColumns(Mapping[str, NDArray[Any]]):
    """Columns that are read when they are asked for: a large campaign has hundreds of them.

    Args:
        names: Their names.
        read: Returns one, with NaN where there is no entry.
    """

    def __init__(self, names: Iterable[str], read: Callable[[str], NDArray[Any]]) -> None:
        self._names, self._read = dict.fromkeys(names), read

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def vote_counts(columns: Columns, schema: VoteSchema, ids: Sequence[str], where: str) -> dict[str, NDArray[np.int32]]:
    """Return the counts of every answer of a schema; votes that were not cast are zero.

    Args:
        columns: The numeric columns of a catalogue, NaN where there is no entry. Shape of each: (n,).
        schema: The questions and answers.
        ids: Id of each row, for messages. Length: n.
        where: What the table is called in messages.

    Returns:
        For each column of the schema the counts. Shape: (n,).

    Raises:
        DataError: If no column is of the schema; a question has columns for some of its answers alone; a count is
            negative or no whole number; fractions are not those of their total; or answers exceed it.

    Warns:
        UserWarning: Of questions nobody was asked, and of answers that the schema does not know.
    """
    asked = {question.name: _find(question, schema, columns) for question in schema.questions}
    missing = [name for votes in asked.values() if votes is not None for name in votes.missing(columns)]
    if missing:
        raise DataError(
            f"{where} lacks {_some(missing)}, which {schema.name!r} needs: choose the schema it was made by"
        )
    if not any(asked.values()):
        wanted = f"of {schema.name!r}, such as {schema.columns[0]!r}"
        raise DataError(f"{where} has no vote column {wanted}; it has {_some(columns)}")
    _warn(
        [name for name, votes in asked.items() if votes is None],
        f"nobody was asked these questions of {schema.name!r} in {where}, so their votes are zero",
    )
    _warn(
        _unknown_answers(schema, columns), f"{schema.name!r} does not know these answers in {where}; they do not count"
    )
    counts: dict[str, NDArray[np.int32]] = {}
    for question in schema.questions:
        votes = asked[question.name]
        found = np.zeros((len(question.answers), len(ids))) if votes is None else votes.counts(columns, ids)
        counts |= dict(zip(question.columns, found.astype(np.int32), strict=True))
    return counts


@dataclass(frozen=True)
class _Votes:
    """Where a table has the votes of one question."""

    names: tuple[str, ...]
    """Column of each answer."""
    total: str
    """Column of their number, or empty."""
    are_fractions: bool

    def missing(self, columns: Iterable[str]) -> list[str]:
        return [name for name in self.names if name not in columns]

    def counts(self, columns: Columns, ids: Sequence[str]) -> NDArray[np.float64]:
        """Return the counts of the answers, checked. Shape: (answers, n)."""
        given = np.stack([np.nan_to_num(columns[name].astype(np.float64), nan=0.0) for name in self.names])
        total = np.nan_to_num(columns[self.total].astype(np.float64), nan=0.0) if self.total else None
        if total is not None and self.are_fractions:
            whole = self._from_fractions(given, total, ids)
        else:
            whole = np.round(given)
            _refuse((given != whole) | (given < 0), given, self.names, ids, "which is no number of votes")
        if total is not None:
            over = whole.sum(axis=0) > total
            if over.any():
                row = int(over.argmax())
                raise DataError(
                    f"the answers of {ids[row]!r} add up to {whole[:, row].sum():g} votes, and {self.total!r} "
                    f"gives {total[row]:g}"
                )
        return whole

    def _from_fractions(
        self, fractions: NDArray[np.float64], total: NDArray[np.float64], ids: Sequence[str]
    ) -> NDArray[np.float64]:
        votes = fractions * total
        whole = np.round(votes)
        off = np.abs(votes - whole) > np.minimum(LEAST_TOLERANCE, SHARE_TOLERANCE * total)
        said = f"which is no share of the votes in {self.total!r}: give raw fractions, not weighted or predicted ones"
        _refuse(off | (fractions < 0), fractions, self.names, ids, said)
        return whole


def _find(question: Question, schema: VoteSchema, names: Iterable[str]) -> _Votes | None:
    """Return where the votes of a question are: as counts if all are there, else as fractions, else in part or not."""
    in_part = None
    for spelt in dict.fromkeys((question.name, question.name.removesuffix(schema.campaign))):
        total = next((spelt + ending for ending in TOTALS if spelt + ending in names), "")
        for ending in ("", *(FRACTIONS if total else ())):
            votes = _Votes(tuple(f"{spelt}_{answer}{ending}" for answer in question.answers), total, bool(ending))
            num_missing = len(votes.missing(names))
            if num_missing == 0:
                return votes
            if num_missing < len(votes.names) and in_part is None:
                in_part = votes
    return in_part


def _unknown_answers(schema: VoteSchema, columns: Columns) -> list[str]:
    """Return columns of whole numbers that look like answers to a question of the schema and are none."""
    unknown = []
    for question in schema.questions:
        for spelt in dict.fromkeys((question.name, question.name.removesuffix(schema.campaign))):
            for name in columns:
                rest = name.removeprefix(f"{spelt}_")
                if rest != name and _is_no_answer(rest, question) and _are_counts(columns[name]):
                    unknown.append(name)
    return unknown


def _is_no_answer(rest: str, question: Question) -> bool:
    is_derived = f"_{rest}".endswith((*FRACTIONS, *TOTALS)) or rest.startswith(tuple(f"{a}_" for a in question.answers))
    return rest not in question.answers and not is_derived


def _are_counts(values: NDArray[Any]) -> bool:
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return bool(len(known) and (known >= 0).all() and (known % 1 == 0).all())


def _refuse(
    bad: NDArray[np.bool_], values: NDArray[np.float64], names: Sequence[str], ids: Sequence[str], said: str
) -> None:
    if bad.any():
        answer, row = (int(place) for place in np.argwhere(bad)[0])
        raise DataError(f"column {names[answer]!r} holds {values[answer, row]:g} for {str(ids[row])!r}, {said}")


def _warn(names: Sequence[str], sentence: str) -> None:
    if names:
        warnings.warn(f"{sentence}: {_some(sorted(names))}", UserWarning, stacklevel=4)


def _some(names: Iterable[str], most: int = 12) -> str:
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest
