"""What volunteers say about a galaxy, on average: the answers to the questions of a morphology decision tree.

Every question is read as a scale from 0 to 1 on which each answer has a place (none, small, moderate, large,
dominant) and on which the galaxy has a true value. The fraction of an answer falls off as a Gaussian of its
distance from the truth. Questions and answers are those of Willett et al. (2013, https://arxiv.org/abs/1308.3496)
and Walmsley et al. (2022, https://arxiv.org/abs/2102.08414), under the names that their published tables use;
places and spreads are set by hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from astrofm.mock.galaxies import Galaxy

__all__ = ["galaxy_answer_fractions"]

CONFUSION = 0.04
"""Part of the volunteers who answer at random."""


@dataclass(frozen=True)
class _Scale:
    """Places of the answers to one question, how far volunteers stray, and where a galaxy truly lies."""

    places: Mapping[str, float]
    spread: float
    truth: Callable[[Galaxy], float]


def galaxy_answer_fractions(galaxy: Galaxy, questions: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """Return the expected fraction of each answer, given that the question was asked.

    Args:
        galaxy: The galaxy that volunteers look at.
        questions: Answers of each question. A question may carry the suffix of a campaign ("bar-dr1"). An unknown
            question gets equal fractions, an unknown answer to a known question only those who answer at random.

    Returns:
        Fractions in the order of the answers, positive and summing to 1, for each question.
    """
    return {question: _fractions(galaxy, question, answers) for question, answers in questions.items()}


def _fractions(galaxy: Galaxy, question: str, answers: Sequence[str]) -> NDArray[np.float64]:
    flat = np.full(len(answers), 1.0 / len(answers))
    scale = _SCALES.get(_base_question(question))
    if scale is None:
        return flat
    truth = scale.truth(galaxy)
    distance = np.array([scale.places.get(answer, np.inf) - truth for answer in answers])
    weight = np.exp(-0.5 * (distance / scale.spread) ** 2)
    if weight.sum() == 0.0:
        return flat
    return np.asarray((1.0 - CONFUSION) * weight / weight.sum() + CONFUSION * flat)


def _base_question(question: str) -> str:
    """Return the longest known question that this one is, or is with a suffix; the question itself if none."""
    known = [base for base in _SCALES if question == base or question.startswith(f"{base}-")]
    return max(known, key=len, default=question)


def _is_featured(galaxy: Galaxy) -> float:
    if galaxy.morphology == "elliptical":
        return 0.05 + 0.3 * galaxy.disturbance
    if galaxy.morphology == "merger":
        return 0.35 + 0.4 * galaxy.disturbance
    features = max(galaxy.arm_strength, galaxy.bar_strength, galaxy.ring_strength, galaxy.dust / 3.0, 0.5)
    return 0.35 + 0.6 * features


def _is_edge_on(galaxy: Galaxy) -> float:
    return 0.95 if galaxy.morphology == "edge-on" else float(np.clip(0.5 - 0.8 * galaxy.axis_ratio, 0.0, 0.4))


def _has_arms(galaxy: Galaxy) -> float:
    return 0.25 + 0.75 * galaxy.arm_strength if galaxy.num_arms else 0.05


def _bulge_size(galaxy: Galaxy) -> float:
    return float(np.clip(1.6 * galaxy.bulge_fraction + 0.05, 0.0, 1.0))


def _edge_on_bulge(galaxy: Galaxy) -> float:
    return 0.0 if galaxy.bulge_fraction < 0.07 else 0.5 + 0.5 * galaxy.boxiness


def _elongation(galaxy: Galaxy) -> float:
    return float(np.clip(1.15 * (1.0 - galaxy.axis_ratio), 0.0, 1.0))


def _merging(galaxy: Galaxy) -> float:
    if galaxy.morphology == "merger":
        return 0.75 + 0.25 * min(galaxy.companion_ratio * 1.2, 1.0)
    return float(np.clip(0.9 * galaxy.disturbance, 0.0, 0.7))


def _oddness(galaxy: Galaxy) -> float:
    return max(_merging(galaxy), 0.8 * galaxy.ring_strength)


_YES_NO = MappingProxyType({"no": 0.0, "yes": 1.0})

_SCALES: Mapping[str, _Scale] = MappingProxyType(
    {
        "smooth-or-featured": _Scale(
            {
                "smooth": 0.0,
                "featured-or-disk": 1.0,
                "features": 1.0,
                "artifact": 1.7,
                "problem": 1.7,
                "star-artifact-zoom": 1.7,
            },
            0.4,
            _is_featured,
        ),
        "disk-edge-on": _Scale(_YES_NO, 0.4, _is_edge_on),
        "has-spiral-arms": _Scale(_YES_NO, 0.4, _has_arms),
        "bar": _Scale({**_YES_NO, "weak": 0.5, "strong": 1.0}, 0.3, lambda galaxy: galaxy.bar_strength),
        "bulge-size": _Scale(
            {
                "none": 0.0,
                "no": 0.0,
                "small": 0.25,
                "just-noticeable": 0.25,
                "moderate": 0.5,
                "obvious": 0.6,
                "large": 0.75,
                "dominant": 1.0,
            },
            0.18,
            _bulge_size,
        ),
        "how-rounded": _Scale(
            {"round": 0.0, "completely": 0.0, "in-between": 0.45, "cigar": 0.95, "cigar-shaped": 0.95}, 0.2, _elongation
        ),
        "edge-on-bulge": _Scale(
            {"none": 0.0, "no": 0.0, "rounded": 0.5, "boxy": 1.0, "yes": 0.75}, 0.25, _edge_on_bulge
        ),
        "bulge-shape": _Scale(
            {"none": 0.0, "no-bulge": 0.0, "rounded": 0.5, "round": 0.5, "boxy": 1.0}, 0.25, _edge_on_bulge
        ),
        "spiral-winding": _Scale(
            {"tight": 0.0, "medium": 0.5, "loose": 1.0}, 0.25, lambda galaxy: (galaxy.pitch_deg - 8.0) / 28.0
        ),
        "spiral-arm-count": _Scale(
            {"1": 0.2, "2": 0.4, "3": 0.6, "4": 0.8, "more-than-4": 1.0, "5-plus": 1.0, "cant-tell": 0.7},
            0.12,
            lambda galaxy: 0.2 * galaxy.num_arms,
        ),
        "merging": _Scale(
            {
                "none": 0.0,
                "neither": 0.0,
                "minor-disturbance": 0.35,
                "tidal-debris": 0.4,
                "major-disturbance": 0.7,
                "both": 0.75,
                "merger": 1.0,
            },
            0.2,
            _merging,
        ),
        "something-odd": _Scale(_YES_NO, 0.35, _oddness),
        "ring": _Scale(_YES_NO, 0.35, lambda galaxy: galaxy.ring_strength),
        "clumpy-appearance": _Scale(_YES_NO, 0.4, lambda galaxy: 0.2 + 0.3 * galaxy.disturbance),
        "galaxy-symmetrical": _Scale(_YES_NO, 0.4, lambda galaxy: 1.0 - _merging(galaxy)),
    }
)
