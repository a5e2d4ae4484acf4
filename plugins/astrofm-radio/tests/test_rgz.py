"""Radio Galaxy Zoo: the contract of every survey, the rules of selection, and real SkyView files."""

import csv
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from astrofm_radio.mock_rgz import COLUMNS
from astrofm_radio.rgz import TABLES
from astrofm_radio.source_names import SourceName

from astrofm import Cutout, CutoutStore, Rejected, plugins
from astrofm.data.ingest import ingest
from astrofm.errors import DataError
from astrofm.testing import SurveyTests

RELEASE, BEFORE = TABLES


class TestRGZ(SurveyTests):
    survey = "rgz"
    num_mock = 32


def write_release(folder, rows):
    """Write the table of the release; each row is (name, ra, dec, size in arcsec)."""
    folder.mkdir(exist_ok=True)
    with (folder / RELEASE).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval=0)
        writer.writeheader()
        for number, (name, ra, dec, size_arcsec) in enumerate(rows):
            writer.writerow({"CatID": number, "RGZID": name, "RA": ra, "Dec": dec, "LAE": size_arcsec})
    return folder


def catalog_of(opened, folder):
    (folder / "RGZ_any.fits").touch()
    survey, source = opened("rgz", folder)
    return survey.catalog(source)


def test_sizes_outside_the_selection_are_named_and_the_bounds_are_outside(opened, tmp_path):
    sizes = [14.9, 15.0, 15.1, 269.9, 270.0, 300.0, "nan"]
    rows = [(f"RGZ_J{number}", 150.0 + number, 10.0, size) for number, size in enumerate(sizes)]
    table = catalog_of(opened, write_release(tmp_path, rows))
    smaller, larger = "15 arcsec or smaller", "270 arcsec or larger"
    assert list(table["rejected"]) == [smaller, smaller, "", "", larger, larger, "unknown angular size"]


def test_of_rows_with_one_name_the_first_of_the_right_size_has_the_file(opened, tmp_path):
    sizes = {"RGZ_Ja": [10.0, 40.0, 41.0], "RGZ_Jb": [30.0]}
    rows = [(name, 150.0, 10.0, size) for name in sizes for size in sizes[name]]
    table = catalog_of(opened, write_release(tmp_path, rows))
    assert list(table["id_str"]) == ["RGZ_Ja", "RGZ_Ja#2", "RGZ_Ja#3", "RGZ_Jb"]
    assert list(table["file_loc"]) == ["RGZ_Ja.fits"] * 3 + ["RGZ_Jb.fits"]
    assert list(table["rejected"]) == ["15 arcsec or smaller", "", "name of an earlier row", ""]


def test_the_table_before_the_release_says_the_same(opened, tmp_path):
    table = catalog_of(opened, write_release(tmp_path / "new", [("RGZ_J1", 150.5, -1.25, 31.5)]))
    old = tmp_path / "old"
    old.mkdir()
    lines = [",".join(TABLES[BEFORE].values()), "RGZ_J1,150.5,-1.25,31.5"]
    (old / BEFORE).write_text("\n".join(lines) + "\n")
    same = catalog_of(opened, old)
    for column in table.colnames:
        assert same[column].tolist() == table[column].tolist()


def test_a_folder_without_a_table_or_with_another_one_is_refused(opened, tmp_path):
    with pytest.raises(DataError, match=r"no DR1_FIRST_radio_classifications\.csv or static_rgz"):
        catalog_of(opened, tmp_path)
    (tmp_path / RELEASE).write_text("RGZID,RA,Dec\nRGZ_J1,1,2\n")
    with pytest.raises(DataError, match="has no column LAE; it has RGZID, RA, Dec"):
        catalog_of(opened, tmp_path)


def test_a_mock_has_what_the_rules_leave_out_and_the_ingest_counts_it(tmp_path):
    survey = plugins.survey("rgz")
    info = ingest(survey, survey.mock(32, 5, tmp_path / "archive"), tmp_path / "rgz.zarr")
    # Sources 11 and 23 by rule and a compact one by chance; 15 and 31 are 14 and 30 again.
    assert info["rejected"] == {"15 arcsec or smaller": 3, "duplicate image": 2}
    sizes = CutoutStore.open(tmp_path / "rgz.zarr").catalog.column("size_arcsec")
    assert len(sizes) == 27
    assert sizes.min() > 15


def test_real_files_of_skyview_are_read_where_the_table_has_them(data_dir, opened, tmp_path):
    files = sorted((data_dir / "mirabest" / "fits").glob("*.fits"))[:4]
    names = [SourceName.parse(file.stem) for file in files]
    rows = [(f"RGZ_J{number}", name.ra, name.dec, name.size_arcsec) for number, name in enumerate(names)]
    # The third row is a degree off its file, and nobody fetched the last.
    rows[2] = (rows[2][0], rows[2][1], rows[2][2] + 1.0, rows[2][3])
    write_release(tmp_path, [*rows, ("RGZ_J9", 10.0, 10.0, 30.0)])
    for row, file in zip(rows, files, strict=True):
        shutil.copyfile(file, tmp_path / f"{row[0]}.fits")
    survey, source = opened("rgz", tmp_path)
    found = list(survey.cutouts(source, survey.catalog(source)))
    kinds = [part.reason if isinstance(part, Rejected) else "" for part in found]
    assert kinds == ["", "", "position outside the image", "", "missing file"]
    first = found[0]
    assert isinstance(first, Cutout)
    assert first.unit == "Jy/beam"
    assert 5e-5 < first.meta["rms"] < 1e-3


def test_the_positions_of_the_papers_set_keep_away_from_mirabest_as_the_recipe_says(data_dir):
    """What the header of the recipe and the card say of the published positions."""
    from astrofm.data.crossmatch import near

    table = pq.read_table(data_dir / "rgz-dr1" / "rgz_dr1_las25_positions.parquet")
    ra, dec, size_arcsec = (np.asarray(table[name], dtype=np.float64) for name in ("ra", "dec", "size"))
    with (data_dir / "mirabest" / "mirabest_index.csv").open() as stream:
        index = list(csv.DictReader(stream))
    mirabest = (np.array([float(row[name]) for row in index]) for name in ("ra_deg", "dec_deg"))
    assert len(ra) == 50_790
    assert size_arcsec.min() > 25.0
    assert size_arcsec.max() / 2 < 135.0
    assert near(ra, dec, *mirabest, 135.0).sum() == 165
