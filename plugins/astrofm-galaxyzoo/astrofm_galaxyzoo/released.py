"""Campaigns as their authors release them on Zenodo: pictures as files, and tables of votes.

Three are: GZD-1/2 and GZD-5 of Galaxy Zoo DECaLS (https://doi.org/10.5281/zenodo.4573248), whose pictures are named
after the galaxy, and Galaxy Zoo 2, whose pictures (https://doi.org/10.5281/zenodo.3565489) have numbers that a table of
their own leads to, beside the votes of Hart et al. 2016 (https://data.galaxyzoo.org).
"""

from __future__ import annotations

__all__ = ["released_catalog", "released_cutouts", "released_files"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from astrofm.card import SurveyCard
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.forms.folder_files import by_stem, join
from astrofm.data.forms.form_tables import contract_table
from astrofm.data.forms.pictures import decode_picture
from astrofm.data.splits import split_of
from astrofm.errors import DataError
from astrofm.forms import FolderLayout
from astrofm.survey import Source

TEST_FRACTION = 0.2
"""Of the galaxies, drawn by a hash of the id: the releases have no splits."""

_BESIDE_THE_COUNTS = ("_fraction", "_debiased", "_total-votes", "_weight", "_flag")

_HART = {
    "smooth-or-featured": (
        "t01_smooth_or_features",
        {"smooth": "a01_smooth", "featured-or-disk": "a02_features_or_disk", "artifact": "a03_star_or_artifact"},
    ),
    "disk-edge-on": ("t02_edgeon", {"yes": "a04_yes", "no": "a05_no"}),
    "bar": ("t03_bar", {"yes": "a06_bar", "no": "a07_no_bar"}),
    "has-spiral-arms": ("t04_spiral", {"yes": "a08_spiral", "no": "a09_no_spiral"}),
    "bulge-size": (
        "t05_bulge_prominence",
        {"no": "a10_no_bulge", "just-noticeable": "a11_just_noticeable", "obvious": "a12_obvious"}
        | {"dominant": "a13_dominant"},
    ),
    "something-odd": ("t06_odd", {"yes": "a14_yes", "no": "a15_no"}),
    "how-rounded": (
        "t07_rounded",
        {"round": "a16_completely_round", "in-between": "a17_in_between", "cigar": "a18_cigar_shaped"},
    ),
    "bulge-shape": ("t09_bulge_shape", {"round": "a25_rounded", "boxy": "a26_boxy", "no-bulge": "a27_no_bulge"}),
    "spiral-winding": ("t10_arms_winding", {"tight": "a28_tight", "medium": "a29_medium", "loose": "a30_loose"}),
    "spiral-arm-count": (
        "t11_arms_number",
        {"1": "a31_1", "2": "a32_2", "3": "a33_3", "4": "a34_4"}
        | {"more-than-4": "a36_more_than_4", "cant-tell": "a37_cant_tell"},
    ),
}
"""For each question of the schema ``gz2`` its name in Hart et al. 2016, and theirs for each answer; their
``t08_odd_feature`` is not in the schema."""


@dataclass(frozen=True)
class _Release:
    """What lies in the folder.

    Attributes:
        table: Stem of the table with the votes.
        read: Makes the table of the contract, with ``file_loc`` where a picture is not named after its galaxy.
    """

    table: str
    read: Callable[[Path, Path], Table]


def released_catalog(card: SurveyCard, source: Source) -> Table:
    """Return the galaxies of a released table with their pictures, votes and a split.

    Args:
        card: Of a campaign in this module.
        source: The folder with the table and, at any depth, the pictures.

    Raises:
        DataError: If the table is missing or no galaxy of it has a picture.
    """
    release = _RELEASES[card.name]
    path = _table_of(source.path, release.table)
    table = release.read(source.path, path)
    table.remove_columns([name for name in table.colnames if name.endswith(_BESIDE_THE_COUNTS)])
    joined = join(table, source.path, FolderLayout(table=path.name), source.product.pattern)
    joined["split"] = [split_of(str(name), TEST_FRACTION) for name in joined["id_str"]]
    return joined


def released_cutouts(source: Source, rows: Table) -> Iterator[Cutout | CutoutBatch | Rejected]:
    """Decode the pictures of some rows of :func:`released_catalog`, resized as those of the archive of the hub are."""
    names = (rows[name].tolist() for name in ("id_str", "file_loc", "rejected"))
    for id_str, file_loc, rejected in zip(*names, strict=True):
        if rejected:
            yield Rejected(str(rejected), f"{id_str}: {rejected}", str(file_loc))
        else:
            yield decode_picture((source.path / file_loc).read_bytes(), source.product.shape, str(file_loc))


def released_files(card: SurveyCard, source: Source, rows: Table) -> set[Path]:
    """Return the pictures and the tables that lead to them."""
    tables = [_table_of(source.path, _RELEASES[card.name].table), *source.path.glob("gz2_filename_mapping.*")]
    return {*tables, *(source.path / str(name) for name in rows["file_loc"].tolist() if name)}


def _table_of(folder: Path, stem: str) -> Path:
    found = [path for ending in (".parquet", ".csv", ".fits") if (path := folder / f"{stem}{ending}").is_file()]
    if not found:
        raise DataError(f"{folder} has pictures and no table {stem}.csv, .parquet or .fits: put it beside them")
    return found[0]


def _read_decals(folder: Path, path: Path) -> Table:
    return contract_table(path.name, {"id_str": "iauname"}, folder)


def _read_gz2(folder: Path, path: Path) -> Table:
    """Name the votes as the schema does, and find the number of each galaxy's picture."""
    table = contract_table(path.name, {"id_str": "dr7objid"}, folder)
    counts = {
        f"{question}-gz2_{answer}": f"{task}_{theirs}_count"
        for question, (task, answers) in _HART.items()
        for answer, theirs in answers.items()
    }
    missing = [name for name in counts.values() if name not in table.colnames]
    if missing:
        raise DataError(f"{path.name} lacks {len(missing)} columns of votes of Hart et al. 2016, such as {missing[0]}")
    own = ["id_str", "ra", "dec"]
    table = Table({name: table[name] for name in own} | {ours: table[theirs] for ours, theirs in counts.items()})
    mapping = _table_of(folder, "gz2_filename_mapping")
    numbers = contract_table(mapping.name, {"id_str": "objid"}, folder)
    number_of = dict(zip(numbers["id_str"].tolist(), numbers["asset_id"].tolist(), strict=True))
    pictures = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    of_row = by_stem([str(number_of.get(name, "")) for name in table["id_str"].tolist()], pictures)
    table["file_loc"] = np.array(of_row, dtype=np.str_)
    return table


_RELEASES: Mapping[str, _Release] = {
    "gz2": _Release("gz2_hart16", _read_gz2),
    "gz-decals-dr12": _Release("gz_decals_volunteers_1_and_2", _read_decals),
    "gz-decals-dr5": _Release("gz_decals_volunteers_5", _read_decals),
}
