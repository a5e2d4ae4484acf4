"""Write made-up galaxies as one HDF5 file of images and columns, the archive format of both surveys."""

from __future__ import annotations

__all__ = ["write_hdf5"]

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from astrofm import SurveyCard
from astrofm.errors import DataError
from astrofm.mock.mark import write_mock_mark

Row = dict[str, Any]


def write_hdf5(
    card: SurveyCard,
    file_name: str,
    shape: tuple[int, int, int],
    observe: Callable[[int], tuple[NDArray[np.float32], Row]],
    columns: Callable[[Sequence[Row]], Mapping[str, NDArray[np.generic]]],
    n: int,
    seed: int,
    out: Path,
) -> Path:
    """Write a file that says that it is mock, and ``MOCK.json``.

    Args:
        card: Of the survey.
        file_name: Of the file.
        shape: Of an image: (band, y, x).
        observe: From the number of a galaxy to its image and its row.
        columns: From all rows to the columns of the archive.
        n: Number of galaxies.
        seed: Seed that ``observe`` uses, for ``MOCK.json``.
        out: Folder to write into; made if need be.

    Returns:
        ``out``.

    Raises:
        DataError: If no galaxy is asked for.
    """
    if n < 1:
        raise DataError(f"asked for {n} mock galaxies; ask for at least 1")
    out.mkdir(parents=True, exist_ok=True)
    with h5py.File(out / file_name, "w") as file:
        file.attrs["MOCK"] = True
        images = file.create_dataset("images", (n, *shape), np.float32, chunks=(1, *shape), track_times=False)
        rows = []
        for index in range(n):
            images[index], row = observe(index)
            rows.append(row)
        for name, values in columns(rows).items():
            file.create_dataset(name, data=values, track_times=False)
    write_mock_mark(card.name, n, seed, out)
    return out
