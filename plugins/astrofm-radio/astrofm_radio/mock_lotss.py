"""The morphologies of a made-up LoTSS: a table with the columns of Mingo et al. 2019 beside the mosaic of the core."""

from __future__ import annotations

__all__ = ["write_mock_morphologies"]

from pathlib import Path

import numpy as np

from astrofm import SurveyCard
from astrofm.mock.seeding import object_rng
from astrofm_radio.lotss import FLAGS, MORPHOLOGIES

OFFSET_ARCSEC = 0.5
"""Standard deviation of what a position moves from one release to the next, along each axis."""

KINDS = (
    # Chance and flags of a source that was drawn as FRI or as FRII, from the counts of the real table.
    {"FR1": 0.22, "FR1 Small": 0.44, "FR1 NAT": 0.07, "FR1 WAT": 0.07, "Indeterminate": 0.10, "": 0.10},
    {"FR2": 0.55, "FR2 Small": 0.15, "Indeterminate": 0.10, "D-D": 0.10, "": 0.10},
)
"""An empty entry: the table does not have the source."""


def write_mock_morphologies(card: SurveyCard, folder: Path, seed: int) -> Path:
    """Move the classes of a made-up catalogue into a table of morphologies, and return the folder.

    Args:
        card: The survey's card, with a ``mosaic`` section.
        folder: What the core wrote: a mosaic, and a catalogue with the class that each source was drawn as.
        seed: Seed; the flags of source ``i`` are the same however many there are.
    """
    from astropy.table import Table

    from astrofm.data.tables import read_table, write_table

    assert card.mosaic is not None
    path = folder / card.mosaic.table
    catalogue = read_table(path)
    rows = []
    for index, row in enumerate(catalogue):
        rng = object_rng(seed, index, 2)
        chances = KINDS[int(row["label"] == card.tasks[0].classes["FRII"][0])]
        flags = str(rng.choice(list(chances), p=list(chances.values()))).split()
        east_arcsec, north_arcsec = rng.normal(0.0, OFFSET_ARCSEC, 2)
        if flags:
            dec = row["DEC"] + north_arcsec / 3600.0
            ra = row["RA"] + east_arcsec / 3600.0 / np.cos(np.radians(dec))
            rows.append([f"mock-dr1-{index:06d}", ra, dec, *(name in flags for name in FLAGS)])
    names = ["Source_Name", "RA", "DEC", *FLAGS]
    kinds = ["U22", float, float, *(bool for _ in FLAGS)]
    morphologies = Table(rows=rows, names=names, dtype=kinds) if rows else Table(names=names, dtype=kinds)
    morphologies.meta["MOCK"] = True
    write_table(morphologies, folder / MORPHOLOGIES)
    catalogue.remove_column("label")
    write_table(catalogue, path)
    return folder
