"""Made-up sources as the readers of arrays and pictures would have them: a table row and an image for each."""

from __future__ import annotations

__all__ = ["mock_file_name", "mock_sources", "write_mock_mark"]

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.forms.folder_mock import _IMAGE, _morphology, _observe, _row
from astrofm.errors import DataError
from astrofm.mock.seeding import object_rng


def mock_sources(card: SurveyCard, n: int, seed: int) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Draw sources of the sky model of the card's domain; source ``i`` is the same whatever ``n``.

    Args:
        card: The card; its first product says what is observed.
        n: Number of sources.
        seed: Seed of the generator.

    Yields:
        The row under the names of the contract, and the image in the unit of the product. Shape: (band, y, x).

    Raises:
        DataError: If no source is asked for.
    """
    if n < 1:
        raise DataError(f"asked for {n} mock objects; ask for at least 1")
    product_name, product = next(iter(card.products.items()))
    scale_arcsec = card.pixel_scale_of(product_name) or 1.0
    for index in range(n):
        rng = object_rng(seed, index, _IMAGE)
        yield _row(card, index, seed), _observe(card, product, scale_arcsec, _morphology(card, index), rng)


def mock_file_name(pattern: str, instead: str) -> PurePosixPath:
    """Return a file name that a pattern matches, with a word where it leaves the choice."""
    return PurePosixPath(pattern.replace("**/", "").replace("*", instead).replace("?", "0"))


def write_mock_mark(card: SurveyCard, n: int, seed: int, out: Path) -> Path:
    """Write ``MOCK.json``, which says that and how the folder was made up, and return the folder."""
    (out / "MOCK.json").write_text(json.dumps({"survey": card.name, "n": n, "seed": seed}) + "\n", encoding="utf-8")
    return out
