import gzip
import json
from pathlib import PurePosixPath

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from pydantic import ValidationError

from astrofm.card import SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.noise import clipped_std
from astrofm.data.forms.folder import READER, folder_catalog, folder_cutouts, folder_mock
from astrofm.data.forms.mock_sources import mock_file_name
from astrofm.data.quality import judge
from astrofm.data.tables import read_table
from astrofm.errors import DataError
from astrofm.forms import FolderLayout
from astrofm.survey import Survey, find_source

RADIO = """
name: my-radio
title: A test field
domain: radio
reference: none
bands: [{name: MyArray-1.4GHz, unit: Jy/beam, frequency_hz: 1.4e9}]
pixel_scale_arcsec: 1.8
field_of_view_arcsec: 72
beam: {value: {bmaj_arcsec: 6, bmin_arcsec: 5, bpa_deg: 10}}
products: {fits: {pattern: "*.fits", shape: [1, 40, 40], unit: Jy/beam, dtype: float32}}
tasks: [{name: fr, title: FR, column: label, classes: {FRI: [1], FRII: [2]}}]
splits: {scheme: published}
citation: none
hard: nothing
recipe: none
quick_recipe: none
folder: {table: table.csv, columns: {id_str: Name, label: class}}
"""

OPTICAL = {
    "domain": "optical",
    "beam": None,
    "psf_fwhm_arcsec": 1.2,
    "bands": [
        {"name": "My-r", "unit": "8-bit", "wavelength_nm": 622},
        {"name": "My-g", "unit": "8-bit", "wavelength_nm": 475},
        {"name": "My-u", "unit": "8-bit", "wavelength_nm": 355},
    ],
}


def card(**changes):
    given = yaml.safe_load(RADIO) | changes
    return SurveyCard.model_validate({key: value for key, value in given.items() if value is not None})


def picture_card(suffix="png", num_bands=3, dtype="uint8"):
    product = {"pattern": f"pictures/*.{suffix}", "shape": [num_bands, 32, 32], "unit": "8-bit", "dtype": dtype}
    return card(
        **OPTICAL | {"bands": OPTICAL["bands"][:num_bands]},
        products={"pictures": product},
        folder={"images": f"pictures/*.{suffix}", "table": "table.csv"},
    )


def read(survey_card, folder):
    source = find_source(survey_card, folder)
    table = folder_catalog(survey_card, source)
    return table, list(folder_cutouts(survey_card, source, table))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*.fits", "a.fits"),
        ("*.fits*", "a.fits"),
        ("**/*.fits.gz", "a.fits.gz"),
        ("tiles/*/*_?.fits", "tiles/a/a_0.fits"),
        ("data_batch_*", "data_batch_a"),
        ("map.fits", "map.fits"),
    ],
)
def test_a_made_up_file_has_a_plain_name_that_the_pattern_matches(pattern, name):
    assert str(mock_file_name(pattern, "a")) == name
    assert PurePosixPath("folder", name).match(pattern)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return folder_mock(card(), 5, 3, tmp_path_factory.mktemp("archive"))


@pytest.fixture
def own_copy(archive, tmp_path):
    for path in archive.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_card_and_a_folder_are_a_survey(archive):
    survey = Survey(card())
    source = find_source(survey.card, archive)
    table = survey.catalog(source)
    catalog = Catalog.from_astropy(table, required=["label", "split"])
    assert catalog.column("id_str").tolist() == [f"mock-{i:06d}" for i in range(5)]
    assert catalog.column("label").tolist() == [1, 2, 1, 2, 1]
    assert set(catalog.column("split")) <= {"train", "test"}
    assert set(catalog.column("rejected")) == {""}
    cutouts = list(survey.cutouts(source, table[1:3]))
    assert [cutout.header["OBJECT"] for cutout in cutouts] == ["mock-000001", "mock-000002"]
    for cutout in cutouts:
        assert cutout.image.shape == (1, 40, 40)
        assert cutout.image.dtype == np.float32
        assert cutout.unit == "Jy/beam"
        assert judge(cutout.image) is None


def test_a_mock_source_is_at_the_position_of_its_row(archive):
    table, cutouts = read(card(), archive)
    for row, cutout in zip(table, cutouts, strict=True):
        ra, dec = cutout.wcs.wcs_pix2world(20, 20, 0)
        assert (float(ra), float(dec)) == pytest.approx((row["ra"], row["dec"]))
        assert cutout.meta["pixel_scale"] == pytest.approx(1.8)
        assert [cutout.meta[key] for key in ("bmaj", "bmin", "bpa")] == pytest.approx([6.0, 5.0, 10.0])


def test_mock_data_says_that_it_is_mock(archive):
    assert json.loads((archive / "MOCK.json").read_text()) == {"survey": "my-radio", "n": 5, "seed": 3}
    assert fits.getheader(archive / "mock-000000.fits")["MOCK"] is True


def test_a_mock_object_is_the_same_in_a_small_and_a_large_archive(archive, tmp_path):
    small, other = folder_mock(card(), 2, 3, tmp_path / "small"), folder_mock(card(), 2, 4, tmp_path / "other")
    first, second = (archive / "mock-000001.fits").read_bytes(), (small / "mock-000001.fits").read_bytes()
    assert first == second
    one, two = (fits.getdata(archive / f"mock-00000{i}.fits") for i in (0, 2))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.9
    assert first != (other / "mock-000001.fits").read_bytes()
    assert (small / "table.csv").read_text().splitlines() == (archive / "table.csv").read_text().splitlines()[:3]
    with pytest.raises(DataError, match="asked for 0 mock objects"):
        folder_mock(card(), 0, 3, tmp_path)


def test_what_does_not_match_is_rejected_by_name(own_copy):
    (own_copy / "mock-000001.fits").unlink()
    (own_copy / "stray.fits").write_bytes((own_copy / "mock-000000.fits").read_bytes())
    (own_copy / "mock-000003.fits").write_bytes((own_copy / "mock-000003.fits").read_bytes()[:3000])
    table, found = read(card(), own_copy)
    catalog = Catalog.from_astropy(table)
    assert dict(zip(catalog.column("id_str"), catalog.column("rejected"), strict=True)) == {
        **{f"mock-{i:06d}": "" for i in (0, 2, 3, 4)},
        "mock-000001": "missing file",
        "stray": "no row in the table",
    }
    rejected = [(cutout.reason, cutout.file) for cutout in found if isinstance(cutout, Rejected)]
    assert rejected == [
        ("missing file", ""),
        ("truncated file", "mock-000003.fits"),
        ("no row in the table", "stray.fits"),
    ]
    assert catalog.take([0, 2]).column("label").dtype == np.int64


def test_a_file_that_vanishes_after_the_catalogue_was_read_is_rejected(own_copy):
    source = find_source(card(), own_copy)
    table = folder_catalog(card(), source)
    (own_copy / "mock-000000.fits").unlink()
    assert next(folder_cutouts(card(), source, table)).reason == "missing file"


def test_a_table_that_matches_no_image_is_refused(own_copy):
    text = (own_copy / "table.csv").read_text()
    (own_copy / "table.csv").write_text(text.replace("mock-", "J"))
    with pytest.raises(DataError, match=r"J000000, J000001, J000002, files .* such as mock-000000.fits"):
        read(card(), own_copy)


def test_a_file_loc_that_leads_nowhere_says_what_it_is_relative_to(own_copy):
    lines = (own_copy / "table.csv").read_text().splitlines()
    named = [f"{line},cutouts/{number}.fits" for number, line in enumerate(lines[1:])]
    (own_copy / "table.csv").write_text("\n".join([f"{lines[0]},file_loc", *named]) + "\n")
    with pytest.raises(DataError, match=r"file_loc \(cutouts/0\.fits\) is the path of a file relative to the folder"):
        read(card(), own_copy)


def test_file_loc_joins_before_the_id(own_copy):
    layout = {"table": "table.csv", "columns": {"id_str": "Name", "file_loc": "path", "label": "class"}}
    table = read_table(own_copy / "table.csv", text=["Name"])
    table["path"] = [f"{name}.fits" for name in reversed(list(table["Name"]))]
    table["ra"], table["dec"] = table["ra"][::-1].copy(), table["dec"][::-1].copy()
    table.write(own_copy / "table.csv", overwrite=True)
    _, cutouts = read(card(folder=layout), own_copy)
    assert [cutout.header["OBJECT"] for cutout in cutouts] == [f"mock-{i:06d}" for i in (4, 3, 2, 1, 0)]


def test_an_id_that_looks_like_a_number_keeps_its_zeros(own_copy):
    (own_copy / "mock-000000.fits").rename(own_copy / "00012.fits")
    text = (own_copy / "table.csv").read_text().splitlines()
    (own_copy / "table.csv").write_text("\n".join([text[0], text[1].replace("mock-000000", "00012")]))
    table, _ = read(card(), own_copy)
    assert table["id_str"][0] == "00012"
    assert table["rejected"][0] == ""


def test_two_files_that_could_be_one_object_are_refused(own_copy):
    (own_copy / "more").mkdir()
    (own_copy / "more" / "mock-000000.fits").write_bytes((own_copy / "mock-000000.fits").read_bytes())
    layout = {"images": "**/*.fits", "table": "table.csv", "columns": {"id_str": "Name"}}
    with pytest.raises(DataError, match=r"both 'mock-000000.fits' and 'more/mock-000000.fits' could be 'mock-000000'"):
        read(card(folder=layout), own_copy)


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits", "vot", "parquet"])
def test_the_table_may_have_any_format(tmp_path, suffix):
    layout = {"images": "img/*.fits", "table": f"table.{suffix}", "columns": {"id_str": "Name", "label": "class"}}
    products = {"fits": yaml.safe_load(RADIO)["products"]["fits"] | {"pattern": "img/*.fits"}}
    survey_card = card(folder=layout, products=products)
    table, cutouts = read(survey_card, folder_mock(survey_card, 2, 0, tmp_path))
    catalog = Catalog.from_astropy(table)
    assert catalog.column("label").tolist() == [1, 2]
    assert catalog.column("file_loc").tolist() == ["img/mock-000000.fits", "img/mock-000001.fits"]
    assert all(isinstance(cutout, Cutout) for cutout in cutouts)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("num_bands", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_survey_may_be_pictures(tmp_path, suffix, num_bands, dtype):
    survey_card = picture_card(suffix, num_bands, dtype)
    _, cutouts = read(survey_card, folder_mock(survey_card, 2, 0, tmp_path))
    for cutout in cutouts:
        assert cutout.image.shape == (num_bands, 32, 32)
        assert cutout.image.dtype == np.dtype(dtype)
        assert judge(cutout.image) is None


def test_an_image_of_other_bands_or_values_than_the_product_is_rejected(tmp_path):
    folder = folder_mock(picture_card(num_bands=3), 2, 0, tmp_path / "rgb")
    _, cutouts = read(picture_card(num_bands=1), folder)
    assert {cutout.reason for cutout in cutouts} == {"wrong number of bands"}
    as_uint8 = {"fits": yaml.safe_load(RADIO)["products"]["fits"] | {"dtype": "uint8"}}
    _, cutouts = read(card(products=as_uint8), folder_mock(card(), 2, 0, tmp_path / "floats"))
    assert {cutout.reason for cutout in cutouts} == {"not 8-bit"}
    _, cutouts = read(card(products=as_uint8), folder_mock(card(products=as_uint8), 2, 0, tmp_path / "bytes"))
    assert {cutout.image.dtype for cutout in cutouts} == {np.dtype("uint8")}


def test_votes_are_made_up_for_a_vote_task(tmp_path):
    task = {"name": "shape", "title": "Shape", "question": "shape", "classes": {"smooth": ["smooth"], "disk": ["disk"]}}
    survey_card = picture_card().model_copy(update={"tasks": card(tasks=[task]).tasks})
    table, _ = read(survey_card, folder_mock(survey_card, 20, 0, tmp_path))
    wins = np.asarray(table["shape_smooth"]) > np.asarray(table["shape_disk"])
    assert wins.tolist() == [True, False] * 10


def test_a_card_that_does_not_describe_the_folder_is_refused(own_copy):
    source = find_source(card(), own_copy)
    for changes, message in [
        ({"folder": None}, "no 'folder' section"),
        ({"folder": {"table": "absent.csv"}}, "no table at"),
        ({"folder": {"table": "table.csv", "columns": {"label": "klass"}}}, "no column 'klass'.*it has Name"),
        ({"folder": {"table": "table.csv"}}, "no column of ids"),
        ({"folder": {"table": "table.csv", "columns": {"split": "Name"}}}, "a column 'split' beside 'Name'"),
    ]:
        with pytest.raises(DataError, match=message):
            folder_catalog(card(**changes), source)
    with pytest.raises(DataError, match="is a file"):
        folder_catalog(card(), find_source(card(), own_copy / "mock-000000.fits"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("mock-000000,1,2\n,3,4\n", "row 1 of the catalogue has no id"),
        ("", r"'table.csv' has no rows, only the columns Name, ra, dec"),
    ],
)
def test_a_table_without_ids_or_rows_is_refused(own_copy, rows, message):
    (own_copy / "table.csv").write_text(f"Name,ra,dec\n{rows}")
    with pytest.raises(DataError, match=message):
        read(card(folder={"table": "table.csv", "columns": {"id_str": "Name"}}), own_copy)


def test_ids_that_lost_their_digits_are_refused(own_copy):
    Table({"id": [1.237648720693756e18], "ra": [1.0], "dec": [2.0]}).write(own_copy / "t.fits")
    with pytest.raises(DataError, match="lose digits"):
        read(card(folder={"images": "mock*.fits", "table": "t.fits"}), own_copy)


def test_one_column_may_be_both_the_id_and_the_file(own_copy):
    table = read_table(own_copy / "table.csv")
    table["Name"] = [f"./{name}.fits" for name in table["Name"]]
    table.write(own_copy / "table.csv", overwrite=True)
    layout = {"table": "table.csv", "columns": {"id_str": "Name", "file_loc": "Name", "label": "class"}}
    table, cutouts = read(card(folder=layout), own_copy)
    assert table["id_str"].tolist() == [f"./mock-{i:06d}.fits" for i in range(5)]
    assert table["file_loc"].tolist() == [f"mock-{i:06d}.fits" for i in range(5)]
    assert all(isinstance(cutout, Cutout) for cutout in cutouts)


@pytest.mark.parametrize("location", ["/data/a.fits", "../a.fits"])
def test_a_file_outside_the_folder_is_refused(own_copy, location):
    (own_copy / "table.csv").write_text(f"file_loc,ra,dec\n{location},1,2\n")
    with pytest.raises(DataError, match="leads out of the folder"):
        read(card(folder={"table": "table.csv"}), own_copy)


def test_the_images_are_those_of_the_product_where_no_other_pattern_is_given(tmp_path):
    changed = {"folder": picture_card().folder.model_copy(update={"images": ""})}
    survey_card = picture_card().model_copy(update=changed)
    table, cutouts = read(survey_card, folder_mock(survey_card, 2, 0, tmp_path))
    assert table["file_loc"].tolist() == ["pictures/mock-000000.png", "pictures/mock-000001.png"]
    assert all(isinstance(cutout, Cutout) for cutout in cutouts)


# Where the sources should be


def test_a_table_in_hours_or_joined_to_the_wrong_files_is_told(own_copy):
    table = read_table(own_copy / "table.csv", text=["Name"])
    swapped, in_hours = table.copy(), table.copy()
    swapped["Name"] = swapped["Name"][::-1].copy()
    in_hours["ra"] = in_hours["ra"] / 15
    swapped.write(own_copy / "table.csv", overwrite=True)
    _, found = read(card(), own_copy)
    assert [getattr(cutout, "reason", "") for cutout in found] == [
        *["position outside the image"] * 2,
        "",
        *["position outside the image"] * 2,
    ]
    assert found[0].file == "mock-000004.fits"
    in_hours.write(own_copy / "table.csv", overwrite=True)
    _, found = read(card(), own_copy)
    assert all(cutout.detail.endswith("in hours; give the column that unit") for cutout in found)
    in_hours["ra"].unit = "hourangle"
    in_hours.write(own_copy / "table.ecsv")
    layout = {"table": "table.ecsv", "columns": {"id_str": "Name", "label": "class"}}
    _, found = read(card(folder=layout), own_copy)
    assert all(isinstance(cutout, Cutout) for cutout in found)


def test_rows_without_a_position_are_not_compared(own_copy):
    table = read_table(own_copy / "table.csv", text=["Name"])
    table["ra"] = table["dec"] = np.full(5, np.nan)
    table.write(own_copy / "table.csv", overwrite=True)
    assert all(isinstance(cutout, Cutout) for cutout in read(card(), own_copy)[1])


# A file for each band

BANDS = [
    {"name": "My-g", "unit": "nanomaggy", "wavelength_nm": 475},
    {"name": "My-r", "unit": "nanomaggy", "wavelength_nm": 622},
]


def band_card(files=None, **changes):
    product = {"pattern": "*/*.fits", "shape": [2, 32, 32], "unit": "nanomaggy", "dtype": "float32"}
    files = files or {"My-r": "r/{id_str}_r.fits", "My-g": "g/{id_str}_g.fits"}
    return card(
        **OPTICAL | {"bands": BANDS},
        products={"fits": product},
        folder={"table": "table.csv", "columns": {"label": "class"}, "bands": files} | changes,
    )


@pytest.fixture
def bands(tmp_path):
    return folder_mock(band_card(), 3, 0, tmp_path / "bands")


def test_bands_of_a_file_each_come_in_the_order_of_the_card(bands):
    assert sorted(path.relative_to(bands).as_posix() for path in bands.glob("*/*"))[::3] == [
        "g/mock-000000_g.fits",
        "r/mock-000000_r.fits",
    ]
    table, cutouts = read(band_card(), bands)
    assert table["file_loc"].tolist() == [f"g/mock-00000{i}_g.fits" for i in range(3)]
    for index, cutout in enumerate(cutouts):
        for plane, band in zip(cutout.image, "gr", strict=True):
            np.testing.assert_array_equal(plane, fits.getdata(bands / band / f"mock-00000{index}_{band}.fits"))
        noise = [cutout.meta[f"rms_My-{band}"] for band in "gr"]
        np.testing.assert_allclose(noise, [clipped_std(plane) for plane in cutout.image])
        assert "rms" not in cutout.meta
    assert not np.array_equal(cutouts[0].image[0], cutouts[0].image[1])


def test_a_row_without_one_of_its_bands_is_rejected_and_a_band_without_a_row_too(bands):
    (bands / "r" / "mock-000001_r.fits").unlink()
    for band in "gr":
        (bands / band / f"stray_{band}.fits").write_bytes((bands / band / f"mock-000000_{band}.fits").read_bytes())
    (bands / "r" / "mock-000002_r.fits").write_bytes(b"<html>")
    table, cutouts = read(band_card(), bands)
    assert dict(zip(table["id_str"], table["rejected"], strict=True)) == {
        "mock-000000": "",
        "mock-000001": "missing file of My-r",
        "mock-000002": "",
        "stray": "no row in the table",
    }
    found = [(cutout.reason, cutout.file) for cutout in cutouts if isinstance(cutout, Rejected)]
    assert found == [
        ("missing file of My-r", "g/mock-000001_g.fits"),
        ("not FITS", "r/mock-000002_r.fits"),
        ("no row in the table", "g/stray_g.fits"),
    ]


def test_all_files_of_all_bands_decide_what_a_store_holds(bands):
    survey_card = band_card()
    source = find_source(survey_card, bands)
    files = set(READER.files(survey_card, source, folder_catalog(survey_card, source)))
    assert files == {*bands.glob("*/*.fits"), bands / "table.csv"}
    narrow = survey_card.products["fits"].model_copy(update={"pattern": "g/*.fits"})
    source = find_source(survey_card.model_copy(update={"products": {"fits": narrow}}), bands)
    assert set(READER.files(survey_card, source, folder_catalog(survey_card, source))) == files


def test_names_of_band_files_that_cannot_work_are_refused(bands):
    with pytest.raises(ValidationError, match=r"'g\.fits' has not"):
        band_card({"My-g": "g.fits", "My-r": "{id_str}.fits"})
    with pytest.raises(ValidationError, match="give neither 'images' nor 'file_loc'"):
        band_card(images="*.fits")
    with pytest.raises(DataError, match="files for the bands My-g; the card's bands are My-g, My-r"):
        read(band_card({"My-g": "g/{id_str}_g.fits"}), bands)
    with pytest.raises(DataError, match=r"no row of 'table.csv' has its image: rows such as mock-000000.*{id_str}"):
        read(band_card({"My-g": "g/{id_str}.fits", "My-r": "r/{id_str}.fits"}), bands)
    with pytest.raises(DataError, match="leads out of the folder"):
        read(band_card({"My-g": "../{id_str}.fits", "My-r": "r/{id_str}.fits"}), bands)


# Extensions


@pytest.mark.parametrize(
    ("extensions", "names"),
    [
        ({"image": "SCI"}, ["PRIMARY", "SCI", "ERR", "DQ"]),
        (
            {"image": "sci,2", "quality": "mask", "quality_bits": 12, "error": "sigma"},
            ["PRIMARY", "SCI", "SIGMA", "MASK"],
        ),
    ],
)
def test_a_mock_with_extensions_is_read_with_its_flags_and_errors(tmp_path, extensions, names):
    survey_card = card(folder={"table": "table.csv", "columns": {"id_str": "Name"}, "extensions": extensions})
    folder = folder_mock(survey_card, 2, 0, tmp_path)
    with fits.open(folder / "mock-000000.fits") as hdus:
        assert [hdu.name for hdu in hdus] == names
        noise = float(hdus[2].data[0, 0])
        assert hdus[0].header["MOCK"] is True
    _, cutouts = read(survey_card, folder)
    assert np.argwhere(cutouts[0].mask).tolist() == [[0, 0]]
    assert cutouts[0].meta["rms"] == pytest.approx(noise)
    numbered = card(folder={"table": "table.csv", "extensions": {"image": "1"}})
    with pytest.raises(DataError, match="needs names of its extensions, not the number 1"):
        folder_mock(numbered, 1, 0, tmp_path / "numbered")


def test_file_names_may_be_made_of_the_id(tmp_path):
    """Also of pictures, whose names are the id with something around it."""
    survey_card = picture_card(num_bands=1).model_copy(
        update={"folder": FolderLayout(images="pictures/mkt_{id_str}_v2.png", table="table.csv")}
    )
    folder = folder_mock(survey_card, 4, 0, tmp_path)
    assert (folder / "pictures" / "mkt_mock-000000_v2.png").is_file()
    (folder / "pictures" / "mkt_mock-000003_v2.png").rename(folder / "pictures" / "mkt_stray_v2.png")
    table, cutouts = read(survey_card, folder)
    found = dict(zip(table["id_str"].tolist(), table["rejected"].tolist(), strict=True))
    assert found["mock-000000"] == ""
    assert found["mock-000003"] == "missing file"
    assert found["stray"] == "no row in the table"
    assert sum(isinstance(cutout, Cutout) for cutout in cutouts) == 3


def named_card(images):
    """Return the card of a folder whose images are called so."""
    given = yaml.safe_load(RADIO)
    product = given["products"]["fits"] | {"pattern": "**/*.fits"}
    return card(products={"fits": product}, folder=given["folder"] | {"images": images})


def test_the_id_may_stand_in_a_name_with_asterisks(own_copy):
    for number, path in enumerate(sorted(own_copy.glob("*.fits"))):
        field = own_copy / f"field-{number % 2}"
        field.mkdir(exist_ok=True)
        path.rename(field / f"{path.stem}.I.v{number}.fits")
    survey_card = named_card("*/{id_str}.I.v?.fits")
    table, cutouts = read(survey_card, own_copy)
    assert table["rejected"].tolist() == [""] * 5
    assert table["file_loc"].tolist()[:2] == ["field-0/mock-000000.I.v0.fits", "field-1/mock-000001.I.v1.fits"]
    assert sum(isinstance(cutout, Cutout) for cutout in cutouts) == 5
    (own_copy / "field-1" / "mock-000000.I.v9.fits").write_bytes(b"")
    with pytest.raises(DataError, match=r"both 'field-0/mock-000000.I.v0.fits' and 'field-1/mock-000000.I.v9.fits'"):
        read(survey_card, own_copy)


@pytest.mark.parametrize("images", ["*/*_{id_str}.fits", "*/*{id_str}.fits", "*/{id_str}*.fits", "*/{id_str}_*.fits"])
def test_an_asterisk_beside_the_id_takes_what_the_id_leaves(own_copy, images):
    (own_copy / "a").mkdir()
    table = Table.read(own_copy / "table.csv")
    names = [f"J01{number}_5_b" for number in range(len(table))]
    for own, name in zip(table["Name"], names, strict=True):
        called = images.replace("{id_str}", name).replace("*/", "a/").replace("*", "more_1")
        (own_copy / f"{own}.fits").rename(own_copy / called)
    table["Name"] = names
    table.write(own_copy / "table.csv", overwrite=True)
    found, _ = read(named_card(images), own_copy)
    assert found["rejected"].tolist() == [""] * 5
    assert all(name in file for name, file in zip(found["id_str"], found["file_loc"], strict=True))


def test_a_file_that_could_be_that_of_two_rows_is_given_to_none(own_copy):
    (own_copy / "a").mkdir()
    table = Table.read(own_copy / "table.csv")
    for number, own in enumerate(table["Name"]):
        (own_copy / f"{own}.fits").rename(own_copy / "a" / f"img_P_{number}.fits")
    table["Name"] = ["P_0", "P_1", "P_2", "0", "1"]
    table.write(own_copy / "table.csv", overwrite=True)
    with pytest.raises(
        DataError, match=r"'a/img_P_0.fits' could be the image of .* by '\*/\*_{id_str}.fits': say which"
    ):
        read(named_card("*/*_{id_str}.fits"), own_copy)


def test_an_id_that_stands_twice_in_a_name_is_the_same_both_times(own_copy):
    table = Table.read(own_copy / "table.csv")
    names = ["aa", "aaa", "b", "c", "d"]
    for own, name in zip(table["Name"], names, strict=True):
        (own_copy / name).mkdir()
        (own_copy / f"{own}.fits").rename(own_copy / name / f"{name}_v1.fits")
    (own_copy / "e").mkdir()
    (own_copy / "b" / "b_v1.fits").rename(own_copy / "e" / "b_v1.fits")
    table["Name"] = names
    table.write(own_copy / "table.csv", overwrite=True)
    found, _ = read(named_card("{id_str}/{id_str}_*.fits"), own_copy)
    assert found["file_loc"].tolist() == ["aa/aa_v1.fits", "aaa/aaa_v1.fits", "", "c/c_v1.fits", "d/d_v1.fits"]


def test_the_mock_of_a_name_with_asterisks_is_read_back(tmp_path):
    survey_card = named_card("*/{id_str}_*.fits")
    table, _ = read(survey_card, folder_mock(survey_card, 3, 0, tmp_path))
    assert table["file_loc"].tolist()[0] == "mock/mock-000000_mock.fits"
    assert table["rejected"].tolist() == [""] * 3


def test_files_of_the_id_that_the_pattern_leaves_out_are_told(own_copy):
    with gzip.open(own_copy / "mock-000001.fits.gz", "wb") as packed:
        packed.write((own_copy / "mock-000001.fits").read_bytes())
    (own_copy / "mock-000001.fits").unlink()
    told = r"1 rows of 'table.csv' have no image that matches '\*.fits', but 1 files have their names, such as "
    with pytest.warns(UserWarning, match=told + "mock-000001.fits.gz: let the pattern of the card match them too"):
        table, _ = read(card(), own_copy)
    assert table["rejected"].tolist().count("missing file") == 1


def test_capital_letters_of_an_ending_are_no_part_of_a_name(own_copy):
    with gzip.open(own_copy / "mock-000001.FITS.GZ", "wb") as packed:
        packed.write((own_copy / "mock-000001.fits").read_bytes())
    (own_copy / "mock-000001.fits").unlink()
    with pytest.warns(UserWarning, match="such as mock-000001.FITS.GZ: let the pattern of the card match them too"):
        read(card(), own_copy)


def test_files_without_a_row_may_share_a_name(own_copy):
    for name in ("A", "B"):
        (own_copy / name).mkdir()
        (own_copy / name / "stray.fits").write_bytes((own_copy / "mock-000000.fits").read_bytes())
    table, _ = read(named_card("**/{id_str}.fits"), own_copy)
    assert table["id_str"].tolist()[5:] == ["A/stray.fits", "B/stray.fits"]
    assert table["rejected"].tolist()[5:] == ["no row in the table"] * 2


def test_a_row_without_an_image_adds_no_file_to_what_a_store_is_made_of(own_copy):
    (own_copy / "notes.txt").write_text("not of the archive")
    (own_copy / "mock-000001.fits").unlink()
    source = find_source(card(), own_copy)
    files = set(READER.files(card(), source, folder_catalog(card(), source)))
    assert files == {*own_copy.glob("*.fits"), own_copy / "table.csv"}


def test_flags_and_blanks_of_an_8_bit_image_are_both_masked(own_copy):
    image = np.full((32, 32), 7.0, dtype=np.float32)
    image[0, 0] = np.nan
    flags = np.zeros((32, 32), dtype=np.int16)
    flags[3, 3] = 1
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(flags, name="DQ")]
    fits.HDUList(hdus).writeto(own_copy / "mock-000000.fits", overwrite=True)
    given = yaml.safe_load(RADIO)["products"]["fits"]
    eight_bit = card(products={"fits": given | {"dtype": "uint8", "unit": "8-bit"}})
    first = read(eight_bit, own_copy)[1][0]
    assert np.argwhere(first.mask).tolist() == [[0, 0], [3, 3]]


def test_the_file_of_a_band_is_no_pattern():
    with pytest.raises(ValidationError, match=r"named in full, but for {id_str}; 'g/\*_{id_str}.fits' is a"):
        FolderLayout(table="table.csv", bands={"g": "g/*_{id_str}.fits"})
