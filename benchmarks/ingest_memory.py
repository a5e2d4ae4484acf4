"""How much memory an ingest takes: the largest resident set of this process and of its workers.

    python benchmarks/ingest_memory.py [--num 1000000] [--workers 2] [--size 8]

The cutouts come from memory and are small, so that the catalogue and what is kept of each row are what counts. A small
ingest goes first: what it takes, imports and buffers included, is the base, and what the large one takes above it is
divided by its rows. Of that, the columns of the survey's table and of the catalogue are counted by their bytes.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from astropy.table import Column
from noise_survey import NoiseSurvey
from numpy.typing import NDArray

from astrofm.data.catalog import Catalog
from astrofm.data.ingest import ingest
from astrofm.survey import find_source

REJECTED_SHARE = 10
"""One row in so many is rejected."""

NUM_BASE = 20_000
"""Rows of the ingest that goes first."""


class HoledNoise(NoiseSurvey):
    """Noise of which some cutouts have too few pixels."""

    def images(self, numbers: NDArray[np.int64]) -> NDArray[np.generic]:
        images = super().images(numbers)
        images[numbers % REJECTED_SHARE == 0, :, : images.shape[2] // 2] = np.nan
        return images


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


def own_bytes(survey: NoiseSurvey, archive: Path) -> int:
    """Return the bytes of the survey's table and of its catalogue; a column that both share is counted once."""
    table = survey.catalog(find_source(survey.card, archive, None))
    catalog = Catalog.from_astropy(table)
    shared = sum(table[name].nbytes for name in table.colnames if is_shared(table[name], catalog, name))
    return sum(table[name].nbytes for name in table.colnames) + int(catalog.table.nbytes) - shared


def is_shared(column: Column, catalog: Catalog, name: str) -> bool:
    buffers = catalog.table[name].chunk(0).buffers()
    return bool(buffers[-1].address == column.ctypes.data)


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
    survey = HoledNoise(size_pix=given.size)
    with tempfile.TemporaryDirectory() as scratch:
        small = survey.mock(NUM_BASE, 0, Path(scratch) / "small")
        ingest(survey, small, Path(scratch) / "small.zarr", workers=given.workers)
        base = largest_megabytes()
        print(f"base             {base:7.0f} MB, {NUM_BASE} rows")
        archive = survey.mock(given.num, 0, Path(scratch) / "archive")
        watch = Watch()
        ingest(survey, archive, Path(scratch) / "store", workers=given.workers, listener=watch)
        main = largest_megabytes()
        own = own_bytes(survey, archive) / given.num
    print(f"main process     {main:7.0f} MB, {(main - base) * 2**20 / given.num:.0f} bytes a row above the base,")
    print(f"                 {own:7.0f} of them the columns of the survey's table and of the catalogue")
    print(f"largest worker   {watch.largest_worker:7.0f} MB")
