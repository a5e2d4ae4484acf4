"""Take what a reader yields apart, and compare two readings."""

from __future__ import annotations

__all__ = ["assert_same_cutouts", "facts_of", "images_of", "one_by_one"]

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from astrofm.card import Fact, SurveyCard
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected


def facts_of(card: SurveyCard) -> list[tuple[str, Fact[object]]]:
    """Return the facts of a card with their names."""
    return [(name, value) for name, value in card if isinstance(value, Fact)]


def one_by_one(found: Iterable[Cutout | CutoutBatch | Rejected]) -> list[Cutout | Rejected]:
    """Return what a reader yields with its batches taken apart."""
    results: list[Cutout | Rejected] = []
    for result in found:
        if not isinstance(result, CutoutBatch):
            results.append(result)
            continue
        for place, image in enumerate(result.images):
            mask = None if result.masks is None else result.masks[place]
            meta = {name: float(values[place]) for name, values in result.meta.items()}
            results.append(Cutout(image, result.unit, mask, meta=meta))
    return results


def images_of(results: Iterable[Cutout | Rejected]) -> list[NDArray[np.generic]]:
    """Return the images of what was not rejected."""
    return [result.image for result in results if isinstance(result, Cutout)]


def assert_same_cutouts(found: list[Cutout | Rejected], wanted: list[Cutout | Rejected]) -> None:
    """Compare pixels, units and reasons of two readings."""
    assert len(found) == len(wanted)
    for first, second in zip(found, wanted, strict=True):
        assert type(first) is type(second)
        if isinstance(first, Cutout) and isinstance(second, Cutout):
            np.testing.assert_array_equal(first.image, second.image)
            assert first.unit == second.unit
