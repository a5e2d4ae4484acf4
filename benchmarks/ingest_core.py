"""How much the ingest adds to compressing and hashing: cutouts from memory, so that no reader takes part.

    python benchmarks/ingest_core.py [--num 20000] [--workers 2] [--repeat 3]

Prints cutouts a second for a survey that hands over batches, and for one that hands over single cutouts, beside what
one core reaches that only compresses, times the number of workers.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from astropy.table import Table
from numcodecs import blosc
from numpy.typing import NDArray

from astrofm.card import SurveyCard
from astrofm.data.cutouts import Cutout, CutoutBatch
from astrofm.data.ingest import ingest
from astrofm.data.layout import BLOCK_BYTES, CODEC_LEVEL, CODEC_NAME
from astrofm.survey import Source, Survey

NUM_DIFFERENT = 1024
SIZE_PIX = 64


def card(dtype: str) -> SurveyCard:
    bands = [
        {"name": f"TEST-{band}", "unit": "Jy/beam", "frequency_hz": 1.4e9}
        for band in range(3 if dtype == "uint8" else 1)
    ]
    return SurveyCard.model_validate(
        {
            "name": "noise",
            "title": "Noise",
            "domain": "radio",
            "reference": "made for a benchmark",
            "bands": bands,
            "pixel_scale_arcsec": 1.0,
            "field_of_view_arcsec": float(SIZE_PIX),
            "beam": {"bmaj_arcsec": 3.0, "bmin_arcsec": 3.0},
            "products": {
                "any": {"pattern": "*", "shape": [len(bands), SIZE_PIX, SIZE_PIX], "unit": "Jy/beam", "dtype": dtype}
            },
            "splits": {"scheme": "by-id"},
            "citation": "@misc{noise}",
            "hard": "nothing",
            "recipe": "none",
            "quick_recipe": "none",
        }
    )


@cache
def noise(dtype: str) -> NDArray[np.generic]:
    bands = 3 if dtype == "uint8" else 1
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (NUM_DIFFERENT, bands, SIZE_PIX, SIZE_PIX))
    return np.clip(40 + 20 * values, 0, 255).astype(np.uint8) if dtype == "uint8" else values.astype(np.float32)


class Noise(Survey):
    """As many cutouts as are asked for, each with pixels of its own."""

    def __init__(self, given: SurveyCard, num: int, in_batches: bool) -> None:
        super().__init__(given)
        self.num = num
        self.in_batches = in_batches

    def catalog(self, source: Source) -> Table:
        rows = np.arange(self.num)
        ra, dec = rows * 360.0 / self.num, rows % 120 - 60.0
        return Table({"id_str": np.char.add("J", rows.astype(str)), "ra": ra, "dec": dec, "number": rows})

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch]:
        numbers = np.asarray(rows["number"])
        images = noise(source.product.dtype)[numbers % NUM_DIFFERENT]
        images[:, 0, 0, 0] = numbers // NUM_DIFFERENT
        meta = {"rms": numbers.astype(float)}
        if self.in_batches:
            yield CutoutBatch(images, "Jy/beam", meta=meta)
            return
        for image, rms in zip(images, meta["rms"], strict=True):
            yield Cutout(image, "Jy/beam", meta={"rms": rms})

    def files(self, source: Source, rows: Table) -> list[Path]:
        return []


def fastest(what: Callable[[], object], repeat: int) -> float:
    best = np.inf
    for _ in range(repeat):
        begun = time.perf_counter()
        what()
        best = min(best, time.perf_counter() - begun)
    return float(best)


def compressing_alone(dtype: str, repeat: int) -> float:
    """Return the cutouts a second that one core compresses."""
    chunk = noise(dtype)[:64]
    blosc.use_threads = False
    seconds = fastest(
        lambda: blosc.compress(chunk, CODEC_NAME.encode(), CODEC_LEVEL, blosc.BITSHUFFLE, BLOCK_BYTES), 10 * repeat
    )
    blosc.use_threads = None
    return 64 / seconds


def measure(num: int, workers: int, repeat: int, folder: Path) -> None:
    (folder / "archive").mkdir()
    (folder / "archive" / "noise.txt").write_text("made as it is read")
    print(f"{num} cutouts of {SIZE_PIX} px, {workers} workers, best of {repeat}")
    for dtype in ("float32", "uint8"):
        ceiling = workers * compressing_alone(dtype, repeat)
        for in_batches in (True, False):
            survey = Noise(card(dtype), num, in_batches)

            def make(survey: Survey = survey) -> None:
                shutil.rmtree(folder / "store", ignore_errors=True)
                ingest(survey, folder / "archive", folder / "store", workers=workers)

            rate = num / fastest(make, repeat)
            what = f"{dtype} in {'batches' if in_batches else 'single cutouts'}"
            print(f"{what:28s} {rate:9.0f} /s   compressing alone {ceiling:9.0f} /s   {rate / ceiling:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(given.num, given.workers, given.repeat, Path(scratch))
