"""Vote schemas: which questions volunteers were asked, and the table column of each answer.

A schema is named and versioned (``gz-evo-v0.1``); its file lists every question with its answers, in column
order, and the answer it follows in the campaign's decision tree.
"""

from __future__ import annotations

__all__ = ["Question", "VoteSchema"]

from functools import cached_property
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from astrofm.errors import RecipeError, brief, in_one_line, not_yaml

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Question(BaseModel):
    """One question put to volunteers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    answers: tuple[str, ...] = Field(min_length=2)
    asked_after: str | None = None
    """Column of the answer that leads to this question; None where everybody is asked."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Table column of each answer: ``{question}_{answer}``."""
        return tuple(f"{self.name}_{answer}" for answer in self.answers)


class VoteSchema(BaseModel):
    """All questions of a campaign or of several, in column order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str
    """Where the questions are published."""
    campaign: str = ""
    """Ending of all questions, for example ``-dr5``, that the tables of this campaign alone leave out; empty: none."""
    questions: tuple[Question, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _columns_are_unique_and_known(self) -> Self:
        columns = self.columns
        if len(set(columns)) != len(columns):
            twice = sorted({column for column in columns if columns.count(column) > 1})
            raise ValueError(f"schema {self.name!r} names these columns twice: {', '.join(twice)}")
        for question in self.questions:
            if question.asked_after is not None and question.asked_after not in columns:
                raise ValueError(f"question {question.name!r} follows {question.asked_after!r}, which is no answer")
            if not question.name.endswith(self.campaign):
                raise ValueError(f"question {question.name!r} does not end in {self.campaign!r}, the campaign")
        for question in self.questions:
            self._answers_before(question)
        return self

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Vote count columns, in order. Length: number of answers."""
        return tuple(column for question in self.questions for column in question.columns)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """For each question, the columns of its answers."""
        stops = [0]
        for question in self.questions:
            stops.append(stops[-1] + len(question.answers))
        return tuple(slice(start, stop) for start, stop in pairwise(stops))

    def question(self, name: str) -> Question:
        """Return the question of that name.

        Raises:
            KeyError: If the schema does not have it.
        """
        return {question.name: question for question in self.questions}[name]

    def shares_asked(self, fractions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the share of the volunteers who get to each question, from the fraction that each answer has.

        Who gets to a question has given every answer before it: the share is the product of their fractions. Predicted
        fractions of a question that hardly anybody would be asked mean nothing, and are best left out.

        Args:
            fractions: Of the answers to each question, measured or predicted. Shape: (source, answer).

        Returns:
            Between 0 and 1; 1 for what everybody is asked. Shape: (source, question).

        Raises:
            ValueError: If there is not a column for each answer.
        """
        import numpy as np

        given = np.asarray(fractions, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.columns):
            raise ValueError(
                f"{self.name!r} has {len(self.columns)} answers, the fractions have the shape {given.shape}"
            )
        before = [[self.columns.index(answer) for answer in self._answers_before(each)] for each in self.questions]
        return np.stack([given[:, answers].prod(axis=1) for answers in before], axis=1)

    def _answers_before(self, question: Question) -> list[str]:
        """Return the columns of the answers that lead to a question, the last one first."""
        question_of = {column: each for each in self.questions for column in each.columns}
        answers: list[str] = []
        while (answer := question.asked_after) is not None:
            if answer in answers:
                raise ValueError(f"question {question.name!r} is asked after itself, by way of {', '.join(answers)}")
            answers.append(answer)
            question = question_of[answer]
        return answers

    @classmethod
    def from_yaml(cls, path: Path | Traversable) -> Self:
        """Read a schema file.

        Raises:
            RecipeError: If the file is missing or is not a schema.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise RecipeError(f"no vote schema at {path}") from error
        except ValidationError as error:
            raise RecipeError(f"vote schema {path}: {in_one_line(error)}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"vote schema {path} cannot be read as text: {brief(error)}") from error
        except yaml.YAMLError as error:
            raise RecipeError(f"vote schema {path} is not YAML: {not_yaml(error)}") from error
