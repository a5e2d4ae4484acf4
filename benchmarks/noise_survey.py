"""A survey of noise: as many cutouts as wanted, each with pixels of its own, without an archive to read."""

from __future__ import annotations

__all__ = ["SIZE_PIX", "NoiseSurvey", "fields_of_noise"]

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.cutouts import Cutout, CutoutBatch
from astrofm.survey import Source, Survey

SIZE_PIX = 64
NUM_DIFFERENT = 1024
"""Fields of noise; cutouts with the same one differ in their first pixel."""

NUM_BANDS = {"float32": 1, "uint8": 3}


def _card(dtype: str = "float32", size_pix: int = SIZE_PIX) -> SurveyCard:
    """Return the card: one radio band in float32, three bands in uint8."""
    names = [f"Noise-{band}" for band in range(NUM_BANDS[dtype])]
    product = {"pattern": "num.txt", "shape": (len(names), size_pix, size_pix), "unit": "Jy/beam", "dtype": dtype}
    return SurveyCard.model_validate(
        {
            "name": "noise",
            "title": "Noise",
            "domain": "radio",
            "reference": "made for a benchmark",
            "bands": [{"name": name, "unit": "Jy/beam", "frequency_hz": 1.4e9} for name in names],
            "pixel_scale_arcsec": 1.0,
            "field_of_view_arcsec": float(size_pix),
            "beam": {"value": {"bmaj_arcsec": 3.0, "bmin_arcsec": 3.0}},
            "products": {"noise": product},
            "splits": {"scheme": "by-id"},
            "citation": "@misc{noise, title = {Noise}, year = {2026}}",
            "hard": "nothing",
            "recipe": "none",
            "quick_recipe": "none",
        }
    )


class NoiseSurvey(Survey):
    """White noise, of unit variance in float32; its archive is a file that holds the number of cutouts.

    Args:
        dtype: Of the pixels.
        in_batches: Whether the reader yields batches, or single cutouts.
        size_pix: Side of a cutout.
    """

    def __init__(
        self, dtype: Literal["float32", "uint8"] = "float32", *, in_batches: bool = True, size_pix: int = SIZE_PIX
    ) -> None:
        super().__init__(_card(dtype, size_pix))
        self._in_batches = in_batches
        self._size_pix = size_pix
        self._dtype = dtype

    def mock(self, n: int, seed: int, out: Path) -> Path:
        out.mkdir()
        (out / "num.txt").write_text(str(n))
        return out

    def catalog(self, source: Source) -> Table:
        num = int((source.path / "num.txt").read_text())
        numbers = np.arange(num)
        ra, dec = numbers * 360.0 / num, numbers % 120 - 60.0
        return Table({"id_str": np.char.add("J", numbers.astype(str)), "ra": ra, "dec": dec, "number": numbers})

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch]:
        numbers = np.asarray(rows["number"])
        images, meta = self.images(numbers), {"rms": np.ones(len(numbers))}
        if self._in_batches:
            yield CutoutBatch(images, "Jy/beam", meta=meta)
            return
        for image, rms in zip(images, meta["rms"], strict=True):
            yield Cutout(image, "Jy/beam", meta={"rms": rms})

    def images(self, numbers: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return cutouts by number. Shape: (n, band, y, x)."""
        images = fields_of_noise(self._dtype, self._size_pix)[numbers % NUM_DIFFERENT]
        images[:, 0, 0, 0] = numbers // NUM_DIFFERENT
        return images


@cache
def fields_of_noise(dtype: str, size_pix: int) -> NDArray[np.generic]:
    """Return the fields of noise, made once. Shape: (NUM_DIFFERENT, band, y, x)."""
    values = np.random.default_rng(0).normal(0, 1, (NUM_DIFFERENT, NUM_BANDS[dtype], size_pix, size_pix))
    return np.clip(40 + 20 * values, 0, 255).astype(np.uint8) if dtype == "uint8" else values.astype(np.float32)
