"""A survey of noise: as many cutouts as wanted, without an archive to read."""

from __future__ import annotations

__all__ = ["SIZE_PIX", "NoiseSurvey"]

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.cutouts import CutoutBatch
from astrofm.survey import Source, Survey

SIZE_PIX = 64
TOGETHER = 1024

CARD = {
    "name": "noise",
    "title": "Noise",
    "domain": "radio",
    "reference": "made for a benchmark",
    "bands": [{"name": "Noise-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
    "pixel_scale_arcsec": 1.0,
    "field_of_view_arcsec": float(SIZE_PIX),
    "beam": {"value": {"bmaj_arcsec": 3.0, "bmin_arcsec": 3.0}},
    "products": {
        "noise": {"pattern": "num.txt", "shape": (1, SIZE_PIX, SIZE_PIX), "unit": "Jy/beam", "dtype": "float32"}
    },
    "splits": {"scheme": "published"},
    "citation": "@misc{noise, title = {Noise}, year = {2026}}",
    "hard": "nothing",
    "recipe": "none",
    "quick_recipe": "none",
}


class NoiseSurvey(Survey):
    """White noise of unit variance; its archive is a file that holds their number."""

    def __init__(self) -> None:
        super().__init__(SurveyCard.model_validate(CARD))

    def mock(self, n: int, seed: int, out: Path) -> Path:
        out.mkdir()
        (out / "num.txt").write_text(str(n))
        return out

    def catalog(self, source: Source) -> Table:
        num = int((source.path / "num.txt").read_text())
        ra = np.arange(num) * 360.0 / num
        ids = np.arange(num).astype(str)
        return Table({"id_str": ids, "ra": ra, "dec": np.zeros(num), "split": np.full(num, "train")})

    def cutouts(self, source: Source, rows: Table) -> Iterator[CutoutBatch]:
        numbers = np.asarray(rows["id_str"]).astype(int)
        for first in range(0, len(numbers), TOGETHER):
            yield CutoutBatch(self.images(numbers[first : first + TOGETHER]), "Jy/beam")

    @staticmethod
    def images(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return cutouts by number. Shape: (n, 1, SIZE_PIX, SIZE_PIX)."""
        shape = (1, SIZE_PIX, SIZE_PIX)
        return np.stack([np.random.default_rng(int(number)).standard_normal(shape, np.float32) for number in numbers])
