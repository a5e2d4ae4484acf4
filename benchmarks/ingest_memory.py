"""How much memory an ingest takes: the largest resident set of this process and of its workers.

    python benchmarks/ingest_memory.py [--num 1000000] [--workers 2] [--size 8]

The cutouts come from memory and are small, so that the catalogue and what is kept of each row are what counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from astropy.table import Table

from astrofm.card import SurveyCard
from astrofm.data.cutouts import CutoutBatch
from astrofm.data.ingest import ingest
from astrofm.survey import Source, Survey

REJECTED_SHARE = 10
"""One row in so many is rejected."""


class Many(Survey):
    """Small cutouts of noise, some of them with too few pixels."""

    def __init__(self, card: SurveyCard, num: int) -> None:
        super().__init__(card)
        self.num = num

    def catalog(self, source: Source) -> Table:
        rows = np.arange(self.num)
        ra, dec = rows * 360.0 / self.num, rows % 120 - 60.0
        return Table({"id_str": np.char.add("J", rows.astype(str)), "ra": ra, "dec": dec, "number": rows})

    def cutouts(self, source: Source, rows: Table) -> Iterator[CutoutBatch]:
        numbers = np.asarray(rows["number"])
        rng = np.random.default_rng(int(numbers[0]))
        images = rng.normal(size=(len(numbers), *source.product.shape)).astype(np.float32)
        images[numbers % REJECTED_SHARE == 0, :, : source.product.shape[1] // 2] = np.nan
        yield CutoutBatch(images, "Jy/beam", meta={"rms": np.ones(len(numbers))})

    def files(self, source: Source, rows: Table) -> list[Path]:
        return []


def card(size: int) -> SurveyCard:
    return SurveyCard.model_validate(
        {
            "name": "many",
            "title": "Many",
            "domain": "radio",
            "reference": "made for a benchmark",
            "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
            "pixel_scale_arcsec": 1.0,
            "field_of_view_arcsec": float(size),
            "beam": {"bmaj_arcsec": 3.0, "bmin_arcsec": 3.0},
            "products": {"any": {"pattern": "*", "shape": [1, size, size], "unit": "Jy/beam", "dtype": "float32"}},
            "splits": {"scheme": "by-id"},
            "citation": "@misc{many}",
            "hard": "nothing",
            "recipe": "none",
            "quick_recipe": "none",
        }
    )


def largest_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def largest_worker_megabytes() -> float:
    """Return the largest resident set that a process started from here has had."""
    mine = {str(os.getpid())}
    found = {}
    for file in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has ended
            found[file.parent.name] = dict(line.split(":", 1) for line in file.read_text().splitlines())
    for _ in range(3):  # the workers are children of a child
        mine |= {name for name, status in found.items() if status["PPid"].strip() in mine}
    sizes = [int(found[name].get("VmHWM", "0 kB").split()[0]) for name in mine - {str(os.getpid())} if name in found]
    return max(sizes, default=0) / 1024


class Watch:
    """Listener that prints how much memory each part of the work had taken by its end."""

    largest_worker = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        self.largest_worker = max(self.largest_worker, largest_worker_megabytes())
        if done == total:
            print(f"after {what:10s} {largest_megabytes():7.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "archive"
        archive.mkdir()
        (archive / "many.txt").write_text("made as it is read")
        survey = Many(card(given.size), given.num)
        before = largest_megabytes()
        print(f"before           {before:7.0f} MB")
        watch = Watch()
        ingest(survey, archive, Path(scratch) / "store", workers=given.workers, listener=watch)
    main = largest_megabytes()
    print(f"main process     {main:7.0f} MB, {(main - before) * 2**20 / given.num:.0f} bytes a row more than before")
    print(f"largest worker   {watch.largest_worker:7.0f} MB")
