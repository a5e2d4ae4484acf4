"""Two real sets for the benchmarks of training: JPEG colour pictures of galaxies, and 8-bit radio images.

They are read where the tests find their data, ``$ASTROFM_TEST_DATA``.
"""

from __future__ import annotations

__all__ = ["SETS", "RealSet"]

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore

DATA = Path(os.environ.get("ASTROFM_TEST_DATA", "../shared/data"))


@dataclass(frozen=True)
class RealSet:
    """One set.

    Attributes:
        survey: Name of the survey that reads it.
        archive: Where it lies, under the data.
        channels: Of the recipe.
        views: Ours, as near as ours come to lightly's BYOL transform without blur.
        pictures: From the store to what lightly reads.
    """

    survey: str
    archive: str
    channels: tuple[str, ...]
    views: tuple[Any, ...]
    pictures: Callable[[CutoutStore], Sequence[bytes] | NDArray[np.uint8]]

    def store(self, folder: Path) -> CutoutStore:
        """Ingest the archive and return its store."""
        out = folder / f"{self.survey}.zarr"
        ingest(plugins.survey(self.survey), DATA / self.archive, out, workers=2)
        return CutoutStore.open(out)


def _jpeg(store: CutoutStore) -> Sequence[bytes]:
    table = pq.read_table(DATA / "gz1-sdss" / "gz1_sdss_128px.parquet", columns=["jpeg"])
    pictures: list[bytes] = table["jpeg"].to_pylist()
    return pictures


def _grey(store: CutoutStore) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = store.read(np.arange(len(store)))[:, 0]
    return images


GEOMETRY = ("rotate", "flip", {"name": "zoom", "settings": {"scale": [0.08, 1.0]}})

SETS = {
    "galaxies": RealSet(
        survey="gz1",
        archive="gz1-sdss",
        channels=("red", "green", "blue"),
        views=(
            *GEOMETRY,
            {
                "name": "jitter",
                "settings": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "p": 0.8},
            },
            {"name": "grayscale", "settings": {"p": 0.2}},
        ),
        pictures=_jpeg,
    ),
    "radio": RealSet(
        survey="mirabest",
        archive="mirabest/MiraBest_F_batches.tar.gz",
        channels=("radio-continuum",),
        views=(*GEOMETRY, {"name": "jitter", "settings": {"brightness": 0.4, "contrast": 0.4, "p": 0.8}}),
        pictures=_grey,
    ),
}
