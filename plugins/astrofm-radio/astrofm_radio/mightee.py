"""MIGHTEE: radio galaxies of the MeerKAT deep fields, with classes from volunteers' votes.

Images: Heywood et al. 2022, https://doi.org/10.1093/mnras/stab3021. The archive is a folder of FITS cutouts named
after their sources, or a mosaic with its catalogue, and one table with the number of votes for each answer. Which
sources of the catalogue are taken, and the rules that make a class of the votes, are those of
https://github.com/inigoval/mightee_inference.
"""

from __future__ import annotations

__all__ = ["ANSWERS", "CATALOGUE", "MOSAIC", "VOTES", "Mightee", "classify_votes", "selection_reasons"]

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astrofm import Cutout, CutoutBatch, Rejected, Source, Survey, SurveyCard
from astrofm.errors import DataError
from astrofm.forms import MosaicLayout

if TYPE_CHECKING:
    from astropy.table import Table

VOTES = "mightee_votes.csv"

MOSAIC = "mosaic"
"""Product of the card that is an image of a field."""
CATALOGUE = "*Level1*.fits"
"""Pattern of the catalogue beside it."""
NEEDED = ("RESOLVED", "ISL_ID", "S_INT", "S_PEAK", "ISL_RMS")
"""Columns of the catalogue that the selection looks at."""
LEAST_SNR = 20.0
"""Smallest peak of a source that is taken, in units of the noise of its island."""

ANSWERS = ("noisy", "point", "FRI", "FRII")
"""What a volunteer could answer; a column of the table each."""

CERTAIN_FRACTION = 0.65
"""A class is certain above this share of the votes, and uncertain down to one half."""


class Mightee(Survey):
    """Reader of cutouts, or of a mosaic and its catalogue, with a table of votes."""

    def catalog(self, source: Source) -> Table:
        """Return one row for each source.

        Of cutouts: each row of the table of votes. Of a mosaic: each row of the catalogue, of which those that are not
        taken are rejected (see :func:`selection_reasons`), and which has a class where volunteers voted. Votes for
        what is not there are an error.
        """
        if source.product_name == MOSAIC:
            return self._mosaic_catalog(source)
        folder = source.files[0].parent
        rows = _read_votes(folder / VOTES)
        missing = [row["name"] for row in rows if not (folder / f"{row['name']}.fits").is_file()]
        if missing:
            raise DataError(
                f"{folder} has no FITS file for {len(missing)} sources of {VOTES}, the first {missing[0]!r}"
            )
        from astropy.table import Table

        table = Table({"id_str": [row["name"] for row in rows]})
        table["ra"] = np.array([float(row["ra"]) for row in rows])
        table["dec"] = np.array([float(row["dec"]) for row in rows])
        table["ra"].unit = table["dec"].unit = "deg"
        self._add_votes(table, {row["name"]: row for row in rows})
        table["file_loc"] = [f"{row['name']}.fits" for row in rows]
        return table

    def cutouts(self, source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
        """Read the FITS files of some rows, or cut them out of the mosaic."""
        if source.product_name == MOSAIC:
            yield from Survey(self._mosaic_card(source)).cutouts(source, rows)
            return
        from astrofm.data.fits import read_cutout

        folder = source.files[0].parent
        for name in map(str, rows["file_loc"]):
            yield read_cutout(folder / name, unit=source.product.unit)

    def files(self, source: Source, rows: Table) -> Iterable[Path]:
        """Return the images, the catalogue of a mosaic and the votes, where there are any."""
        votes = [path for path in (source.folder / VOTES,) if path.is_file()]
        if source.product_name == MOSAIC:
            return {*Survey(self._mosaic_card(source)).files(source, rows), *votes}
        return {*super().files(source, rows), *votes}

    def _mosaic_card(self, source: Source) -> SurveyCard:
        """Return the card of a mosaic: a card has one form, and cutouts are in another."""
        found = sorted(source.folder.glob(CATALOGUE))
        if len(found) != 1:
            there = ", ".join(path.name for path in found) or "none"
            raise DataError(f"{source.folder} needs one catalogue {CATALOGUE} beside its mosaic, and has {there}")
        columns = {"id_str": "NAME", "ra": "RA", "dec": "DEC"}
        layout = MosaicLayout(images=source.product.pattern, table=found[0].name, columns=columns)
        return self.card.model_copy(update={"mosaic": layout})

    def _mosaic_catalog(self, source: Source) -> Table:
        table = Survey(self._mosaic_card(source)).catalog(source)
        missing = [name for name in NEEDED if name not in table.colnames]
        if missing:
            raise DataError(
                f"the catalogue of {source.folder} has no column {', '.join(missing)}, which tell what to take"
            )
        table["id_str"] = np.char.strip(np.asarray(table["id_str"], dtype=np.str_))
        outside = np.asarray(table["rejected"], dtype=np.str_)
        table["rejected"] = np.where(outside == "", selection_reasons(table), outside)
        path = source.folder / VOTES
        votes = {row["name"]: row for row in _read_votes(path)} if path.is_file() else {}
        unknown = sorted(votes.keys() - set(table["id_str"].tolist()))
        if unknown:
            raise DataError(f"{len(unknown)} sources of {VOTES} are not in the catalogue, the first {unknown[0]!r}")
        self._add_votes(table, votes)
        return table

    def _add_votes(self, table: Table, votes: Mapping[str, Mapping[str, str]]) -> None:
        """Add votes and classes; a source that nobody voted on has none."""
        given = [votes.get(str(name)) for name in table["id_str"]]
        counts = [[0 if row is None else int(row[answer]) for answer in ANSWERS] for row in given]
        of_answers = np.array(counts, dtype=np.int64).reshape(-1, len(ANSWERS))
        label, fraction = classify_votes(of_answers)
        table["label"] = label
        table["label_name"] = [self.card.label_names.get(int(value), "") for value in label]
        table["vote_fraction"] = fraction
        for answer, column in zip(ANSWERS, of_answers.T, strict=True):
            table[f"votes_{answer}"] = column
        table["split"] = "test"

    def mock(self, n: int, seed: int, out: Path) -> Path:
        """Write made-up FITS cutouts and the votes of made-up volunteers."""
        from astrofm_radio.mock_mightee import write_mock_mightee

        return write_mock_mightee(self.card, n, seed, out)


def selection_reasons(table: Table) -> NDArray[np.str_]:
    """Return why each source of the catalogue is not taken; empty where it is.

    Taken are resolved sources, of an island the brightest of them, with a peak of 20 times its noise or more.

    Args:
        table: With the columns of :data:`NEEDED`; fluxes and noise in one unit.
    """
    resolved, island, flux, peak, noise = (np.asarray(table[name], dtype=np.float64) for name in NEEDED)
    is_resolved = resolved == 1
    order = np.lexsort((-flux, ~is_resolved, island))
    is_first = np.r_[True, np.diff(island[order]) != 0] if len(order) else np.zeros(0, dtype=bool)
    is_brightest = np.zeros(len(table), dtype=bool)
    is_brightest[order] = is_first
    is_bright = peak >= LEAST_SNR * noise
    reasons = ["not resolved", "not the brightest of its island", f"peak below {LEAST_SNR:g} rms"]
    return np.select([~is_resolved, ~is_brightest, ~is_bright], reasons, "")


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
