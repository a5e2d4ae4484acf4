"""Volunteers who classify mock galaxies: votes along a decision tree, with the scatter of real volunteers.

Votes are Dirichlet-multinomial, the likelihood of Walmsley et al. (2022, https://arxiv.org/abs/2102.08414): the counts
scatter more than independent draws would, since each galaxy has fractions of its own.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrofm.mock.answers import galaxy_answer_fractions
from astrofm.mock.galaxies import Galaxy
from astrofm.mock.seeding import object_rng

__all__ = ["draw_galaxy_votes", "draw_vote_table", "draw_votes", "galaxy_answer_fractions"]

VOTE_STREAM = 1
"""Random stream of the votes of an object; its shape and pixels come from stream 0."""


def draw_votes(rng: np.random.Generator, concentrations: ArrayLike, total: int) -> NDArray[np.int64]:
    """Draw the votes of one question from a Dirichlet-multinomial distribution.

    Args:
        rng: Source of randomness.
        concentrations: Positive concentration of each answer; the mean fraction is concentration over sum.
            Shape: (answers,).
        total: Number of volunteers asked.

    Returns:
        Votes for each answer, which add up to `total`. Shape: (answers,).

    Raises:
        ValueError: If a concentration is not positive or the total is negative.
    """
    alpha = np.asarray(concentrations, dtype=np.float64)
    if alpha.ndim != 1 or alpha.size == 0 or not np.all(alpha > 0.0):
        raise ValueError(f"concentrations must be a list of positive numbers, found {alpha.tolist()}")
    if total < 0:
        raise ValueError(f"the number of votes cannot be negative, found {total}")
    return np.asarray(rng.multinomial(total, rng.dirichlet(alpha)), dtype=np.int64)


def draw_galaxy_votes(
    galaxy: Galaxy,
    questions: Mapping[str, Sequence[str]],
    dependencies: Mapping[str, str | None],
    rng: np.random.Generator,
    *,
    num_volunteers: float = 40.0,
    agreement: float = 20.0,
) -> dict[str, int]:
    """Lead volunteers through the decision tree of one galaxy.

    A question is asked of exactly those who gave the answer that leads to it; a question that follows from none is
    asked of everyone, a Poisson number with the mean `num_volunteers`.

    Args:
        galaxy: The galaxy that they look at.
        questions: Answers of each question.
        dependencies: For each question the column ``{question}_{answer}`` that leads to it, or None.
        rng: Source of randomness.
        num_volunteers: Mean number of volunteers.
        agreement: Sum of the concentrations of a question: the larger, the closer the votes to the expected fractions.

    Returns:
        Votes in each column ``{question}_{answer}``, in the order of the questions.

    Raises:
        ValueError: If the dependencies name a column that is in no question, or run in a circle.
    """
    order = _parents_first(questions, dependencies)
    fractions = galaxy_answer_fractions(galaxy, questions)
    everyone = int(rng.poisson(num_volunteers))
    votes: dict[str, int] = {}
    for question in order:
        parent = dependencies.get(question)
        asked = everyone if parent is None else votes[parent]
        counts = draw_votes(rng, agreement * fractions[question], asked)
        votes.update(zip(_columns(question, questions[question]), counts.tolist(), strict=True))
    return {column: votes[column] for question in questions for column in _columns(question, questions[question])}


def draw_vote_table(
    galaxies: Sequence[Galaxy],
    questions: Mapping[str, Sequence[str]],
    dependencies: Mapping[str, str | None],
    seed: int,
    *,
    num_volunteers: float = 40.0,
    agreement: float = 20.0,
) -> dict[str, NDArray[np.int64]]:
    """Draw the votes of many galaxies; see :func:`draw_galaxy_votes`.

    The votes of galaxy i depend on the seed and i alone, not on how many galaxies there are.

    Returns:
        Votes of all galaxies in each column ``{question}_{answer}``. Shape: (galaxies,).

    Raises:
        ValueError: If the dependencies name a column that is in no question, or run in a circle.
    """
    rows = [
        draw_galaxy_votes(
            galaxy,
            questions,
            dependencies,
            object_rng(seed, index, VOTE_STREAM),
            num_volunteers=num_volunteers,
            agreement=agreement,
        )
        for index, galaxy in enumerate(galaxies)
    ]
    columns = [column for question, answers in questions.items() for column in _columns(question, answers)]
    return {column: np.array([row[column] for row in rows], dtype=np.int64) for column in columns}


def _columns(question: str, answers: Sequence[str]) -> list[str]:
    return [f"{question}_{answer}" for answer in answers]


def _parents_first(questions: Mapping[str, Sequence[str]], dependencies: Mapping[str, str | None]) -> list[str]:
    """Return the questions in an order in which each comes after the one that leads to it."""
    owner = {column: question for question, answers in questions.items() for column in _columns(question, answers)}
    parents: dict[str, str | None] = {}
    for question in questions:
        column = dependencies.get(question)
        if column is not None and column not in owner:
            raise ValueError(f"question {question!r} follows from {column!r}, which is not an answer to any question")
        parents[question] = None if column is None else owner[column]
    order: list[str] = []
    while len(order) < len(parents):
        ready = [q for q, parent in parents.items() if q not in order and (parent is None or parent in order)]
        if not ready:
            circle = [question for question in parents if question not in order]
            raise ValueError(f"these questions follow from each other in a circle: {', '.join(circle)}")
        order += ready
    return order
