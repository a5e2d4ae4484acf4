"""The FIRST radio galaxy dataset: 2158 images of VLA FIRST in four classes.

Griese et al. 2023, https://doi.org/10.5281/zenodo.7120632. One HDF5 file in a zip, one group for each image.
"""

from __future__ import annotations

__all__ = ["FirstRGD"]

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astrofm import CutoutBatch, Source, Survey
from astrofm.errors import DataError
from astrofm_radio.archives import check_published

if TYPE_CHECKING:
    import h5py
    from astropy.table import Table

IMAGES_PER_BATCH = 64

SPLITS = {"train": "train", "valid": "val", "test": "test"}


class FirstRGD(Survey):
    """Reader of the HDF5 file, zipped as published or not."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each image, in the order of its group's number."""
        from astropy.table import Table

        file = source.files[0]
        check_published(self.card, file)
        with _opened(file) as archive:
            rows = [self._row(archive[name], name) for name in sorted(archive, key=_number)]
        return Table(rows=rows, units={"ra": "deg", "dec": "deg"})

    def cutouts(self, source: Source, rows: Table) -> Iterator[CutoutBatch]:
        """Read the images of some rows, a few at a time: unpacked, they are 200 MB."""
        names = list(map(str, rows["group"]))
        with _opened(source.files[0]) as archive:
            for first in range(0, len(names), IMAGES_PER_BATCH):
                part = names[first : first + IMAGES_PER_BATCH]
                images = np.stack([archive[name]["Img"][()] for name in part])
                yield CutoutBatch(images[:, None], source.product.unit)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write a zipped HDF5 file of made-up sources with the groups and attributes of the real one."""
        from astrofm_radio.mock_first_rgd import write_mock_first_rgd

        return write_mock_first_rgd(self.card, n, seed, out)

    def _row(self, group: h5py.Group, name: str) -> dict[str, Any]:
        about = group["Img"].attrs
        label = int(group["Label_literature"][()])
        split = group["Split_literature"][()].decode()
        if split not in SPLITS or label not in self.card.label_names:
            raise DataError(
                f"group {name!r} has label {label} and split {split!r}; "
                f"known: {', '.join(map(str, self.card.label_names))} and {', '.join(SPLITS)}"
            )
        return {
            "id_str": Path(about["Filepath_literature"]).stem,
            "ra": float(about["RA"]),
            "dec": float(about["DEC"]),
            "label": label,
            "label_name": self.card.label_names[label],
            "split": SPLITS[split],
            "label_source": str(about["Source"]),
            "group": name,
        }


@contextmanager
def _opened(file: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file; a zipped one is unpacked to a temporary file, because HDF5 reads at random."""
    import h5py

    if file.suffix != ".zip":
        with h5py.File(file, "r") as archive:
            yield archive
        return
    with zipfile.ZipFile(file) as packed, tempfile.TemporaryFile() as unpacked:
        members = [name for name in packed.namelist() if name.endswith(".h5")]
        if len(members) != 1:
            raise DataError(f"{file} holds {len(members)} HDF5 files ({', '.join(members) or 'none'}); expected one")
        with packed.open(members[0]) as stream:
            shutil.copyfileobj(stream, unpacked)
        with h5py.File(unpacked, "r") as archive:
            yield archive


def _number(group_name: str) -> int:
    number = group_name.removeprefix("data_")
    if not number.isdecimal():
        raise DataError(f"group {group_name!r} is not of the form data_NUMBER, which the published file uses")
    return int(number)
