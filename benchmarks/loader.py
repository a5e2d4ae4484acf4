"""Shuffled batches of 64 px float32 cutouts, against ``torch.utils.data`` over single files and over HDF5.

Usage: ``python benchmarks/loader.py [--num 100000] [--json]``

Each row of the table is one pass over shuffled cutouts in batches of 256, made on two cores: ours by the two threads of
``Prefetch``, the others by a ``DataLoader`` with two worker processes, which read one cutout after the other: a FITS
file each with ``fits.getdata``, a ``.npy`` file each, an 8-bit PNG each with Pillow (PNG has no float32), and rows of
three HDF5 files: in chunks of one cutout without compression and with gzip, and gzip in the store's chunks of 64, which
is how compressed HDF5 is usually found. Their files are read once before, so that they come from
memory; the pixels are noise, the worst case for the store's codec. Ceilings: the same shards read in order with
``CutoutStore.read``, and copying rows at random in memory. The best of ``--repeats`` counts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits
from noise_survey import NoiseSurvey
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from astrofm.data.feeding.prefetch import Prefetch
from astrofm.data.ingest import ingest
from astrofm.data.loader import Feed, Loader
from astrofm.data.store import CutoutStore

BATCH = 256
WORKERS = 2


def main() -> None:
    """Run the benchmark and print its rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=100_000, help="cutouts in the store")
    parser.add_argument("--num-files", type=int, default=10_000, help="cutouts in single files, and in HDF5")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder:
        rates = measured(asked, Path(folder))
    ratios = {
        f"{ours} / {other}": rates[ours] / rates[other]
        for ours in ("loader, in memory", "loader, by windows")
        for other in rates
        if not other.startswith("loader")
    }
    if asked.json:
        print(json.dumps({"cutouts_per_second": rates, "ratios": ratios}))
        return
    for name, rate in rates.items():
        print(f"{name:28s} {rate:12,.0f} cutouts/s {rate * 64 * 64 * 4 / 1e6:8,.0f} MB/s as float32")
    for name, ratio in ratios.items():
        print(f"{name:50s} {ratio:8.2f}")


def measured(asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return cutouts a second, by what reads them."""
    survey = NoiseSurvey()
    ingest(survey, survey.mock(asked.num, 0, folder / "archive"), folder / "store", workers=WORKERS)
    store = CutoutStore.open(folder / "store")
    feed = Feed(survey.name, store, np.arange(len(store)))
    files = survey.images(np.arange(asked.num_files))
    kept = Loader((feed,), BATCH, 0)
    next(iter(kept))  # decode
    return {
        "loader, in memory": best(asked.repeats, lambda: through(kept)),
        "loader, by windows": best(asked.repeats, lambda: through(Loader((feed,), BATCH, 0, memory_limit_bytes=0))),
        "store, shards in order": best(asked.repeats, lambda: in_order(store)),
        "copying rows at random": best(asked.repeats, lambda: copying(files)),
        "torch over FITS files": best(asked.repeats, lambda: by_torch(FitsFiles(folder / "fits", files))),
        "torch over npy files": best(asked.repeats, lambda: by_torch(NpyFiles(folder / "npy", files))),
        "torch over PNG files, 8 bit": best(asked.repeats, lambda: by_torch(PngFiles(folder / "png", files))),
        **{
            f"torch over HDF5 rows, {name}": best(asked.repeats, lambda: by_torch(rows))  # noqa: B023 - called at once
            for name, rows in hdf5_files(folder, files).items()
        },
    }


def best(repeats: int, run: Callable[[], tuple[int, float]]) -> float:
    """Return the highest rate of some runs, each of which tells cutouts and seconds."""
    return max(num / seconds for num, seconds in (run() for _ in range(repeats)))


def through(loader: Loader) -> tuple[int, float]:
    """Take epochs of batches; the first two, in which the windows are given their memory, do not count."""
    with Prefetch(loader) as batches:
        for _ in range(2):
            sum(batch.size for batch in batches)
        start = time.perf_counter()
        num = sum(batch.size for _ in range(3) for batch in batches)
        seconds = time.perf_counter() - start
    return num, seconds


def in_order(store: CutoutStore) -> tuple[int, float]:
    """Read a store shard by shard."""
    rows = store.manifest.made_from.layout.shard_rows_for(len(store))
    start = time.perf_counter()
    num = sum(len(store.read(slice(first, first + rows))) for first in range(0, len(store), rows))
    return num, time.perf_counter() - start


def copying(images: NDArray[np.float32]) -> tuple[int, float]:
    """Make batches of an array in memory with one thread."""
    order = np.random.default_rng(0).permutation(len(images))
    start = time.perf_counter()
    num = sum(len(images[order[first : first + BATCH]]) for first in range(0, len(order), BATCH))
    return num, time.perf_counter() - start


def by_torch(dataset: Dataset[NDArray[np.generic]]) -> tuple[int, float]:
    """Take an epoch of shuffled batches; the start of the workers does not count, reading ahead meanwhile does."""
    batches = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True)
    sum(len(batch) for batch in batches)
    start = time.perf_counter()
    num = sum(len(batch) for batch in batches)
    return num, time.perf_counter() - start


class _Files(Dataset[NDArray[np.generic]], ABC):
    """One file a cutout."""

    ending = ""

    def __init__(self, folder: Path, images: NDArray[np.float32]) -> None:
        self.files = [folder / f"{number}{self.ending}" for number in range(len(images))]
        if not folder.exists():
            folder.mkdir()
            for file, image in zip(self.files, images[:, 0], strict=True):
                self.write(file, image)

    def __len__(self) -> int:
        return len(self.files)

    @abstractmethod
    def write(self, file: Path, image: NDArray[np.float32]) -> None:
        """Write one cutout."""


class FitsFiles(_Files):
    ending = ".fits"

    def write(self, file: Path, image: NDArray[np.float32]) -> None:
        fits.PrimaryHDU(image).writeto(file)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        return fits.getdata(self.files[number]).astype(np.float32)


class NpyFiles(_Files):
    ending = ".npy"

    def write(self, file: Path, image: NDArray[np.float32]) -> None:
        np.save(file, image)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        return np.load(self.files[number])


class PngFiles(_Files):
    ending = ".png"

    def write(self, file: Path, image: NDArray[np.float32]) -> None:
        Image.fromarray(np.clip(image * 32 + 128, 0, 255).astype(np.uint8)).save(file)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        return np.array(Image.open(self.files[number]))


def hdf5_files(folder: Path, images: NDArray[np.float32]) -> dict[str, Hdf5Rows]:
    """Return the three HDF5 files; of the slowest a part is enough."""
    return {
        "plain": Hdf5Rows(folder / "plain.h5", images, 1, None),
        "gzip": Hdf5Rows(folder / "gzip.h5", images, 1, "gzip"),
        "gzip by 64": Hdf5Rows(folder / "gzip64.h5", images[:2048], 64, "gzip"),
    }


class Hdf5Rows(Dataset[NDArray[np.generic]]):
    """Rows of one HDF5 file, opened by each worker."""

    def __init__(self, file: Path, images: NDArray[np.float32], chunk_rows: int, compression: str | None) -> None:
        self.file, self.num = file, len(images)
        self.rows: h5py.Dataset | None = None
        with h5py.File(file, "w") as made:
            chunks = (chunk_rows, *images.shape[1:])
            made.create_dataset("image", data=images, chunks=chunks, compression=compression)

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        if self.rows is None:
            self.rows = h5py.File(self.file)["image"]
        return self.rows[number]


if __name__ == "__main__":
    main()
