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
from collections.abc import Callable
from pathlib import Path

import numpy as np
from noise_survey import SIZE_PIX, NoiseSurvey, fields_of_noise
from numcodecs import blosc

from astrofm.data.ingest import ingest
from astrofm.data.layout import BLOCK_BYTES, CODEC_LEVEL, CODEC_NAME


def fastest(what: Callable[[], object], repeat: int) -> float:
    best = np.inf
    for _ in range(repeat):
        begun = time.perf_counter()
        what()
        best = min(best, time.perf_counter() - begun)
    return float(best)


def compressing_alone(dtype: str, repeat: int) -> float:
    """Return the cutouts a second that one core compresses."""
    chunk = fields_of_noise(dtype, SIZE_PIX)[:64]
    blosc.use_threads = False
    seconds = fastest(
        lambda: blosc.compress(chunk, CODEC_NAME.encode(), CODEC_LEVEL, blosc.BITSHUFFLE, BLOCK_BYTES), 10 * repeat
    )
    blosc.use_threads = None
    return 64 / seconds


def measure(num: int, workers: int, repeat: int, folder: Path) -> None:
    archive = NoiseSurvey().mock(num, 0, folder / "archive")
    print(f"{num} cutouts of {SIZE_PIX} px, {workers} workers, best of {repeat}")
    for dtype in ("float32", "uint8"):
        ceiling = workers * compressing_alone(dtype, repeat)
        for in_batches in (True, False):
            survey = NoiseSurvey(dtype, in_batches=in_batches)

            def make(survey: NoiseSurvey = survey) -> None:
                shutil.rmtree(folder / "store", ignore_errors=True)
                ingest(survey, archive, folder / "store", workers=workers)

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
