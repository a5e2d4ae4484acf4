"""MIGHTEE: radio galaxies of the MeerKAT deep fields, with classes from volunteers' votes.

Images: Heywood et al. 2022, https://doi.org/10.1093/mnras/stab3021. The archive is a folder of FITS cutouts named
after their sources, and one table with the number of votes for each answer. The rules that make a class of the votes
are those of https://github.com/inigoval/mightee_inference.
"""

from __future__ import annotations

__all__ = ["ANSWERS", "VOTES", "Mightee", "classify_votes"]

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrofm import Cutout, Rejected, Source, Survey
from astrofm.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Table

VOTES = "mightee_votes.csv"

ANSWERS = ("noisy", "point", "FRI", "FRII")
"""What a volunteer could answer; a column of the table each."""

CERTAIN_FRACTION = 0.65
"""A class is certain above this share of the votes, and uncertain down to one half."""


class Mightee(Survey):
    """Reader of a folder of FITS cutouts with a table of votes."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each row of the table; a source without a FITS file is named in an error."""
        from astropy.table import Table

        folder = source.files[0].parent
        rows = _read_votes(folder / VOTES)
        missing = [row["name"] for row in rows if not (folder / f"{row['name']}.fits").is_file()]
        if missing:
            raise DataError(
                f"{folder} has no FITS file for {len(missing)} sources of {VOTES}, the first {missing[0]!r}"
            )
        votes = np.array([[int(row[answer]) for answer in ANSWERS] for row in rows], dtype=np.int64)
        label, fraction = classify_votes(votes)
        table = Table({"id_str": [row["name"] for row in rows]})
        table["ra"] = np.array([float(row["ra"]) for row in rows])
        table["dec"] = np.array([float(row["dec"]) for row in rows])
        table["ra"].unit = table["dec"].unit = "deg"
        table["label"] = label
        table["label_name"] = [self.card.label_names.get(int(value), "") for value in label]
        table["vote_fraction"] = fraction
        for answer, counts in zip(ANSWERS, votes.T, strict=True):
            table[f"votes_{answer}"] = counts
        table["split"] = "test"
        table["file_loc"] = [f"{row['name']}.fits" for row in rows]
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | Rejected]:
        """Read the FITS files of some rows."""
        from astrofm.data.fits import read_cutout

        folder = source.files[0].parent
        for name in map(str, rows["file_loc"]):
            yield read_cutout(folder / name, unit=source.product.unit)

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up FITS cutouts and the votes of made-up volunteers."""
        from astrofm_radio.mock_mightee import write_mock_mightee

        return write_mock_mightee(self.card, n, seed, out)


def classify_votes(votes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Turn votes into classes: the majority answer, certain or not.

    Args:
        votes: Number of votes for each of :data:`ANSWERS`. Shape: (n, 4).

    Returns:
        Label (0 FRI, 1 FRII, 2 uncertain FRI, 3 uncertain FRII; -1 for noisy, point sources and where no answer has
        more than half of the votes) and the share of the votes of the majority answer. Shape of each: (n,).
    """
    total = votes.sum(axis=1)
    fraction = votes.max(axis=1) / np.maximum(total, 1)
    answer = votes.argmax(axis=1)
    is_radio_galaxy = (answer >= ANSWERS.index("FRI")) & (fraction > 0.5)
    kind = answer - ANSWERS.index("FRI")
    label = np.where(fraction > CERTAIN_FRACTION, kind, kind + 2)
    return np.where(is_radio_galaxy, label, -1).astype(np.int64), fraction


def _read_votes(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"no {path.name} in {path.parent}; it holds name, ra, dec and the votes for each source")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = {"name", "ra", "dec", *ANSWERS} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path} has no column {', '.join(sorted(missing))}")
        return list(reader)
